"""The rows of the decomposition table: a model's weights measured under the conditions and rotations of a
plan.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from equidyn import seeds
from equidyn.results.columns import DECOMPOSITION
from equidyn.symmetry import groups
from equidyn.symmetry.decomposition import Decomposition
from equidyn.symmetry.measure import Batch, measure_losses
from equidyn.tasks.protocol import Task

FLOOR_ROTATIONS = 4  # enough for the scale of rounding


@dataclass(frozen=True)
class Rotations:
    """Rotations [n_rotations, n_items, 3, 3], the name that the table gives them, and the order of a finite
    group.
    """

    name: str
    drawn: torch.Tensor
    order: int | None


@dataclass(frozen=True)
class Plan:
    """What the weights of one checkpoint are measured with."""

    weights: str  # live or ema
    rotations: Rotations
    conditions: tuple[str, ...]


def rotations_of(task: Task, n_rotations: int, n_items: int) -> tuple[Rotations, Rotations]:
    """Rotations of every checkpoint, and those of the last: all 24 of the cube.

    Tasks on SO(3): `haar` draws, and `cube`, all 24 rotations of the cube. Tasks on a grid: `cube`, draws
    without replacement from the 24 and different ones for every item, and `cube-24`, all of them.
    """
    drawn, order = groups.draw_per_item(task.group, n_rotations, n_items, seeds.ROTATIONS)
    whole = groups.cube()[:, None].expand(-1, n_items, -1, -1)
    name = "cube-24" if task.group == "cube" else "cube"
    return Rotations(task.group, drawn, order), Rotations(name, whole, groups.CUBE_ORDER)


def plans_of(task: Task, main: Rotations, whole: Rotations, last: bool) -> list[Plan]:
    """Live weights on the task's rotations; at the last checkpoint also EMA weights and the whole
    cube group.
    """
    plans = [Plan("live", main, task.conditions)]
    if last:
        plans.append(Plan("ema", main, task.conditions))
        plans.append(Plan("live", main, getattr(task, "conditions_sc", ())))
        if len(task.conditions) == 1:  # 24 rotations at every flow time would cost more than all else
            plans.append(Plan("live", whole, task.conditions))
    return plans


def measured_rows(
    run: str,
    task: Task,
    model: torch.nn.Module,
    saved: dict,
    plan: Plan,
    now: Callable[[], float] = time.monotonic,
) -> Iterator[dict]:
    """Rows of one plan at one checkpoint, in the columns of ``results.columns.DECOMPOSITION``.

    Parameters
    ----------
    saved : a checkpoint: its step, and states of the model by name;  now : clock, in seconds
    """
    model.load_state_dict(saved[plan.weights])
    drawn, order, losses = plan.rotations.drawn, plan.rotations.order, {"mse": None, **task.losses}
    for condition in plan.conditions:
        started = now()
        batches = task.held_out(model, condition)
        measured = measure_losses(
            model, task.predict, batches, task.actions, task.output, drawn, losses, order
        )
        seconds = now() - started
        floors = floor(task, model, batches, drawn, losses, order)
        how = dict(condition=condition, weights=plan.weights, rotations=plan.rotations.name)
        common = dict(run=run, task=task.name, step=saved["step"], **how, seconds=round(seconds, 3))
        trivial = task.trivial_loss(condition)
        for loss, found in measured.items():
            yield row(common, loss, found, floors[loss].equivariance, trivial)
            if found.plugin:
                yield row(common, f"{loss}-plugin", found.plugin, floors[loss].equivariance, trivial)


def off_grid_row(run: str, task: Task, model: torch.nn.Module, saved: dict, n_rotations: int) -> dict:
    """The row of Haar rotations of a task on a grid, live weights; no rescaled input is evaluated in the
    ball.
    """
    model.load_state_dict(saved["live"])
    started = time.monotonic()
    found = task.off_grid(model, n_rotations, seeds.ROTATIONS)
    seconds = time.monotonic() - started
    control = task.off_grid(model.equivariant_control(), n_rotations, seeds.ROTATIONS)
    how = dict(condition="", weights="live", rotations="haar")
    common = dict(run=run, task=task.name, step=saved["step"], **how, seconds=round(seconds, 3))
    return row(common, "mse", found, control.equivariance, None)


def floor(
    task: Task,
    model: torch.nn.Module,
    batches: list[Batch],
    rotations: torch.Tensor,
    losses: dict,
    order: int | None,
) -> dict[str, Decomposition]:
    """Decomposition of the exactly equivariant control, by loss: one batch and four rotations."""
    middle = len(batches) // 2
    start = sum(len(batch) for batch in batches[:middle])
    few = rotations[:FLOOR_ROTATIONS, start : start + len(batches[middle])]
    control, symmetry = model.equivariant_control().eval(), (task.actions, task.output)
    return measure_losses(control, task.predict, [batches[middle]], *symmetry, few, losses, order)


def row(common: dict, loss: str, found: Decomposition, floor: float, trivial: float | None) -> dict:
    """One row of the table; ``common`` is what rows of several losses share, ``trivial`` None where zero is
    best.
    """
    measured = {name: value for name, value in vars(found).items() if name in DECOMPOSITION}
    trivial = found.zero_loss if trivial is None else trivial
    return {**common, "loss": loss, **measured, "trivial_loss": trivial, "floor": floor}
