"""A U-Net equivariant under the 24 rotations of the cube, by group convolutions (Cohen & Welling 2016).

The equivariant partner of ``voxmol``, of the same levels; it shares with CubeNet (Worrall & Brostow 2018),
whose features all live on the group itself, the group and no more.

A feature is a field on a set that the rotations permute: faces (6), vertices (8), edges (12) of the cube, or
the rotations themselves (24); what comes in and goes out are plain grids (1). A kernel W[o, i, x] between two
such sets is equivariant if and only if it is constant on the orbits of the group on triples (o, i, x): so its
free parameters are one number per orbit, and the convolution is torch's own. Kernels are odd at stride 1 and
even at stride 2, because a grid of even edge sampled by odd kernels loses its symmetry.
"""

import copy
import functools

import torch
import torch.nn.functional as F
from torch import nn

from equidyn.errors import ArgumentError
from equidyn.models.unet import Layers, UNet
from equidyn.symmetry.groups import cube

MODEL = {"name": "cubenet", "task": "voxels", "class": "CubeUNet"}
SIZES = {
    "tiny": dict(width=1, multipliers=(1, 2), attention=(1,), blocks=1, field="faces"),
    "mini": dict(width=1, multipliers=(1, 2, 2), attention=(2,), blocks=1, field="vertices"),
}


@functools.cache
def permutations(field: str) -> torch.Tensor:
    """How the 24 rotations permute the elements of a field: int64 [24, n_elements], p[g, k] is where g takes
    element k.

    Raises
    ------
    ArgumentError
        a field other than grid, faces, vertices, edges, rotations
    """
    group = cube()
    if field == "grid":
        return torch.zeros(len(group), 1, dtype=torch.long)
    if field == "rotations":
        products = group[:, None] @ group  # (24, 24, 3, 3)
        return (products[:, :, None] == group).all(-1).all(-1).long().argmax(-1)
    if field not in ("faces", "vertices", "edges"):
        raise ArgumentError(
            f"cubenet: field {field!r}, expected one of grid, faces, vertices, edges, rotations"
        )
    line = torch.tensor([-1.0, 0, 1], dtype=torch.float64)
    points = torch.cartesian_prod(line, line, line)
    distance = {"faces": 1, "edges": 2, "vertices": 3}[field]
    return _moved(points[points.square().sum(1) == distance])


def _moved(points: torch.Tensor) -> torch.Tensor:
    """The permutations of points [n, 3] that the rotations of the cube make: int64 [24, n]."""
    moved = torch.einsum("gij,nj->gni", cube(), points)
    return (moved[:, :, None] == points).all(-1).long().argmax(-1)


@functools.cache
def orbits(field_out: str, field_in: str, kernel: int) -> torch.Tensor:
    """The orbit of every entry of a kernel between two fields, from 0: int64 [n_out, n_in, k, k, k]."""
    line = torch.arange(kernel, dtype=torch.float64) - (kernel - 1) / 2
    of_out, of_in = permutations(field_out), permutations(field_in)
    of_place = _moved(torch.cartesian_prod(line, line, line))
    n_in, n_places = of_in.shape[1], of_place.shape[1]
    images = (of_out[:, :, None, None] * n_in + of_in[:, None, :, None]) * n_places + of_place[:, None, None]
    _, index = images.amin(0).unique(return_inverse=True)
    return index.reshape(of_out.shape[1], n_in, kernel, kernel, kernel)


class OrbitConv(nn.Module):
    """Convolution of ``width_in`` fields to ``width_out`` fields, equivariant; stride 2 halves the grid, or
    with ``transposed`` doubles it. Channels are ordered by field, then element.
    """

    def __init__(self, width_in, width_out, field_in, field_out, kernel=3, stride=1, transposed=False):
        super().__init__()
        index = orbits(field_out, field_in, kernel)
        self.stride, self.padding = stride, (kernel - stride + 1) // 2
        self.transposed, self.n_out = transposed, index.shape[0]
        self.register_buffer("index", index, persistent=False)
        # an orbit of n entries acts as one weight on a sum of n inputs, which have much in common
        bound = index.shape[0] / (width_in * index.numel() * index.flatten().bincount()).sqrt()
        shared = (2 * torch.rand(width_out, width_in, len(bound)) - 1) * bound
        self.weight, self.bias = nn.Parameter(shared), nn.Parameter(torch.zeros(width_out))

    def kernel(self) -> torch.Tensor:
        """The kernel as torch takes it: [channels out, channels in, k, k, k]."""
        weight = self.weight[:, :, self.index]  # (w', w, n', n, k, k, k)
        return weight.transpose(1, 2).flatten(2, 3).flatten(0, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Fields [b, w · n, d, d, d] to fields [b, w' · n', d', d', d']."""
        weight, bias = self.kernel(), self.bias.repeat_interleave(self.n_out)
        if self.transposed:
            return F.conv_transpose3d(x, weight.transpose(0, 1), bias, self.stride, self.padding)
        return F.conv3d(x, weight, bias, self.stride, self.padding)


class FieldNorm(nn.Module):
    """GroupNorm in which the elements of a field share group, scale and shift."""

    def __init__(self, width, n):
        super().__init__()
        self.n, self.groups = n, max(g for g in range(1, 9) if width % g == 0)
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Fields [b, w · n, d, d, d], normalised."""
        weight, bias = self.weight.repeat_interleave(self.n), self.bias.repeat_interleave(self.n)
        return F.group_norm(x, self.groups, weight, bias)


class Stage(nn.Module):
    """Norm, SiLU, convolution, twice, plus the input; then, where asked for, attention over all voxels,
    whose logits no rotation changes because it permutes the channels of queries and keys alike.
    """

    def __init__(self, width_in, width_out, field, attention):
        super().__init__()
        n = permutations(field).shape[1]
        self.norm1, self.conv1 = FieldNorm(width_in, n), OrbitConv(width_in, width_out, field, field)
        self.norm2, self.conv2 = FieldNorm(width_out, n), OrbitConv(width_out, width_out, field, field)
        same = width_in == width_out
        self.shortcut = nn.Identity() if same else OrbitConv(width_in, width_out, field, field, kernel=1)
        self.qkv = OrbitConv(width_out, 3 * width_out, field, field, kernel=1) if attention else None
        self.out = OrbitConv(width_out, width_out, field, field, kernel=1) if attention else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[b, w · n, d, d, d] to [b, w' · n, d, d, d]."""
        h = self.conv1(F.silu(self.norm1(x)))
        x = self.conv2(F.silu(self.norm2(h))) + self.shortcut(x)
        if self.qkv is None:
            return x
        q, k, v = self.qkv(x).flatten(2).transpose(1, 2)[:, None].chunk(3, -1)  # (b, 1, d³, w' · n)
        y = F.scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2)
        return x + self.out(y.reshape(x.shape))


class CubeUNet(UNet):
    """Noisy grid [b, n_channels, g, g, g] to the estimate of the clean one; ``width`` fields at the first
    level, Π multipliers[:k + 1] times as many at level k.
    """

    equivariant = True

    def __init__(self, width, multipliers, attention, blocks, field, n_channels=8):
        n = permutations(field).shape[1]
        layers = Layers(
            stem=lambda wide: OrbitConv(n_channels, wide, "grid", field),
            stage=lambda width_in, width_out, with_attention: Stage(
                width_in, width_out, field, with_attention
            ),
            halve=lambda wide: OrbitConv(wide, wide, field, field, kernel=2, stride=2),
            double=lambda wide: OrbitConv(wide, wide, field, field, 4, 2, transposed=True),
            norm=lambda wide: FieldNorm(wide, n),
            out=lambda wide: OrbitConv(wide, n_channels, field, "grid"),
        )
        super().__init__(layers, width, multipliers, attention, blocks, n_channels)

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        """Estimate of the clean grids [b, n_channels, g, g, g] (occupancy) from noisy ones of that shape.

        Raises
        ------
        ArgumentError
            another number of channels, or an edge that the levels do not divide
        """
        self.check(noisy, "cubenet")
        return self.run(noisy.contiguous(memory_format=torch.channels_last_3d))

    def equivariant_control(self) -> "CubeUNet":
        """A copy: the network is its own control."""
        return copy.deepcopy(self)
