"""Checkpoints that are whole or absent, and a lock so that two processes never train one run."""

import contextlib
import fcntl
import sys
from pathlib import Path

import torch

from equidyn.data import store
from equidyn.data.schema import DataError


def save(path: str | Path, content) -> None:
    """torch.save, whole or not at all; raises DataError as ``store.whole`` does."""
    with store.whole(Path(path)) as temporary:
        torch.save(content, temporary)


def load(path: str | Path):
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
        raise DataError(f"{path}: not a readable checkpoint, perhaps truncated ({type(error).__name__}); delete it and rerun the rule `train`") from error


def log_spaced(last: int, n: int) -> list[int]:
    """At most n steps from 0 to last, evenly spaced in log(10 + step), both ends included, each once."""
    return sorted({round(10 * ((10 + last) / 10) ** (i / (n - 1))) - 10 for i in range(n)})


@contextlib.contextmanager
def exclusive(folder: Path):
    """Hold the folder's lock; wait for a process that already does (an orphan of a killed workflow, say)."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{folder}: another process is working here; waiting for it", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
