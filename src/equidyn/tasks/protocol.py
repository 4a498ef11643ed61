"""What training and measuring need to know of a task: one protocol, each task a module of its own.

A task is made as ``Class(dataset, settings, device)``: the path of its dataset file, the run's settings (of
which training hands over no ``measure``), and the device; one that declares ``grids`` takes the path of its
held-out grids as ``grids``, too.
"""

import inspect
from collections.abc import Callable
from typing import Protocol

import torch

from equidyn.declarations import Task as Declared
from equidyn.defaults import AVERAGE, EQUIVARIANCE_PENALTY
from equidyn.device import on_device
from equidyn.errors import ConfigError
from equidyn.symmetry import groups
from equidyn.symmetry.actions import Action
from equidyn.symmetry.averaging import averaged
from equidyn.symmetry.measure import Batch
from equidyn.symmetry.penalty import equivariance_penalty

PENALTY_STREAM, AVERAGE_STREAM = 5, 6  # of a step's random numbers; tasks draw from 0 to 4


class Task(Protocol):
    """From a dataset file to training losses and held-out batches."""

    name: str
    actions: dict[str, Action]  # how each input of a Batch transforms
    output: Action  # how the prediction transforms
    losses: dict[str, Callable]  # convex losses measured beside the squared one, by name
    group: str  # that held-out items are rotated by: "haar" (SO(3)) or "cube" (24 elements)
    conditions: tuple[str, ...]  # under which the loss is measured, e.g. flow times; ("",) if none
    n_train: int
    # What a task may have beside these: ``predictors()``, its fitted baselines by name (see
    # ``baselines.evaluate``), each exactly equivariant; ``conditions_sc``, conditions under which the model
    # makes part of its own input; ``off_grid``, for tasks on a grid.

    def training_loss(
        self, model: torch.nn.Module, items: torch.Tensor, step_seed: int
    ) -> tuple[torch.Tensor, dict[str, float | torch.Tensor]]:
        """Loss of the training items with these indices, and what to log; all randomness from step_seed. A
        task may have it in three parts, see ``TrainsInParts``.
        """

    def held_out(self, model: torch.nn.Module, condition: str = "") -> list[Batch]:
        """The fixed held-out items under a condition, the same for every checkpoint and run of the task."""

    def seen(self, model: torch.nn.Module, condition: str = "") -> list[Batch]:
        """Training items, one per cluster and at most as many as are held out, made into batches in the
        same way.
        """

    def predict(self, model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Prediction [n_items, ...] in the unit of the target."""

    def trivial_loss(self, condition: str = "") -> float | None:
        """Held-out loss of the best equivariant predictor that only rescales its input; None where that is
        zero output.
        """


class TrainsInParts:
    """A training loss in three parts, so that a GPU need not wait for the host.

    ``draw`` on the host, all that is random and small, made ahead; ``make`` on the device, where shapes are
    known beforehand; ``loss`` on the device, nothing but torch functions of the batch, which can be recorded
    once and replayed.

    ``draw(items, step_seed, few_shapes)`` returns tensors and other values by name; with ``few_shapes``
    lengths are rounded up. ``make(model, drawn)`` gets them on the device and returns the batch;
    ``loss(model, batch)`` the loss and what to log, tensors that nobody has waited for.
    """

    device: str

    def training_loss(
        self, model: torch.nn.Module, items: torch.Tensor, step_seed: int
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Loss of the training items with these indices, and what to log; all randomness from step_seed."""
        drawn = on_device(self.draw(items, step_seed), self.device)
        return self.loss(model, self.make(model, drawn))


def takes(model: torch.nn.Module, argument: str) -> bool:
    """Whether a model's ``forward`` has an argument of that name."""
    return argument in inspect.signature(model.forward).parameters


def draws_of_symmetry(task: Task, n_items: int, step_seed: int) -> dict:
    """Rotations of ``training.average`` and ``training.equivariance_penalty``, where a run has them, as
    ``symmetry``; they stay on the host, where grids are turned by them.
    """
    training, drawn = task.settings["training"], {}
    n = training.get("average", AVERAGE)
    if n > 1:
        drawn["average"] = groups.draw_per_item(task.group, n, n_items, [step_seed, AVERAGE_STREAM])[0]
    if training.get("equivariance_penalty", EQUIVARIANCE_PENALTY) > 0:
        drawn["penalty"] = groups.draw_per_item(task.group, 1, n_items, [step_seed, PENALTY_STREAM])[0][0]
    return dict(symmetry=drawn)


def predicted(
    task: Task,
    predict: Callable[[dict[str, torch.Tensor]], tuple[torch.Tensor, ...]],
    inputs: dict[str, torch.Tensor],
    outputs: tuple[Action, ...],
    batch: dict,
) -> tuple[torch.Tensor, ...]:
    """What the training loss is taken of: predictions of the items as they lie, or their means over the
    rotations that were drawn for ``training.average``. ``outputs`` says how each prediction transforms.
    """
    rotations = batch["symmetry"].get("average")
    if rotations is None:
        return predict(inputs)
    return averaged(predict, inputs, task.actions, outputs, rotations)


def penalised(
    loss: torch.Tensor,
    log: dict[str, torch.Tensor],
    task: Task,
    predict: Callable[[dict[str, torch.Tensor]], torch.Tensor],
    inputs: dict[str, torch.Tensor],
    prediction: torch.Tensor,
    mask: torch.Tensor | None,
    batch: dict,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """A training loss and its log with the term ``training.equivariance_penalty``, where a run has one.

    ``prediction`` is that of ``predict(inputs)``, in a unit in which the zero predictor's loss is about 1.
    """
    rotations = batch["symmetry"].get("penalty")
    if rotations is None:
        return loss, log
    weight = task.settings["training"]["equivariance_penalty"]
    penalty = equivariance_penalty(predict, inputs, prediction, task.actions, task.output, rotations, mask)
    return loss + weight * penalty, log | {"equivariance": penalty.detach()}


MEMBERS = (
    *Task.__annotations__,
    *(name for name, value in vars(Task).items() if callable(value) and not name.startswith("_")),
)


def check(task: object, declared: Declared) -> None:
    """That a task from outside the package has what training and measuring ask of it.

    Raises
    ------
    ConfigError
        attributes or methods that are missing, another name or other rotations than it declares
    """
    if missing := [name for name in MEMBERS if not hasattr(task, name)]:
        raise ConfigError(
            f"{declared.file}: {declared.class_name} has no {', '.join(missing)}, expected for a task "
            f"(equidyn/tasks/protocol.py)"
        )
    if (task.name, task.group) != (declared.name, declared.rotations):
        raise ConfigError(
            f"{declared.file}: {declared.class_name} has the name {task.name!r} and the group "
            f"{task.group!r}, expected {declared.name!r} and {declared.rotations!r} as TASK says"
        )
