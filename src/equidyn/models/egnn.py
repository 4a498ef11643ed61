"""An EGNN-like network for flow matching on Cα traces (after Satorras, Hoogeboom & Welling 2021).

The equivariant partner of ``proteina``: residues carry scalars and C points that turn with the chain, at
first mixtures of x_t and x_sc. An edge (i, j) sees scalars of both ends, their separation along the chain and
the C distances between their points; it sends a message to the scalars and a weight to each point,

    m_ij = φ(h_i, h_j, i − j, |x_ij|),   h_i += ψ(h_i, mean_j m_ij),   x_i += mean_j w_ij x_ij/(1 + |x_ij|).

Only these differences, mixtures of points, and one cross product per layer (a mirrored chain is another one)
act on points. Shapes: b items, n residues, D scalars, E edge width, C points. Unit: nm.
"""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from equidyn.models.proteina import (
    INDEX_WIDTH,
    RELATIVE_BINS,
    TIME_WIDTH,
    AdaptiveNorm,
    SwiGLU,
    index_embedding,
    time_embedding,
)

MODEL = {"name": "egnn", "task": "flow", "class": "EGNN"}
SIZES = {
    "tiny": dict(hidden=32, layers=2, edge=16, points=3, conditioning=32),
    "mini": dict(hidden=128, layers=4, edge=24, points=4, conditioning=64),
}
SMALL = 1e-8  # nm², under roots, so that they have a gradient at zero


class Layer(nn.Module):
    """Messages along all pairs, then scalars and points of every residue; residual."""

    def __init__(self, hidden, edge, points, conditioning):
        super().__init__()
        self.norm, self.norm2 = AdaptiveNorm(hidden, conditioning), AdaptiveNorm(hidden, conditioning)
        self.ends, self.distances = nn.Linear(hidden, 2 * edge), nn.Linear(2 * points, edge, bias=False)
        self.relative, self.edge = nn.Embedding(RELATIVE_BINS, edge), nn.Linear(edge, edge)
        self.gate, self.weight = nn.Linear(edge, 1), nn.Linear(edge, points)
        self.node, self.transition = nn.Linear(edge, hidden), SwiGLU(hidden, 2)
        self.mix, self.turn = nn.Linear(hidden, points * points), nn.Linear(points, 2, bias=False)
        self.axial = nn.Linear(hidden, points)
        for linear in (self.weight, self.mix, self.axial):  # points move little at first
            nn.init.normal_(linear.weight, std=0.1 * linear.in_features**-0.5)
            nn.init.zeros_(linear.bias)

    def forward(
        self, h: torch.Tensor, x: torch.Tensor, c: torch.Tensor, g: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scalars h [b, n, D] and points x [b, n, C, 3] under the conditioning c [b, 1, K] of the graph g."""
        source, target = self.ends(self.norm(h, c)).chunk(2, -1)  # (b, n, E)
        between = x[:, None] - x[:, :, None]  # (b, n, n, C, 3), from i to j
        distance = (between.square().sum(-1) + SMALL).sqrt()  # (b, n, n, C)
        seen = torch.cat([distance, (1 + distance).log()], -1)
        edge = source[:, None] + target[:, :, None] + self.distances(seen) + self.relative(g["relative"])
        edge = F.silu(self.edge(F.silu(edge)))  # (b, n, n, E)
        share = torch.sigmoid(self.gate(edge)) * g["share"]  # (b, n, n, 1)
        weight = self.weight(edge) * share / (1 + distance)  # (b, n, n, C)
        h = h + self.node((share * edge).sum(2))
        scalars = self.norm2(h, c)
        h = h + self.transition(scalars)
        x = x + torch.einsum("bijc,bijcx->bicx", weight, between)
        mixed = self.mix(scalars).unflatten(-1, (x.shape[2], -1)) @ x  # (b, n, C, 3)
        one, two = (self.turn(x.transpose(2, 3))).unbind(-1)  # (b, n, 3)
        across = torch.linalg.cross(one, two)[:, :, None] * self.axial(scalars)[..., None]  # (b, n, C, 3)
        return h, x + mixed + across


class EGNN(nn.Module):
    """Velocity field of the flow, same call as ``Proteina``."""

    equivariant = True

    def __init__(self, hidden, layers, edge, points, conditioning):
        super().__init__()
        self.embed = nn.Linear(INDEX_WIDTH + 2, hidden)  # residue index, chain break, whether there is x_sc
        self.start = nn.Linear(2, points, bias=False)
        self.condition = nn.Sequential(nn.Linear(TIME_WIDTH, conditioning), SwiGLU(conditioning, 2))
        self.layers = nn.ModuleList(Layer(hidden, edge, points, conditioning) for _ in range(layers))
        self.norm, self.decode = AdaptiveNorm(hidden, conditioning), nn.Linear(hidden, points + 2)

    def forward(
        self,
        x_t: torch.Tensor,
        t: torch.Tensor,
        mask: torch.Tensor,
        index: torch.Tensor,
        breaks: torch.Tensor,
        x_sc: torch.Tensor,
    ) -> torch.Tensor:
        """Velocity [b, n, 3] in nm, zero where masked; parameters as in ``Proteina.forward``."""
        half = RELATIVE_BINS // 2
        relative = (index[:, :, None] - index[:, None, :]).clamp(-half, half) + half  # (b, n, n)
        pairs = (mask[:, :, None] & mask[:, None, :]).to(x_t.dtype)
        g = dict(relative=relative, share=(pairs / mask.sum(1)[:, None, None])[..., None])
        c = self.condition(time_embedding(t.to(x_t.dtype)))[:, None]  # (b, 1, K)
        given = (x_sc != 0).any(-1, keepdim=True).to(x_t.dtype)  # (b, n, 1)
        known = torch.cat([index_embedding(index, x_t.dtype), breaks[..., None].to(x_t.dtype), given], -1)
        h = self.embed(known)  # (b, n, D)
        inputs = torch.stack([x_t, x_sc], -1)  # (b, n, 3, 2)
        x = self.start(inputs).transpose(2, 3)  # (b, n, C, 3)
        for layer in self.layers:
            h, x = layer(h, x, c, g)
        ends = torch.cat([x, inputs.transpose(2, 3)], 2)  # (b, n, C + 2, 3)
        return (self.decode(self.norm(h, c))[..., None] * ends).sum(2) * mask[..., None]

    def equivariant_control(self) -> "EGNN":
        """A copy: the network is its own control."""
        return copy.deepcopy(self)
