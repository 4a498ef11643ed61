"""GEOM-drugs in the MiDi split: one pickled list of (SMILES, [RDKit Mol, one per conformer]) per file.

The pickle is never run, see ``guards.pickles``. RDKit's reader of its binary form is not safe against crafted
bytes: 16 of 1200 single-byte changes of a molecule ended the process. ``parse`` therefore belongs into a
worker process, and a file from anywhere but its publisher does not belong here at all.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from equidyn.data.checks.catalogue import BEYOND, SEVERAL
from equidyn.data.readers import molecules
from equidyn.data.readers.records import Item, Rejected
from equidyn.defaults import N_CONFORMERS
from equidyn.errors import DataError
from equidyn.guards.pickles import PickledMolecule, describe, elements

FOREIGN = (
    "EMPTY_DICT",
    "DICT",
    "SETITEM",
    "SETITEMS",
    "BINFLOAT",
    "FLOAT",
    "BININT",
    "BININT1",
    "BININT2",
    "NEWTRUE",
)

Record = tuple[
    str, int, str | None, list[bytes]
]  # path, number of the molecule in the file, SMILES, conformers as RDKit wrote them


def records(path: str | Path) -> Iterator[Record]:
    """The molecules of a pickle, in its order, conformers unparsed.

    Raises
    ------
    DataError
        no such file, not a pickle, truncated, not a list of (SMILES, [Mol]), or holding anything but strings,
        lists, tuples and RDKit Mols
    """
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file")
    number = 0
    try:
        with open(path, "rb") as file:
            for found in elements(file):
                number += 1
                yield str(path), number, *_checked(found)
    except DataError as error:
        raise DataError(f"{path}, after molecule {number}: {error}{_other_layout(error)}") from None
    except (ValueError, OverflowError, OSError) as error:  # what pickletools raises on a malformed file
        raise DataError(
            f"{path}, after molecule {number}: not a readable pickle, perhaps truncated "
            f"({type(error).__name__}: {str(error)[:200]})"
        ) from None


def _other_layout(error: DataError) -> str:
    """What a pickle with a dictionary or numbers in it is likely to be."""
    opcode = str(error).partition("opcode ")[2].partition(",")[0]
    if opcode not in FOREIGN:
        return ""
    return (
        "; likely: a file of GEOM's rdkit_folder, a dictionary of one molecule, expected a list of "
        "(SMILES, conformers), as the published split has"
    )


def parse(record: Record, settings: dict) -> list[Item | Rejected]:
    """The first ``n_conformers`` (5) conformers of a molecule, or why they are not kept; pure.

    Rows: numbers uint8 [n], positions float32 [n, 3] in Å about their mean. The cluster is the
    constitution of the record's SMILES, or of the molecule where there is none that parses.
    """
    from rdkit import Chem, RDLogger

    RDLogger.DisableLog("rdApp.*")
    path, number, smiles, conformers = record
    cluster, found = smiles and molecules.constitution_of(smiles), []
    if not conformers:
        return [Rejected(f"{path}, molecule {number}", "no conformers")]
    n = settings.get("n_conformers", N_CONFORMERS)
    for k, data in enumerate(conformers[:n], 1):
        where = f"{path}, molecule {number}, conformer {k}"
        try:
            molecule = Chem.Mol(data)
            atoms = list(molecule.GetAtoms())  # RDKit's own iterator is slow
            numbers = np.array([atom.GetAtomicNum() for atom in atoms], dtype=np.uint8)
            three_dimensional = molecule.GetNumConformers() > 0 and molecule.GetConformer().Is3D()
            positions = molecule.GetConformer().GetPositions() if three_dimensional else _nowhere(numbers)
            key = cluster or molecules.constitution(molecule)
            bare = any(atom.GetTotalNumHs() for atom in atoms)
            result = molecules.molecule_of(where, numbers, positions, three_dimensional, settings, molecule)
        except Exception:  # RDKit raises many types on malformed molecules
            found.append(Rejected(where, "does not parse (RDKit)", _newer(data)))
            continue
        if isinstance(result, Item):
            result.cluster, result.bare = key, bare
            result.notes |= {SEVERAL: 1} if "." in key else {}
        found.append(result)
    if len(conformers) > n:
        where = f"{path}, molecule {number}, conformers {n + 1} to {len(conformers)}"
        found.append(Rejected(where, BEYOND, f"{len(conformers) - n} of {len(conformers)}"))
    return found


def _newer(data: bytes) -> str:
    """What to say of a molecule in a newer format than this RDKit reads, which says so at its beginning."""
    from rdkit import Chem, rdBase

    head = struct.Struct("<4i")  # byte order, major, minor, patch
    ours = head.unpack(Chem.Mol().ToBinary()[: head.size])
    if len(data) < head.size or (theirs := head.unpack(data[: head.size]))[0] != ours[0]:
        return ""
    if theirs[1:] <= ours[1:]:
        return ""
    found, known = (".".join(map(str, version[1:])) for version in (theirs, ours))
    here = f"expected at most {known}, that of RDKit {rdBase.rdkitVersion}"
    return f"written by a newer RDKit: format {found}, {here}"


def _nowhere(numbers: np.ndarray) -> np.ndarray:
    return np.zeros((len(numbers), 3))


def _checked(found) -> tuple[str | None, list[bytes]]:
    """SMILES and conformers of a record; messages describe shallowly, because a hostile record may be deep or
    huge.
    """
    if type(found) not in (tuple, list) or len(found) != 2:
        raise DataError(f"a record that is a {describe(found)}, expected (SMILES, list of RDKit Mols)")
    smiles, conformers = found
    if not (smiles is None or type(smiles) is str) or type(conformers) not in (tuple, list):
        raise DataError(
            f"a record of {describe(smiles)} and {describe(conformers)}, expected a SMILES string and a "
            f"list of RDKit Mols"
        )
    wrong = [c for c in conformers if not (c is None or type(c) is PickledMolecule)]
    if wrong:
        raise DataError(f"a conformer that is a {describe(wrong[0])}, expected an RDKit Mol")
    return smiles, [
        b"" if c is None else c.data for c in conformers
    ]  # no bytes: a conformer that does not parse
