"""Run a model over items × rotations and split its loss.

The loop is over rotations with a batch of items inside, keeping running sums: the cost is that of the same
number of plain forward passes and the memory that of one of them, whatever the number of rotations.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from equidyn.errors import ArgumentError, UnknownNameError
from equidyn.processes import ALONE, Processes
from equidyn.symmetry.actions import Action
from equidyn.symmetry.convex import accumulate_convex
from equidyn.symmetry.decomposition import Decomposition, accumulate, summarise, with_plugin
from equidyn.symmetry.sums import ItemSums

ORTHOGONAL = 1e-5  # by which R Rᵀ may differ from 1: float32 has some 1e-6


@dataclass
class Batch:
    """Some items: ``inputs`` by name, each [n_items, ...], ``target`` [n_items, ...], ``mask`` and
    ``clusters`` as in ``decompose``.
    """

    inputs: dict[str, torch.Tensor]
    target: torch.Tensor
    mask: torch.Tensor | None
    clusters: torch.Tensor

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, items: slice) -> "Batch":
        """Some of the items."""
        inputs = {name: value[items] for name, value in self.inputs.items()}
        mask = None if self.mask is None else self.mask[items]
        return Batch(inputs, self.target[items], mask, self.clusters[items])

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on a device."""
        mask = None if self.mask is None else self.mask.to(device)
        return Batch(
            {k: v.to(device) for k, v in self.inputs.items()}, self.target.to(device), mask, self.clusters
        )


def rotate(
    inputs: dict[str, torch.Tensor], actions: dict[str, Action], rotation: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Rotate every field by its declared action; ``rotation`` is [3, 3] or [n_items, 3, 3].

    Raises
    ------
    UnknownNameError
        a field whose behaviour under rotation is not declared

    Examples
    --------
    >>> import torch
    >>> from equidyn.symmetry.actions import Scalar, Vector
    >>> quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    >>> inputs = dict(x=torch.tensor([[1.0, 0, 0]]), charge=torch.tensor([2]))
    >>> rotate(inputs, dict(x=Vector(), charge=Scalar()), quarter)
    {'x': tensor([[0., 1., 0.]]), 'charge': tensor([2])}
    """
    undeclared = sorted(set(inputs) - set(actions))
    if undeclared:
        raise UnknownNameError(
            f"rotate: no action declared for {undeclared}; a field that must not rotate is declared Fixed()"
        )
    return {name: actions[name].apply(rotation, value) for name, value in inputs.items()}


def twisted_predictions(
    predict: Callable,
    batch: Batch,
    actions: dict[str, Action],
    output: Action,
    rotations: torch.Tensor,
    at_once: int = 1,
) -> Iterable[torch.Tensor]:
    """ρ(R)⁻¹ f(R x) for R in ``rotations`` [n_rotations, n_items, 3, 3] (or [n_rotations, 3, 3]), in float64,
    one at a time; ``at_once`` of them in a forward pass where items have rotations of their own.
    """
    for some in rotations.split(at_once if rotations.ndim == 4 else 1):
        n = len(some)
        inputs = {name: torch.cat([value] * n) if n > 1 else value for name, value in batch.inputs.items()}
        rotation = some.flatten(0, 1) if rotations.ndim == 4 else some[0]
        prediction = predict(rotate(inputs, actions, rotation))
        _check_prediction(prediction, n * len(batch))
        yield from output.inverse(rotation, prediction.to(torch.float64)).split(len(prediction) // n)


def twisted_by(
    task: Any, model: torch.nn.Module, batch: Batch, rotations: torch.Tensor
) -> Iterable[torch.Tensor]:
    """``twisted_predictions`` of a model, by a task that has ``predict``, ``actions`` and ``output``."""
    return twisted_predictions(
        lambda inputs: task.predict(model, inputs), batch, task.actions, task.output, rotations
    )


def _check_prediction(found: object, n_items: int) -> None:
    if isinstance(found, torch.Tensor) and found.ndim and len(found) == n_items:
        return
    what = f"a {type(found).__name__}"
    if isinstance(found, dict):
        what += f" with {', '.join(map(str, found))}"
    elif isinstance(found, torch.Tensor):
        what = f"a tensor of shape {list(found.shape)}"
    raise ArgumentError(
        f"measure: the model returned {what}, expected a tensor [{n_items}, ...], an entry per item: give a "
        f"predict that makes one"
    )


def measure(
    model: torch.nn.Module,
    predict: Callable,
    batches: list[Batch],
    actions: dict[str, Action],
    output: Action,
    rotations: torch.Tensor,
    group_order: int | None = None,
    loss: Callable | None = None,
) -> Decomposition:
    """Decompose the held-out loss of a model.

    Parameters
    ----------
    model : put into eval mode by the caller
    predict : ``predict(model, inputs)`` → [n_items, ...]
    batches : the held-out items, in a fixed order
    actions, output : how each input and the output transform
    rotations : float64 [n_rotations, n_items of all batches, 3, 3]; drawn per item so that items are
        independent
    group_order, loss : as in ``decompose``

    Raises
    ------
    RuntimeError
        if the model, or any module in it, is in train mode: dropout would be counted as equivariance error
    ArgumentError
        if the number of rotations does not match the number of items, or they are not orthogonal

    Examples
    --------
    A network that stretches one axis by a tenth, on vectors that it should return as they are:

    >>> import torch
    >>> from equidyn.symmetry import groups
    >>> from equidyn.symmetry.actions import Vector
    >>> model = torch.nn.Linear(3, 3, bias=False).eval()
    >>> _ = model.weight.data.copy_(torch.diag(torch.tensor([1.0, 1.0, 1.1])))
    >>> x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    >>> batch = Batch(dict(x=x), x, mask=None, clusters=torch.arange(500))
    >>> rotations, order = groups.draw_per_item("cube", 24, 500, seed=0)
    >>> arguments = lambda model, inputs: model(inputs["x"])
    >>> found = measure(model, arguments, [batch], dict(x=Vector()), Vector(), rotations, order)
    >>> f"{found.percent:.1f} % [{found.percent_lo:.1f}, {found.percent_hi:.1f}]"
    '66.7 % [66.7, 66.7]'
    """
    one = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
    off = (rotations @ rotations.mT - one).abs().max().item()
    if not off < ORTHOGONAL:
        raise ArgumentError(f"measure: rotations are not orthogonal, R Rᵀ differs from 1 by {off:.2g}")
    return measure_losses(model, predict, batches, actions, output, rotations, {"": loss}, group_order)[""]


def chunks(batches: list[Batch], rotations: torch.Tensor) -> Iterator[tuple[Batch, torch.Tensor]]:
    """Batches with their part of rotations [n_rotations, n_items of all batches, 3, 3]."""
    n_items = sum(len(batch) for batch in batches)
    if n_items != rotations.shape[1]:
        raise ArgumentError(
            f"measure: rotations for {rotations.shape[1]} items, but the batches hold {n_items}"
        )
    yield from zip(batches, rotations.split([len(batch) for batch in batches], 1))


def check_eval(model: torch.nn.Module) -> None:
    """RuntimeError if a module is in train mode: dropout would be counted as broken symmetry."""
    training = [name or type(model).__name__ for name, module in model.named_modules() if module.training]
    if training:
        raise RuntimeError(f"measure: module {training[0]!r} is in train mode; call model.eval() first")


@torch.no_grad()
def measure_losses(
    model: torch.nn.Module,
    predict: Callable,
    batches: list[Batch],
    actions: dict[str, Action],
    output: Action,
    rotations: torch.Tensor,
    losses: dict[str, Callable | None],
    group_order: int | None = None,
    baseline: torch.Tensor | None = None,
    processes: Processes = ALONE,
    at_once: int = 1,
) -> dict[str, Decomposition]:
    """Several losses (None: squared) from the same forward passes; otherwise as ``measure``.

    ``baseline`` [n_items of all batches], of the squared loss, is that of ``summarise``; other losses are
    compared with the zero predictor. With squared loss alone nothing is kept but running sums; other losses
    keep the predictions of one batch at a time. ``processes`` share the batches; all get the result. A
    forward pass takes ``at_once`` rotations of a batch.
    """
    check_eval(model)
    found = {}
    for k, (batch, chunk) in enumerate(chunks(batches, rotations)):
        if not processes.has(k):
            continue
        if not any(action.on_host for action in (*actions.values(), output)):
            chunk = chunk.to(batch.target.device)  # once, not for every rotation and field
        symmetry = actions, output, chunk, at_once
        twisted = twisted_predictions(lambda inputs: predict(model, inputs), batch, *symmetry)
        if any(loss is not None for loss in losses.values()):
            twisted = list(twisted)
        found[k] = {
            name: (accumulate(twisted, batch.target, batch.mask, group_order),)
            if loss is None
            else accumulate_convex(twisted, batch.target, batch.mask, group_order, loss)
            for name, loss in losses.items()
        }
    found = {  # of several GPUs, sums of each would come back on its own
        k: {name: tuple(one.on_cpu() for one in sums) for name, sums in part.items()}
        for k, part in found.items()
    }
    joined, parts, results = torch.cat([batch.clusters for batch in batches]), processes.joined(found), {}
    for name, loss in losses.items():
        sums = [ItemSums.join(list(of_batches)) for of_batches in zip(*(part[name] for part in parts))]
        if loss is None:
            results[name] = summarise(*sums, joined, baseline)
        else:
            results[name] = with_plugin(*sums, joined)
    return results
