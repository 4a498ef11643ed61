"""What every step after the datasets shares: a run's settings, task, model and checkpoints."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from equidyn import tasks
from equidyn.device import keep_freed_memory, placed, resolve_device
from equidyn.errors import DataError, optional_packages
from equidyn.models import registry
from equidyn.tasks.protocol import Task
from equidyn.training import checkpoint

try:
    import yaml
except ImportError:  # a node with a GPU may do without: there settings are JSON
    yaml = None


@dataclass
class Run:
    """A run as its steps need it; the model is in eval mode, on the device, with fresh weights."""

    settings: dict
    task: Task
    model: torch.nn.Module

    def take(self, path: Path, weights: str = "live") -> int:
        """Give the model the weights of a checkpoint, ``live`` or ``ema``; returns its step.

        Raises
        ------
        DataError
            see ``checkpoint.load``
        """
        saved = checkpoint.load(path)
        self.model.load_state_dict(saved[weights])
        return saved["step"]


def read_settings(config: Path) -> dict:
    """Settings of a run, as the step ``configure`` wrote them.

    Raises
    ------
    MissingPackageError
        YAML beyond JSON, without the package that reads it
    """
    text = config.read_text()
    try:
        return json.loads(text)  # YAML would read its 1e-05 as text
    except ValueError:
        if yaml is not None:
            return yaml.safe_load(text)
    with optional_packages():
        raise ModuleNotFoundError(f"No module named 'yaml', which {config} needs", name="yaml")


def load(
    settings: dict, data: Path, grids: Path | None = None, threads: int = 1, n_items: int | None = None
) -> Run:
    """Task and model of a run; this process computes with so many threads and keeps freed memory from now on,
    see ``device.keep_freed_memory``.

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
    keep_freed_memory()
    device = resolve_device(settings["device"])
    print(f"device: {device}", flush=True)
    settings = settings if n_items is None else few_items(settings, n_items)
    task = tasks.build(settings["task"], data, settings, device, grids)
    model = registry.build_named(settings["model"], settings["seed"], settings["task"])
    return Run(settings, task, placed(model.eval(), device))


def few_items(settings: dict, n_items: int) -> dict:
    """The settings with held-out items cut down to n_items."""
    measured = settings["measure"]
    fewer = {**measured, "n_items": n_items, "batch_size": min(measured["batch_size"], n_items)}
    return {**settings, "measure": fewer}


def checkpoints_in(folder: Path, settings: dict) -> list[Path]:
    """All checkpoints of a run, by step.

    Raises
    ------
    DataError
        some are missing: a table would end too soon, and what belongs to the last step be of another
    """
    paths = sorted(folder.glob("step_*.pt"))
    found = sorted(map(checkpoint.step_of, paths))
    if found != (wanted := checkpoint.steps_of(settings["training"])):
        raise DataError(
            f"{folder}: checkpoints of steps {found}, expected {wanted}; rerun the rule `train` (--forcerun "
            f"train)"
        )
    return paths
