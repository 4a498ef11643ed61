"""Norms of the gradients of twirled error and equivariance error and the angle between them, at every checkpoint of a run (live weights)."""

import time
from pathlib import Path

import _cli
from tqdm import tqdm

from equidyn import dynamics, groups, runs
from equidyn.training import checkpoint

COLUMNS = "run task step condition norm_equivariance norm_twirled ratio cosine percent n_items n_rotations seconds".split()
ROTATION_SEED = 20_251_005  # the same for every run, seed and checkpoint
CONDITIONS = ("t=0.4", "t=0.8", "t=0.95")  # of flow, where the config has them


def main() -> None:
    parser = runs.arguments(__doc__)
    parser.add_argument("--checkpoints", required=True, type=Path)
    args = parser.parse_args()
    settings = runs.read_settings(args)
    dynamic = settings["dynamics"]
    run = runs.build(args, runs.few_items(settings, dynamic["n_items"]))
    task, model = run.task, run.model
    if dynamic.get("rotations", task.group) == "cube":
        rotations, order = groups.subset_per_item(groups.cube(), dynamic["n_rotations"], dynamic["n_items"], ROTATION_SEED), groups.CUBE_ORDER
    else:
        rotations, order = groups.haar_per_item(dynamic["n_rotations"], dynamic["n_items"], ROTATION_SEED), None
    paths = runs.checkpoints(args.checkpoints)
    rows = []
    for path in tqdm(paths, desc="checkpoints"):
        saved = checkpoint.load(path)
        model.load_state_dict(saved["live"])
        for condition in [c for c in task.conditions if c in CONDITIONS] or task.conditions[:3]:
            started = time.monotonic()
            found = dynamics.gradients(model, task.predict, task.held_out(model, condition), task.actions, task.output, rotations, order)
            seconds = round(time.monotonic() - started, 3)
            rows.append(dict(run=settings["run"], task=task.name, step=saved["step"], condition=condition, **vars(found), seconds=seconds))
    runs.write_table(args.out, rows, COLUMNS)


if __name__ == "__main__":
    _cli.run(main)
