"""Molecular geometries without labels, from files: SDF, and XYZ in its plain, QM9 and archived forms.

Every record is kept or listed with a reason. The cluster key of a record is its canonical SMILES (SDF) or that of its connectivity, perceived
from the distances (XYZ), so that conformers of a molecule share one.
"""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from equidyn.data.schema import DataError

SYMBOLS = (
    "X H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe "
    "Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn"
).split()


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


Geometry = tuple[str, np.ndarray, np.ndarray, str]  # cluster key, numbers, positions [Å] about their mean, where


def read_sdf(path: str | Path) -> tuple[list[Geometry], list[tuple[str, str]], int]:
    """Records of an SDF file (.sdf or .sdf.gz): geometries, (where, reason) of rejected records, number with hydrogens missing.

    Hydrogens are kept as they are. Raises DataError where there is no such file or it holds no record at all.
    """
    from rdkit import Chem, RDLogger

    RDLogger.DisableLog("rdApp.*")
    kept, rejected, bare = [], [], 0
    with _opened(path) as file:
        try:
            for number, molecule in enumerate(Chem.ForwardSDMolSupplier(file, removeHs=False), 1):
                where = f"{path}, record {number}"
                if molecule is None:
                    rejected.append((where, "does not parse (RDKit)"))
                    continue
                positions = molecule.GetConformer().GetPositions() if molecule.GetNumConformers() else np.zeros((0, 3))
                numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()], dtype=np.uint8)
                if reason := _unusable(numbers, positions, molecule.GetNumConformers() > 0 and molecule.GetConformer().Is3D()):
                    rejected.append((where, reason))
                    continue
                bare += any(atom.GetTotalNumHs() for atom in molecule.GetAtoms())
                kept.append((Chem.MolToSmiles(Chem.RemoveHs(molecule)), numbers, _centred(positions), where))
        except (OSError, EOFError, RuntimeError, SystemError, UnicodeDecodeError) as error:
            rejected.append((f"{path}, after record {len(kept) + len(rejected)}", f"file breaks off ({type(error).__name__})"))
    if not kept and not rejected:
        raise DataError(f"{path}: no SDF record")
    return kept, rejected, bare


def read_xyz(path: str | Path) -> tuple[list[Geometry], list[tuple[str, str]], int]:
    """Frames of XYZ files: .xyz (also .gz), or all .xyz members of a .tar.gz, .tgz, .tar or .zip archive, read in memory.

    QM9's raw files are understood: numbers such as 1.2*^-6, a charge column, trailing lines. Returns as ``read_sdf``; whether
    hydrogens are missing cannot be told, 0.
    """
    import ase.io

    kept, rejected, found = [], [], False
    for where, text in _texts(path):
        found = True
        for frame, lines in enumerate(_frames(text), 1):
            place = f"{where}, frame {frame}"
            try:
                atoms = ase.io.read(io.StringIO("\n".join(lines).replace("*^", "e")), format="xyz", index=0)
            except Exception as error:  # ase raises many types on malformed text
                rejected.append((place, f"does not parse ({type(error).__name__})"))
                continue
            numbers = atoms.numbers.astype(np.uint8)
            if reason := _unusable(numbers, atoms.positions, True):
                rejected.append((place, reason))
                continue
            key = _connectivity(numbers, atoms.positions)
            kept.append((key or place, numbers, _centred(atoms.positions), place))
    if not found:
        raise DataError(f"{path}: no .xyz file in it")
    return kept, rejected, 0


def _opened(path):
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file")
    return gzip.open(path, "rb") if str(path).endswith(".gz") else open(path, "rb")


def _texts(path) -> Iterator[tuple[str, str]]:
    """(name, content) of every XYZ file of a path; members of archives are read, never extracted."""
    name = str(path)
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file")
    try:
        if name.endswith((".tar.gz", ".tgz", ".tar")):
            with tarfile.open(path) as archive:
                for member in archive:
                    if member.isfile() and member.name.endswith(".xyz"):
                        yield f"{path}, {member.name}", archive.extractfile(member).read().decode("utf-8", "replace")
        elif name.endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                for member in sorted(archive.namelist()):
                    if member.endswith(".xyz"):
                        yield f"{path}, {member}", archive.read(member).decode("utf-8", "replace")
        else:
            with _opened(path) as file:
                yield name, file.read().decode("utf-8", "replace")
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not readable, perhaps truncated ({type(error).__name__}: {error})") from error


def _frames(text: str) -> Iterator[list[str]]:
    """Frames of n + 2 lines, blank lines between them skipped. What starts no frame ends the file and is yielded for the parser to refuse,
    but for the lines that follow the one frame of a raw QM9 file."""
    lines = text.splitlines()
    start = 0
    while start < len(lines):
        if not lines[start].strip():
            start += 1
            continue
        try:
            n = max(int(lines[start]), 0)
        except ValueError:
            if not (start > 1 and lines[1].startswith("gdb")):
                yield lines[start : start + 1]
            return
        yield lines[start : start + n + 2]
        start += n + 2


def _unusable(numbers: np.ndarray, positions: np.ndarray, three_dimensional: bool) -> str | None:
    if len(numbers) == 0:
        return "no atoms"
    if (numbers == 0).any():
        return "dummy atom or unknown element"
    if not np.isfinite(positions).all():
        return "positions that are not finite"
    if not three_dimensional or (len(numbers) > 1 and np.ptp(positions, axis=0).max() == 0):
        return "no 3D coordinates"
    return None


def _centred(positions: np.ndarray) -> np.ndarray:
    return (positions - positions.mean(0)).astype(np.float32)


def _connectivity(numbers: np.ndarray, positions: np.ndarray) -> str | None:
    """Canonical SMILES of the bonds that RDKit perceives, all single; None where it cannot."""
    from rdkit import Chem
    from rdkit.Chem import rdDetermineBonds

    block = f"{len(numbers)}\n\n" + "\n".join(f"{symbol(z)} {x:.6f} {y:.6f} {w:.6f}" for z, (x, y, w) in zip(numbers, positions))
    try:
        molecule = Chem.MolFromXYZBlock(block)
        rdDetermineBonds.DetermineConnectivity(molecule)
        return Chem.MolToSmiles(molecule)
    except (ValueError, RuntimeError):
        return None
