"""How structures lie in space: turning them, and how far their poses are from isotropic.

"Trained without augmentation" says nothing before one knows how the training structures lie: where all lie
along one axis, a network need not learn rotations. Three statistics of the training poses are stated beside
what isotropic poses of as many structures would scatter to. The gyration tensor sees second degree only
(poses permuted among the axes look isotropic to it), hence the fourth moments of the longest axis.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from equidyn.errors import DataError

POSES = ("as-made", "haar")  # as the source has them; one Haar rotation per structure, drawn once
ISOTROPIC_FOURTH = 0.6  # E Σ u_k⁴ of a direction uniform on the sphere
# Standard deviations of one draw: of u_k², and of Σ u_k⁴, for a direction uniform on the sphere
SPREAD_SQUARE, SPREAD_FOURTH = (4 / 45) ** 0.5, (41 / 105 - 0.36) ** 0.5
SURE = 5.0  # standard deviations from isotropic that are not chance
BLOCK = 1 << 20  # rows of a file at a time


def draw(poses: str, n: int, seed: int) -> np.ndarray | None:
    """Rotations [n, 3, 3], float64, one per structure; None where structures stay as they are.

    Raises
    ------
    DataError
        poses that there are not
    """
    if poses not in POSES:
        raise DataError(f"poses: {poses!r}, expected one of {', '.join(POSES)}")
    if poses == "as-made" or n == 0:
        return None
    return Rotation.random(n, rng=np.random.default_rng([seed, 3])).as_matrix().reshape(n, 3, 3)


def draw_part(n: int, seed: int, share: float = 1.0, cone: float = 180.0) -> np.ndarray:
    """Rotations [n, 3, 3] between none and Haar's: of a share of the structures, or by at most an angle.

    A larger share turns those of a smaller one, too, by the same rotations. Within a cone the axis is uniform
    and the angle ω has Haar's density, which grows as 1 − cos ω, cut off at the cone; a wider one turns every
    structure about the same axis by more.

    Parameters
    ----------
    share : of structures that are turned, 0 to 1;  cone : largest angle in degrees, 0 to 180
    """
    rng = np.random.default_rng([seed, 3, 1])
    axes, quantiles, chances = rng.normal(size=(n, 3)), rng.random(n), rng.random(n)
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    angles = np.linspace(0, np.deg2rad(cone), 10_001)
    integral = angles - np.sin(angles)  # of the density up to each angle
    drawn = np.interp(quantiles * integral[-1], integral, angles)
    rotations = Rotation.from_rotvec(drawn[:, None] * axes).as_matrix().reshape(n, 3, 3)
    rotations[chances >= share] = np.eye(3)
    return rotations


def turn(vectors: np.ndarray, lengths: np.ndarray, rotations: np.ndarray | None) -> np.ndarray:
    """R x for every row x of the structures: [rows, 3] in the dtype of ``vectors``, computed in float64.

    Parameters
    ----------
    vectors : [rows, 3], structures one after the other;  lengths : [n] rows of each
    rotations : [n, 3, 3]; None leaves all as it is
    """
    if rotations is None:
        return vectors
    rows = np.repeat(np.arange(len(lengths)), lengths)
    return np.einsum("rij,rj->ri", rotations[rows], vectors.astype(np.float64)).astype(vectors.dtype)


@dataclass(frozen=True)
class Anisotropy:
    """Statistics of the poses of n structures; each is beside the standard deviation that isotropic ones
    have.

    ``gyration`` is the diagonal of the mean gyration tensor, each structure's over its own trace (1/3 each
    where isotropic); ``longest`` the mean of u_k², u the direction of the longest axis (1/3 each); ``fourth``
    the mean of Σ u_k⁴ (0.6).
    """

    n: int
    gyration: tuple[float, float, float]
    gyration_spread: float
    longest: tuple[float, float, float]
    longest_spread: float
    fourth: float
    fourth_spread: float

    @property
    def deviation(self) -> float:
        """The largest deviation from isotropic, in standard deviations of isotropic poses."""
        second = max(abs(g - 1 / 3) for g in self.gyration) / max(self.gyration_spread, 1e-12)
        first = max(abs(u - 1 / 3) for u in self.longest) / self.longest_spread
        return float(max(first, second, abs(self.fourth - ISOTROPIC_FOURTH) / self.fourth_spread))

    @property
    def aligned(self) -> bool:
        """Whether the poses are anisotropic beyond chance."""
        return self.deviation > SURE

    def text(self) -> str:
        """In words, for tables and messages."""
        diagonal, longest = (
            " / ".join(f"{v:.3f}" for v in values) for values in (self.gyration, self.longest)
        )
        return (
            f"gyration {diagonal} (isotropic 0.333 ± {self.gyration_spread:.3f}), longest axis {longest} "
            f"(± {self.longest_spread:.3f}), fourth moment {self.fourth:.3f} "
            f"(isotropic {ISOTROPIC_FOURTH} ± {self.fourth_spread:.3f})"
        )

    def to_json(self) -> str:
        """For the attributes of a dataset file."""
        return json.dumps(vars(self))

    @staticmethod
    def from_json(text: str) -> "Anisotropy":
        """The inverse of ``to_json``."""
        values = json.loads(text)
        return Anisotropy(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def anisotropy(blocks: Iterator[tuple[np.ndarray, np.ndarray]]) -> Anisotropy | None:
    """Of structures given in blocks of (positions [rows, 3], lengths [n]); None where none has an extent.

    Structures without an extent (a single atom) do not count.
    """
    n, gyration, spread, longest, fourth = 0, np.zeros(3), 0.0, np.zeros(3), 0.0
    for positions, lengths in blocks:
        tensors = gyration_tensors(positions, lengths)
        traces = np.trace(tensors, axis1=1, axis2=2)
        tensors = tensors[traces > 1e-9] / traces[traces > 1e-9][:, None, None]
        if not len(tensors):
            continue
        values, vectors = np.linalg.eigh(tensors)
        axis = vectors[:, :, 2]  # (n, 3), of the largest eigenvalue
        a, b, c = values.T
        n += len(tensors)
        gyration += np.einsum("nkk->k", tensors)
        # variance of a diagonal entry of a tensor of these eigenvalues, turned at random
        spread += float((4 / 45 * (a * a + b * b + c * c - a * b - b * c - a * c)).sum())
        longest += (axis**2).sum(0)
        fourth += float((axis**4).sum())
    if not n:
        return None
    root = n**0.5
    return Anisotropy(
        n=n,
        gyration=tuple((gyration / n).tolist()),
        gyration_spread=float((max(spread, 0.0) / n) ** 0.5 / root),  # rounding, where all are round
        longest=tuple((longest / n).tolist()),
        longest_spread=SPREAD_SQUARE / root,
        fourth=fourth / n,
        fourth_spread=SPREAD_FOURTH / root,
    )


def gyration_tensors(positions: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Mean of (x − x̄)(x − x̄)ᵀ over the rows of each structure: [n, 3, 3], in the square of the unit of
    positions.

    Parameters
    ----------
    positions : [rows, 3], structures one after the other;  lengths : [n] rows of each, at least one
    """
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    x = positions.astype(np.float64)
    mean = np.add.reduceat(x, starts, axis=0) / lengths[:, None]
    x = x - np.repeat(mean, lengths, axis=0)
    return np.add.reduceat(x[:, :, None] * x[:, None, :], starts, axis=0) / lengths[:, None, None]


def blocks_of(positions, offsets: np.ndarray, wanted: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(positions, lengths) of the wanted structures of a file, in blocks of about ``BLOCK`` rows.

    Parameters
    ----------
    positions : array or HDF5 dataset [rows, 3];  offsets : [n + 1];  wanted : bool [n]
    """
    start = 0
    while start < len(wanted):
        end = max(start + 1, int(np.searchsorted(offsets, offsets[start] + BLOCK, side="right")) - 1)
        lengths = np.diff(offsets[start : end + 1])
        if wanted[start:end].any():
            keep = np.repeat(wanted[start:end], lengths)
            yield positions[offsets[start] : offsets[end]][keep], lengths[wanted[start:end]]
        start = end
