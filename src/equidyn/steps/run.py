"""What every step after the datasets shares: a run's settings, task, model and checkpoints."""

from dataclasses import dataclass
from pathlib import Path

import torch

from equidyn import tasks
from equidyn.device import resolve_device
from equidyn.errors import DataError, optional_packages
from equidyn.models import registry
from equidyn.tasks.protocol import Task

with optional_packages():
    import yaml


@dataclass
class Run:
    """A run as its steps need it; the model is in eval mode, on the device, with fresh weights."""

    settings: dict
    task: Task
    model: torch.nn.Module


def read_settings(config: Path) -> dict:
    """Settings of a run, as the step ``configure`` wrote them."""
    return yaml.safe_load(config.read_text())


def load(
    settings: dict, data: Path, grids: Path | None = None, threads: int = 1, n_items: int | None = None
) -> Run:
    """Task and model of a run.

    Parameters
    ----------
    settings : of the run;  data : its dataset file;  grids : its held-out grids, for tasks that have them
    threads : of torch
    n_items : held-out items, where it is not all that the settings measure

    Raises
    ------
    ConfigError, DataError, UnknownNameError
        see ``resolve_device``, the tasks and the registry
    """
    torch.set_num_threads(threads)
    device = resolve_device(settings["device"])
    print(f"device: {device}", flush=True)
    settings = settings if n_items is None else few_items(settings, n_items)
    task = tasks.build(settings["task"], data, settings, device, grids)
    model = registry.build_named(settings["model"], settings["seed"], settings["task"])
    return Run(settings, task, model.eval().to(device))


def few_items(settings: dict, n_items: int) -> dict:
    """The settings with held-out items cut down to n_items."""
    measured = settings["measure"]
    fewer = {**measured, "n_items": n_items, "batch_size": min(measured["batch_size"], n_items)}
    return {**settings, "measure": fewer}


def checkpoints_in(folder: Path) -> list[Path]:
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
