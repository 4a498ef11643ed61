"""The equivariance error of a batch as a term of its training loss.

Two rotations of an item are enough for an unbiased estimate: half the mean square difference of the two
predictions, each turned back. The first is the prediction that training makes anyway, so the term costs one
more forward and backward pass. Minimised with weight λ beside the squared loss it gives twirled error +
(1 + λ) · equivariance error, because the total holds the equivariance error once already.
"""

from collections.abc import Callable

import torch

from equidyn.symmetry.actions import Action
from equidyn.symmetry.measure import rotate


def equivariance_penalty(
    predict: Callable[[dict[str, torch.Tensor]], torch.Tensor],
    inputs: dict[str, torch.Tensor],
    prediction: torch.Tensor,
    actions: dict[str, Action],
    output: Action,
    rotations: torch.Tensor,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """½ mean |f(x) − ρ(R)⁻¹ f(R x)|², differentiable.

    Unbiased for the equivariance error of items whose poses are spread as those of the group, see
    ``decomposition``. Dropout, where a model has it, counts too.

    Parameters
    ----------
    predict : from inputs to predictions
    inputs : by name, each [n_items, ...]
    prediction : f(x), [n_items, ...]
    actions, output : how inputs and prediction transform
    rotations : float64 [n_items, 3, 3], one per item
    mask : bool, leading axes of the prediction; the mean is over what it keeps

    Returns
    -------
    Scalar, in the squared unit of the prediction

    Raises
    ------
    UnknownNameError
        an input whose behaviour under rotation is not declared

    Examples
    --------
    A map that doubles x alone, turned by a quarter about z:

    >>> from equidyn.symmetry.actions import Vector
    >>> quarter = torch.tensor([[[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]])
    >>> x = torch.tensor([[1.0, 0, 0]])
    >>> stretch = lambda inputs: inputs["x"] * torch.tensor([2.0, 1, 1])
    >>> equivariance_penalty(stretch, dict(x=x), stretch(dict(x=x)), dict(x=Vector()), Vector(), quarter)
    tensor(0.1667)
    """
    turned = output.inverse(rotations, predict(rotate(inputs, actions, rotations)))
    difference = prediction - turned
    if mask is not None:
        difference = difference[mask]
    return difference.square().mean() / 2
