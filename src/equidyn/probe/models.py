"""``measure`` for torch models: any callable of named tensors, measured where and as it is.

Nothing about the model is changed: train or eval mode of every module, random states and buffers are
afterwards what they were.
"""

import itertools
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypedDict, Unpack

import numpy as np
import torch

from equidyn.errors import ArgumentError, EquidynError
from equidyn.probe.defaults import GROUP, LIMIT_PERCENT, QUADRATURE, ROTATIONS, SEED
from equidyn.probe.floors import floors_of
from equidyn.probe.heldout import HeldOut
from equidyn.probe.poses import Poses, poses
from equidyn.probe.records import SUMS, Record
from equidyn.probe.result import Result
from equidyn.probe.rows import About, beside_the_mean, broken_at_the_identity, row_of
from equidyn.symmetry.actions import Action, Scalar
from equidyn.symmetry.decomposition import accumulate
from equidyn.symmetry.measure import Batch, chunks, twisted_predictions
from equidyn.symmetry.quadrature import accumulate_weighted
from equidyn.symmetry.sums import ItemSums, valid


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

    rotations: int = ROTATIONS
    group: str = GROUP
    quadrature: str = QUADRATURE
    seed: int = SEED
    name: str = ""
    step: int | None = None
    limit_percent: float = LIMIT_PERCENT
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
        found = []
        for number, (batch, chunk) in enumerate(chunks(heldout.batches, drawn.rotations)):
            with _naming(number):
                found.append(_of_batch(model, heldout, batch, chunk, drawn))
        floors = floors_of(model, heldout, drawn, how.in_double)
    seconds = round(time.monotonic() - started, 3)
    return _result(how, how.name or type(model).__name__, heldout, drawn, found, floors, seconds)


@contextmanager
def _naming(batch: int) -> Iterator[None]:
    """Errors of a model say in which batch, counted from 0."""
    try:
        yield
    except EquidynError as error:
        raise type(error)(f"batch {batch}: {error}") from error
    except Exception as error:
        if "does not require grad" in str(error):
            raise ArgumentError(
                f"batch {batch}: the model takes gradients ({error}), but is called without: expected "
                f"predict=, a function predict(model, inputs) that turns them on (torch.enable_grad)"
            ) from error
        error.add_note(f"batch {batch}")
        raise


def _result(
    how: Settings, name: str, heldout: HeldOut, drawn: Poses, found: list, floors: dict, seconds: float
) -> Result:
    """One row from the sums and means of every batch."""
    sums = ItemSums.join([one for one, _ in found])
    beside = _beside_means(heldout, [mean for _, mean in found])
    rest = (seconds, how.limit_percent, how.meant_equivariant, how.step, "mean")
    about = About(name, heldout.quantity, heldout.unit, drawn.name, *rest)
    clusters = torch.cat([batch.clusters.cpu() for batch in heldout.batches])
    row = row_of(about, sums, clusters, heldout.labelled, floors, *beside)
    made = dict(rotations=drawn.name, n_rotations=len(drawn.rotations), seed=how.seed)
    made |= dict(clusters="clusters of items")
    return Result([row], _records(sums, clusters, heldout), broken_at_the_identity(row), made)


def _of_batch(
    model: Callable, heldout: HeldOut, batch: Batch, rotations: torch.Tensor, drawn: Poses
) -> tuple[ItemSums, torch.Tensor | None]:
    """Sums of one batch, and of scalars the mean prediction [n_items, ...], on the CPU; ``rotations``
    [n_rotations, n_items, 3, 3].
    """
    twisted = twisted_predictions(
        lambda given: heldout.ask(model, given), batch, heldout.inputs, heldout.output, rotations
    )
    target = batch.target
    if not heldout.labelled:
        first = next(twisted)
        target, twisted = torch.zeros_like(first), itertools.chain([first], twisted)
    mean = None
    if isinstance(heldout.output, Scalar):
        mean = torch.zeros_like(target, dtype=torch.float64)
        twisted = _averaged(twisted, drawn, mean)
    if drawn.weights is None:
        found = accumulate(twisted, target, batch.mask, drawn.order)
    else:
        found = accumulate_weighted(twisted, target, drawn.weights, batch.mask)
    return found.on_cpu(), None if mean is None else mean.cpu()


def _averaged(twisted: Iterable[torch.Tensor], drawn: Poses, mean: torch.Tensor) -> Iterator[torch.Tensor]:
    """The predictions as they are, while their mean is added to ``mean``."""
    n = len(drawn.rotations)
    for prediction, weight in zip(twisted, n * [1 / n] if drawn.weights is None else drawn.weights.tolist()):
        if prediction.shape == mean.shape:  # else whoever takes it says so
            mean.add_(prediction, alpha=weight)
        yield prediction


def _beside_means(heldout: HeldOut, means: list) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Of scalars: squared deviations [n_items] of the labels and of the predictions from the mean over the
    other items, which is invariant and has learned nothing. Nothing of other outputs: zero is their mean.
    """
    if means[0] is None:
        return None, None
    counts = _columns([valid(batch.mask, mean) for batch, mean in zip(heldout.batches, means)])
    spread = beside_the_mean(_columns(means), counts)
    if not heldout.labelled:
        return None, spread
    return beside_the_mean(_columns([batch.target for batch in heldout.batches]), counts), spread


def _columns(parts: list[torch.Tensor]) -> torch.Tensor:
    """Items of all batches, float64 [n_items, n], with zeros where a batch has fewer elements an item."""
    flat = [part.cpu().to(torch.float64).reshape(len(part), -1) for part in parts]
    width = max(part.shape[1] for part in flat)
    return torch.cat([torch.nn.functional.pad(part, (0, width - part.shape[1])) for part in flat])


def _records(sums: ItemSums, clusters: torch.Tensor, heldout: HeldOut) -> list[Record]:
    records = []
    nothing = dict(labelled=heldout.labelled, worst=float("nan"), worst_rotation=[float("nan")] * 9)
    for item, cluster in enumerate(clusters.tolist()):
        values = {key: getattr(sums, key)[item].item() for key in SUMS}
        one = {heldout.quantity: values | nothing}
        records.append(Record(item, "", str(cluster), 0, float("nan"), one))
    return records


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
