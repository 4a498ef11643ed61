"""The poses that items are measured in: random ones for each, or a whole finite group for all."""

from dataclasses import dataclass

import torch

from equidyn.errors import ArgumentError, UnknownNameError
from equidyn.symmetry import groups

GROUPS = ("so3", "o3", "cube")


@dataclass(frozen=True)
class Poses:
    """``rotations`` float64 [n, n_items, 3, 3]; ``order`` of a finite group that they were drawn from."""

    name: str
    rotations: torch.Tensor
    order: int | None

    def of(self, item: int) -> torch.Tensor:
        """The poses of one item, [n, 3, 3]."""
        return self.rotations[:, item]


def poses(group: str, n_rotations: int, n_items: int, seed: int) -> Poses:
    """Poses for every item.

    Parameters
    ----------
    group : ``so3``, independent uniform rotations; ``o3``, those and their mirror images, either with
        probability one half; ``cube``, from the 24 rotations of the cube without replacement

    Raises
    ------
    UnknownNameError, ArgumentError
        another group; fewer than two rotations, or more than there are
    """
    if group not in GROUPS:
        raise UnknownNameError(f"group {group!r}, expected one of {', '.join(GROUPS)}")
    if n_rotations < 2:
        raise ArgumentError(f"rotations: {n_rotations}, expected at least 2 for each structure")
    if group == "cube":
        return Poses("cube", *groups.draw_per_item("cube", n_rotations, n_items, seed))
    rotations, _ = groups.draw_per_item("haar", n_rotations, n_items, seed)
    if group == "so3":
        return Poses("haar", rotations, None)
    return Poses("haar-o3", groups.mirrored(rotations, seed), None)
