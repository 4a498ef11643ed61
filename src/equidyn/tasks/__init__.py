"""Tasks by the name that their files declare; importing this needs no torch."""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from equidyn.declarations import task_of
from equidyn.extensions import module_of

if TYPE_CHECKING:
    from equidyn.tasks.protocol import Task


def build(
    name: str, dataset: str | Path, settings: dict, device: str = "cpu", grids: str | Path | None = None
) -> "Task":
    """The task of that name on a dataset file.

    Parameters
    ----------
    settings : of the run, with ``extension`` where a file outside the package declares the task
    grids : file of held-out grids, for tasks that measure on them

    Raises
    ------
    UnknownNameError
        no such task; the message names those that there are
    ConfigError
        a task from outside that lacks something, see ``protocol.check``
    DataError
        see the tasks
    """
    files = {} if grids is None else {"grids": str(grids)}
    declared = task_of({**settings, "task": name})
    if "extension" in settings:
        from equidyn.tasks import protocol

        task = getattr(module_of(declared.file), declared.class_name)(str(dataset), settings, device, **files)
        protocol.check(task, declared)
        return task
    made = getattr(importlib.import_module(declared.module), declared.class_name)
    return made(str(dataset), settings, device, **files)
