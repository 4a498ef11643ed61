"""Averages over rotations: in the training loss, and the loss of the mean over n of them, measured and
expected.

With P the twirled prediction error and E the equivariance error, the mean over n independent rotations has
an expected squared loss of P + E/n. Trained on that mean, a network is asked for a small P + E/n only.
"""

from collections.abc import Callable

import torch

from equidyn.symmetry.actions import Action
from equidyn.symmetry.expected_loss import SIZES
from equidyn.symmetry.measure import rotate
from equidyn.symmetry.sums import valid


def averaged(
    predict: Callable[[dict[str, torch.Tensor]], tuple[torch.Tensor, ...]],
    inputs: dict[str, torch.Tensor],
    actions: dict[str, Action],
    outputs: tuple[Action, ...],
    rotations: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    """Mean over rotations of predictions turned back, 1/n Σ ρ(R)⁻¹ f(R x), differentiable.

    Parameters
    ----------
    predict : from inputs to one prediction or several, each [n_items, ...]
    inputs, actions : by name, and how each transforms;  outputs : how each prediction does
    rotations : float64 [n, n_items, 3, 3]

    Returns
    -------
    as of predict

    Examples
    --------
    A stretch along z, averaged over the cube, is a stretch along all axes by a third of it:

    >>> from equidyn.symmetry.actions import Vector
    >>> from equidyn.symmetry.groups import cube
    >>> x, z = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([1.0, 1.0, 2.5])
    >>> averaged(lambda i: (i["x"] * z,), dict(x=x), dict(x=Vector()), (Vector(),), cube()[:, None])
    (tensor([[1.5000, 3.0000, 4.5000]]),)
    """
    totals: list[torch.Tensor | float] = [0.0] * len(outputs)
    for rotation in rotations:
        predicted = predict(rotate(inputs, actions, rotation))
        for k, (action, value) in enumerate(zip(outputs, predicted, strict=True)):
            totals[k] = totals[k] + action.inverse(rotation, value)
    return tuple(total / len(rotations) for total in totals)


def losses_of_means(
    stack: torch.Tensor, target: torch.Tensor, mask: torch.Tensor | None = None
) -> dict[int, torch.Tensor]:
    """Size n → squared loss of every item, summed over elements, of means over n twisted predictions; the
    average over as many separate groups of n as there are.

    Parameters
    ----------
    stack : twisted predictions [n_rotations, n_items, ...]
    target, mask : as in ``decompose``

    Returns
    -------
    float64 [n_items] for each of ``SIZES`` up to n_rotations

    Examples
    --------
    >>> found = losses_of_means(torch.tensor([[3.0], [1.0]], dtype=torch.float64), torch.tensor([2.0]))
    >>> {n: losses.tolist() for n, losses in found.items()}
    {1: [1.0], 2: [0.0]}
    """
    weight, found = valid(mask, target), {}
    for n in SIZES:
        groups = len(stack) // n
        if groups:
            means = stack[: groups * n].unflatten(0, (groups, n)).mean(1)  # (groups, n_items, ...)
            squares = torch.where(weight > 0, (means - target).square(), 0.0)
            found[n] = squares.reshape(groups, len(target), -1).sum(2).mean(0)
    return found
