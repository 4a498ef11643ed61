"""Shape of C-alpha traces: bond lengths, virtual dihedrals, radius of gyration, hand of helices.

Positions [n, 3] in Å.
"""

import numpy as np

CLOSEST = 3.5  # Å between C-alphas that are not beside each other: nearer ones clash


def bond_lengths(positions: np.ndarray) -> np.ndarray:
    """Distances [n - 1] in Å between consecutive C-alphas at positions [n, 3]."""
    return np.linalg.norm(np.diff(positions, axis=0), axis=1)


def dihedrals(positions: np.ndarray) -> np.ndarray:
    """Virtual dihedrals [n - 3] in degrees, -180 to 180, of four consecutive C-alphas; about 50 in a
    right-handed alpha helix.
    """
    bonds = np.diff(np.asarray(positions, dtype=np.float64), axis=0)
    before, axis, after = bonds[:-2], bonds[1:-1], bonds[2:]
    left, right = np.cross(before, axis), np.cross(axis, after)
    return np.degrees(
        np.arctan2(
            (np.cross(left, right) * axis).sum(1) / np.linalg.norm(axis, axis=1), (left * right).sum(1)
        )
    )


def radius_of_gyration(positions: np.ndarray) -> float:
    """Root mean square distance in Å of the C-alphas [n, 3] from their centre."""
    return float(np.sqrt(((positions - positions.mean(0)) ** 2).sum(1).mean()))


def clashes(positions: np.ndarray) -> int:
    """Number of pairs of C-alphas [n, 3], three or more apart along the chain, closer than 3.5 Å."""
    distance = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    return int((np.triu(distance < CLOSEST, k=3)).sum())


def helix_handedness(positions: np.ndarray) -> tuple[int, int]:
    """Numbers of right- and left-handed helical quadruplets: dihedral of 30 to 70 degrees (-70 to -30), ends
    less than 6 Å apart.
    """
    angle, ends = dihedrals(positions), np.linalg.norm(positions[3:] - positions[:-3], axis=1)
    helical = (np.abs(angle) > 30) & (np.abs(angle) < 70) & (ends < 6)
    return int((helical & (angle > 0)).sum()), int((helical & (angle < 0)).sum())
