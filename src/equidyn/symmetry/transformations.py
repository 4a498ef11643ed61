"""What may be done to a batch beside rotating it: inversion, translations, permutations of its points.

A ``Transformation`` is one element of a symmetry for every item of a batch: ``there`` on the inputs, ``back``
on the prediction, so that a model that has the symmetry gives back(f(there(x))) = f(x).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from equidyn.errors import UnknownNameError
from equidyn.symmetry.actions import Action, Fixed, Grid, Scalar, Tensor2, Vector
from equidyn.symmetry.measure import Batch, rotate

Inputs = dict[str, torch.Tensor]
AXES = (-3, -2, -1)  # of a grid


@dataclass(frozen=True)
class Transformation:
    """See the module."""

    there: Callable[[Inputs], Inputs]
    back: Callable[[torch.Tensor], torch.Tensor]


def twisted(predict: Callable, batch: Batch, transformations: list[Transformation]) -> Iterator[torch.Tensor]:
    """back(f(there(x))) for each transformation, in float64, one at a time; ``predict`` takes inputs."""
    for one in transformations:
        yield one.back(predict(one.there(batch.inputs)).to(torch.float64))


def rotation(actions: dict[str, Action], output: Action, matrices: torch.Tensor) -> Transformation:
    """By ``matrices`` [3, 3] or [n_items, 3, 3]."""
    return Transformation(
        lambda inputs: rotate(inputs, actions, matrices), lambda x: output.inverse(matrices, x)
    )


def inverted(action: Action, x: torch.Tensor) -> torch.Tensor:
    """x after inversion in the origin: vectors change sign, grids are mirrored in all three axes.

    Raises
    ------
    UnknownNameError
        an action that has no inversion here

    Examples
    --------
    >>> inverted(Vector(), torch.tensor([[1.0, 0.0, -2.0]]))
    tensor([[-1., -0.,  2.]])
    >>> inverted(Grid(), torch.arange(8.0).reshape(2, 2, 2)).flatten().tolist()
    [7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0]
    """
    if isinstance(action, Vector):
        return -x
    if isinstance(action, Grid):
        return x.flip(AXES)
    if isinstance(action, Scalar | Fixed | Tensor2):
        return x
    raise UnknownNameError(f"{action}: no inversion, expected a vector, a grid, or what does not change")


def inversion(actions: dict[str, Action], output: Action) -> Transformation:
    """In the origin; its own inverse."""
    return Transformation(
        lambda inputs: {name: inverted(actions[name], x) for name, x in inputs.items()},
        lambda x: inverted(output, x),
    )


def identity() -> Transformation:
    """Nothing is changed."""
    return Transformation(lambda inputs: inputs, lambda x: x)


def shift(name: str, by: torch.Tensor) -> Transformation:
    """Points of the field ``name`` [n_items, n, 3] moved by [n_items, 3]; what is predicted stays."""
    return Transformation(
        lambda inputs: inputs | {name: (inputs[name].double() + by[:, None]).to(inputs[name])}, lambda x: x
    )


def roll(name: str, by: list[list[int]]) -> Transformation:
    """The grid ``name`` [n_items, c, g, g, g] moved by whole voxels, three numbers for each item; what leaves
    at one face enters at the other. Predictions are grids that move along.
    """

    def moved(x: torch.Tensor, sign: int) -> torch.Tensor:
        return torch.stack([item.roll([sign * k for k in one], AXES) for item, one in zip(x, by)])

    return Transformation(lambda inputs: inputs | {name: moved(inputs[name], 1)}, lambda x: moved(x, -1))


def permutation(order: torch.Tensor, neighbours: str | None = None) -> Transformation:
    """The points of every item in another order, in all fields and in the prediction.

    Parameters
    ----------
    order : [n_items, n], a permutation of each item's points: new point i is old point order[i]
    neighbours : name of a field [n_items, n, m] of indices of points, which are renamed

    Examples
    --------
    >>> order = torch.tensor([[2, 0, 1]])
    >>> one = permutation(order, "near")
    >>> moved = one.there({"x": torch.tensor([[10, 11, 12]]), "near": torch.tensor([[[1], [2], [0]]])})
    >>> moved["x"].tolist(), moved["near"].tolist()  # 12 still has 10 beside it, now as point 1
    ([[12, 10, 11]], [[[1], [2], [0]]])
    >>> one.back(moved["x"]).tolist()
    [[10, 11, 12]]
    """
    place = order.argsort(1)  # of each old point among the new ones

    def there(inputs: Inputs) -> Inputs:
        moved = {name: _taken(x, order) for name, x in inputs.items()}
        if neighbours is not None:
            index = moved[neighbours].flatten(1)
            moved[neighbours] = place.to(index).gather(1, index).reshape(moved[neighbours].shape)
        return moved

    return Transformation(there, lambda x: _taken(x, place))


def _taken(x: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """x[i, order[i]] for every item i."""
    rows = torch.arange(len(x), device=x.device)[:, None]
    return x[rows, order.to(x.device)]
