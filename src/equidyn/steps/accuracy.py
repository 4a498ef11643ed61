"""Errors of forces and energies, or atoms found in denoised grids, at the last checkpoint of a run."""

from dataclasses import asdict
from pathlib import Path

from equidyn.analysis import accuracy as analysis
from equidyn.results.columns import ACCURACY
from equidyn.results.tables import write_table
from equidyn.steps.run import checkpoints_in, load, read_settings
from equidyn.training import checkpoint

OF = {"forces": analysis.of_forces, "voxels": analysis.of_voxels}


def accuracy(
    config: Path, data: Path, checkpoints: Path, out: Path, grids: Path | None = None, threads: int = 1
) -> None:
    """Write ``accuracy.csv`` of a run; its columns are ``results.columns.ACCURACY``."""
    run = load(read_settings(config), data, grids, threads)
    saved, of = checkpoint.load(checkpoints_in(checkpoints, run.settings)[-1]), OF[run.task.name]
    common, rows = dict(run=run.settings["run"], step=saved["step"]), []
    for weights in ("live", "ema"):
        run.model.load_state_dict(saved[weights])
        rows += [{**common, "weights": weights, **asdict(v)} for v in of(run.model, run.task)]
    if run.task.name == "voxels":
        rows += [{**common, "weights": "clean grids", **asdict(v)} for v in of(None, run.task)]
    write_table(out, rows, list(ACCURACY))
