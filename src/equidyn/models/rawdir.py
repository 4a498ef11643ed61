"""A plain transformer that sees raw unit directions: nothing in it knows about rotations.

Edge features are a distance basis *and* the direction's x, y, z; atoms attend to their neighbours; a free
linear head reads three force components off the node features. Shapes as in ``escaip``.
"""

import copy

import torch
from torch import nn

from equidyn.geometry.neighbours import flatten, gaussian_basis, padded, places_of
from equidyn.models.escaip import feed_forward

MODEL = {"name": "rawdir", "task": "forces", "class": "RawDirectionTransformer"}
SIZES = {
    "tiny": dict(hidden=16, layers=1, heads=2, n_gaussians=16, cutoff=6.0, n_neighbours=8),
    "mini": dict(hidden=64, layers=3, heads=4, n_gaussians=32, cutoff=6.0, n_neighbours=12),
}


class Layer(nn.Module):
    """Attention of each atom over its neighbours, keys and values carrying edge features, then
    feed-forward.

    Key and value of neighbour j are linear in its features h_j and those of the edge e_ij, so their maps are
    applied on the side of the atom: q·(K_h h_j + K_e e_ij) = (K_hᵀ q)·h_j + (K_eᵀ q)·e_ij, and
    Σ_j w_j V h_j = V Σ_j w_j h_j. Nothing but h_j and e_ij is ever made for each of the m neighbours.
    """

    def __init__(self, hidden, heads):
        super().__init__()
        self.heads = heads
        self.norm, self.norm2 = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.query, self.key_value = nn.Linear(hidden, hidden), nn.Linear(hidden, 2 * hidden)
        self.edge, self.out = nn.Linear(hidden, 2 * hidden), nn.Linear(hidden, hidden)
        self.ffn = feed_forward(hidden)

    def forward(
        self, node: torch.Tensor, edge: torch.Tensor, neighbours: torch.Tensor, valid: torch.Tensor
    ) -> torch.Tensor:
        """Node features (n, H) from those of the neighbours (indices (n, m), valid (n, m)) and of the edges
        to them (n, m, H).
        """
        h = self.norm(node)
        near = h[neighbours]  # (n, m, H)
        q = self.query(h).unflatten(1, (self.heads, -1)).transpose(0, 1)  # (heads, n, ·)
        (key, value), (edge_key, edge_value) = self._by_head(self.key_value), self._by_head(self.edge)
        q = q / q.shape[-1] ** 0.5
        # the keys' bias adds the same to all logits of an atom, and so nothing to their softmax
        logits = torch.baddbmm(
            (q @ key).transpose(0, 1) @ near.transpose(1, 2),
            (q @ edge_key).transpose(0, 1),
            edge.transpose(1, 2),
        )  # (n, heads, m)
        weights = logits.masked_fill(~valid[:, None], -1e9).softmax(-1) * valid[:, None]
        y = (weights @ near).transpose(0, 1) @ value.transpose(1, 2)  # (heads, n, ·)
        y = y + (weights @ edge).transpose(0, 1) @ edge_value.transpose(1, 2)
        bias = (self.key_value.bias + self.edge.bias).chunk(2)[1].unflatten(0, (self.heads, -1))
        y = y.transpose(0, 1) + weights.sum(-1, keepdim=True) * bias  # (n, heads, ·)
        node = node + self.out(y.flatten(1))
        return node + self.ffn(self.norm2(node))

    def _by_head(self, linear: nn.Linear) -> torch.Tensor:
        """The maps to keys and to values of every head: (2, heads, ·, H)."""
        return linear.weight.unflatten(0, (2, self.heads, -1))


class RawDirectionTransformer(nn.Module):
    """Energies and direct forces, same call as ``EScAIP``."""

    def __init__(self, hidden, layers, heads, n_gaussians, cutoff, n_neighbours):
        super().__init__()
        self.cutoff, self.n_neighbours, self.n_gaussians = cutoff, n_neighbours, n_gaussians
        self.central = False  # the equivariant control: forces along Σ_j e_ij instead of a free head
        self.atom = nn.Embedding(110, hidden)
        self.distance = nn.Linear(n_gaussians, hidden)
        self.direction = nn.Linear(3, hidden, bias=False)
        self.edge = nn.Sequential(nn.GELU(), nn.Linear(hidden, hidden), nn.GELU())
        self.layers = nn.ModuleList(Layer(hidden, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)
        self.force, self.energy = nn.Linear(hidden, 3, bias=False), nn.Linear(hidden, 1, bias=False)

    def forward(
        self,
        numbers: torch.Tensor,
        positions: torch.Tensor,
        mask: torch.Tensor,
        neighbours: torch.Tensor,
        neighbour_mask: torch.Tensor,
        atoms: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Energy [b] and forces [b, a, 3] in training units; parameters as in ``EScAIP.forward``."""
        atoms = places_of(mask) if atoms is None else atoms
        numbers, direction, distance, index, valid = flatten(
            numbers, positions, mask, neighbours, neighbour_mask, atoms
        )
        atom = self.atom(numbers)  # (n, H)
        pair = self.distance(gaussian_basis(distance, self.n_gaussians, self.cutoff)) + self.direction(
            direction
        )
        edge = self.edge(pair + atom[:, None] + atom[index])  # (n, m, H)
        node = atom
        for layer in self.layers:
            node = layer(node, edge, index, valid)
        node = self.norm(node)
        forces = self.force(node)  # (n, 3)
        if self.central:
            forces = forces.mean(-1, keepdim=True) * direction.sum(1)
        energy = padded(self.energy(node).squeeze(-1), atoms, mask).sum(1) / mask.sum(1)
        return energy, padded(forces, atoms, mask)

    def equivariant_control(self) -> "RawDirectionTransformer":
        """An exactly equivariant copy: no direction features, forces a learned scalar times the sum of unit
        directions.
        """
        control = copy.deepcopy(self)
        control.central = True
        with torch.no_grad():
            control.direction.weight.zero_()
        return control
