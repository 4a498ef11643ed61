"""The poses that items are measured in: random ones for each, a quadrature for all, and special ones."""

from dataclasses import dataclass

import numpy as np
import torch

from equidyn.errors import ArgumentError, UnknownNameError
from equidyn.symmetry import content, groups, quadrature

GROUPS = ("so3", "o3", "cube")
RANDOM = "haar"


@dataclass(frozen=True)
class Poses:
    """``rotations`` float64 [n, n_items, 3, 3]; ``order`` of a finite group that they were drawn from without
    replacement; ``weights`` [n] and ``degree`` of a quadrature.
    """

    name: str
    rotations: torch.Tensor
    order: int | None = None
    weights: torch.Tensor | None = None
    degree: int = 0

    def of(self, item: int) -> torch.Tensor:
        """The poses of one item, [n, 3, 3]."""
        return self.rotations[:, item]

    def mean(self, stack: torch.Tensor) -> torch.Tensor:
        """Mean of one item's twisted predictions [n, ...]."""
        if self.weights is None:
            return stack.mean(0)
        return torch.einsum("n,n...->...", self.weights, stack)

    def content(self, stack: torch.Tensor, item: int) -> dict[str, float]:
        """Content of one item's twisted predictions [n, ...] by degree or irrep, as far as these poses allow;
        see ``symmetry.content``.
        """
        rotations = self.of(item)
        if self.name == "cube" and len(rotations) == groups.CUBE_ORDER:
            return content.by_irrep(stack, rotations)
        if self.weights is not None and not self.name.endswith("o3"):
            return content.by_quadrature(stack, rotations, self.weights, self.degree // 2)
        if self.name in ("haar", "haar-o3") and len(rotations) > 2:
            return content.by_degree(stack, rotations, parities=self.name == "haar-o3")
        return {}


def poses(group: str, n_rotations: int, n_items: int, seed: int, rule: str = RANDOM) -> Poses:
    """Poses for every item.

    Parameters
    ----------
    group : ``so3``, independent uniform rotations; ``o3``, those and their mirror images, either with
        probability one half; ``cube``, from the 24 rotations of the cube without replacement
    rule : ``haar`` for random poses; or a quadrature, see ``symmetry.quadrature.named``, the same for all
        items, whose size stands for ``n_rotations``

    Raises
    ------
    UnknownNameError, ArgumentError
        another group or rule; fewer than two rotations, or more than there are; a quadrature of a finite
        group
    """
    check_seed(seed)
    if group not in GROUPS:
        raise UnknownNameError(f"group {group!r}, expected one of {', '.join(GROUPS)}")
    if rule != RANDOM:
        return _of_rule(group, rule, n_items)
    if n_rotations < 2:
        raise ArgumentError(f"rotations: {n_rotations}, expected at least 2 for each structure")
    if group == "cube":
        return Poses("cube", *groups.draw_per_item("cube", n_rotations, n_items, seed))
    rotations, _ = groups.draw_per_item("haar", n_rotations, n_items, seed)
    if group == "so3":
        return Poses("haar", rotations)
    return Poses("haar-o3", groups.mirrored(rotations, seed))


def check_seed(seed: int) -> None:
    """ArgumentError if a seed is negative."""
    if seed < 0:
        raise ArgumentError(f"seed: {seed}, expected a number from 0")


def _of_rule(group: str, rule: str, n_items: int) -> Poses:
    found = quadrature.named(rule)
    if group == "cube":
        raise ArgumentError(f"quadrature {rule!r} with group cube: expected group so3 or o3")
    if group == "o3":
        found = found.with_inversion()
    rotations = found.rotations[:, None].expand(-1, n_items, -1, -1)
    return Poses(found.name, rotations, len(found.rotations), found.weights, found.degree)


def special(positions: np.ndarray) -> torch.Tensor:
    """The six rotations [6, 3, 3] that lay the shortest distance between two points [n, 3] exactly along an
    axis, either way; for a single point those that turn the z axis there.

    Models that build frames from directions can fail in such poses alone, which random ones never hit.
    """
    vector = np.array([0.0, 0.0, 1.0])
    if len(positions) > 1:
        apart = positions[:, None] - positions[None]
        length = np.linalg.norm(apart, axis=-1) + np.diag(np.full(len(positions), np.inf))
        vector = apart[np.unravel_index(length.argmin(), length.shape)]
    axes = [sign * axis for axis in np.eye(3) for sign in (1.0, -1.0)]
    return torch.from_numpy(np.stack([_turning(vector / np.linalg.norm(vector), axis) for axis in axes]))


def _turning(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """A rotation between two unit vectors: half a turn about the direction in their middle."""
    middle = start + end
    if np.linalg.norm(middle) < 1e-9:  # opposite ones: about anything perpendicular
        middle = np.cross(start, np.eye(3)[np.argmin(np.abs(start))])
    middle = middle / np.linalg.norm(middle)
    return 2 * np.outer(middle, middle) - np.eye(3)
