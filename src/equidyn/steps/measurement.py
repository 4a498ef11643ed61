"""The rows of the decomposition table: a model's weights measured under the conditions and rotations of a
plan.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from equidyn import seeds
from equidyn.data import store
from equidyn.processes import ALONE, Processes
from equidyn.results.columns import DECOMPOSITION
from equidyn.steps.references import References
from equidyn.steps.rounding import in_double, rounding
from equidyn.symmetry import groups
from equidyn.symmetry.decomposition import Decomposition
from equidyn.symmetry.limits import FLOOR_ITEMS, FLOOR_ROTATIONS
from equidyn.symmetry.measure import Batch, chunks, measure_losses, twisted_by
from equidyn.tasks.protocol import Task

HELD_OUT, TRAINING = "held-out", "training"


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
    items: str = HELD_OUT


def about_training(settings: dict, data: Path) -> dict:
    """Columns that say whether training could show rotations: augmentation, and poses of the data."""
    _, found = store.poses_of(data)
    told = dict.fromkeys(("pose_deviation", "pose_second", "pose_fourth"), float("nan"))
    if found is not None:
        told = dict(pose_deviation=found.deviation, pose_second=max(found.gyration), pose_fourth=found.fourth)
    return dict(augment=float(settings["training"]["augment"]), **told)


class Measurement:
    """What the checkpoints of a run are measured with: items, rotations and baselines, made once.

    ``main`` are the rotations of every checkpoint, ``whole`` all 24 of the cube. Tasks on SO(3): `haar`
    draws, and `cube`, all 24 rotations of the cube. Tasks on a grid: `cube`, draws without replacement from
    the 24 and different ones for every item, and `cube-24`, all of them.

    ``about`` are columns that all rows share, see ``about_training``;
    ``processes`` share the batches.
    """

    def __init__(
        self,
        run: str,
        task: Task,
        model: torch.nn.Module,
        n_rotations: int,
        about: dict | None = None,
        processes: Processes = ALONE,
    ):
        self.processes = processes
        self.about = dict(run=run, task=task.name) | (about or {})
        self.task, self.model = task, model
        self.references = References(task)
        self._batches: dict[tuple[str, str], list[Batch]] = {}
        n_items = sum(len(batch) for batch in self._items(task.conditions[0], HELD_OUT))
        drawn, order = groups.draw_per_item(task.group, n_rotations, n_items, seeds.ROTATIONS)
        whole = groups.cube()[:, None].expand(-1, n_items, -1, -1)
        name = "cube-24" if task.group == "cube" else "cube"
        self.main, self.whole = (
            Rotations(task.group, drawn, order),
            Rotations(name, whole, groups.CUBE_ORDER),
        )

    def plans(self, last: bool) -> list[Plan]:
        """Live and EMA weights on the main rotations; at the last checkpoint also training items,
        self-conditioning and the whole cube group.
        """
        conditions = self.task.conditions
        plans = [Plan(weights, self.main, conditions) for weights in ("live", "ema")]
        if last:
            plans += [Plan(weights, self.main, conditions, TRAINING) for weights in ("live", "ema")]
            plans.append(Plan("live", self.main, getattr(self.task, "conditions_sc", ())))
            if len(conditions) == 1:  # 24 rotations at every flow time would cost more than all else
                plans.append(Plan("live", self.whole, conditions))
        return plans

    def rows(self, saved: dict, plan: Plan) -> Iterator[dict]:
        """Rows of one plan at one checkpoint, in the columns of ``results.columns.DECOMPOSITION``.

        Parameters
        ----------
        saved : a checkpoint: its step, and states of the model by name
        """
        self.model.load_state_dict(saved[plan.weights])
        control = self.model.equivariant_control().eval()
        task, order, losses = self.task, plan.rotations.order, {"mse": None, **self.task.losses}
        for condition in plan.conditions:
            started = time.monotonic()
            batches = self._items(condition, plan.items)
            if not batches:  # no training molecule fits the box of a voxel run
                continue
            reference = self.references.best(condition, plan.items, batches)
            drawn = plan.rotations.drawn[:, : sum(len(batch) for batch in batches)]
            symmetry = (task.actions, task.output, drawn, losses, order)
            measured = measure_losses(
                self.model, task.predict, batches, *symmetry, reference.sums, self.processes
            )
            seconds = time.monotonic() - started
            floors = self._floor(control, batches, drawn, losses, order)
            how = dict(condition=condition, items=plan.items, weights=plan.weights)
            how |= dict(rotations=plan.rotations.name, step=saved["step"], seconds=round(seconds, 3))
            trivial = task.trivial_loss(condition) if plan.items == HELD_OUT else None
            for loss, found in measured.items():
                baseline = reference.name if loss == "mse" else "zero"
                how |= dict(floor=floors[loss])
                yield self._row(how | dict(loss=loss, baseline=baseline), found, trivial)
                if found.plugin:
                    yield self._row(how | dict(loss=f"{loss}-plugin", baseline="zero"), found.plugin, trivial)

    def off_grid_row(self, saved: dict, n_rotations: int) -> dict:
        """The row of Haar rotations of a task on a grid, live weights; in the ball no baseline but zero is
        evaluated.
        """
        self.model.load_state_dict(saved["live"])
        started = time.monotonic()
        found = self.task.off_grid(self.model, n_rotations, seeds.ROTATIONS)
        seconds = time.monotonic() - started
        perfect = self.task.off_grid_floor(n_rotations, seeds.ROTATIONS)
        how = dict(condition="", items=HELD_OUT, weights="live", rotations="haar", loss="mse")
        how |= dict(step=saved["step"], seconds=round(seconds, 3), floor=perfect.equivariance)
        return self._row(how | dict(baseline="zero"), found, None)

    def _items(self, condition: str, items: str) -> list[Batch]:
        """Held-out or training batches; kept, but where the model makes part of its own input."""
        make = self.task.held_out if items == HELD_OUT else self.task.seen
        if condition in getattr(self.task, "conditions_sc", ()):
            return make(self.model, condition)
        key = condition, items
        if key not in self._batches:
            self._batches[key] = make(self.model, condition)
        return self._batches[key]

    def _floor(
        self,
        control: torch.nn.Module,
        batches: list[Batch],
        rotations: torch.Tensor,
        losses: dict,
        order: int | None,
    ) -> dict[str, float]:
        """Equivariance error of the exactly equivariant control, by loss: some items of the middle batch,
        four rotations. A network that is equivariant itself would be compared with itself: its squared loss
        has the rounding error of the same predictions, by a float64 copy: few of them hold most of it.
        """
        middle = len(batches) // 2
        few = batches[middle][:FLOOR_ITEMS]
        start = sum(len(batch) for batch in batches[:middle])
        drawn = rotations[:FLOOR_ROTATIONS, start : start + len(few)]
        task = self.task
        symmetry = (task.actions, task.output, drawn, losses, order)
        # launching kernels for four items takes a GPU as long as for a batch
        at_once = len(batches[middle]) // len(few) if few.target.is_cuda else 1
        measured = measure_losses(control, task.predict, [few], *symmetry, at_once=at_once)
        floors = {loss: found.equivariance for loss, found in measured.items()}
        if getattr(self.model, "equivariant", False):
            double = in_double(self.model)
            # spread: the first of the cube's rotations are changes of sign, which round nothing
            some = rotations[:: max(1, len(rotations) // FLOOR_ROTATIONS)][:FLOOR_ROTATIONS]
            floors["mse"] = rounding(
                (batch, self._twisted(self.model, part), self._twisted(double, part))
                for batch, part in chunks(batches, some)
            )
        return floors

    def _twisted(
        self, model: torch.nn.Module, rotations: torch.Tensor
    ) -> Callable[[Batch], Iterable[torch.Tensor]]:
        return lambda batch: twisted_by(self.task, model, batch, rotations)

    def _row(self, how: dict, found: Decomposition, trivial: float | None) -> dict:
        """One row of the table; ``trivial`` None where zero is best."""
        measured = {name: value for name, value in vars(found).items() if name in DECOMPOSITION}
        trivial = found.zero_loss if trivial is None else trivial
        return dict(**self.about, **how, **measured, trivial_loss=trivial)
