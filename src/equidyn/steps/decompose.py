"""Decompose the held-out loss at every checkpoint of a run into twirled error and equivariance error."""

from pathlib import Path

from tqdm import tqdm

from equidyn.results.columns import DECOMPOSITION
from equidyn.results.tables import write_table
from equidyn.steps.measurement import measured_rows, off_grid_row, plans_of, rotations_of
from equidyn.steps.run import checkpoints_in, load, read_settings
from equidyn.training import checkpoint


def decompose(
    config: Path, data: Path, checkpoints: Path, out: Path, grids: Path | None = None, threads: int = 1
) -> None:
    """Write ``decomposition.csv`` of a run; its columns are ``results.columns.DECOMPOSITION``."""
    run = load(read_settings(config), data, grids, threads)
    name, task, model, measured = run.settings["run"], run.task, run.model, run.settings["measure"]
    n_items = sum(len(batch) for batch in task.held_out(model, task.conditions[0]))
    main, whole = rotations_of(task, measured["n_rotations"], n_items)
    paths, rows = checkpoints_in(checkpoints), []
    for path in tqdm(paths, desc="checkpoints"):
        saved, last = checkpoint.load(path), path == paths[-1]
        for plan in plans_of(task, main, whole, last):
            rows += measured_rows(name, task, model, saved, plan)
        if last and measured.get("off_grid"):
            rows.append(off_grid_row(name, task, model, saved, measured["off_grid"]))
    write_table(out, rows, list(DECOMPOSITION))
