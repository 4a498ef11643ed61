"""``equidyn measure --run RUN --symmetries FILE``: how far a trained run is from each of its symmetries.

Rotation and inversion of every task; translation and permutation where one of this package means them. Chains
of `flow` have an order, and the task centres them, so that the network never sees a translation.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from equidyn import seeds
from equidyn.results.claims.rows import percent_text
from equidyn.results.columns import SYMMETRIES
from equidyn.results.tables import write_table
from equidyn.steps.measure_run import load_last
from equidyn.steps.rounding import in_double, rounding
from equidyn.steps.run import Run
from equidyn.symmetry import groups, transformations
from equidyn.symmetry.decomposition import Decomposition, accumulate, summarise
from equidyn.symmetry.limits import EXACT
from equidyn.symmetry.measure import Batch, check_eval
from equidyn.symmetry.sums import ItemSums
from equidyn.symmetry.transformations import Transformation, twisted

SHIFT = 3.0  # Å, of translations of atoms
FLOOR_ITEMS, FLOOR_ELEMENTS = 4, 4  # that the floor is taken from


@dataclass(frozen=True)
class Symmetry:
    """A symmetry, its elements in words, and how they are drawn for a batch whose items are numbered
    ``start``, ``start`` + 1, …; ``order`` of a finite group that they are drawn from without replacement.
    """

    name: str
    elements: str
    draw: Callable[[Batch, int], list[Transformation]]
    order: int | None = None


def measure_symmetries(run: Path, dataset: Path | None = None, out: Path | None = None) -> list[dict]:
    """Measure the last checkpoint's live weights on held-out items; print a line per row.

    Parameters
    ----------
    run, dataset : as in ``measure_run``
    out : table to write, CSV, with the columns ``results.columns.SYMMETRIES``

    Returns
    -------
    the rows, by condition and symmetry; that of rotation has the numbers of ``decomposition.csv``

    Raises
    ------
    DataError
        no such run, dataset or checkpoints
    """
    loaded, step = load_last(run, dataset)
    rows = [row for condition in loaded.task.conditions for row in symmetry_rows(loaded, condition, step)]
    for row in rows:
        print(line(row))
    if out is not None:
        write_table(out, rows, list(SYMMETRIES))
    return rows


def line(row: dict) -> str:
    """A row in one line."""
    where = f"{row['run']}, step {row['step']}" + (f", {row['condition']}" if row["condition"] else "")
    share = f"{percent_text(row)} of the loss"
    relative = f"r.m.s. {100 * row['relative_equivariance'] ** 0.5:.3g} % of the prediction"
    exact = "; exact (at the floor)" if row["exact"] == "yes" else ""
    return f"{where}, {row['symmetry']} ({row['elements']}): {share}; {relative}{exact}"


def symmetries_of(run: Run, n_items: int) -> list[Symmetry]:
    """Those that the run's task means, the elements of rotation as in its table."""
    task, n = run.task, run.settings["measure"]["n_rotations"]
    matrices, order = groups.draw_per_item(task.group, n, n_items, seeds.ROTATIONS)

    def rotations(batch, start):
        here = matrices[:, start : start + len(batch)]
        return [transformations.rotation(task.actions, task.output, one) for one in here]

    both = [transformations.identity(), transformations.inversion(task.actions, task.output)]
    found = [
        Symmetry("rotation", f"{task.group}, {n}", rotations, order),
        Symmetry("inversion", "with and without", lambda batch, start: both, order=2),
    ]
    others = OTHERS.get(task.name, _of_none)  # a task from outside the package says nothing of others
    return found + others(n)


def _of_forces(n: int) -> list[Symmetry]:
    def shifts(batch, start):
        drawn = np.stack([_random(1, start + k).normal(size=(n, 3)) for k in range(len(batch))], axis=1)
        drawn *= SHIFT / np.linalg.norm(drawn, axis=-1, keepdims=True)
        return [transformations.shift("positions", one.to(_device(batch))) for one in torch.from_numpy(drawn)]

    def orders(batch, start):
        n_atoms = batch.inputs["mask"].shape[1]
        found = []
        for element in range(n):
            drawn = [_random(2, start + k, element).permutation(n_atoms) for k in range(len(batch))]
            order = torch.from_numpy(np.stack(drawn)).to(_device(batch))
            found.append(transformations.permutation(order, "neighbours"))
        return found

    moved = f"{SHIFT:g} Å in random directions, {n}"
    return [
        Symmetry("translation", moved, shifts),
        Symmetry("permutation", f"random orders of atoms, {n}", orders),
    ]


def _of_voxels(n: int) -> list[Symmetry]:
    def rolls(batch, start):
        drawn = [_random(3, start + k).integers(-1, 2, size=(n, 3)).tolist() for k in range(len(batch))]
        return [transformations.roll("noisy", list(one)) for one in zip(*drawn)]

    return [Symmetry("translation", f"whole voxels, at most one along each axis, {n}", rolls)]


def _random(*stream: int) -> np.random.Generator:
    return np.random.default_rng([seeds.ROTATIONS, *stream])


def _device(batch: Batch) -> torch.device:
    return batch.target.device


def _of_none(n: int) -> list[Symmetry]:
    return []


OTHERS = {"forces": _of_forces, "voxels": _of_voxels}


@torch.no_grad()
def symmetry_rows(run: Run, condition: str, step: int) -> list[dict]:
    """Rows of one condition, for the weights that the model has; it is in eval mode."""
    check_eval(run.model)
    batches, rows = run.task.held_out(run.model, condition), []
    double = in_double(run.model)
    for symmetry in symmetries_of(run, sum(len(batch) for batch in batches)):
        started = time.monotonic()
        found = _measured(run, batches, symmetry)
        floor = _floor(run, double, batches[0][:FLOOR_ITEMS], symmetry)
        how = dict(run=run.settings["run"], task=run.task.name, step=step, condition=condition)
        how |= dict(symmetry=symmetry.name, elements=symmetry.elements, floor=floor)
        how |= dict(exact="yes" if found.equivariance <= EXACT * floor else "no")
        how |= dict(n_transformations=found.n_rotations, seconds=round(time.monotonic() - started, 3))
        rows.append(how | {name: value for name, value in vars(found).items() if name in SYMMETRIES})
    return rows


def _measured(run: Run, batches: list[Batch], symmetry: Symmetry) -> Decomposition:
    sums, start = [], 0
    for batch in batches:
        predictions = twisted(_predict(run, run.model), batch, symmetry.draw(batch, start))
        sums.append(accumulate(predictions, batch.target, batch.mask, symmetry.order))
        start += len(batch)
    return summarise(ItemSums.join(sums), torch.cat([batch.clusters for batch in batches]))


def _floor(run: Run, double: torch.nn.Module, few: Batch, symmetry: Symmetry) -> float:
    elements = symmetry.draw(few, 0)[-FLOOR_ELEMENTS:]

    def predictions(model):
        return lambda batch: twisted(_predict(run, model), batch, elements)

    return rounding([(few, predictions(run.model), predictions(double))])


def _predict(run: Run, model: torch.nn.Module) -> Callable:
    return lambda inputs: run.task.predict(model, inputs)
