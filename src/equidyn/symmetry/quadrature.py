"""Deterministic averages over SO(3): nodes and weights that are exact up to a stated degree.

A function on SO(3) is of degree L when it is a sum of Wigner matrix elements with l ≤ L; polynomials of
degree L in the entries of R are. A quadrature of degree d gives the mean of a model of degree D exactly when
D ≤ d, and its equivariance error, a mean of squares, when 2 D ≤ d.

    directions × angles     R = (turns z to u) (turns about z by ψ): Lebedev nodes u of degree d, d + 1 angles
    icosahedron             its 60 rotations, degree 5
    cube                    its 24 rotations, degree 3
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from equidyn.errors import ArgumentError, UnknownNameError
from equidyn.symmetry import groups
from equidyn.symmetry.sums import ItemSums, finite, moments, per_item, valid

# Degrees of directions that are kept: not 13, 25 and 27, whose rules have negative weights, with which a mean
# of squares can be negative.
LEBEDEV = (3, 5, 7, 9, 11, 15, 17, 19, 21, 23, 29, 31)
GROUPS = {"cube": (groups.cube, 3), "icosahedron": (groups.icosahedron, 5)}


@dataclass(frozen=True)
class Quadrature:
    """``rotations`` float64 [n, 3, 3], ``weights`` [n] that sum to one."""

    name: str
    rotations: torch.Tensor
    weights: torch.Tensor
    degree: int

    def with_inversion(self) -> "Quadrature":
        """The same of O(3): every rotation and its mirror image."""
        both = torch.cat([self.rotations, -self.rotations])
        return Quadrature(f"{self.name}-o3", both, torch.cat([self.weights, self.weights]) / 2, self.degree)


def named(name: str) -> Quadrature:
    """A quadrature by name: ``cube``, ``icosahedron``, or ``lebedev:DEGREE``.

    Raises
    ------
    UnknownNameError, ArgumentError
        another name, a degree that there is none for

    Examples
    --------
    >>> [(q.degree, len(q.rotations)) for q in map(named, ("cube", "icosahedron", "lebedev:7"))]
    [(3, 24), (5, 60), (7, 208)]
    """
    kind, _, degree = name.partition(":")
    if kind in GROUPS and not degree:
        make, exact = GROUPS[kind]
        rotations = make()
        weights = torch.full((len(rotations),), 1 / len(rotations), dtype=torch.float64)
        return Quadrature(name, rotations, weights, exact)
    if kind != "lebedev" or not degree.isdigit():
        raise UnknownNameError(f"quadrature {name!r}, expected cube, icosahedron or lebedev:DEGREE")
    return lebedev(int(degree))


def lebedev(degree: int) -> Quadrature:
    """Lebedev directions × equidistant angles, the smallest that is exact up to ``degree``.

    The integral over the angle ψ leaves of the Wigner elements D_mn those with n = 0, if there are more than
    l angles; those are spherical harmonics of the direction, which the Lebedev rule (scipy's) integrates.

    Raises
    ------
    ArgumentError
        a degree below 1 or above 31
    """
    from scipy.integrate import lebedev_rule

    if not 1 <= degree <= LEBEDEV[-1]:
        raise ArgumentError(f"lebedev: degree {degree}, expected 1 to {LEBEDEV[-1]}")
    kept = next(found for found in LEBEDEV if found >= degree)
    directions, weights = lebedev_rule(kept)  # (3, n), (n,) with sum 4π
    n_angles = kept + 1
    angles = 2 * math.pi * torch.arange(n_angles, dtype=torch.float64) / n_angles
    about_z = groups.about_axis(angles, 2)
    rotations = torch.stack([_to(u) @ turn for u in directions.T for turn in about_z])
    repeated = torch.from_numpy(weights / (4 * math.pi)).repeat_interleave(n_angles) / n_angles
    return Quadrature(f"lebedev:{kept}", rotations, repeated, kept)


def _to(direction: np.ndarray) -> torch.Tensor:
    """A rotation that turns the z axis to a direction (unit vector)."""
    x, y, z = torch.from_numpy(direction / np.linalg.norm(direction))
    polar = groups.about_axis(torch.atan2(torch.hypot(x, y), z), 1)
    return groups.about_axis(torch.atan2(y, x), 2) @ polar


def accumulate_weighted(
    twisted: Iterable[torch.Tensor],
    target: torch.Tensor,
    weights: torch.Tensor,
    mask: torch.Tensor | None = None,
) -> ItemSums:
    """Squared-loss sums over a quadrature, as ``decomposition.accumulate`` does for equal weights: one pass,
    float64.

    Parameters
    ----------
    twisted : iterable of predictions [n_items, ...], one for each of the ``weights`` [n]
    target, mask : as in ``decompose``

    Raises
    ------
    ArgumentError
        shapes that do not match, targets or predictions that are not finite where they count
    ValueError
        another number of predictions than weights
    """
    weight = valid(mask, target)
    target = finite(target, weight)
    found = moments(zip(twisted, weights.tolist(), strict=True), target, weight > 0)
    share = weights.to(found.losses)[:, None]
    total = (share * found.losses).sum(0)
    return ItemSums(
        count=per_item(weight),
        total=total,
        equivariance=per_item(found.spread),
        zero=per_item(target**2),
        power=found.power,
        within=(share * (found.losses - total) ** 2).sum(0),
        n_rotations=len(found.losses),
        group_order=len(found.losses),  # a whole: nothing is left to chance
    )
