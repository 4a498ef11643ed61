"""Do chains of L residues have the hand of L residues? A mirror image has none, and no distance tells."""

from dataclasses import dataclass

import numpy as np

CORNER = ("N", "C", "CB")  # atoms around C-alpha that show the hand of a residue
BOND = 1.7  # Å between C and the N of the next residue, at most
HELIX = (4.7, 5.7)  # Å between C-alphas three residues apart, in a helix
FEWEST = 8  # places that a judgement needs
MOST = 0.75  # of them must be of the other hand


@dataclass(frozen=True)
class Hand:
    """Places of a chain at which its hand shows, and how many are of the other hand."""

    places: int
    other: int
    by: str

    @property
    def plain(self) -> bool:
        """Whether it is that of L residues without a doubt."""
        return self.places >= FEWEST and self.other < (1 - MOST) * self.places

    @property
    def mirrored(self) -> bool:
        return self.places >= FEWEST and self.other > MOST * self.places


def of_chain(positions: dict[str, np.ndarray]) -> Hand:
    """From the atoms of consecutive residues: N, CA, C and CB [n, 3] in Å, NaN where there is none.

    The corners of C-alpha where C-beta is known, else the sign of φ (negative in L residues but for a
    few), else that of the helices, of which C-alphas alone tell.
    """
    n, ca, c, cb = (positions[name] for name in ("N", "CA", "C", "CB"))
    volume = np.einsum("ij,ij->i", np.cross(n - ca, c - ca), cb - ca)
    found = Hand(int(np.isfinite(volume).sum()), int((volume < 0).sum()), "corners of C-alpha")
    if found.places >= FEWEST:
        return found
    bonded = np.linalg.norm(n[1:] - c[:-1], axis=1) < BOND
    phi = _torsion(c[:-1], n[1:], ca[1:], c[1:])[bonded]
    phi = phi[np.isfinite(phi)]
    found = Hand(len(phi), int((phi > 0).sum()), "signs of phi")
    return found if found.places >= FEWEST else of_trace(ca)


def of_trace(alphas: np.ndarray) -> Hand:
    """From C-alphas [n, 3] in Å alone: the turns of helices."""
    if len(alphas) < 4:
        return Hand(0, 0, "turns of helices")
    apart = np.linalg.norm(alphas[3:] - alphas[:-3], axis=1)
    turns = _torsion(alphas[:-3], alphas[1:-2], alphas[2:-1], alphas[3:])[
        (apart > HELIX[0]) & (apart < HELIX[1])
    ]
    turns = turns[(np.abs(turns) > 0.5) & (np.abs(turns) < 1.4)]  # 30 to 80 degrees
    return Hand(len(turns), int((turns < 0).sum()), "turns of helices")


def _torsion(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Torsion angles [k] in radians about the axes b to c."""
    one, axis, two = b - a, c - b, d - c
    left, right = np.cross(one, axis), np.cross(axis, two)
    along = np.linalg.norm(axis, axis=1) * np.einsum("ij,ij->i", one, right)
    return np.arctan2(along, np.einsum("ij,ij->i", left, right))
