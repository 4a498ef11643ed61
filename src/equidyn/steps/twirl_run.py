"""``equidyn twirl --run``: what averaging a trained run over rotations gains, measured beside P + E/n."""

import time
from pathlib import Path

import torch

from equidyn import seeds
from equidyn.results.columns import TWIRLS
from equidyn.results.tables import write_table
from equidyn.steps.measure_run import load_last
from equidyn.steps.run import Run
from equidyn.symmetry import groups
from equidyn.symmetry.averaging import losses_of_means
from equidyn.symmetry.decomposition import accumulate, ratio_interval, summarise
from equidyn.symmetry.expected_loss import SIZES, expected
from equidyn.symmetry.measure import Batch, chunks, twisted_by
from equidyn.symmetry.sums import ItemSums

AT_ONCE = 4  # items whose predictions in all poses are held in memory


def twirl_run(run: Path, dataset: Path | None = None, out: Path | None = None) -> list[dict]:
    """Measure the last checkpoint's live weights on held-out items; print a line per row.

    Poses are drawn from the group of the task, 24 for every item: of the cube all of them, in random order.

    Parameters
    ----------
    run, dataset : as in ``measure_run``
    out : table to write, CSV, with the columns ``results.columns.TWIRLS``

    Returns
    -------
    the rows, by condition and size of the average

    Raises
    ------
    DataError
        no such run, dataset or checkpoints
    """
    loaded, step = load_last(run, dataset)
    about = dict(run=loaded.settings["run"], task=loaded.task.name, step=step)
    rows = []
    for condition in loaded.task.conditions:
        for row in twirl_rows(loaded, condition):
            rows.append(about | row)
            print(line(rows[-1]))
    if out is not None:
        write_table(out, rows, list(TWIRLS))
    return rows


def line(row: dict) -> str:
    """A row in one line."""
    where = row["run"] + (f", {row['condition']}" if row["condition"] else "")
    loss = f"loss {row['total']:.4g} [{row['total_lo']:.4g}, {row['total_hi']:.4g}]"
    above = f"{100 * row['excess']:.3g} % above the twirled prediction error"
    return f"{where}, mean over {row['n']}: {loss}, expected {row['expected']:.4g}, {above}"


@torch.no_grad()
def twirl_rows(run: Run, condition: str) -> list[dict]:
    """Rows of one condition, for the weights that the model has; without run, task and step."""
    task, started = run.task, time.monotonic()
    batches = task.held_out(run.model, condition)
    n_items = sum(len(batch) for batch in batches)
    drawn, order = groups.draw_per_item(task.group, max(SIZES), n_items, seeds.ROTATIONS)
    parts = [
        _of_few(run, few, rotations, order)
        for batch, chunk in chunks(batches, drawn)
        for few, rotations in _cut(batch, chunk)
    ]
    sums = ItemSums.join([part[0] for part in parts])
    clusters = torch.cat([batch.clusters for batch in batches])
    whole, seconds = summarise(sums, clusters), (time.monotonic() - started) / n_items / len(drawn)
    rows = []
    for n in SIZES:
        losses = torch.cat([part[1][n] for part in parts])
        total, low, high, _ = ratio_interval(losses, 100 * sums.count.cpu(), clusters)
        hope = expected(whole.twirled, whole.equivariance, n, order)
        row = dict(condition=condition, rotations=task.group, n=n, total=total, total_lo=low, total_hi=high)
        row |= dict(expected=hope, twirled=whole.twirled, equivariance=whole.equivariance)
        row |= dict(excess=total / whole.twirled - 1, seconds=n * seconds, n_items=n_items)
        rows.append(row)
    return rows


def _cut(batch: Batch, rotations: torch.Tensor):
    """A batch with its rotations [n_rotations, n_items, 3, 3] in parts of ``AT_ONCE`` items."""
    for start in range(0, len(batch), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        yield batch[part], rotations[:, part]


def _of_few(run: Run, few: Batch, rotations: torch.Tensor, order: int | None):
    """Sums of the decomposition, and losses of means by size, of some items; on the CPU."""
    stack = torch.stack(list(twisted_by(run.task, run.model, few, rotations)))  # (n_rotations, n_items, ...)
    losses = losses_of_means(stack, few.target, few.mask)
    sums = accumulate(stack, few.target, few.mask, order)
    return sums, {n: loss.cpu() for n, loss in losses.items()}
