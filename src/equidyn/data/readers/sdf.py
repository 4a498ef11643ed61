"""Molecules without labels from SDF files, plain, compressed or in archives.

The cluster key of a record is its constitution, see ``molecules.constitution``.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from equidyn.data.checks.catalogue import SEVERAL
from equidyn.data.readers import archives
from equidyn.data.readers.molecules import constitution, molecule_of
from equidyn.data.readers.records import Item, Rejected

LARGEST = 16 << 20  # bytes of an SDF record
COUNTS = re.compile(
    rb"[ \d]{6}.*V[23]000\s*$"
)  # the line of a molecule that says how many atoms and bonds it has
HEADER = 4  # lines of a molecule up to that one


def records(path: str | Path) -> Iterator[tuple[str, str] | Rejected]:
    """(where, text) of the records of an SDF file, compressed, or of the .sdf members of an archive.

    A record ends at $$$$, and where a second molecule begins before it: three lines above its counts line.
    """
    for where, stream in archives.members(path, (".sdf", ".sd")):
        number, taken, size, begun = 0, [], 0, False
        for line in archives.lines(stream):
            if line.startswith(b"$$$$"):
                number += 1
                yield _sdf_record(where, number, taken, size)
                taken, size, begun = [], 0, False
                continue
            size += len(line)
            if size <= LARGEST:
                taken.append(line)
            if COUNTS.match(line) and size <= LARGEST:
                if begun:
                    number += 1
                    before, taken = taken[:-HEADER], taken[-HEADER:]
                    yield _sdf_record(where, number, before, sum(map(len, before)))
                    size = sum(map(len, taken))
                begun = True
        if any(line.strip() for line in taken):  # the last record may lack its end
            yield _sdf_record(where, number + 1, taken, size)


def _sdf_record(where, number, taken, size):
    place = f"{where}, record {number}"
    return (
        Rejected(place, f"record of more than {LARGEST} bytes")
        if size > LARGEST
        else (place, b"".join(taken).decode("utf-8", "replace"))
    )


def parse(record: tuple[str, str], settings: dict) -> list[Item | Rejected]:
    """One molecule; hydrogens are kept as they are, and where some are missing the item says so."""
    from rdkit import Chem, RDLogger

    RDLogger.DisableLog("rdApp.*")
    where, text = record
    try:
        molecule = Chem.MolFromMolBlock(text, removeHs=False)
    except (RuntimeError, ValueError):  # RDKit's invariants
        molecule = None
    if molecule is None:
        return [Rejected(where, "does not parse (RDKit)")]
    positions = molecule.GetConformer().GetPositions() if molecule.GetNumConformers() else np.zeros((0, 3))
    atoms = list(molecule.GetAtoms())  # RDKit's own iterator is slow
    numbers = np.array([atom.GetAtomicNum() for atom in atoms], dtype=np.uint8)
    three_dimensional = molecule.GetNumConformers() > 0 and molecule.GetConformer().Is3D()
    found = molecule_of(where, numbers, positions, three_dimensional, settings, molecule)
    if isinstance(found, Rejected):
        return [found]
    found.bare = any(atom.GetTotalNumHs() for atom in atoms)
    try:
        found.cluster = constitution(molecule)
    except (RuntimeError, ValueError):
        return [Rejected(where, "does not parse (RDKit)")]
    found.notes |= {SEVERAL: 1} if "." in found.cluster else {}
    return [found]
