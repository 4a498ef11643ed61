"""Embedded source of force labels: real molecules, thermally displaced, labelled with GFN2-xTB.

Geometry: RDKit ETKDGv3, relaxed with MMFF94 (UFF where MMFF94 has no parameters). Displacement: one draw from
the classical Boltzmann distribution of the force field's harmonic approximation, N(0, kT H⁻¹), with the
Cartesian Hessian H of the internal motions by central differences; force constants below ``SOFTEST`` are
raised to it, which bounds the soft torsions, along which a straight line would stretch bonds. Positions are
rounded to float32 before labelling, so that a label can be reproduced exactly from the file.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from scipy.linalg import null_space
from tqdm import tqdm

from equidyn import files
from equidyn.data.units import BOHR, HARTREE, KCAL_PER_MOL
from equidyn.guards.workers import pool_of

BOLTZMANN = 8.617333262e-5  # eV / K
SOFTEST = 1.0  # eV / Å²
STEP = 1e-3  # Å, of differences of gradients


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
    """Atomic numbers [n] and one thermally displaced geometry [n, 3] in Å (float32); None where embedding
    fails.
    """
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
    amplitudes = np.random.default_rng(seed).normal(size=len(values)) * np.sqrt(
        BOLTZMANN * temperature / np.maximum(values, SOFTEST)
    )
    positions = (relaxed + vectors @ amplitudes).reshape(-1, 3)
    numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()], dtype=np.uint8)
    return numbers, (positions - positions.mean(0)).astype(np.float32)


def modes(field: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Force constants [m] in eV/Å² and Cartesian directions [3n, m] of the internal motions of a force field
    at x [3n]; m is 3n - 6, of linear molecules 3n - 5.

    The Hessian is by central differences of RDKit's gradient, on the complement of the rigid motions.
    """
    centred = x.reshape(-1, 3) - x.reshape(-1, 3).mean(0)
    rigid = [np.tile(axis, len(centred)) for axis in np.eye(3)] + [
        np.cross(axis, centred).ravel() for axis in np.eye(3)
    ]
    internal = null_space(np.array(rigid), rcond=1e-3)  # (3n, m); a linear molecule is one to three digits
    hessian = (
        np.stack(
            [
                (_gradient(field, x + STEP * d) - _gradient(field, x - STEP * d)) / (2 * STEP)
                for d in internal.T
            ]
        )
        @ internal
    )  # (m, m)
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
    numbers, positions, energy, forces = zip(
        *(empty if result is None else result for _, _, result in results)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez(
            file,
            cluster=[c for c, _, _ in results],
            reason=[reason for _, reason, _ in results],
            length=[len(n) for n in numbers],
            numbers=np.concatenate(numbers),
            positions=np.concatenate(positions),
            energy=np.array(energy),
            forces=np.concatenate(forces),
        )


def _load(path: Path) -> list:
    with np.load(path, allow_pickle=False) as file:
        data = {name: file[name] for name in file.files}
    ends = np.cumsum(data["length"])[:-1]
    per_atom = zip(*(np.split(data[name], ends) for name in ("numbers", "positions", "forces")))
    rows = zip(data["cluster"].tolist(), data["reason"].tolist(), data["energy"].tolist(), per_atom)
    return [
        (cluster, reason, None if reason else (numbers, positions, energy, forces))
        for cluster, reason, energy, (numbers, positions, forces) in rows
    ]


CHUNK = 200  # structures per resume file


def build(
    molecules: list[tuple[str, str]],
    n_conformers: int,
    temperature: float,
    seed: int,
    workers: int = 2,
    resume: Path | None = None,
    labels: bool = True,
) -> tuple[list[tuple], list[tuple[str, str]]]:
    """Make n_conformers structures, molecules in turn, in parallel; the result depends on the seed alone, not
    on workers, and with AVX2 not on the kernels that OpenBLAS would choose.

    Parameters
    ----------
    resume : folder for finished chunks; started again with the same arguments, only missing chunks are
        computed
    labels : whether to compute energies and forces; without they are zero and must not be used

    Returns
    -------
    (structures, rejected) : structures are (cluster, numbers, positions [Å], energy [eV], forces [eV/Å]);
        rejected are (molecule, reason), one per structure
    """
    jobs = [
        (i % len(molecules), molecules[i % len(molecules)][1], temperature, seed * 1_000_003 + i, labels)
        for i in range(n_conformers)
    ]
    results = []
    with (
        pool_of(workers) as pool,
        tqdm(total=len(jobs), desc="GFN2-xTB labels" if labels else "conformers", mininterval=2) as bar,
    ):
        for start in range(0, len(jobs), CHUNK):
            chunk = jobs[start : start + CHUNK]
            path = (
                None
                if resume is None
                else resume / f"{hashlib.sha256(repr(chunk).encode()).hexdigest()[:24]}.npz"
            )
            done = None if path is None else files.undamaged(path, _load)
            if done is None:
                done = []
                for result in pool.map(_structure, chunk, chunksize=8):
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
