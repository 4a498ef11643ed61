"""The VoxMol U-Net: a noisy voxel grid to the clean one. b items, c channels, d³ voxels.

After Pinheiro et al. 2023 as used in the source paper; sizes from its published settings, code our own.
Symmetry breaks in every convolution kernel, in the stride-2 sampling and in the zero padding. The published
16 groups of GroupNorm do not divide 8 channels: a layer uses the largest number of groups up to 16 that
divides its channels (8 at 8 channels, else 16; the count does not depend on it). Attention has a GroupNorm
upstream that is declared but never applied; it is left out here.
"""

import torch
import torch.nn.functional as F
from torch import nn

from equidyn.models.layers import Convolution, Doubling, GroupNorm, Pointwise
from equidyn.models.unet import Layers, UNet

# ``width`` and ``multipliers`` as in ``unet``; ``attention`` lists the levels that have it.
PUBLISHED = dict(multipliers=(1, 2, 2, 4), attention=(2, 3), blocks=2, n_groups=16, dropout=0.1)
MODEL = {"name": "voxmol", "task": "voxels", "class": "VoxMol"}
SIZES = {
    "tiny": dict(width=4, multipliers=(1, 2), attention=(1,), blocks=1, n_groups=4, dropout=0.1),
    "mini": dict(width=8, multipliers=(1, 2, 2), attention=(2,), blocks=1, n_groups=8, dropout=0.0),
    "small": dict(
        width=16, multipliers=(1, 2, 2), attention=(2,), blocks=1, n_groups=8, dropout=0.0
    ),  # 1.46M
    "7M": dict(width=8, **PUBLISHED),  # 6.98M
    "28M": dict(width=16, **PUBLISHED),  # 27.90M
    "111M": dict(width=32, **PUBLISHED),  # 111.52M
}


def group_norm(width: int, n_groups: int) -> GroupNorm:
    """GroupNorm with the largest number of groups up to n_groups that divides width."""
    return GroupNorm(max(g for g in range(1, n_groups + 1) if width % g == 0), width)


class ResidualBlock(nn.Module):
    """GroupNorm, SiLU, convolution; GroupNorm, SiLU, dropout, convolution; plus the input, projected where
    the width changes.
    """

    def __init__(self, width_in, width_out, n_groups, dropout):
        super().__init__()
        self.norm1, self.conv1 = group_norm(width_in, n_groups), Convolution(width_in, width_out)
        self.norm2 = group_norm(width_out, n_groups)
        self.conv2 = Convolution(width_out, width_out)
        self.dropout = nn.Dropout(dropout)
        self.shortcut = Pointwise(width_in, width_out) if width_in != width_out else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[b, c, d, d, d] to [b, c', d, d, d]."""
        h = self.conv1(F.silu(self.norm1(x)))  # (b, c', d, d, d)
        return self.conv2(self.dropout(F.silu(self.norm2(h)))) + self.shortcut(x)


class Attention(nn.Module):
    """Single-head softmax attention over all voxels, residual; no positional encoding."""

    def __init__(self, width):
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[b, c, d, d, d] to the same shape."""
        b, c, *grid = x.shape
        tokens = x.flatten(2).transpose(1, 2)  # (b, d³, c)
        q, k, v = self.qkv(tokens)[:, None].chunk(3, -1)  # (b, 1, d³, c)
        y = self.out(F.scaled_dot_product_attention(q, k, v)[:, 0])  # (b, d³, c)
        return x + y.transpose(1, 2).reshape(b, c, *grid)


class Stage(nn.Module):
    """A residual block, followed by attention on the levels that have it."""

    def __init__(self, width_in, width_out, n_groups, dropout, attention):
        super().__init__()
        self.block = ResidualBlock(width_in, width_out, n_groups, dropout)
        self.attention = Attention(width_out) if attention else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[b, c, d, d, d] to [b, c', d, d, d]."""
        return self.attention(self.block(x))


class VoxMol(UNet):
    """Noisy grid [b, n_channels, g, g, g] to the estimate of the clean one, no final activation; g a multiple
    of 2^(levels − 1).
    """

    # a fifth faster per step on CPU; kernels of GPUs for few channels in float32 are slow in it
    memory_formats = {"cpu": torch.channels_last_3d, "cuda": torch.contiguous_format}
    bf16_format = torch.channels_last_3d  # of training in bf16 on a GPU

    def __init__(self, width, multipliers, attention, blocks, n_groups, dropout, n_channels=8):
        def stage(width_in: int, width_out: int, with_attention: bool) -> Stage:
            return Stage(width_in, width_out, n_groups, dropout, with_attention)

        layers = Layers(
            stem=lambda wide: Convolution(n_channels, wide),
            stage=stage,
            halve=lambda wide: Convolution(wide, wide, stride=2),
            double=Doubling,
            norm=lambda wide: group_norm(wide, n_groups),
            out=lambda wide: Convolution(wide, n_channels),
        )
        super().__init__(layers, width, multipliers, attention, blocks, n_channels)
        self.to(memory_format=self.memory_formats["cpu"])

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        """Estimate of the clean grids [b, n_channels, g, g, g] (occupancy) from noisy ones of that shape.

        Raises
        ------
        ArgumentError
            another number of channels, or an edge that the levels do not divide
        """
        self.check(noisy, "voxmol")
        if len(noisy) == 1 and noisy.device.type == "cpu":
            # torch's convolutions of a single small grid take a path that is five times slower
            return self.run(noisy.expand(2, -1, -1, -1, -1))[:1]
        return self.run(noisy)

    def equivariant_control(self) -> nn.Module:
        """An isotropic blur: exactly equivariant under the cube group, in this model's dtype and on its
        device.
        """
        weight = self.out.weight
        return IsotropicBlur().to(weight).eval()


class IsotropicBlur(nn.Module):
    """Every channel blurred by the same kernel, (1, 2, 1)/4 along each axis, zero outside the grid."""

    def __init__(self):
        super().__init__()
        line = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer("kernel", torch.einsum("i,j,k->ijk", line, line, line)[None, None])

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        """Grids [b, c, g, g, g] to blurred ones."""
        b, c, *grid = noisy.shape
        return F.conv3d(noisy.reshape(b * c, 1, *grid), self.kernel, padding=1).reshape(b, c, *grid)
