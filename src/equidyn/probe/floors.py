"""The numerical floor of a torch model: what evaluations that should agree differ by."""

import copy
from collections.abc import Callable

import torch

from equidyn.errors import ArgumentError
from equidyn.probe.heldout import HeldOut
from equidyn.probe.poses import Poses
from equidyn.symmetry import groups
from equidyn.symmetry.measure import Batch, rotate

FLOOR_ITEMS, FLOOR_ROTATIONS = 4, 2


def floors_of(model: Callable, heldout: HeldOut, drawn: Poses, in_double: bool) -> dict[str, float]:
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
