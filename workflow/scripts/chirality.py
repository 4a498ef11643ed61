"""Chirality gap of a flow run at its first and last checkpoint (live weights), per flow time."""

import argparse
import csv
import os
from dataclasses import asdict
from pathlib import Path

import _cli
import torch
import yaml
from tqdm import tqdm

from equidyn import chirality, groups, tasks
from equidyn.config import resolve_device
from equidyn.models import registry
from equidyn.training import checkpoint

ROTATION_SEED = 20_251_004


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, type=Path)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--checkpoints", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    settings = yaml.safe_load(args.config.read_text())
    device = resolve_device(settings["device"])
    task = tasks.build(settings["task"], str(args.data), settings, device)
    model = registry.build(settings["model"]["architecture"], settings["model"]["size"], **settings["model"].get("options", {})).eval().to(device)
    paths, rows = sorted(args.checkpoints.glob("step_*.pt")), []
    for path in (paths[0], paths[-1]):
        saved = checkpoint.load(path)
        model.load_state_dict(saved["live"])
        for condition in tqdm(task.conditions, desc=f"step {saved['step']}"):
            batches = task.held_out(model, condition)
            rotations = groups.haar_per_item(settings["measure"]["n_rotations"], sum(len(b) for b in batches), ROTATION_SEED)
            rows.append(dict(run=settings["run"], step=saved["step"], condition=condition, **asdict(chirality.gap(model, task, batches, rotations))))
    temporary = args.out.with_suffix(".part")
    with open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    os.replace(temporary, args.out)


if __name__ == "__main__":
    _cli.run(main)
