"""Embedded source of force labels: real molecules, thermally displaced, labelled with GFN2-xTB.

Geometry: RDKit ETKDGv3, relaxed with MMFF94 (UFF where MMFF94 has no parameters). Displacement: one draw from the
classical Boltzmann distribution of the force field's harmonic approximation, N(0, kT H⁻¹), with the Cartesian Hessian H of the internal
motions by central differences; force constants below ``SOFTEST`` are raised to it, which bounds the soft torsions, along which a straight
line would stretch bonds. Positions are rounded to float32 before labelling, so that
a label can be reproduced exactly from the file.
"""

import csv
import gzip
import hashlib
import multiprocessing
import os
import random
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.linalg import null_space
from tqdm import tqdm

from equidyn.data import store
from equidyn.data.molecules import LONGEST_SMILES
from equidyn.data.schema import DataError
from equidyn.data.units import BOHR, HARTREE, KCAL_PER_MOL

BOLTZMANN = 8.617333262e-5  # eV / K
SOFTEST = 1.0  # eV / Å²
ELEMENTS = {"H": 1, "C": 6, "N": 7, "O": 8, "F": 9, "P": 15, "S": 16, "Cl": 17, "Br": 35}


def read_molecules(path: str | Path, rejected: list[tuple[str, str]] | None = None) -> list[tuple[str, str]]:
    """(name, canonical SMILES) of a list of molecules: a CSV with a column smiles (name or another identifier optional), or .smi lines; also .gz.

    A molecule that cannot be used (SMILES that does not parse, charge, fragments, elements outside ``ELEMENTS``, a duplicate) is appended to
    ``rejected`` as (where, reason), or, without such a list, refused.

    Raises
    ------
    DataError
        no such file or column, no usable molecule; without ``rejected`` also any molecule that cannot be used
    """
    from rdkit import Chem, RDLogger

    RDLogger.DisableLog("rdApp.*")
    rows, seen, names = [], {}, set()
    for where, name, smiles in _listed(Path(path)):
        molecule = None if len(smiles.split()) != 1 or len(smiles) > LONGEST_SMILES else Chem.MolFromSmiles(smiles)  # RDKit would take what follows a space as a name
        canonical, reason = None, None
        if molecule is None or molecule.GetNumAtoms() == 0:
            reason = "SMILES does not parse"
        elif {atom.GetSymbol() for atom in Chem.AddHs(molecule).GetAtoms()} - set(ELEMENTS) or "." in smiles or Chem.GetFormalCharge(molecule):
            reason = "not one neutral molecule of the elements " + " ".join(ELEMENTS)
        elif (canonical := Chem.MolToSmiles(molecule)) in seen:
            reason = "same molecule as an earlier one"
        if reason is None:
            seen[canonical] = name = name if name not in names else f"{name} ({where.rsplit(', ', 1)[1]})"
            names.add(name)
            rows.append((name, canonical))
        elif rejected is not None:
            rejected.append((where, reason))
        else:
            raise DataError(f"{where} ({name}): {reason}{f' {seen[canonical]!r}' if canonical in seen else ''}, found {smiles!r}")
    if not rows:
        raise DataError(f"{path}: no usable molecules")
    return rows


def _listed(path: Path) -> Iterator[tuple[str, str, str]]:
    """(where, name, SMILES) of every line of a list."""
    if not path.is_file():
        raise DataError(f"{path}: no such molecules file")
    try:
        with gzip.open(path, "rt", newline="", encoding="utf-8") if path.suffix == ".gz" else open(path, newline="", encoding="utf-8") as file:
            if ".smi" in path.suffixes:
                for number, line in enumerate(file, 1):
                    smiles, _, name = line.strip().partition(" ") if " " in line.strip() else line.strip().partition("\t")
                    if smiles:
                        yield f"{path}, line {number}", name.strip() or f"line {number}", smiles
                return
            reader = csv.DictReader(file)
            columns = {column.lower(): column for column in reader.fieldnames or () if column}
            if "smiles" not in columns:
                raise DataError(f"{path}: columns {reader.fieldnames}, expected at least smiles")
            named = next((columns[c] for c in ("name", "id", "mol_id", "compound id") if c in columns), None)
            for row in reader:
                yield f"{path}, line {reader.line_num}", (row[named] or "" if named else "").strip() or f"line {reader.line_num}", (row[columns["smiles"]] or "").strip()
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise DataError(f"{path}: not a readable list of molecules ({type(error).__name__}: {error})") from error


def recombine(molecules: list[tuple[str, str]], n: int, max_atoms: int, seed: int) -> list[tuple[str, str]]:
    """``molecules`` and, up to n in all, new distinct ones from BRICS fragments of theirs (RDKit), with at most max_atoms atoms.

    Raises
    ------
    DataError
        if the fragments do not give n molecules
    """
    from rdkit import Chem
    from rdkit.Chem import BRICS

    parents = [Chem.MolFromSmiles(smiles) for _, smiles in molecules]
    fragments = sorted({f for parent in parents for f in BRICS.BRICSDecompose(parent, minFragmentSize=2)})
    random.seed(seed)  # BRICSBuild shuffles with the global generator
    known, result = {smiles for _, smiles in molecules}, list(molecules)
    for product in BRICS.BRICSBuild([Chem.MolFromSmiles(f) for f in fragments], scrambleReagents=True, maxDepth=2):
        if len(result) >= n:
            break
        product.UpdatePropertyCache()
        smiles = Chem.MolToSmiles(product)
        checked = Chem.MolFromSmiles(smiles)
        if checked is not None and smiles not in known and Chem.AddHs(checked).GetNumAtoms() <= max_atoms:
            known.add(smiles)
            result.append((f"BRICS {len(result)}", smiles))
    if len(result) < n:
        raise DataError(f"recombine: {len(result)} molecules of at most {max_atoms} atoms, expected {n}")
    return result


def label(numbers: np.ndarray, positions: np.ndarray) -> tuple[float, np.ndarray]:
    """GFN2-xTB energy [eV] and forces [n_atoms, 3] in eV/Å at positions [n_atoms, 3] in Å (tblite).

    Raises
    ------
    RuntimeError
        if the self-consistent cycle does not converge
    """
    from tblite.interface import Calculator

    calculator = Calculator("GFN2-xTB", numbers.astype(int), positions.astype(np.float64) / BOHR)
    calculator.set("verbosity", 0)
    result = calculator.singlepoint()
    return float(result.get("energy")) * HARTREE, -result.get("gradient") * (HARTREE / BOHR)


def displaced(smiles: str, temperature: float, seed: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Atomic numbers [n] and one thermally displaced geometry [n, 3] in Å (float32); None where embedding fails."""
    from rdkit import Chem
    from rdkit.Chem import AllChem

    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    parameters = AllChem.ETKDGv3()
    parameters.randomSeed = seed % (2**31)
    if AllChem.EmbedMolecule(molecule, parameters) != 0:
        return None
    properties = AllChem.MMFFGetMoleculeProperties(molecule)
    if properties is not None:
        field = AllChem.MMFFGetMoleculeForceField(molecule, properties)
    elif AllChem.UFFHasAllMoleculeParams(molecule):
        field = AllChem.UFFGetMoleculeForceField(molecule)
    else:
        return None
    field.Initialize()
    field.Minimize(maxIts=2000)
    relaxed = np.array(field.Positions()).ravel()
    values, vectors = modes(field, relaxed)
    amplitudes = np.random.default_rng(seed).normal(size=len(values)) * np.sqrt(BOLTZMANN * temperature / np.maximum(values, SOFTEST))
    positions = (relaxed + vectors @ amplitudes).reshape(-1, 3)
    numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()], dtype=np.uint8)
    return numbers, (positions - positions.mean(0)).astype(np.float32)


def n_atoms(smiles: str) -> int:
    """Number of atoms, hydrogens included."""
    from rdkit import Chem

    return Chem.AddHs(Chem.MolFromSmiles(smiles)).GetNumAtoms()


def modes(field, x: np.ndarray, step: float = 1e-3) -> tuple[np.ndarray, np.ndarray]:
    """Force constants [m] in eV/Å² and Cartesian directions [3n, m] of the internal motions of a force field at x [3n]; m is 3n - 6, of linear molecules 3n - 5.

    The Hessian is by central differences of RDKit's gradient, on the complement of the rigid motions.
    """
    centred = x.reshape(-1, 3) - x.reshape(-1, 3).mean(0)
    rigid = [np.tile(axis, len(centred)) for axis in np.eye(3)] + [np.cross(axis, centred).ravel() for axis in np.eye(3)]
    internal = null_space(np.array(rigid), rcond=1e-3)  # (3n, m); a linear molecule is one to three digits
    hessian = np.stack([(_gradient(field, x + step * d) - _gradient(field, x - step * d)) / (2 * step) for d in internal.T]) @ internal  # (m, m)
    values, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
    return values, internal @ vectors


def _gradient(field, x: np.ndarray) -> np.ndarray:
    """[3n] in eV/Å."""
    field.CalcEnergy(x.tolist())  # CalcGrad alone takes the distances between atoms from the last energy
    return np.array(field.CalcGrad(x.tolist())) * KCAL_PER_MOL


def _structure(job: tuple[int, str, float, int, bool]):
    cluster, smiles, temperature, seed, labels = job
    geometry = displaced(smiles, temperature, seed)
    if geometry is None:
        return cluster, "no force-field geometry", None
    if not labels:
        return cluster, "", (*geometry, 0.0, np.zeros_like(geometry[1]))
    try:
        energy, forces = label(*geometry)
    except RuntimeError:
        return cluster, "xTB did not converge", None
    if not np.isfinite(forces).all() or np.abs(forces).max() > 50:
        return cluster, "force above 50 eV/angstrom", None
    return cluster, "", (*geometry, energy, forces)


def _save(path: Path, results: list) -> None:
    """Results of a chunk, whole or not at all; rejected structures have no atoms."""
    empty = (np.zeros(0, np.uint8), np.zeros((0, 3), np.float32), 0.0, np.zeros((0, 3)))
    numbers, positions, energy, forces = zip(*(empty if result is None else result for _, _, result in results))
    path.parent.mkdir(parents=True, exist_ok=True)
    with store.whole(path) as temporary, open(temporary, "wb") as file:
        np.savez(
            file, cluster=[c for c, _, _ in results], reason=[reason for _, reason, _ in results], length=[len(n) for n in numbers],
            numbers=np.concatenate(numbers), positions=np.concatenate(positions), energy=np.array(energy), forces=np.concatenate(forces),
        )  # fmt: skip


def _load(path: Path) -> list:
    with np.load(path, allow_pickle=False) as file:
        data = {name: file[name] for name in file.files}
    ends = np.cumsum(data["length"])[:-1]
    per_atom = zip(*(np.split(data[name], ends) for name in ("numbers", "positions", "forces")))
    rows = zip(data["cluster"].tolist(), data["reason"].tolist(), data["energy"].tolist(), per_atom)
    return [(cluster, reason, None if reason else (numbers, positions, energy, forces)) for cluster, reason, energy, (numbers, positions, forces) in rows]


CHUNK = 200  # structures per resume file


def build(molecules: list[tuple[str, str]], n_conformers: int, temperature: float, seed: int, workers: int = 2, resume: Path | None = None, labels: bool = True):
    """Make n_conformers structures, molecules in turn, in parallel; the result depends on the seed alone, not on workers.

    Parameters
    ----------
    resume : folder for finished chunks; started again with the same arguments, only missing chunks are computed
    labels : whether to compute energies and forces; without they are zero and must not be used

    Returns
    -------
    (structures, rejected) : structures are (cluster, numbers, positions [Å], energy [eV], forces [eV/Å]);
        rejected are (molecule, reason), one per structure
    """
    jobs = [(i % len(molecules), molecules[i % len(molecules)][1], temperature, seed * 1_000_003 + i, labels) for i in range(n_conformers)]
    # Read by the workers. Snakemake sets all of these to a job's threads, and two threads in each of two workers made labels 3 x slower.
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    results = []
    with multiprocessing.get_context("spawn").Pool(workers) as pool, tqdm(total=len(jobs), desc="GFN2-xTB labels" if labels else "conformers", mininterval=2) as bar:
        for start in range(0, len(jobs), CHUNK):
            chunk = jobs[start : start + CHUNK]
            path = None if resume is None else resume / f"{hashlib.sha256(repr(chunk).encode()).hexdigest()[:24]}.npz"
            done = None if path is None else store.undamaged(path, _load)
            if done is None:
                done = []
                for result in pool.imap(_structure, chunk, chunksize=8):
                    done.append(result)
                    bar.update()
                if path is not None:
                    _save(path, done)
            results += done
            bar.n = len(results)
    structures, rejected = [], []
    for cluster, reason, result in results:
        if result is None:
            rejected.append((molecules[cluster][0], reason))
        else:
            structures.append((cluster, *result))
    return structures, rejected
