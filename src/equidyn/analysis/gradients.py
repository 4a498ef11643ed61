"""Gradients of the two terms of the loss; their curvature and landscapes are in ``curvature`` and
``landscape``.

All of it is for squared loss and uses the unbiased estimators P̂ and Ê of ``decomposition`` on fixed items
and fixed rotations, the same for both terms. Models are in eval mode and called as ``predict(model,
inputs)``; whatever their dtype, predictions are turned back and summed in float64. Batches, actions and
rotations are those of ``measure``.

With n twisted predictions f_r of an item, c = 1 or (|G| − 1)/|G|, the derivative of f̄ drops out because Σ_r
(f_r − f̄) = 0:

    ∇Ê = 2c/(n − 1) Σ_r ⟨f_r − f̄, ∇f_r⟩,     ∇L̂ = 2/n Σ_r ⟨f_r − y, ∇f_r⟩,     ∇P̂ = ∇L̂ − ∇Ê
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from equidyn.errors import ArgumentError
from equidyn.symmetry.actions import Action
from equidyn.symmetry.decomposition import Decomposition, accumulate, summarise
from equidyn.symmetry.measure import Batch, check_eval, chunks, rotate, twisted_predictions
from equidyn.symmetry.sums import ItemSums, finite_factor, valid

TERMS = ("twirled", "equivariance")


def cast(batch: Batch, dtype: torch.dtype = torch.float64) -> Batch:
    """The batch with its floating-point inputs and target in ``dtype``; integers and masks stay."""
    inputs = {name: x.to(dtype) if x.is_floating_point() else x for name, x in batch.inputs.items()}
    return replace(batch, inputs=inputs, target=batch.target.to(dtype))


@dataclass(frozen=True)
class Gradients:
    """Norms over all parameters of ∇Ê and ∇P̂, their ratio Ê : P̂ and cosine; ``percent`` is that of the same
    items and rotations.
    """

    norm_equivariance: float
    norm_twirled: float
    ratio: float
    cosine: float
    percent: float
    n_items: int
    n_rotations: int


def gradients(
    model: torch.nn.Module,
    predict: Callable,
    batches: list[Batch],
    actions: dict[str, Action],
    output: Action,
    rotations: torch.Tensor,
    group_order: int | None = None,
) -> Gradients:
    """Compare the gradients of the two terms; parameters and errors as in ``gradient_vectors``."""
    twirled, equivariance, measured = gradient_vectors(
        model, predict, batches, actions, output, rotations, group_order
    )
    p, e = twirled.norm().item(), equivariance.norm().item()
    cosine = (twirled @ equivariance).item() / (p * e) if p * e > 0 else float("nan")
    return Gradients(
        e,
        p,
        e / p if p > 0 else float("nan"),
        cosine,
        measured.percent,
        measured.n_items,
        measured.n_rotations,
    )


def gradient_vectors(
    model: torch.nn.Module,
    predict: Callable,
    batches: list[Batch],
    actions: dict[str, Action],
    output: Action,
    rotations: torch.Tensor,
    group_order: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor, Decomposition]:
    """∇P̂ and ∇Ê over all parameters, flat float64 [n_parameters], and the decomposition of the same items
    and rotations.

    Two passes over the rotations of a batch. The first has no graph and leaves f̄; the second backpropagates
    the two linear functionals of the module docstring, one rotation at a time. Memory is that of one
    prediction with its graph, whatever the number of rotations; the cost is 2 n forward and 2 n backward
    passes. Parameters that do not reach the prediction have gradient zero.

    Parameters
    ----------
    rotations : [n_rotations ≥ 2, n_items of all batches, 3, 3];  others as in ``measure``

    Raises
    ------
    RuntimeError
        a module in train mode
    ArgumentError
        numbers of rotations that do not match the items, fewer than two rotations
    """
    check_eval(model)
    parameters = list(model.parameters())
    total, equivariance = (
        torch.zeros(sum(p.numel() for p in parameters), dtype=torch.float64, device=parameters[0].device)
        for _ in range(2)
    )
    parts, factor, n = [], finite_factor(group_order), len(rotations)
    for batch, chunk in chunks(batches, rotations):
        weight = valid(batch.mask, batch.target) > 0
        target = batch.target.to(torch.float64)
        mean = torch.zeros_like(target)

        def first_pass(batch=batch, chunk=chunk, mean=mean):
            for prediction in twisted_predictions(
                lambda inputs: predict(model, inputs), batch, actions, output, chunk
            ):
                mean.add_(prediction / n)
                yield prediction

        with torch.no_grad():
            parts.append(accumulate(first_pass(), batch.target, batch.mask, group_order))
        for rotation in chunk:
            with torch.enable_grad():
                twisted = output.inverse(
                    rotation, predict(model, rotate(batch.inputs, actions, rotation)).to(torch.float64)
                )
            for sum_, centre, scale in ((equivariance, mean, 2 * factor / (n - 1)), (total, target, 2 / n)):
                functional = torch.where(weight, scale * (twisted.detach() - centre), 0.0)
                found = torch.autograd.grad(
                    twisted, parameters, functional, retain_graph=True, materialize_grads=True
                )
                sum_ += torch.cat([g.reshape(-1).to(torch.float64) for g in found])
            del twisted, found
    sums = ItemSums.join(parts)
    count = sums.count.sum()
    return (
        (total - equivariance) / count,
        equivariance / count,
        summarise(sums, torch.cat([b.clusters for b in batches])),
    )


def sums_of_terms(
    model: torch.nn.Module,
    predict: Callable,
    batch: Batch,
    actions: dict[str, Action],
    output: Action,
    rotations: torch.Tensor,
    group_order: int | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Σ P̂, Σ Ê over the valid elements of a batch, differentiable float64 scalars, and their number.

    Holds the graph of all rotations at once: for small batches, and for second derivatives.

    Parameters
    ----------
    rotations : [n_rotations ≥ 2, n_items, 3, 3];  others as in ``measure``

    Raises
    ------
    RuntimeError
        a module in train mode
    ArgumentError
        fewer than two rotations
    """
    check_eval(model)
    n = len(rotations)
    if n < 2:
        raise ArgumentError(f"dynamics: {n} rotation(s), expected at least 2")
    weight = valid(batch.mask, batch.target) > 0
    twisted = torch.stack(
        list(twisted_predictions(lambda inputs: predict(model, inputs), batch, actions, output, rotations))
    )  # (n, n_items, …)
    error = torch.where(weight, twisted - batch.target.to(torch.float64), 0.0)
    equivariance = (
        finite_factor(group_order) * (error - error.mean(0)).square().sum() / (n - 1)
    )  # the target drops out of f_r − f̄
    return error.square().sum() / n - equivariance, equivariance, weight.sum()
