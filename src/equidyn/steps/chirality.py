"""Chirality gap of a flow run at its first and last checkpoint (live weights), per flow time."""

from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from equidyn import seeds
from equidyn.analysis.chirality import gap
from equidyn.results.columns import CHIRALITY
from equidyn.results.tables import write_table
from equidyn.steps.run import checkpoints_in, load, read_settings
from equidyn.symmetry import groups


def chirality(
    config: Path, data: Path, checkpoints: Path, out: Path, grids: Path | None = None, threads: int = 1
) -> None:
    """Write ``chirality.csv`` of a run; its columns are ``results.columns.CHIRALITY``."""
    run = load(read_settings(config), data, grids, threads)
    task, model, n_rotations = run.task, run.model, run.settings["measure"]["n_rotations"]
    paths, rows = checkpoints_in(checkpoints, run.settings), []
    for path in (paths[0], paths[-1]):
        step = run.take(path)
        for condition in tqdm(task.conditions, desc=f"step {step}"):
            batches = task.held_out(model, condition)
            n_items = sum(len(batch) for batch in batches)
            rotations = groups.haar_per_item(n_rotations, n_items, seeds.CHIRALITY_ROTATIONS)
            found = asdict(gap(model, task, batches, rotations))
            rows.append(dict(run=run.settings["run"], step=step, condition=condition, **found))
    write_table(out, rows, list(CHIRALITY))
