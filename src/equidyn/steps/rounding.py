"""The floor of a network that needs no control: rounding, by a copy of it in float64."""

import copy
from collections.abc import Callable, Iterable

import torch

from equidyn.symmetry.measure import Batch
from equidyn.symmetry.sums import valid

Twisted = Callable[[Batch], Iterable[torch.Tensor]]


def in_double(model: torch.nn.Module) -> torch.nn.Module:
    """A float64 copy."""
    return copy.deepcopy(model).double()


@torch.no_grad()
def rounding(batches: Iterable[tuple[Batch, Twisted, Twisted]]) -> float:
    """Variance over symmetry elements of the rounding error of predictions, mean over their entries; what the
    two differ by whatever the element is no rounding of the element.

    Parameters
    ----------
    batches : each with what makes twisted predictions [n_items, ...] of it, one per element, by the network
        and by its float64 copy
    """
    total = entries = 0.0
    for batch, elements, exact in batches:
        doubled = {name: x.double() if x.is_floating_point() else x for name, x in batch.inputs.items()}
        pairs = zip(
            elements(batch), exact(Batch(doubled, batch.target, batch.mask, batch.clusters)), strict=True
        )
        weight = valid(batch.mask, batch.target)
        errors = torch.stack([weight * (one - two) for one, two in pairs])
        total, entries = total + errors.var(0).sum().item(), entries + weight.sum().item()
    return total / entries
