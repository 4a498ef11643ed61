"""Norms of the gradients of twirled error and equivariance error and the angle between them, at every
checkpoint.
"""

import time
from pathlib import Path

from tqdm import tqdm

from equidyn import seeds
from equidyn.analysis import gradients as analysis
from equidyn.results.columns import GRADIENTS
from equidyn.results.tables import write_table
from equidyn.steps.run import checkpoints_in, load, read_settings
from equidyn.symmetry import groups

CONDITIONS = ("t=0.4", "t=0.8", "t=0.95")  # of flow, where the config has them


def gradients(
    config: Path, data: Path, checkpoints: Path, out: Path, grids: Path | None = None, threads: int = 1
) -> None:
    """Write ``gradients.csv`` of a run (live weights); its columns are ``results.columns.GRADIENTS``."""
    settings = read_settings(config)
    dynamic = settings["dynamics"]
    run = load(settings, data, grids, threads, dynamic["n_items"])
    task, model = run.task, run.model
    group = dynamic.get("rotations", task.group)
    rotations, order = groups.draw_per_item(
        group, dynamic["n_rotations"], dynamic["n_items"], seeds.GRADIENT_ROTATIONS
    )
    conditions = [c for c in task.conditions if c in CONDITIONS] or task.conditions[:3]
    rows = []
    for path in tqdm(checkpoints_in(checkpoints, settings), desc="checkpoints"):
        step = run.take(path)
        for condition in conditions:
            started = time.monotonic()
            batches = task.held_out(model, condition)
            found = analysis.gradients(
                model, task.predict, batches, task.actions, task.output, rotations, order
            )
            seconds = round(time.monotonic() - started, 3)
            named = dict(run=settings["run"], task=task.name, step=step, condition=condition)
            rows.append(dict(**named, **vars(found), seconds=seconds))
    write_table(out, rows, list(GRADIENTS))
