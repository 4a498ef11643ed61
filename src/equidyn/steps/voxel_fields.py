"""Fields and per-rotation errors of a voxel run, for pictures: at an early and at its last checkpoint."""

from pathlib import Path

from equidyn.analysis import voxel_fields as analysis
from equidyn.steps.run import checkpoints_in, load, read_settings

N_ITEMS = 8  # at most


def voxel_fields(
    config: Path, data: Path, checkpoints: Path, out: Path, grids: Path | None = None, threads: int = 1
) -> None:
    """Write ``fields.h5`` of a run, see ``analysis.voxel_fields.write``."""
    settings = read_settings(config)
    run = load(settings, data, grids, threads, min(N_ITEMS, settings["measure"]["n_items"]))
    paths, stages, recalls = checkpoints_in(checkpoints, settings), {}, {}
    for path in dict.fromkeys((paths[len(paths) // 2], paths[-1])):
        step = run.take(path)
        stages[step] = analysis.fields(run.model, run.task, run.task.held_out(run.model)[0])
        recalls[step] = analysis.recall(run.model, run.task)
    analysis.write(out, stages, recalls)
