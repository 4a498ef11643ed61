"""Molecules without labels from SDF files, plain, compressed or in archives.

The cluster key of a record is its canonical SMILES.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from equidyn.data.readers import archives
from equidyn.data.readers.molecules import canonical, centred, unusable, wrong_unit
from equidyn.data.readers.records import Item, Rejected

LARGEST = 16 << 20  # bytes of an SDF record


def records(path: str | Path) -> Iterator[tuple[str, str] | Rejected]:
    """(where, text) of the records of an SDF file, compressed, or of the .sdf members of an archive."""
    for where, stream in archives.members(path, (".sdf", ".sd")):
        number, taken, size = 0, [], 0
        for line in archives.lines(stream):
            ends = line.startswith(b"$$$$")
            size += len(line)
            if not ends:
                if size <= LARGEST:
                    taken.append(line)
                continue
            number += 1
            yield _sdf_record(where, number, taken, size)
            taken, size = [], 0
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
    numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()], dtype=np.uint8)
    if reason := unusable(
        numbers, positions, molecule.GetNumConformers() > 0 and molecule.GetConformer().Is3D()
    ):
        return [Rejected(where, reason)]
    if wrong := wrong_unit(where, numbers, positions):
        return [wrong]
    bare = any(atom.GetTotalNumHs() for atom in molecule.GetAtoms())
    try:
        smiles = canonical(molecule)
    except (RuntimeError, ValueError):
        return [Rejected(where, "does not parse (RDKit)")]
    return [Item(where, smiles, {"numbers": numbers, "positions": centred(positions)}, bare=bare)]
