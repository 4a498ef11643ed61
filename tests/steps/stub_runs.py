"""Runs of made-up networks on made-up items, with what a task says of its inputs."""

from types import SimpleNamespace

import torch

from equidyn.symmetry.actions import Fixed, Grid, Scalar, Vector
from equidyn.symmetry.measure import Batch

BARE = dict(conditions=("",), losses={})
SETTINGS = dict(run="stub", measure=dict(n_rotations=4))


def run_of(model, batches, **task):
    """As ``steps.run.load`` makes it."""
    task = SimpleNamespace(**BARE | dict(predict=lambda model, inputs: model(**inputs)) | task)
    task.held_out = lambda model, condition="": batches
    return SimpleNamespace(settings=SETTINGS, task=task, model=model.eval())


def voxels(model, n=6, grid=6):
    """Grids; the target is the input."""
    x = torch.randn(n, 2, grid, grid, grid, generator=torch.Generator().manual_seed(0))
    batches = [Batch(dict(noisy=x[k::2]), x[k::2], None, torch.arange(n)[k::2]) for k in (0, 1)]
    return run_of(model, batches, name="voxels", actions=dict(noisy=Grid()), output=Grid(), group="cube")


def points(model, name="forces", n=12, size=5):
    """Clouds of points of up to ``size``; the target is a pull to the centre."""
    random = torch.Generator().manual_seed(1)
    x, z = (torch.randn(n, size, k, generator=random) for k in (3, 1))
    mask = torch.ones(n, size, dtype=torch.bool)
    mask[::2, -1] = False
    near = torch.arange(1, size + 1).remainder(size)[None, :, None].expand(n, size, 1)  # the next one
    fields = dict(positions=x, numbers=z[..., 0], mask=mask, neighbours=near)
    actions = dict(positions=Vector(), numbers=Scalar(), mask=Fixed(), neighbours=Fixed())
    batches = [Batch(fields, -x, mask, torch.arange(n))]
    return run_of(model, batches, name=name, actions=actions, output=Vector(), group="haar")


class Cloud(torch.nn.Module):
    """Forces along the way to the neighbour; each option breaks one symmetry."""

    def __init__(self, breaks=""):
        super().__init__()
        self.breaks, self.scale = breaks, torch.nn.Parameter(torch.tensor(0.3))

    def forward(self, positions, numbers, mask, neighbours):
        rows = torch.arange(len(positions))[:, None]
        way = positions[rows, neighbours[..., 0]] - positions  # (n, size, 3)
        further = positions[rows, neighbours[rows, neighbours[..., 0]][..., 0]] - positions
        forces = self.scale * way * (1 + numbers[..., None] ** 2)
        if self.breaks == "rotation":
            forces = forces * torch.tensor([1.0, 1.0, 1.3]).to(forces)
        elif self.breaks == "inversion":
            forces = forces + 0.2 * torch.linalg.cross(way, further, dim=-1)
        elif self.breaks == "translation":
            forces = forces * (1 + 0.1 * positions.norm(dim=-1, keepdim=True))
        elif self.breaks == "permutation":
            forces = forces * (1 + 0.1 * torch.arange(positions.shape[1]).to(forces)[:, None])
        return forces
