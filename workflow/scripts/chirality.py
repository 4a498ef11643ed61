"""Chirality gap of a flow run at its first and last checkpoint (live weights), per flow time."""

from dataclasses import asdict
from pathlib import Path

import _cli
from tqdm import tqdm

from equidyn import chirality, groups, runs
from equidyn.training import checkpoint

ROTATION_SEED = 20_251_004


def main() -> None:
    parser = runs.arguments(__doc__)
    parser.add_argument("--checkpoints", required=True, type=Path)
    args = parser.parse_args()
    settings = runs.read_settings(args)
    run = runs.build(args, settings)
    task, model = run.task, run.model
    paths, rows = runs.checkpoints(args.checkpoints), []
    for path in (paths[0], paths[-1]):
        saved = checkpoint.load(path)
        model.load_state_dict(saved["live"])
        for condition in tqdm(task.conditions, desc=f"step {saved['step']}"):
            batches = task.held_out(model, condition)
            rotations = groups.haar_per_item(settings["measure"]["n_rotations"], sum(len(b) for b in batches), ROTATION_SEED)
            rows.append(dict(run=settings["run"], step=saved["step"], condition=condition, **asdict(chirality.gap(model, task, batches, rotations))))
    runs.write_table(args.out, rows)


if __name__ == "__main__":
    _cli.run(main)
