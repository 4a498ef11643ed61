"""The U-Net that ``voxmol`` and ``cubenet`` are: levels, skips and the order of layers. What a layer is, each
says itself.

Width of level k is width · Π multipliers[:k + 1]. Modules are made in the order in which they draw their
weights: stem, down, middle, up, norm, out.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from equidyn.errors import ArgumentError


@dataclass(frozen=True)
class Layers:
    """How the layers of a network are made, by their widths."""

    stem: Callable[[int], nn.Module]
    stage: Callable[[int, int, bool], nn.Module]  # widths in and out, and whether it has attention
    halve: Callable[[int], nn.Module]  # the grid
    double: Callable[[int], nn.Module]
    norm: Callable[[int], nn.Module]
    out: Callable[[int], nn.Module]


class UNet(nn.Module):
    """Grid [b, n_channels, g, g, g] to one of that shape; g a multiple of 2^(levels − 1)."""

    def __init__(
        self,
        layers: Layers,
        width: int,
        multipliers: Iterable[int],
        attention: Iterable[int],
        blocks: int,
        n_channels: int,
    ):
        super().__init__()
        widths: list[int] = []
        for multiplier in multipliers:
            widths.append(multiplier * (widths[-1] if widths else width))
        self.multiple, self.n_channels = 2 ** (len(widths) - 1), n_channels
        self.stem, self.down, self.up = layers.stem(width), nn.ModuleList(), nn.ModuleList()
        skips, current = [width], width
        for level, wide in enumerate(widths):
            for _ in range(blocks):
                self.down.append(layers.stage(current, wide, level in attention))
                current = wide
                skips.append(current)
            if level < len(widths) - 1:
                self.down.append(layers.halve(current))
                skips.append(current)
        self.middle = nn.Sequential(
            layers.stage(current, current, True), layers.stage(current, current, False)
        )
        self.joined: list[bool] = []  # whether a layer on the way up takes what was on the way down
        for level, wide in reversed(list(enumerate(widths))):
            above = widths[level - 1] if level > 0 else width
            for target in [wide] * blocks + [above]:  # the last block of a level changes width
                self.up.append(layers.stage(current + skips.pop(), target, level in attention))
                self.joined.append(True)
                current = target
            if level > 0:
                self.up.append(layers.double(current))
                self.joined.append(False)
        self.norm, self.out = layers.norm(current), layers.out(current)

    def check(self, noisy: torch.Tensor, called: str) -> None:
        """That grids have the channels and an edge that this network takes.

        Raises
        ------
        ArgumentError
        """
        if noisy.shape[1] != self.n_channels or noisy.shape[-1] % self.multiple:
            raise ArgumentError(
                f"{called}: grid {list(noisy.shape)}, expected {self.n_channels} channels "
                f"(model.options.n_channels) and edges that are multiples of {self.multiple}"
            )

    def run(self, noisy: torch.Tensor) -> torch.Tensor:
        """Down, through the middle, and up again."""
        x = self.stem(noisy)
        skips = [x]
        for layer in self.down:
            x = layer(x)
            skips.append(x)
        x = self.middle(x)
        for layer, joined in zip(self.up, self.joined):
            x = layer(torch.cat([x, skips.pop()], 1)) if joined else layer(x)
        return self.out(F.silu(self.norm(x)))
