"""A PaiNN-like network (Schütt, Unke & Gastegger 2021): scalars and vectors on atoms, exactly equivariant.

The equivariant partner of ``escaip`` and ``rawdir``: the same neighbours, the same direct forces. An edge
(i, j) with unit direction e_ij and distance d_ij sends, with filters w(d) and φ of the neighbour's scalars,

    s_i += Σ_j w₁ φ₁,      v_i += Σ_j (w₂ φ₂ e_ij + w₃ φ₃ v_j);

then every atom mixes its own: s += a₁ + a₂ ⟨Uv, Vv⟩, v += a₃ Uv, with a of (s, |Vv|). Only linear maps over
channels act on vectors, so that they turn with the molecule. Shapes as in ``escaip``, vectors (n, 3, H).
"""

import copy

import torch
from torch import nn

from equidyn.geometry.neighbours import flatten, gaussian_basis, padded, places_of

MODEL = {"name": "painn", "task": "forces", "class": "PaiNN"}
SIZES = {
    "tiny": dict(hidden=16, layers=1, n_gaussians=16, cutoff=6.0, n_neighbours=8),
    "mini": dict(hidden=64, layers=3, n_gaussians=32, cutoff=6.0, n_neighbours=12),
}
SMALL = 1e-8  # Å², under roots, so that they have a gradient at zero


def perceptron(width_in: int, width: int, width_out: int) -> nn.Sequential:
    """Linear, SiLU, linear."""
    return nn.Sequential(nn.Linear(width_in, width), nn.SiLU(), nn.Linear(width, width_out))


class Message(nn.Module):
    """What an atom receives from its neighbours, residual on scalars and vectors."""

    def __init__(self, hidden, n_gaussians):
        super().__init__()
        self.norm, self.of_neighbour = nn.LayerNorm(hidden), perceptron(hidden, hidden, 3 * hidden)
        self.filter = nn.Linear(n_gaussians, 3 * hidden)

    def forward(
        self, s: torch.Tensor, v: torch.Tensor, g: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scalars s [n, H] and vectors v [n, 3, H] of the graph g, after the messages."""
        index, direction, share = g["neighbours"], g["direction"], g["share"]
        weights = self.filter(g["gaussians"]) * share[..., None]  # (n, m, 3H)
        scalars, along, carried = (weights * self.of_neighbour(self.norm(s))[index]).chunk(3, -1)  # (n, m, H)
        received = direction.transpose(1, 2) @ along  # (n, 3, H)
        if g["moved"]:  # before the first message all vectors are zero
            received = received + torch.einsum("nmh,nmch->nch", carried, v[index])
        return s + scalars.sum(1), v + received


class Update(nn.Module):
    """Scalars and vectors of an atom mixed with each other, residual on both."""

    def __init__(self, hidden):
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(hidden), nn.Linear(hidden, 2 * hidden, bias=False)
        self.gates = perceptron(2 * hidden, hidden, 3 * hidden)

    def forward(self, s: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scalars s [n, H] and vectors v [n, 3, H], after the update."""
        u, w = self.mix(v).chunk(2, -1)  # (n, 3, H)
        length = (w.square().sum(1) + SMALL).sqrt()  # (n, H)
        shift, product, scale = self.gates(torch.cat([self.norm(s), length], -1)).chunk(3, -1)
        return s + shift + product * (u * w).sum(1), v + scale[:, None] * u


class PaiNN(nn.Module):
    """Energies and direct forces, same call as ``EScAIP``."""

    equivariant = True

    def __init__(self, hidden, layers, n_gaussians, cutoff, n_neighbours):
        super().__init__()
        self.cutoff, self.n_neighbours, self.n_gaussians = cutoff, n_neighbours, n_gaussians
        self.atom = nn.Embedding(110, hidden)
        self.messages = nn.ModuleList(Message(hidden, n_gaussians) for _ in range(layers))
        self.updates = nn.ModuleList(Update(hidden) for _ in range(layers))
        self.norm, self.energy = nn.LayerNorm(hidden), perceptron(hidden, hidden, 1)
        self.force, self.gate = nn.Linear(hidden, hidden, bias=False), perceptron(hidden, hidden, hidden)

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
        near = 0.5 * (torch.cos(torch.pi * (distance / self.cutoff).clamp(max=1)) + 1) * valid  # (n, m)
        g = dict(
            neighbours=index, direction=direction, moved=False, share=near / self.n_neighbours**0.5,
            gaussians=gaussian_basis(distance, self.n_gaussians, self.cutoff),  # (n, m, ·)
        )  # fmt: skip
        s = self.atom(numbers)  # (n, H)
        v = s.new_zeros(len(s), 3, s.shape[1])
        for message, update in zip(self.messages, self.updates):
            s, v = update(*message(s, v, g))
            g["moved"] = True
        s = self.norm(s)
        forces = (self.force(v) * self.gate(s)[:, None]).sum(-1)  # (n, 3)
        energy = padded(self.energy(s).squeeze(-1), atoms, mask).sum(1) / mask.sum(1)
        return energy, padded(forces, atoms, mask)

    def equivariant_control(self) -> "PaiNN":
        """A copy: the network is its own control."""
        return copy.deepcopy(self)
