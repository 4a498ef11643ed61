"""The floor of a network that needs no control: rounding, by a copy of it in float64."""

import copy
from collections.abc import Callable, Iterable

import torch

from equidyn.symmetry.decomposition import valid
from equidyn.symmetry.measure import Batch


def in_double(model: torch.nn.Module) -> torch.nn.Module:
    """A float64 copy."""
    return copy.deepcopy(model).double()


def rounding(
    few: Batch, elements: Callable[[Batch], Iterable[torch.Tensor]], exact: Callable[[Batch], Iterable]
) -> float:
    """Variance over symmetry elements of the rounding error of some predictions, mean over their elements;
    what the two differ by whatever the element is no rounding of the element.

    Parameters
    ----------
    elements, exact : twisted predictions [n_items, ...] of a batch, one per element, by the network and by
        its float64 copy
    """
    doubled = {name: x.double() if x.is_floating_point() else x for name, x in few.inputs.items()}
    pairs = zip(elements(few), exact(Batch(doubled, few.target, few.mask, few.clusters)), strict=True)
    weight = valid(few.mask, few.target)
    errors = torch.stack([weight * (one - two) for one, two in pairs])
    return (errors.var(0).sum() / weight.sum()).item()
