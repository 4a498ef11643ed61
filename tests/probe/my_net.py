"""A network of a user's own with its held-out items, and a training loop."""

import torch

import equidyn
from equidyn.symmetry.actions import Fixed, Vector


class Net(torch.nn.Module):
    """A displacement per point from raw coordinates: not equivariant; dropout and running statistics."""

    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(3, 16)
        self.norm = torch.nn.BatchNorm1d(16)
        self.dropout = torch.nn.Dropout(0.2)
        self.out = torch.nn.Linear(16, 3)

    def forward(self, x, kind):
        hidden = torch.tanh(self.inner(x)) * (1 + 0.1 * kind[..., None])
        hidden = self.norm(hidden.flatten(0, 1)).reshape(hidden.shape)
        return self.out(self.dropout(hidden))


def items(n: int, seed: int):
    """Inputs and target: points pulled towards their centre."""
    x = torch.randn(n, 5, 3, generator=torch.Generator().manual_seed(seed))
    return dict(x=x, kind=torch.arange(5).expand(n, 5).float()), -0.5 * (x - x.mean(1, keepdim=True))


def heldout() -> equidyn.HeldOut:
    return equidyn.HeldOut([items(30, 1), items(20, 2)], dict(x=Vector(), kind=Fixed()), Vector())


def load(path=None) -> Net:
    torch.manual_seed(0)
    model = Net()
    if path is not None:
        model.load_state_dict(torch.load(path))
    return model


def train(probe=None, steps: int = 60, save=lambda step, model: None) -> Net:
    """A plain loop; ``probe`` may watch it."""
    model = load()
    torch.manual_seed(1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(steps + 1):
        if probe is not None:
            probe.step(model, step)
        save(step, model)
        inputs, target = items(32, 100 + step)
        optimizer.zero_grad()
        (model(**inputs) - target).square().mean().backward()
        optimizer.step()
    return model


def from_folder(path):
    return load(f"{path}/weights.pt")


def raw(path):
    """What a checkpoint holds is no model yet."""
    return torch.load(path)


def plain():
    """A model may be any callable."""
    return lambda x, kind: x * torch.tensor([1, 1, 1.1])


def broken():
    """Fails on some items."""

    def forward(x, kind):
        if len(x) == 20:
            raise KeyError("no such thing")
        return x

    return forward
