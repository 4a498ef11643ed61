"""Are coordinates those of a structure in space, or of a drawing? A drawing lies in a plane, and its
bonds and angles are those of the pen: lengths that do not depend on the bond, 120° at saturated atoms.
"""

from typing import Any

import numpy as np

PLANE = 0.02  # Å from the plane, at most
ALIKE = 0.01  # relative spread of the lengths of a drawing
PEN, PEN_TOLERANCE = 120.0, 0.3  # degrees
SINGLE = 0.97  # of the sum of radii: real double and aromatic bonds between C, N and O are shorter
LINKED = 1.25  # of the sum of radii
TETRAHEDRAL = (5, 6, 7, 14, 15)  # that have four neighbours in the corners of a tetrahedron only


def in_plane(positions: np.ndarray) -> bool:
    """Whether positions [n, 3] lie in a plane."""
    if len(positions) < 4:
        return True
    x = positions - positions.mean(0)
    square, axes = np.linalg.eigh(x.T @ x)
    return square[0] < len(x) * PLANE**2 and bool(np.abs(x @ axes[:, 0]).max() < PLANE)


def crowded(numbers: np.ndarray, positions: np.ndarray, radii: np.ndarray) -> str | None:
    """What no plane can hold: an atom with four neighbours. ``radii`` are covalent ones, in Å, by number."""
    centres = np.flatnonzero(np.isin(numbers, TETRAHEDRAL))
    distance = np.linalg.norm(positions[centres, None] - positions[None], axis=2)
    linked = distance < LINKED * (radii[numbers[centres]][:, None] + radii[numbers][None])
    if len(centres) and linked.sum(1).max() > 4:  # with itself
        return "in a plane, with an atom of four neighbours"
    return None


def drawn(molecule: Any, positions: np.ndarray, radii: np.ndarray) -> str | None:
    """Why an RDKit molecule with positions [n, 3] in a plane is a drawing; None where it may be a flat
    molecule.
    """
    from rdkit import Chem

    bonds = list(molecule.GetBonds())
    ends = np.array([(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in bonds]).reshape(-1, 2)
    numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()])
    lengths = np.linalg.norm(positions[ends[:, 0]] - positions[ends[:, 1]], axis=1)
    scale = lengths / (radii[numbers[ends[:, 0]]] + radii[numbers[ends[:, 1]]])
    kinds = {
        (*sorted((int(numbers[i]), int(numbers[j]))), bond.GetBondType()) for (i, j), bond in zip(ends, bonds)
    }
    saturated = [
        atom
        for atom in molecule.GetAtoms()
        if atom.GetHybridization() == Chem.HybridizationType.SP3 and not atom.GetIsAromatic()
    ]
    if any(atom.GetAtomicNum() in (6, 14) and atom.GetDegree() > 2 for atom in saturated):
        return "in a plane, with a saturated atom of three or four neighbours"
    if len(kinds) > 1 and np.ptp(lengths) < ALIKE * lengths.mean():
        return f"in a plane, with bonds of {len(kinds)} kinds that are all {lengths.mean():.3g} angstrom long"
    multiple = [
        scale[k]
        for k, bond in enumerate(bonds)
        if bond.GetBondTypeAsDouble() > 1 and np.isin(numbers[ends[k]], (6, 7, 8)).all()
    ]
    if multiple and min(multiple) > SINGLE:
        return "in a plane, with double bonds as long as single ones"
    angles = [
        _angle(positions, atom.GetIdx(), [other.GetIdx() for other in atom.GetNeighbors()])
        for atom in saturated
        if atom.GetDegree() == 2
    ]
    if angles and np.abs(np.array(angles) - PEN).max() < PEN_TOLERANCE:
        return f"in a plane, with angles of {PEN:g} degrees at saturated atoms"
    return None


def _angle(positions: np.ndarray, centre: int, ends: list[int]) -> float:
    a, b = (positions[end] - positions[centre] for end in ends)
    norm = np.linalg.norm(a) * np.linalg.norm(b)
    return float(np.degrees(np.arccos(np.clip(a @ b / norm, -1, 1)))) if norm > 0 else 0.0
