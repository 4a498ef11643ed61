"""The numerical floor of a torch model: what evaluations that should agree differ by."""

import copy
from collections.abc import Callable

import torch

from equidyn.errors import ArgumentError
from equidyn.probe.heldout import HeldOut
from equidyn.probe.poses import Poses
from equidyn.symmetry import groups
from equidyn.symmetry.actions import Fixed
from equidyn.symmetry.measure import Batch, rotate
from equidyn.symmetry.sums import valid

FLOOR_ITEMS, FLOOR_ROTATIONS = 4, 2  # items whose predictions are compared; poses of them


def floors_of(model: Callable, heldout: HeldOut, drawn: Poses, in_double: bool) -> dict[str, float]:
    """Kind → mean squared spread over mean square: of repeats, and of rounding; of the first items of the
    first batch, which the model is given whole, as it may take no other number of items.
    """
    batch = heldout.batches[0]
    given = heldout.ask(model, batch.inputs)
    plain = _few(given, batch)
    power = plain.square().mean().item()
    if power == 0:
        return {}
    again = _few(heldout.ask(model, batch.inputs), batch)
    errors = _by_double(model, heldout, batch, drawn) if in_double else None
    try:
        if errors is None:
            detours = groups.detours(FLOOR_ROTATIONS, 0)
            errors = [_of_detour(model, heldout, batch, turns, plain) for turns in detours]
    except ArgumentError:  # a grid has no small turns, and those that it has do not round
        least = torch.finfo(given.dtype).eps ** 2 * power if given.is_floating_point() else 0.0
        errors = [max(_of_noise(model, heldout, batch, plain), least)]
    repeats = (again - plain).square().mean().item() / 2
    return {"repeats": repeats / power, "rounding": sum(errors) / len(errors) / power}


def _by_double(model: Callable, heldout: HeldOut, batch: Batch, drawn: Poses) -> list[float] | None:
    """Mean squared rounding errors of some rotations, by a float64 copy; None where the model has none, or
    one that casts to float32 inside: it fails, or rounds as the model does.
    """
    double = _double(model)
    if double is None:
        return None
    rotations = drawn.rotations[:FLOOR_ROTATIONS, : len(batch)]
    try:
        errors = [_against_double(model, double, heldout, batch, rotation) for rotation in rotations]
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError, ValueError, AssertionError):
        return None
    return errors if any(errors) else None


def _against_double(model, double, heldout: HeldOut, batch: Batch, rotation: torch.Tensor) -> float:
    """Mean squared rounding error of twisted predictions, by a float64 copy."""
    inputs = {name: _to_double(value) for name, value in batch.inputs.items()}
    exact = heldout.ask(double, rotate(inputs, heldout.inputs, rotation))
    ours = heldout.ask(model, rotate(batch.inputs, heldout.inputs, rotation))
    return (_few(ours, batch) - _few(exact, batch)).square().mean().item()


def _of_detour(model, heldout: HeldOut, batch: Batch, turns: tuple, plain: torch.Tensor) -> float:
    """Half the mean squared change by a turn that changes every rounding and little else."""
    first, second = turns
    there = rotate(batch.inputs, heldout.inputs, first)
    turned = heldout.ask(model, rotate(there, heldout.inputs, second)).to(torch.float64)
    back = heldout.output.inverse(first, heldout.output.inverse(second, turned))
    return (_few(back, batch) - plain).square().mean().item() / 2


def _of_noise(model, heldout: HeldOut, batch: Batch, plain: torch.Tensor) -> float:
    """Half the mean squared change by a last digit, at random, of every number that would turn."""
    random = torch.Generator().manual_seed(0)
    inputs = dict(batch.inputs)
    for name, value in inputs.items():
        if value.is_floating_point() and not isinstance(heldout.inputs[name], Fixed):
            sign = 2 * torch.randint(2, value.shape, generator=random) - 1
            inputs[name] = value * (1 + torch.finfo(value.dtype).eps * sign.to(value))
    return (_few(heldout.ask(model, inputs), batch) - plain).square().mean().item() / 2


def _few(prediction: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The first items, in float64, zero where an element does not count."""
    prediction = prediction[:FLOOR_ITEMS].to(torch.float64)
    if batch.mask is None:
        return prediction
    return torch.where(valid(batch.mask[:FLOOR_ITEMS], prediction) > 0, prediction, 0.0)


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
