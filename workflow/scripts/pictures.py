"""Fields and per-rotation errors of a voxel run at an early and at its last checkpoint."""

from pathlib import Path

import _cli

from equidyn import pictures, runs
from equidyn.training import checkpoint


def main() -> None:
    parser = runs.arguments(__doc__)
    parser.add_argument("--checkpoints", required=True, type=Path)
    args = parser.parse_args()
    settings = runs.read_settings(args)
    run = runs.build(args, runs.few_items(settings, min(8, settings["measure"]["n_items"])))
    task, model = run.task, run.model
    paths = runs.checkpoints(args.checkpoints)
    stages = {}
    for path in dict.fromkeys((paths[len(paths) // 2], paths[-1])):
        saved = checkpoint.load(path)
        model.load_state_dict(saved["live"])
        stages[saved["step"]] = pictures.fields(model, task, task.held_out(model)[0])
    pictures.write(args.out, stages)


if __name__ == "__main__":
    _cli.run(main)
