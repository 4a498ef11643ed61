"""Losses other than the squared one: the Jensen gap over rotations, its bias removed by a jackknife."""

from collections.abc import Callable, Iterable

import torch

from equidyn.symmetry.sums import (
    ItemSums,
    check_rotations,
    counted,
    finite,
    finite_factor,
    require_finite,
    valid,
)


def accumulate_convex(
    twisted: Iterable[torch.Tensor],
    target: torch.Tensor,
    mask: torch.Tensor | None,
    group_order: int | None,
    loss: Callable,
) -> tuple[ItemSums, ItemSums]:
    """Sums of a convex loss, (jackknifed, plug-in); parameters as in ``decompose``.

    Holds all predictions of the batch.
    """
    counts = valid(mask, target)
    target, counts = finite(target, counts), counts > 0
    stack = torch.stack([counted(prediction, target, counts) for prediction in twisted])
    require_finite(stack)
    n = len(stack)
    check_rotations(n, group_order)
    weight = valid(mask, loss(target, target))
    axes = tuple(range(1, weight.ndim))

    def per_item(prediction, to=target):
        values = torch.where(weight > 0, loss(prediction, to), 0.0)
        return values.sum(axes) if axes else values

    nothing = torch.zeros_like(target)
    losses = torch.stack([per_item(prediction) for prediction in stack])
    mean = stack.mean(0)
    plain = per_item(mean)
    left_out = torch.stack([per_item((n * mean - prediction) / (n - 1)) for prediction in stack]).mean(0)
    # Finite population: the variance of f̄ is S²/n (1 − n/|G|), and that of a mean of n − 1 exceeds it by
    # S²/(n(n − 1)) whatever |G|.
    shrink = 1.0 if group_order is None else (group_order - n) / group_order
    corrected = plain + shrink * (n - 1) * (plain - left_out)
    common = dict(
        count=weight.sum(axes) if axes else weight,
        total=losses.mean(0),
        zero=per_item(nothing),
        n_rotations=n,
        group_order=group_order,
        power=torch.stack([per_item(prediction, nothing) for prediction in stack]).mean(0),
        within=finite_factor(group_order) * losses.var(0),
    )
    return tuple(ItemSums(equivariance=losses.mean(0) - value, **common) for value in (corrected, plain))
