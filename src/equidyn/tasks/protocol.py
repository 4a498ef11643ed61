"""What training and measuring need to know of a task: one protocol, each task a module of its own."""

from collections.abc import Callable
from typing import Protocol

import torch

from equidyn.symmetry.actions import Action
from equidyn.symmetry.measure import Batch


class Task(Protocol):
    """From a dataset file to training losses and held-out batches."""

    name: str
    actions: dict[str, Action]  # how each input of a Batch transforms
    output: Action  # how the prediction transforms
    losses: dict[str, Callable]  # convex losses measured beside the squared one, by name
    group: str  # that held-out items are rotated by: "haar" (SO(3)) or "cube" (24 elements)
    conditions: tuple[
        str, ...
    ]  # under which the loss is measured, e.g. flow times; ("",) where there are none
    n_train: int

    def training_loss(
        self, model: torch.nn.Module, items: torch.Tensor, step_seed: int
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Loss of the training items with these indices, and what to log; all randomness from step_seed."""

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
