"""MACE (Batatia et al. 2022, the package mace-torch, MIT) as a model of the task forces, by the config's
``extensions``.

An optional partner, in an environment of its own because mace-torch pins e3nn: config/efficiency-mace.yaml.
Forces are minus the gradient of the energy, so that training costs two backward passes. They are in units of
the training forces' r.m.s.; the energy, in another unit, is that times a learned number.
"""

import copy

import torch

from equidyn.geometry.neighbours import flatten

MODEL = {"name": "mace", "task": "forces", "class": "Mace"}
SIZES = {
    "tiny": dict(channels=8, l_max=1, correlation=1, layers=1, cutoff=5.0, n_neighbours=8),
    "mini": dict(channels=32, l_max=2, correlation=2, layers=2, cutoff=6.0, n_neighbours=12),
}
ELEMENTS = (1, 6, 7, 8, 9, 14, 15, 16, 17, 35, 53)


class Mace(torch.nn.Module):
    """Energies and their gradients, same call as ``EScAIP``; an element beyond ``ELEMENTS`` is refused."""

    equivariant = True

    def __init__(self, channels, l_max, correlation, layers, cutoff, n_neighbours):
        super().__init__()
        import numpy as np

        torch.serialization.add_safe_globals([slice])  # for the constants of the e3nn that mace-torch pins
        from e3nn import o3
        from mace import modules

        self.cutoff, self.n_neighbours = cutoff, n_neighbours
        block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
        self.inner = modules.ScaleShiftMACE(
            r_max=cutoff, num_bessel=8, num_polynomial_cutoff=5, max_ell=l_max, interaction_cls=block,
            interaction_cls_first=block, num_interactions=layers, num_elements=len(ELEMENTS),
            hidden_irreps=o3.Irreps(f"{channels}x0e + {channels}x1o"), MLP_irreps=o3.Irreps("16x0e"),
            atomic_energies=np.zeros(len(ELEMENTS)), avg_num_neighbors=float(n_neighbours),
            atomic_numbers=list(ELEMENTS), correlation=correlation, gate=torch.nn.functional.silu,
            atomic_inter_scale=1.0, atomic_inter_shift=0.0,
        )  # fmt: skip
        self.inner.float()
        self.energy_scale = torch.nn.Parameter(torch.ones(()))
        place = torch.full((119,), -1)
        place[list(ELEMENTS)] = torch.arange(len(ELEMENTS))
        self.register_buffer("place", place, persistent=False)

    def forward(
        self,
        numbers: torch.Tensor,
        positions: torch.Tensor,
        mask: torch.Tensor,
        neighbours: torch.Tensor,
        neighbour_mask: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Energy [b] and forces [b, a, 3] in training units; parameters as in ``EScAIP.forward``."""
        atoms, _, _, index, valid = flatten(numbers, positions, mask, neighbours, neighbour_mask)
        place = self.place[atoms]
        if (place < 0).any():
            raise ValueError(f"mace: element {int(atoms[place < 0][0])}, expected some of {ELEMENTS}")
        receiver = torch.arange(len(atoms), device=atoms.device)[:, None].expand_as(index)
        edges = torch.stack([index[valid], receiver[valid]])  # (2, edges): from, to
        counts = mask.sum(1)
        none = positions.new_zeros(edges.shape[1], 3)  # no periodic images
        data = dict(
            positions=positions[mask].detach(), edge_index=edges, batch=mask.nonzero()[:, 0],
            node_attrs=torch.nn.functional.one_hot(place, len(ELEMENTS)).to(positions.dtype),
            shifts=none, unit_shifts=none, cell=positions.new_zeros(3 * len(mask), 3),
            ptr=torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
        )  # fmt: skip
        with torch.enable_grad():  # the forces are a gradient, also where none is asked for
            found = self.inner(data, training=self.training, compute_force=True)
        forces = positions.new_zeros(*mask.shape, 3)
        forces[mask] = found["forces"]
        energy = self.energy_scale * found["interaction_energy"] / counts
        return (energy, forces) if self.training else (energy.detach(), forces.detach())

    def equivariant_control(self) -> "Mace":
        """A copy: the network is its own control."""
        return copy.deepcopy(self)
