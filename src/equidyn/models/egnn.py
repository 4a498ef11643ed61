"""An EGNN-like network for flow matching on Cα traces (after Satorras, Hoogeboom & Welling 2021).

The equivariant partner of ``proteina``: residues carry scalars and C points that turn with the chain, at
first mixtures of x_t and x_sc. An edge (i, j) sees scalars of both ends, their separation along the chain,
distances of x_t and x_sc in bins, and those between the points. Every point attends to those of the other
residues by weights of its own,

    m_ij = φ(h_i, h_j, i − j, |x_ij|),  a_ij = softmax_j (W m_ij − λ |i − j|),
    h_i += ψ(h_i, Σ_j a_ij m_ij),       x_i += Σ_j a_ij (s_i x_ij + s'_i x_ij / (|x_ij| + 0.1 nm)).

Attention stands in the place of the published sum, because few pairs of a noised chain mean anything; λ, a
number of each point, begins with residues nearby (without it nothing but the scale of x_t is learned in the
first hundreds of steps). Only these differences, mixtures of points, and one cross product per layer (a
mirrored chain is another one) act on points. Shapes: b items, n residues, D scalars, E edge width, C points.
Unit: nm.
"""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from equidyn.geometry.pairs import distance_bins
from equidyn.models.proteina import (
    FARTHEST,
    INDEX_WIDTH,
    RELATIVE_BINS,
    SC_BINS,
    TIME_WIDTH,
    XT_BINS,
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
NEAR = 0.1  # nm
SMALL = 1e-8  # nm², under roots, so that they have a gradient at zero


class Layer(nn.Module):
    """Messages along all pairs, then scalars and points of every residue; residual."""

    def __init__(self, hidden, edge, points, conditioning):
        super().__init__()
        self.norm, self.norm2 = AdaptiveNorm(hidden, conditioning), AdaptiveNorm(hidden, conditioning)
        self.ends, self.distances = nn.Linear(hidden, 2 * edge), nn.Linear(2 * points, edge, bias=False)
        self.pair, self.edge = nn.Linear(edge, edge, bias=False), nn.Linear(edge, edge)
        self.logits, self.node = nn.Linear(edge, points), nn.Linear(points * edge, hidden)
        self.transition, self.turn = SwiGLU(hidden, 2), nn.Linear(points, 2, bias=False)
        # of every point: how far it moves along, mixtures of others, and across
        self.moves, self.mix = nn.Linear(hidden, 3 * points), nn.Linear(hidden, points * points)
        self.reach = nn.Parameter(2.0 ** -torch.arange(points))  # λ: 1, 1/2, 1/4, …
        for linear in (self.moves, self.mix):  # points move little at first, and half way to those nearby
            nn.init.normal_(linear.weight, std=0.1 * linear.in_features**-0.5)
            nn.init.zeros_(linear.bias)
        nn.init.constant_(self.moves.bias[:points], 0.5)

    def forward(
        self, h: torch.Tensor, x: torch.Tensor, c: torch.Tensor, g: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scalars h [b, n, D] and points x [b, n, C, 3] under the conditioning c [b, 1, K] of the graph g."""
        source, target = self.ends(self.norm(h, c)).chunk(2, -1)  # (b, n, E)
        between = x[:, None] - x[:, :, None]  # (b, n, n, C, 3), from i to j
        distance = (between.square().sum(-1) + SMALL).sqrt()  # (b, n, n, C)
        seen = torch.cat([distance, (1 + distance).log()], -1)
        edge = source[:, None] + target[:, :, None] + self.distances(seen) + self.pair(g["pair"])
        edge = F.silu(self.edge(F.silu(edge)))  # (b, n, n, E)
        share = (self.logits(edge) - self.reach * g["apart"] + g["key_bias"]).softmax(2)  # (b, n, n, C)
        h = h + self.node(torch.einsum("bijc,bije->bice", share, edge).flatten(2))
        scalars = self.norm2(h, c)
        h = h + self.transition(scalars)
        along, towards, across = self.moves(scalars)[..., None].chunk(3, 2)  # (b, n, C, 1)
        pointing = torch.einsum("bijc,bijcx->bicx", share / (distance + NEAR), between)
        x = x + along * (torch.einsum("bijc,bjcx->bicx", share, x) - x) + towards * pointing
        mixed = self.mix(scalars).unflatten(-1, (x.shape[2], -1)) @ x  # (b, n, C, 3)
        one, two = self.turn(x.transpose(2, 3)).unbind(-1)  # (b, n, 3)
        return h, x + mixed + across * torch.linalg.cross(one, two)[:, :, None]


class EGNN(nn.Module):
    """Velocity field of the flow, same call as ``Proteina``."""

    equivariant = True

    def __init__(self, hidden, layers, edge, points, conditioning):
        super().__init__()
        self.embed = nn.Linear(INDEX_WIDTH + 2, hidden)  # residue index, chain break, whether there is x_sc
        self.start = nn.Linear(2, points, bias=False)
        self.pairs = nn.Embedding(RELATIVE_BINS + XT_BINS + SC_BINS, edge)
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
        near = distance_bins(x_t, XT_BINS, FARTHEST) + RELATIVE_BINS
        near_sc = distance_bins(x_sc, SC_BINS, FARTHEST) + RELATIVE_BINS + XT_BINS
        pair = F.silu(self.pairs(relative) + self.pairs(near) + self.pairs(near_sc))  # (b, n, n, E)
        hidden_keys = torch.zeros_like(x_t[..., 0]).masked_fill(~mask, -1e9)[:, None, :, None]
        apart = (relative - half).abs()[..., None].to(x_t.dtype)  # (b, n, n, 1)
        g = dict(pair=pair, apart=apart, key_bias=hidden_keys)  # key_bias (b, 1, n, 1)
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
