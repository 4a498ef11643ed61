"""Grids and networks on grids, for tests of these."""

import torch
from torch import nn

from equidyn.data.voxelize import voxelize_batch
from equidyn.symmetry.actions import Grid
from equidyn.symmetry.groups import cube


def voxelize(positions, channels, **box):
    """The grid of one molecule."""
    return voxelize_batch(positions, channels, [0, len(positions)], **box)[0]


class Symmetrized(nn.Module):
    """A model averaged over the 24 rotations of the cube: the exact twirl, at 24 times the cost."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        """Grids [b, c, g, g, g] to the mean of the model's over the 24 rotations, summed in float64."""
        total = torch.zeros_like(noisy, dtype=torch.float64)
        for rotation in cube():
            total += Grid().inverse(rotation, self.model(Grid().apply(rotation, noisy)).to(torch.float64))
        return (total / len(cube())).to(noisy.dtype)

    def equivariant_control(self) -> nn.Module:
        """That of the model inside."""
        return self.model.equivariant_control()
