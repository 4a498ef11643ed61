"""Decompose the held-out loss at every checkpoint of a run into twirled error and equivariance error."""

from pathlib import Path

from tqdm import tqdm

from equidyn.results.columns import DECOMPOSITION
from equidyn.results.tables import write_table
from equidyn.steps.measurement import Measurement, about_training
from equidyn.steps.run import checkpoints_in, load, read_settings
from equidyn.training import checkpoint


def decompose(
    config: Path, data: Path, checkpoints: Path, out: Path, grids: Path | None = None, threads: int = 1
) -> None:
    """Write ``decomposition.csv`` of a run; its columns are ``results.columns.DECOMPOSITION``."""
    run = load(read_settings(config), data, grids, threads)
    measured = run.settings["measure"]
    about = about_training(run.settings, data)
    measurement = Measurement(run.settings["run"], run.task, run.model, measured["n_rotations"], about=about)
    paths, rows = checkpoints_in(checkpoints), []
    for path in tqdm(paths, desc="checkpoints"):
        saved, last = checkpoint.load(path), path == paths[-1]
        for plan in measurement.plans(last):
            rows += measurement.rows(saved, plan)
        if last and measured.get("off_grid"):
            rows.append(measurement.off_grid_row(saved, measured["off_grid"]))
    write_table(out, rows, list(DECOMPOSITION))
