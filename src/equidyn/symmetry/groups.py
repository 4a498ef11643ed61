"""Rotations: the Haar measure of SO(3), two of its finite subgroups, and seeded per-item streams.

Conventions. A rotation is a float64 matrix R of shape [3, 3] with R Rᵀ = 1 and det R = +1 that acts on column
vectors; stacks of them are [n, 3, 3]. All random draws come from numpy's PCG64 with an explicit seed: the
same on every machine.
"""

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch

from equidyn.errors import ArgumentError, UnknownNameError
from equidyn.symmetry.limits import CUBE_ORDER

SMALL = 1e-6  # radians, of turns that change every rounding and next to nothing else


def from_quaternions(quaternions: np.ndarray) -> torch.Tensor:
    """Rotation matrices of (not necessarily normalised) quaternions.

    Parameters
    ----------
    quaternions : array [..., 4], order (w, x, y, z), none of zero norm

    Returns
    -------
    float64 tensor [..., 3, 3]
    """
    q = torch.as_tensor(quaternions, dtype=torch.float64)
    w, x, y, z = (q / q.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).reshape(*q.shape[:-1], 3, 3)


def haar(n: int, seed: int | list[int]) -> torch.Tensor:
    """n independent rotations from the Haar (uniform) measure of SO(3).

    A normalised Gaussian quaternion is uniform on the 3-sphere, which covers SO(3) twice and evenly (Shoemake
    1992).

    Returns
    -------
    float64 tensor [n, 3, 3]

    Raises
    ------
    ArgumentError
        if n is negative

    Examples
    --------
    >>> rotations = haar(1000, seed=0)
    >>> rotations.shape, float(rotations.det().sub(1).abs().max()) < 1e-12
    (torch.Size([1000, 3, 3]), True)
    >>> bool(rotations.mean(0).abs().max() < 0.06)  # E[R] = 0
    True
    """
    if n < 0:
        raise ArgumentError(f"haar: n = {n}, expected a number of rotations >= 0")
    return from_quaternions(np.random.default_rng(seed).normal(size=(n, 4)))


def sometimes(
    n: int, seed: int, chance: float, rng: np.random.Generator, draw: Callable = haar
) -> torch.Tensor:
    """Augmentation: n rotations [n, 3, 3] as ``draw(n, seed)`` makes them, each with probability ``chance``,
    which takes n numbers from ``rng``; else the identity.
    """
    rotations = draw(n, seed)
    rotations[torch.from_numpy(rng.random(n) >= chance)] = torch.eye(3, dtype=rotations.dtype)
    return rotations


def haar_per_item(n_rotations: int, n_items: int, seed: int) -> torch.Tensor:
    """Independent Haar rotations for every item: float64 tensor [n_rotations, n_items, 3, 3].

    Drawn item by item, so that item i keeps its rotations when items are added behind it.
    """
    quaternions = np.random.default_rng(seed).normal(size=(n_items, n_rotations, 4))
    return from_quaternions(quaternions).transpose(0, 1).contiguous()


def subset_per_item(group: torch.Tensor, n_rotations: int, n_items: int, seed: int) -> torch.Tensor:
    """For every item n_rotations elements of a finite group, drawn without replacement.

    Parameters
    ----------
    group : [order, 3, 3], for example ``cube()``

    Returns
    -------
    float64 tensor [n_rotations, n_items, 3, 3]; with n_rotations = order every item gets the whole group

    Raises
    ------
    ArgumentError
        if more elements are asked for than the group has
    """
    order = len(group)
    if not 1 <= n_rotations <= order:
        raise ArgumentError(
            f"subset_per_item: n_rotations = {n_rotations}, expected 1 to {order} (the order of the group)"
        )
    keys = np.random.default_rng(seed).random(size=(n_items, order))
    picks = np.argsort(keys, axis=1)[:, :n_rotations].T.copy()
    return group[torch.from_numpy(picks)]


def draw_per_item(group: str, n_rotations: int, n_items: int, seed: int) -> tuple[torch.Tensor, int | None]:
    """Rotations for every item, and the order of the group where it is finite (as ``group_order`` of
    ``decompose``).

    Parameters
    ----------
    group : ``cube`` draws without replacement from the 24 rotations of the cube, ``haar`` from all of SO(3)

    Returns
    -------
    float64 tensor [n_rotations, n_items, 3, 3], and 24 or None

    Raises
    ------
    UnknownNameError
        another group
    """
    if group == "cube":
        return subset_per_item(cube(), n_rotations, n_items, seed), CUBE_ORDER
    if group == "haar":
        return haar_per_item(n_rotations, n_items, seed), None
    raise UnknownNameError(f"draw_per_item: group {group!r}, expected haar or cube")


def mirrored(rotations: torch.Tensor, seed: int) -> torch.Tensor:
    """Each rotation [n_rotations, n_items, 3, 3] times the inversion −1 with probability one half: Haar draws
    of O(3) from those of SO(3).
    """
    heads = np.random.default_rng([seed, 1]).random(rotations.shape[1::-1]) < 0.5  # item by item
    return rotations * torch.from_numpy(np.where(heads, 1.0, -1.0).T.copy())[..., None, None]


def cube() -> torch.Tensor:
    """The 24 rotations of the cube: signed permutation matrices of determinant +1, identity first.

    Returns
    -------
    float64 tensor [24, 3, 3], entries exactly -1, 0 or 1

    Examples
    --------
    >>> cube().shape
    torch.Size([24, 3, 3])
    >>> cube()[0].tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    elements = []
    for permutation in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            matrix = torch.zeros(3, 3, dtype=torch.float64)
            for row, (column, sign) in enumerate(zip(permutation, signs)):
                matrix[row, column] = sign
            if torch.linalg.det(matrix) > 0:
                elements.append(matrix)
    return torch.stack(elements)


def icosahedron() -> torch.Tensor:
    """The 60 rotations of the icosahedron, identity first.

    Built as half of the 120 icosians, the unit quaternions of the binary icosahedral group (q and -q rotate
    alike). As a quadrature on SO(3) they are exact for polynomials in R up to degree 5.

    Returns
    -------
    float64 tensor [60, 3, 3]
    """
    golden = (1 + math.sqrt(5)) / 2
    icosians = [np.eye(4)[axis] for axis in range(4)]
    icosians += [np.array(signs) / 2 for signs in itertools.product((1.0, -1.0), repeat=4)]
    for permutation in itertools.permutations(range(4)):
        if _is_even(permutation):
            for signs in itertools.product((1.0, -1.0), repeat=3):
                values = np.array([signs[0] * golden, signs[1], signs[2] / golden, 0.0]) / 2
                icosians.append(values[np.argsort(permutation)])
    half = [q for q in icosians if tuple(np.sign(q[np.abs(q) > 1e-12]))[0] > 0]
    return from_quaternions(np.stack(half))


def _is_even(permutation: tuple[int, ...]) -> bool:
    inversions = sum(a > b for i, a in enumerate(permutation) for b in permutation[i + 1 :])
    return inversions % 2 == 0


def small(n: int, seed: int | list[int]) -> torch.Tensor:
    """n rotations by the angle ``SMALL`` about random axes: float64 tensor [n, 3, 3].

    They tell rounding from broken symmetry: an error that is smooth in the rotation shrinks with the angle,
    rounding does not.
    """
    axes = np.random.default_rng(seed).normal(size=(n, 3))
    axes *= math.tan(SMALL / 2) / np.linalg.norm(axes, axis=1, keepdims=True)
    return from_quaternions(np.concatenate([np.ones((n, 1)), axes], axis=1))


def detours(n: int, seed: int | list[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """n pairs of rotations that, one after the other, turn by ``SMALL``: what is turned by both has been
    rounded as by any rotation.
    """
    firsts = haar(n, seed)
    return [(first, turn @ first.mT) for first, turn in zip(firsts, small(n, seed))]


def euler_uniform(n: int, seed: int) -> torch.Tensor:
    """Rz Ry Rx with three independent angles uniform on [0, 2π): **not** Haar (E[R₃₁²] is 1/2, not 1/3).

    Kept only to reproduce VoxMol's published augmentation; float64 tensor [n, 3, 3].
    """
    angles = torch.from_numpy(np.random.default_rng(seed).uniform(0.0, 2 * math.pi, size=(n, 3)))
    return about_axis(angles[:, 2], 2) @ about_axis(angles[:, 1], 1) @ about_axis(angles[:, 0], 0)


def about_axis(angle: torch.Tensor, axis: int) -> torch.Tensor:
    """Rotations by angles [...] about axis 0, 1 or 2: float64 tensor [..., 3, 3]."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = torch.zeros(*angle.shape, 3, 3, dtype=torch.float64)
    matrix[..., axis, axis] = 1.0
    matrix[..., first, first] = matrix[..., second, second] = torch.cos(angle)
    matrix[..., first, second] = -torch.sin(angle)
    matrix[..., second, first] = torch.sin(angle)
    return matrix
