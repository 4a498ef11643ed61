"""Fields and per-rotation errors of a voxel run at an early and at its last checkpoint."""

import argparse
from pathlib import Path

import _cli
import torch
import yaml

from equidyn import pictures, tasks
from equidyn.config import resolve_device
from equidyn.models import registry
from equidyn.training import checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, type=Path)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--grids", required=True)
    parser.add_argument("--checkpoints", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    settings = yaml.safe_load(args.config.read_text()) | {"grids": args.grids}
    device = resolve_device(settings["device"])
    settings["measure"] = {**settings["measure"], "batch_size": min(8, settings["measure"]["n_items"])}  # the first batch is what is drawn
    task = tasks.build(settings["task"], str(args.data), settings, device)
    model = registry.build(settings["model"]["architecture"], settings["model"]["size"], **settings["model"].get("options", {})).eval().to(device)
    paths = sorted(args.checkpoints.glob("step_*.pt"))
    stages = {}
    for path in dict.fromkeys((paths[len(paths) // 2], paths[-1])):
        saved = checkpoint.load(path)
        model.load_state_dict(saved["live"])
        stages[saved["step"]] = pictures.fields(model, task, task.held_out(model)[0])
    pictures.write(args.out, stages)


if __name__ == "__main__":
    _cli.run(main)
