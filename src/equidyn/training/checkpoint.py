"""Checkpoints that are whole or absent, and at which steps they are made."""

from pathlib import Path
from typing import Any

import torch

from equidyn import defaults
from equidyn.errors import DataError
from equidyn.files import atomic_write


def save(path: str | Path, content: object) -> None:
    """torch.save, whole or not at all; raises DataError as ``files.atomic_write`` does."""
    with atomic_write(Path(path)) as temporary:
        torch.save(content, temporary)


def load(path: str | Path) -> Any:
    """torch.load with weights_only=True.

    Raises
    ------
    DataError
        no such file, truncated, or not a checkpoint
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such checkpoint") from error
    except Exception as error:  # torch raises many types on a damaged file
        reason = f"not a readable checkpoint, perhaps truncated ({type(error).__name__})"
        raise DataError(f"{path}: {reason}; delete it and rerun the rule `train`") from error


def name_of(step: int, last: int) -> str:
    """File name of the checkpoint of a step, in the order of steps; ``last`` is the training's last one."""
    return f"step_{step:0{len(str(last))}d}.pt"


def step_of(path: Path) -> int:
    """The step whose checkpoint a file is, see ``name_of``."""
    return int(path.stem.removeprefix("step_"))


def steps_of(training: dict) -> list[int]:
    """Steps with a checkpoint: at most ``n_checkpoints`` from ``checkpoints_from`` (0) to ``steps``, evenly
    spaced in log(10 + step), both ends included, each once.

    Parameters
    ----------
    training : that section of a run's settings

    Examples
    --------
    >>> steps_of(dict(steps=1000, n_checkpoints=5))
    [0, 22, 90, 309, 1000]
    """
    first = training.get("checkpoints_from", defaults.CHECKPOINTS_FROM)
    last, n = training["steps"], training["n_checkpoints"]
    growth = (10 + last) / (10 + first)
    return sorted({round((10 + first) * growth ** (i / (n - 1))) - 10 for i in range(n)})
