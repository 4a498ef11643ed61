"""Decompose the held-out loss at every checkpoint of a run into twirled error and equivariance error."""

import argparse
import csv
import os
import time
from pathlib import Path

import _cli
import torch
import yaml
from tqdm import tqdm

from equidyn import groups, tasks
from equidyn.config import resolve_device
from equidyn.data.schema import DataError
from equidyn.measure import measure_losses
from equidyn.models import registry
from equidyn.training import checkpoint

COLUMNS = (
    "run task step condition weights rotations loss total twirled equivariance percent percent_lo percent_hi zero_loss trivial_loss "
    "relative_equivariance floor n_items n_rotations seconds variance_items variance_rotations"
).split()
ROTATION_SEED = 20_251_001  # held-out rotations are the same for every run, seed and checkpoint


def floor(task, model, batches, rotations, losses):
    """Decomposition of the exactly equivariant control: one batch and four rotations are enough for the scale of rounding."""
    middle = len(batches) // 2
    start = sum(len(batch) for batch in batches[:middle])
    few = rotations[:4, start : start + len(batches[middle])]
    return measure_losses(model.equivariant_control(), task.predict, [batches[middle]], task.actions, task.output, few, losses)


def rows_of(path, settings, task, model, batches, rotations, last):
    """Table rows of one checkpoint: live weights on Haar rotations; at the last also EMA weights and the 24 cube rotations."""
    saved = checkpoint.load(path)
    plans = [("live", "haar"), ("ema", "haar"), ("live", "cube")] if last else [("live", "haar")]
    for weights, name in plans:
        model.load_state_dict(saved[weights])
        drawn, order = rotations[name]
        losses = {"mse": None, **task.losses}
        started = time.monotonic()
        measured = measure_losses(model, task.predict, batches, task.actions, task.output, drawn, losses, order)
        seconds = time.monotonic() - started
        floors = floor(task, model, batches, rotations["haar"][0], losses)
        for loss_name, result in measured.items():
            results = {loss_name: result, **({f"{loss_name}-plugin": result.plugin} if result.plugin else {})}
            for label, r in results.items():
                trivial = task.trivial_loss()
                yield dict(
                    run=settings["run"], task=task.name, step=saved["step"], condition="", weights=weights, rotations=name, loss=label,
                    total=r.total, twirled=r.twirled, equivariance=r.equivariance, percent=r.percent, percent_lo=r.percent_lo, percent_hi=r.percent_hi,
                    zero_loss=r.zero_loss, trivial_loss=r.zero_loss if trivial is None else trivial, relative_equivariance=r.relative_equivariance,
                    floor=floors[loss_name].equivariance, n_items=r.n_items, n_rotations=r.n_rotations, seconds=round(seconds, 3),
                    variance_items=r.variance_items, variance_rotations=r.variance_rotations,
                )  # fmt: skip


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
    print(f"device: {device}", flush=True)
    task = tasks.build(settings["task"], str(args.data), settings, device)
    model = registry.build(settings["model"]["architecture"], settings["model"]["size"], **settings["model"].get("options", {})).eval().to(device)
    batches = task.held_out(model)
    n_items = sum(len(batch) for batch in batches)
    cube = groups.cube()
    rotations = {
        "haar": (groups.haar_per_item(settings["measure"]["n_rotations"], n_items, ROTATION_SEED), None),
        "cube": (cube[:, None].expand(-1, n_items, -1, -1), len(cube)),
    }
    paths = sorted(args.checkpoints.glob("step_*.pt"))
    if not paths:
        raise DataError(f"{args.checkpoints}: no step_*.pt; rerun the rule `train`")
    rows = [row for path in tqdm(paths, desc="checkpoints") for row in rows_of(path, settings, task, model, batches, rotations, path == paths[-1])]
    temporary = args.out.with_suffix(".part")
    with open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=COLUMNS)
        writer.writeheader()
        writer.writerows({k: repr(v) if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    os.replace(temporary, args.out)


if __name__ == "__main__":
    _cli.run(main)
