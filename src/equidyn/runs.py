"""What every step after training shares: a run's settings, task, model and checkpoints, and tables that are whole or absent."""

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml

from equidyn import tasks
from equidyn.config import resolve_device
from equidyn.data import store
from equidyn.data.schema import DataError
from equidyn.models import registry


@dataclass
class Run:
    """A run as its steps need it; the model is in eval mode, on the device, with fresh weights."""

    settings: dict
    task: tasks.Task
    model: torch.nn.Module


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that every such step has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, type=Path, help="settings of the run (YAML)")
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--grids", help="held-out grids (task voxels)")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--threads", type=int, default=1)
    return parser


def read_settings(args: argparse.Namespace) -> dict:
    """Settings of the run of these arguments."""
    return yaml.safe_load(args.config.read_text()) | {"grids": args.grids}


def few_items(settings: dict, n_items: int) -> dict:
    """The settings with held-out items cut down to n_items."""
    measured = settings["measure"]
    return {**settings, "measure": {**measured, "n_items": n_items, "batch_size": min(measured["batch_size"], n_items)}}


def build(args: argparse.Namespace, settings: dict) -> Run:
    """Task and model of a run.

    Raises
    ------
    ConfigError, DataError, KeyError
        see ``resolve_device``, the tasks and the registry
    """
    torch.set_num_threads(args.threads)
    device = resolve_device(settings["device"])
    print(f"device: {device}", flush=True)
    task = tasks.build(settings["task"], str(args.data), settings, device)
    named = settings["model"]
    model = registry.build(named["architecture"], named["size"], settings["seed"], **named.get("options", {}))
    return Run(settings, task, model.eval().to(device))


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoints of a run, by step.

    Raises
    ------
    DataError
        none there
    """
    paths = sorted(folder.glob("step_*.pt"))
    if not paths:
        raise DataError(f"{folder}: no step_*.pt; rerun the rule `train`")
    return paths


def write_table(path: Path, rows: list[dict], columns: list[str] | None = None) -> None:
    """Rows as CSV, floats in full precision, whole or not at all; raises DataError as ``store.whole`` does."""
    with store.whole(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=columns or list(rows[0]))
        writer.writeheader()
        writer.writerows({k: repr(v) if isinstance(v, float) else v for k, v in row.items()} for row in rows)
