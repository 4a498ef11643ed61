"""A small network that is not equivariant, with batches and rotations, for the tests of dynamics, curvature
and landscape.
"""

import torch

from equidyn.analysis import gradients
from equidyn.analysis.gradients import sums_of_terms
from equidyn.symmetry import groups
from equidyn.symmetry.actions import Fixed, Vector
from equidyn.symmetry.measure import Batch, chunks

ACTIONS, N = dict(x=Vector(), kind=Fixed()), 4


class Toy(torch.nn.Module):
    """Two hidden layers on raw coordinates, not equivariant; a parameter that reaches nothing."""

    def __init__(self, dropout=0.0):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.middle, self.out = (
            torch.nn.Linear(3, 6),
            torch.nn.Linear(6, 6),
            torch.nn.Linear(6, 3),
        )
        self.dropout, self.idle = torch.nn.Dropout(dropout), torch.nn.Parameter(torch.ones(2))

    def forward(self, x, kind):
        return self.out(self.dropout(torch.tanh(self.middle(torch.tanh(self.inner(x))))))


def predict(model, inputs):
    return model(**inputs)


def toy(dropout=0.0):
    return Toy(dropout).eval().double()


def batches(sizes=(5, 3)):
    g = torch.Generator().manual_seed(1)
    made = []
    for size in sizes:
        x = torch.randn(size, 4, 3, generator=g)
        target = 0.3 * x + 0.1 * torch.randn(size, 4, 3, generator=g)
        mask = torch.arange(4) < torch.randint(1, 5, (size, 1), generator=g)
        made.append(
            gradients.cast(
                Batch(dict(x=x, kind=torch.zeros(size, dtype=torch.long)), target, mask, torch.arange(size))
            )
        )
    return made


def drawn(group_order):
    n_items = sum(map(len, batches()))
    return (
        groups.haar_per_item(N, n_items, 0)
        if group_order is None
        else groups.subset_per_item(groups.cube(), N, n_items, 0)
    )


def arguments(model, group_order=None, rotations=None):
    return (
        model,
        predict,
        batches(),
        ACTIONS,
        Vector(),
        drawn(group_order) if rotations is None else rotations,
    )


def summed_terms(model, group_order=None):
    """(P̂, Ê) over both batches, differentiable: the plain way, with every graph alive."""
    parts = [
        sums_of_terms(model, predict, batch, ACTIONS, Vector(), chunk, group_order)
        for batch, chunk in chunks(batches(), drawn(group_order))
    ]
    twirled, equivariance, count = (sum(values) for values in zip(*parts))
    return twirled / count, equivariance / count
