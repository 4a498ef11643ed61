"""Decompose the held-out loss at every checkpoint of a run into twirled error and equivariance error."""

from pathlib import Path

from tqdm import tqdm

from equidyn import processes
from equidyn.defaults import PROCESSES
from equidyn.results.columns import DECOMPOSITION
from equidyn.results.tables import write_table
from equidyn.steps.measurement import Measurement, about_training
from equidyn.steps.run import Run, checkpoints_in, load, read_settings
from equidyn.training import checkpoint


def decompose(
    config: Path, data: Path, checkpoints: Path, out: Path, grids: Path | None = None, threads: int = 1
) -> None:
    """Write ``decomposition.csv`` of a run; its columns are ``results.columns.DECOMPOSITION``."""
    settings = read_settings(config)
    with processes.started(settings["training"].get("processes", PROCESSES)) as ours:
        run = load(settings, data, grids, threads)
        rows = _rows(run, data, checkpoints_in(checkpoints), ours)
        if ours.first:
            write_table(out, rows, list(DECOMPOSITION))


def _rows(run: Run, data: Path, paths: list[Path], ours: processes.Processes) -> list[dict]:
    measured, about = run.settings["measure"], about_training(run.settings, data)
    measurement = Measurement(
        run.settings["run"], run.task, run.model, measured["n_rotations"], about=about, processes=ours
    )
    rows = []
    for path in tqdm(paths, desc="checkpoints", disable=not ours.first):
        saved, last = checkpoint.load(path), path == paths[-1]
        for plan in measurement.plans(last):
            rows += measurement.rows(saved, plan)
        if last and measured.get("off_grid"):
            rows.append(measurement.off_grid_row(saved, measured["off_grid"]))
    return rows
