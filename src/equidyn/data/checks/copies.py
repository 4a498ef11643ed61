"""Copies: the digest that equal structures share, and how near training comes to what is held out."""

import hashlib
from pathlib import Path

import h5py
import numpy as np

from equidyn.data.checks.alignment import distances
from equidyn.data.checks.findings import Outcome

DIGITS = 3  # of positions in Å, energies in eV and forces in eV/Å that are compared
CLOSE = 0.01  # Å, r.m.s.: nearer than thermal motion takes a molecule in a step
SAMPLE, AMONG = 32, 1000  # held-out items, and training items that each is compared with, at most


def digests(same: bytes, rows: np.ndarray) -> list[int]:
    """64 bits for each of k arrays, rows [k, ...], that are the same for those which are equal to ``DIGITS``
    digits; ``same`` is what all of them share. Never 0.
    """
    rounded = np.round(rows, DIGITS) + 0.0  # + 0.0: no minus zero
    start = hashlib.blake2b(same, digest_size=8)
    found = []
    for row in np.ascontiguousarray(rounded):
        one = start.copy()
        one.update(row)
        found.append(int.from_bytes(one.digest()) or 1)
    return found


def of_molecule(numbers: np.ndarray, positions: np.ndarray, charge: float | None = None) -> list[int]:
    """``digests`` of frames of atomic numbers [n] and positions [k, n, 3], wherever the molecule lies."""
    centred = (positions - positions.mean(1, keepdims=True)).astype(np.float32)
    return digests(numbers.astype(np.uint8).tobytes() + f" {charge}".encode(), centred)


def nearest(path: str | Path, seed: int) -> Outcome:
    """How far a sample of the held-out structures of a dataset file is from the nearest training
    structure with the same atoms (residues) in the same order, laid upon each other; Å, r.m.s.
    """
    with h5py.File(path) as file:
        offsets, split = file["offsets"][()], file["split"][()]
        names = file["numbers" if "numbers" in file else "residues"][()]

        def atoms_of(i: int) -> bytes:
            return names[offsets[i] : offsets[i + 1]].tobytes()

        def structure(i: int) -> np.ndarray:
            return file["positions"][offsets[i] : offsets[i + 1]].astype(np.float64)

        rng = np.random.default_rng(seed)
        sample = np.sort(rng.permutation(np.flatnonzero(split == 1))[:SAMPLE]).tolist()
        asked = {atoms_of(i): [] for i in sample}
        for i in rng.permutation(np.flatnonzero(split == 0)).tolist():
            pool = asked.get(atoms_of(i))
            if pool is not None and len(pool) < AMONG:
                pool.append(i)
        pools = {
            atoms: np.stack([structure(i) for i in sorted(pool)]) for atoms, pool in asked.items() if pool
        }
        found = []
        for i in sample:
            if (x := pools.get(atoms_of(i))) is not None:
                found.append(float(distances(np.broadcast_to(structure(i), x.shape), x).min()))
    text = (
        f"of {len(sample)} held-out items, {len(found)} have training items with the same atoms in this order"
    )
    if not found:
        return Outcome("copies", "passed", "", len(sample), text)
    figures = {
        "nearest training item, angstrom, least": float(f"{min(found):.3g}"),
        "nearest training item, angstrom, median": float(f"{np.median(found):.3g}"),
    }
    close = sum(distance < CLOSE for distance in found)
    if close:
        text += f"; {close} of them within {CLOSE} angstrom"
    text += f"; the nearest is {min(found):.3g} angstrom r.m.s. away (median {np.median(found):.3g})"
    return Outcome("copies", "noted" if close else "passed", "", len(sample), text, figures)
