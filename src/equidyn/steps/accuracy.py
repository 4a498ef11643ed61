"""Errors of forces and energies, or atoms found in denoised grids, at the last checkpoint of a run."""

from dataclasses import asdict
from pathlib import Path

from equidyn.analysis import accuracy as analysis
from equidyn.errors import ConfigError
from equidyn.results.columns import ACCURACY
from equidyn.results.tables import write_table
from equidyn.steps.run import checkpoints_in, load, read_settings

OF = {"forces": analysis.of_forces, "voxels": analysis.of_voxels}


def accuracy(
    config: Path, data: Path, checkpoints: Path, out: Path, grids: Path | None = None, threads: int = 1
) -> None:
    """Write ``accuracy.csv`` of a run; its columns are ``results.columns.ACCURACY``.

    Raises
    ------
    ConfigError
        a run of a task without such errors
    """
    run = load(read_settings(config), data, grids, threads)
    if (name := run.task.name) not in OF:
        raise ConfigError(
            f"accuracy: run {run.settings['run']} has task {name!r}, expected {' or '.join(OF)}"
        )
    last, rows = checkpoints_in(checkpoints, run.settings)[-1], []
    for weights in ("live", "ema"):
        common = dict(run=run.settings["run"], step=run.take(last, weights))
        rows += [{**common, "weights": weights, **asdict(v)} for v in OF[name](run.model, run.task)]
    if name == "voxels":
        rows += [{**common, "weights": "clean grids", **asdict(v)} for v in OF[name](None, run.task)]
    write_table(out, rows, list(ACCURACY))
