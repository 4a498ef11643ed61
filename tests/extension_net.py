"""A model from outside the package, as the tests hand it to a config's ``extensions``: one file."""

import torch

from equidyn.geometry.neighbours import flatten

MODEL = {"name": "springs", "task": "forces", "class": "Springs"}
SIZES = {"tiny": dict(hidden=8, cutoff=4.0, n_neighbours=6)}


class Springs(torch.nn.Module):
    """Forces along unit directions by a learned function of the distance, stretched along z."""

    def __init__(self, hidden, cutoff, n_neighbours, stretch=1.5):
        super().__init__()
        self.cutoff, self.n_neighbours, self.stretch = cutoff, n_neighbours, stretch
        self.pull = torch.nn.Sequential(
            torch.nn.Linear(1, hidden), torch.nn.GELU(), torch.nn.Linear(hidden, 1)
        )

    def forward(self, numbers, positions, mask, neighbours, neighbour_mask):
        """Energy [b] and forces [b, a, 3]."""
        _, direction, distance, _, _ = flatten(numbers, positions, mask, neighbours, neighbour_mask)
        flat = (self.pull(distance[..., None]) * direction).sum(1)  # (n, 3)
        forces = flat.new_zeros(*mask.shape, 3)
        forces[mask] = flat * flat.new_tensor([1.0, 1.0, self.stretch])
        return forces.new_zeros(len(mask)), forces

    def equivariant_control(self):
        """The same without the stretch."""
        control = Springs(self.pull[0].out_features, self.cutoff, self.n_neighbours, stretch=1.0)
        control.pull.load_state_dict(self.pull.state_dict())
        return control.to(next(self.parameters()))
