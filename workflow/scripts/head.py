"""EScAIP's force head at every checkpoint of a run (live weights): how far its rows are from each other, and what that does to the error.

At fixed features the equivariance error is q(ΔW, G) = tr(ΔW G ΔWᵀ), exact and without sampling: ΔW is the head's deviation from equal rows,
G belongs to the features. From one checkpoint (0) to the next (1) the change of ln q splits into the features' part, G_0 to G_1 at fixed ΔW,

    features_part = ½ ln [q(ΔW_0, G_1) / q(ΔW_0, G_0)] + ½ ln [q(ΔW_1, G_1) / q(ΔW_1, G_0)]

the mean over both fixed heads, and the head's part, the same with the roles exchanged. The two add up to ``change`` = ln q_1 − ln q_0, so that each
summed over rows is its part of the whole training (ln 10 = 2.3 per decade). First row: nan. ``equivariance`` is Ê from rotations of the same items.
"""

import argparse
import csv
import math
import os
from pathlib import Path

import _cli
import torch
import yaml
from tqdm import tqdm

from equidyn import dynamics, groups, tasks
from equidyn.config import ConfigError, resolve_device
from equidyn.data.schema import DataError
from equidyn.measure import measure
from equidyn.models import escaip, registry
from equidyn.training import checkpoint

COLUMNS = "run step head_variance head_variance_relative equivariance quadratic_form features_part head_part change".split()
ROTATION_SEED = 20_251_007


def log_ratio(above: float, below: float) -> float:
    """ln(above / below); nan where either is not positive (a tied head)."""
    return math.log(above / below) if above > 0 and below > 0 else math.nan


def parts(old: tuple, new: tuple) -> dict[str, float]:
    """features_part, head_part and change in ln units, from (ΔW, G) of two checkpoints."""
    (w0, g0), (w1, g1) = old, new
    q = {(i, j): escaip.head_quadratic(w, g) for i, w in enumerate((w0, w1)) for j, g in enumerate((g0, g1))}
    features = (log_ratio(q[0, 1], q[0, 0]) + log_ratio(q[1, 1], q[1, 0])) / 2
    head = (log_ratio(q[1, 0], q[0, 0]) + log_ratio(q[1, 1], q[0, 1])) / 2
    return dict(features_part=features, head_part=head, change=log_ratio(q[1, 1], q[0, 0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, type=Path)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--checkpoints", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    settings = yaml.safe_load(args.config.read_text())
    if settings["model"]["architecture"] != "escaip":
        raise ConfigError(f"head: run {settings['run']} has architecture {settings['model']['architecture']!r}, expected 'escaip': no other model has this force head")
    dynamic, measured = settings["dynamics"], settings["measure"]
    settings["measure"] = {**measured, "n_items": dynamic["n_items"], "batch_size": min(measured["batch_size"], dynamic["n_items"])}
    device = resolve_device(settings["device"])
    print(f"device: {device}", flush=True)
    task = tasks.build(settings["task"], str(args.data), settings, device)
    model = registry.build("escaip", settings["model"]["size"], **settings["model"].get("options", {})).eval().to(device).double()
    rotations = groups.haar_per_item(dynamic["n_rotations"], dynamic["n_items"], ROTATION_SEED)
    batches = [dynamics.cast(batch) for batch in task.held_out(model)]
    paths = sorted(args.checkpoints.glob("step_*.pt"))
    if not paths:
        raise DataError(f"{args.checkpoints}: no step_*.pt; rerun the rule `train`")
    rows, old = [], None
    for path in tqdm(paths, desc="checkpoints"):
        saved = checkpoint.load(path)
        model.load_state_dict(saved["live"])
        new = escaip.head_deviation(model), escaip.head_gram(model, [batch.inputs for batch in batches], task.force_scale)
        variance, relative = escaip.head_variance(model)
        found = measure(model, task.predict, batches, task.actions, task.output, rotations)
        row = dict(run=settings["run"], step=saved["step"], head_variance=variance, head_variance_relative=relative)
        change = parts(old, new) if old else dict.fromkeys(("features_part", "head_part", "change"), math.nan)
        rows.append(dict(**row, equivariance=found.equivariance, quadratic_form=escaip.head_quadratic(*new), **change))
        old = new
    temporary = args.out.with_suffix(".part")
    with open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=COLUMNS)
        writer.writeheader()
        writer.writerows({k: repr(v) if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    os.replace(temporary, args.out)


if __name__ == "__main__":
    _cli.run(main)
