"""Norms of the gradients of twirled error and equivariance error and the angle between them, at every checkpoint of a run (live weights)."""

import argparse
import csv
import os
import time
from pathlib import Path

import _cli
import torch
import yaml
from tqdm import tqdm

from equidyn import dynamics, groups, tasks
from equidyn.config import resolve_device
from equidyn.data.schema import DataError
from equidyn.models import registry
from equidyn.training import checkpoint

COLUMNS = "run task step condition norm_equivariance norm_twirled ratio cosine percent n_items n_rotations seconds".split()
ROTATION_SEED = 20_251_005  # the same for every run, seed and checkpoint
CONDITIONS = ("t=0.4", "t=0.8", "t=0.95")  # of flow, where the config has them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, type=Path)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--grids", help="held-out grids (task voxels)")
    parser.add_argument("--checkpoints", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    settings = yaml.safe_load(args.config.read_text()) | {"grids": args.grids}
    dynamic, measured = settings["dynamics"], settings["measure"]
    settings["measure"] = {**measured, "n_items": dynamic["n_items"], "batch_size": min(measured["batch_size"], dynamic["n_items"])}
    device = resolve_device(settings["device"])
    print(f"device: {device}", flush=True)
    task = tasks.build(settings["task"], str(args.data), settings, device)
    model = registry.build(settings["model"]["architecture"], settings["model"]["size"], **settings["model"].get("options", {})).eval().to(device)
    if dynamic.get("rotations", task.group) == "cube":
        rotations, order = groups.subset_per_item(groups.cube(), dynamic["n_rotations"], dynamic["n_items"], ROTATION_SEED), groups.CUBE_ORDER
    else:
        rotations, order = groups.haar_per_item(dynamic["n_rotations"], dynamic["n_items"], ROTATION_SEED), None
    paths = sorted(args.checkpoints.glob("step_*.pt"))
    if not paths:
        raise DataError(f"{args.checkpoints}: no step_*.pt; rerun the rule `train`")
    rows = []
    for path in tqdm(paths, desc="checkpoints"):
        saved = checkpoint.load(path)
        model.load_state_dict(saved["live"])
        for condition in [c for c in task.conditions if c in CONDITIONS] or task.conditions[:3]:
            started = time.monotonic()
            found = dynamics.gradients(model, task.predict, task.held_out(model, condition), task.actions, task.output, rotations, order)
            seconds = round(time.monotonic() - started, 3)
            rows.append(dict(run=settings["run"], task=task.name, step=saved["step"], condition=condition, **vars(found), seconds=seconds))
    temporary = args.out.with_suffix(".part")
    with open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=COLUMNS)
        writer.writeheader()
        writer.writerows({k: repr(v) if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    os.replace(temporary, args.out)


if __name__ == "__main__":
    _cli.run(main)
