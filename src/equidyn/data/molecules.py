"""Molecular geometries without labels, from files: SDF, and XYZ in its plain, QM9 and archived forms.

Every record is kept or listed with a reason. The cluster key of a record is its canonical SMILES (SDF) or that of its connectivity, perceived
from the distances (XYZ), so that conformers of a molecule share one.
"""

import hashlib
import io
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from equidyn.data import archives
from equidyn.data.schema import DataError
from equidyn.data.stream import Item, Rejected

SYMBOLS = (
    "X H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe "
    "Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn"
).split()
NUMBERS = {element: number for number, element in enumerate(SYMBOLS)}
LARGEST = 16 << 20  # bytes of an SDF record
LONGEST_SMILES = 4000  # characters; RDKit's time to read and write SMILES grows with the square of the size, and faster with many rings
MOST_ATOMS, MOST_RINGS = 1000, 200  # of a structure whose connectivity is written as SMILES


def channel_of(elements: list[str]) -> np.ndarray:
    """Channel of every atomic number, 255 where it has none: uint8 [256].

    Raises
    ------
    DataError
        an unknown element symbol
    """
    unknown = [e for e in elements if e not in SYMBOLS[1:]]
    if unknown:
        raise DataError(f"voxels.elements: {unknown}, expected element symbols such as C or Cl")
    table = np.full(256, 255, dtype=np.uint8)
    for channel, element in enumerate(elements):
        table[SYMBOLS.index(element)] = channel
    return table


def symbol(number: int) -> str:
    """Element symbol of an atomic number, or the number where it has none here."""
    return SYMBOLS[number] if number < len(SYMBOLS) else str(number)


def formula(numbers: np.ndarray) -> str:
    """Elements in alphabetical order with their counts."""
    return "".join(f"{element}{n}" for element, n in sorted(Counter(symbol(int(z)) for z in numbers).items()))


@lru_cache
def covalent_radii() -> np.ndarray:
    """Å, by atomic number, of the elements of ``SYMBOLS`` (RDKit's table)."""
    from rdkit import Chem

    return np.array([1.0] + [Chem.GetPeriodicTable().GetRcovalent(z) for z in range(1, len(SYMBOLS))])


def sdf_records(path: str | Path) -> Iterator[tuple[str, str] | Rejected]:
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
    return Rejected(place, f"record of more than {LARGEST} bytes") if size > LARGEST else (place, b"".join(taken).decode("utf-8", "replace"))


def parse_sdf(record: tuple[str, str], settings: dict) -> list[Item | Rejected]:
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
    if reason := _unusable(numbers, positions, molecule.GetNumConformers() > 0 and molecule.GetConformer().Is3D()):
        return [Rejected(where, reason)]
    bare = any(atom.GetTotalNumHs() for atom in molecule.GetAtoms())
    try:
        smiles = Chem.MolToSmiles(Chem.RemoveHs(molecule))
    except (RuntimeError, ValueError):  # a valence that shows only now
        return [Rejected(where, "does not parse (RDKit)")]
    return [Item(where, smiles, {"numbers": numbers, "positions": _centred(positions)}, bare=bare)]


def xyz_records(path: str | Path) -> Iterator[tuple[str, str] | Rejected]:
    """Frames as text, see ``archives.frames``."""
    return archives.frames(path)


def parse_xyz(record: tuple[str, str], settings: dict) -> list[Item | Rejected]:
    """One frame. QM9's raw files are understood: numbers such as 1.2*^-6, a charge column. Whether hydrogens are missing cannot be told."""
    import ase.io

    where, text = record
    try:
        atoms = ase.io.read(io.StringIO(text.replace("*^", "e")), format="xyz", index=0)
    except Exception as error:  # ase raises many types on malformed text
        return [Rejected(where, f"does not parse ({type(error).__name__})")]
    numbers = atoms.numbers.astype(np.uint8)
    if reason := _unusable(numbers, atoms.positions, True):
        return [Rejected(where, reason)]
    return [Item(where, _connectivity(numbers, atoms.positions) or where, {"numbers": numbers, "positions": _centred(atoms.positions)})]


def admit(item: Item, settings: dict) -> Item | Rejected:
    """The limits that the settings set: ``max_atoms``, and the elements that have a channel in ``voxels``."""
    if len(item.rows["numbers"]) > settings.get("max_atoms", np.inf):
        return Rejected(item.where, "too many atoms")
    if box := settings.get("voxels"):
        numbers = item.rows["numbers"]
        foreign = sorted({symbol(z) for z in numbers[_channels(tuple(box["elements"]))[numbers] == 255]})
        if foreign:
            return Rejected(item.where, f"element outside the channels: {' '.join(foreign)}")
    return item


@lru_cache
def _channels(elements: tuple[str, ...]) -> np.ndarray:
    return channel_of(list(elements))


def _unusable(numbers: np.ndarray, positions: np.ndarray, three_dimensional: bool) -> str | None:
    if len(numbers) == 0:
        return "no atoms"
    if (numbers == 0).any():
        return "dummy atom or unknown element"
    if not (np.abs(positions) < 1e9).all():  # also what would overflow in single precision
        return "positions that are not finite"
    if not three_dimensional or (len(numbers) > 1 and np.ptp(positions, axis=0).max() == 0):
        return "no 3D coordinates"
    return None


def _centred(positions: np.ndarray) -> np.ndarray:
    return (positions - positions.mean(0)).astype(np.float32)


def _connectivity(numbers: np.ndarray, positions: np.ndarray) -> str | None:
    """Canonical SMILES of the bonds that RDKit perceives, all single; the formula where that would take too long; None where it cannot."""
    from rdkit import Chem
    from rdkit.Chem import rdDetermineBonds

    if len(numbers) > MOST_ATOMS:
        return formula(numbers)
    block = f"{len(numbers)}\n\n" + "\n".join(f"{symbol(z)} {x:.6f} {y:.6f} {w:.6f}" for z, (x, y, w) in zip(numbers.tolist(), positions.tolist()))
    try:
        molecule = Chem.MolFromXYZBlock(block)
        rdDetermineBonds.DetermineConnectivity(molecule)
        if molecule.GetNumBonds() - molecule.GetNumAtoms() > MOST_RINGS:
            return formula(numbers)
        key = hashlib.sha256(numbers.tobytes() + Chem.GetAdjacencyMatrix(molecule).tobytes()).digest()
        if key not in _SMILES:  # frames of a trajectory share one, and writing SMILES takes longest
            if len(_SMILES) >= 4096:
                _SMILES.clear()
            _SMILES[key] = Chem.MolToSmiles(molecule)
        return _SMILES[key]
    except (ValueError, RuntimeError, TypeError):  # TypeError: no molecule, for an element that RDKit's reader does not know
        return None


_SMILES: dict[bytes, str] = {}
