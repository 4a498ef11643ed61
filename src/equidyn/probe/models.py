"""``measure`` for torch models: any callable of named tensors, measured where and as it is.

Nothing about the model is changed: train or eval mode of every module, random states and buffers are
afterwards what they were.
"""

import copy
import itertools
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypedDict, Unpack

import numpy as np
import torch

from equidyn.errors import ArgumentError
from equidyn.probe.poses import RANDOM, Poses, poses
from equidyn.probe.records import SUMS, Record
from equidyn.probe.result import Result
from equidyn.probe.rows import About, broken_at_the_identity, row_of
from equidyn.symmetry import groups
from equidyn.symmetry.actions import Action
from equidyn.symmetry.decomposition import ItemSums, accumulate
from equidyn.symmetry.measure import Batch, chunks, rotate, twisted_predictions
from equidyn.symmetry.quadrature import accumulate_weighted

FLOOR_ITEMS, FLOOR_ROTATIONS = 4, 2


@dataclass
class HeldOut:
    """Held-out items of a torch model, and how their fields turn; what ``--data`` names returns one.

    Attributes
    ----------
    batches : each a ``Batch``, or (inputs, target) or (inputs, target, mask) with inputs a dict of tensors
        [n_items, ...]; a fixed list, so that every measurement sees the same. Target None, of all batches,
        where it is not known: then there is an equivariance error, but no share of a loss
    inputs : how each input turns, by name; one that must not turn is ``Fixed()``
    output : how the prediction and the target turn
    predict : ``predict(model, inputs)`` → prediction; None calls ``model(**inputs)``
    """

    batches: list
    inputs: dict[str, Action]
    output: Action
    predict: Callable | None = None
    quantity: str = "output"
    unit: str = ""

    def __post_init__(self):
        given = list(self.batches)
        known = [isinstance(one, Batch) or one[1] is not None for one in given]
        if any(known) and not all(known):
            raise ArgumentError("batches: some with a target and some without, expected all or none")
        self.labelled, self.batches = all(known), list(_batches(given))
        if self.predict is None:
            self.predict = lambda model, inputs: model(**inputs)

    def __len__(self) -> int:
        return sum(len(batch) for batch in self.batches)


def _batches(given: Iterable) -> Iterator[Batch]:
    seen = 0
    for one in given:
        if not isinstance(one, Batch):
            inputs, target, mask = (*one, None) if len(one) == 2 else one
            if target is None:  # stands for the number of items alone
                target = torch.full((len(next(iter(inputs.values()))),), float("nan"))
            one = Batch(dict(inputs), target, mask, torch.arange(seen, seen + len(target)))
        lengths = {name: len(value) for name, value in one.inputs.items() if len(value) != len(one)}
        if lengths:
            raise ArgumentError(f"batch of {len(one)} targets: inputs of other lengths, {lengths}")
        seen += len(one)
        yield one
    if not seen:
        raise ArgumentError("heldout: no items, expected batches of inputs and targets")


@dataclass(frozen=True)
class Settings:
    """How a torch model is measured; the keyword arguments of ``measure``.

    Attributes
    ----------
    rotations, group, seed : poses per item, drawn anew for every item and the same at every call
    quadrature : of poses that are the same for all items instead, such as ``icosahedron`` or ``lebedev:7``
    name, step : of the model and its training, recorded in the row
    limit_percent, meant_equivariant : of the verdict
    in_double : take the floor from a float64 copy of the model, where it allows one; else from small turns
    """

    rotations: int = 8
    group: str = "so3"
    quadrature: str = RANDOM
    seed: int = 0
    name: str = ""
    step: int | None = None
    limit_percent: float = 2.0
    meant_equivariant: bool = False
    in_double: bool = True


class Options(TypedDict, total=False):
    """``Settings`` as keyword arguments."""

    rotations: int
    group: str
    quadrature: str
    seed: int
    name: str
    step: int | None
    limit_percent: float
    meant_equivariant: bool
    in_double: bool


def measure(
    model: Callable,
    heldout: Iterable | HeldOut,
    inputs: dict[str, Action] | None = None,
    output: Action | None = None,
    *,
    predict: Callable | None = None,
    quantity: str = "output",
    unit: str = "",
    **settings: Unpack[Options],
) -> Result:
    """Split the loss of a torch model into twirled prediction error and equivariance error.

    Parameters
    ----------
    model : a module (measured in eval mode, which is undone) or any other callable
    heldout, inputs, output, predict, quantity, unit : as in ``HeldOut``, or one in the place of them all
    settings : those of ``Settings``: ``rotations`` (8 per item), ``group`` (so3, o3, cube), ``quadrature``,
        ``seed``, ``name``, ``step``, ``limit_percent`` (2), ``meant_equivariant``, ``in_double``

    Returns
    -------
    Result with one row

    Raises
    ------
    ArgumentError, UnknownNameError
        shapes that do not fit, inputs whose behaviour under rotations is not declared, settings out of bounds

    Examples
    --------
    A network that stretches one axis by a tenth, on vectors that it should return as they are:

    >>> from equidyn.symmetry.actions import Vector
    >>> model = torch.nn.Linear(3, 3, bias=False)
    >>> _ = model.weight.data.copy_(torch.diag(torch.tensor([1.0, 1.0, 1.1])))
    >>> x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    >>> found = measure(model, [({"input": x}, x)], {"input": Vector()}, Vector(), rotations=24, group="cube")
    >>> print(f"{found['output'].percent:.1f} %, {found['output'].verdict}; {model.training}")
    66.7 %, above 2 %; True
    """
    how = Settings(**settings)
    if not isinstance(heldout, HeldOut):
        if inputs is None or output is None:
            raise ArgumentError("measure: expected inputs= and output=, how each field turns")
        heldout = HeldOut(heldout, inputs, output, predict, quantity, unit)
    drawn = poses(how.group, how.rotations, len(heldout), how.seed, how.quadrature)
    started = time.monotonic()
    with undisturbed(model), torch.no_grad():
        parts = chunks(heldout.batches, drawn.rotations)
        sums = ItemSums.join([_of_batch(model, heldout, batch, chunk, drawn) for batch, chunk in parts])
        floors = _floors(model, heldout, drawn, how.in_double)
    seconds = round(time.monotonic() - started, 3)
    return _result(how, how.name or type(model).__name__, heldout, drawn, sums, floors, seconds)


def _result(
    how: Settings, name: str, heldout: HeldOut, drawn: Poses, sums: ItemSums, floors: dict, seconds: float
) -> Result:
    """One row from the sums of all items."""
    verdict = (how.limit_percent, how.meant_equivariant)
    about = About(name, heldout.quantity, heldout.unit, drawn.name, seconds, *verdict, how.step)
    clusters = torch.cat([batch.clusters.cpu() for batch in heldout.batches])
    row = row_of(about, sums, clusters, heldout.labelled, floors)
    made = dict(rotations=drawn.name, n_rotations=len(drawn.rotations), seed=how.seed)
    made |= dict(clusters="clusters of items")
    return Result([row], _records(sums, clusters, heldout), broken_at_the_identity(row), made)


def _of_batch(
    model: Callable, heldout: HeldOut, batch: Batch, rotations: torch.Tensor, drawn: Poses
) -> ItemSums:
    """Sums of one batch, on the CPU; ``rotations`` [n_rotations, n_items, 3, 3]."""
    twisted = twisted_predictions(
        lambda given: heldout.predict(model, given), batch, heldout.inputs, heldout.output, rotations
    )
    target = batch.target
    if not heldout.labelled:
        first = next(twisted)
        target, twisted = torch.zeros_like(first), itertools.chain([first], twisted)
    if drawn.weights is None:
        found = accumulate(twisted, target, batch.mask, drawn.order)
    else:
        found = accumulate_weighted(twisted, target, drawn.weights, batch.mask)
    return found.on_cpu()


def _records(sums: ItemSums, clusters: torch.Tensor, heldout: HeldOut) -> list[Record]:
    records, nothing = (
        [],
        dict(labelled=heldout.labelled, worst=float("nan"), worst_rotation=[float("nan")] * 9),
    )
    for item, cluster in enumerate(clusters.tolist()):
        values = {key: getattr(sums, key)[item].item() for key in SUMS}
        one = {heldout.quantity: values | nothing}
        records.append(Record(item, "", str(cluster), 0, float("nan"), one))
    return records


def _floors(model: Callable, heldout: HeldOut, drawn: Poses, in_double: bool) -> dict[str, float]:
    """Kind → mean squared spread over mean square: of repeats, and of rounding."""
    few = heldout.batches[0][:FLOOR_ITEMS]
    plain = _masked(heldout.predict(model, few.inputs), few)
    power = plain.square().mean().item()
    if power == 0:
        return {}
    again = _masked(heldout.predict(model, few.inputs), few)
    floors = {"repeats": (again - plain).square().mean().item() / 2 / power}
    errors = _by_double(model, heldout, few, drawn) if in_double else None
    try:
        if errors is None:
            detours = groups.detours(FLOOR_ROTATIONS, 0)
            errors = [_of_detour(model, heldout, few, turns, plain) for turns in detours]
    except ArgumentError:  # a grid has no small turns, and those that it has do not round
        return floors
    floors["rounding"] = sum(errors) / len(errors) / power
    return floors


def _by_double(model: Callable, heldout: HeldOut, few: Batch, drawn: Poses) -> list[float] | None:
    """Mean squared rounding errors of some rotations, by a float64 copy; None where the model has none, or
    one that casts to float32 inside: it fails, or rounds as the model does.
    """
    double = _double(model)
    if double is None:
        return None
    rotations = drawn.rotations[:FLOOR_ROTATIONS, : len(few)]
    try:
        errors = [_against_double(model, double, heldout, few, rotation) for rotation in rotations]
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError, ValueError, AssertionError):
        return None
    return errors if any(errors) else None


def _against_double(model, double, heldout: HeldOut, few: Batch, rotation: torch.Tensor) -> float:
    """Mean squared rounding error of twisted predictions, by a float64 copy."""
    turned = rotate(few.inputs, heldout.inputs, rotation)
    inputs = {name: _to_double(value) for name, value in few.inputs.items()}
    exact = heldout.predict(double, rotate(inputs, heldout.inputs, rotation))
    return (_masked(heldout.predict(model, turned), few) - _masked(exact, few)).square().mean().item()


def _of_detour(model, heldout: HeldOut, few: Batch, turns: tuple, plain: torch.Tensor) -> float:
    """Half the mean squared change by a turn that changes every rounding and little else."""
    first, second = turns
    there = rotate(few.inputs, heldout.inputs, first)
    turned = heldout.predict(model, rotate(there, heldout.inputs, second)).to(torch.float64)
    back = heldout.output.inverse(first, heldout.output.inverse(second, turned))
    return (_masked(back, few) - plain).square().mean().item() / 2


def _masked(prediction: torch.Tensor, batch: Batch) -> torch.Tensor:
    """In float64, zero where an element does not count."""
    prediction = prediction.to(torch.float64)
    if batch.mask is None:
        return prediction
    mask = batch.mask.reshape(*batch.mask.shape, *[1] * (prediction.ndim - batch.mask.ndim))
    return torch.where(mask.bool(), prediction, 0.0)


def _to_double(value: torch.Tensor) -> torch.Tensor:
    return value.to(torch.float64) if value.is_floating_point() else value


def _double(model: Callable) -> torch.nn.Module | None:
    """A float64 copy of a float32 model; None where there is none to be had."""
    if not isinstance(model, torch.nn.Module):
        return None
    types = {p.dtype for p in model.parameters() if p.is_floating_point()}
    if torch.float64 in types or not types:
        return None
    try:
        return copy.deepcopy(model).double()
    except (RuntimeError, TypeError, copy.Error):  # parameters that are not leaves, locks, compiled code
        return None


@contextmanager
def undisturbed(model: Callable) -> Iterator[None]:
    """Eval mode within the block; afterwards modes, buffers and random states are those of before."""
    modules = list(model.modules()) if isinstance(model, torch.nn.Module) else []
    modes = [module.training for module in modules]
    buffers = [(b, b.clone()) for module in modules for b in module.buffers(recurse=False)]
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    on_cards = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for module, mode in zip(modules, modes):
            module.training = mode
        with torch.no_grad():
            for buffer, before in buffers:
                if not torch.equal(buffer, before):
                    buffer.copy_(before)
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if on_cards:
            torch.cuda.set_rng_state_all(on_cards)
