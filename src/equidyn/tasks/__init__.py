"""Tasks by name; importing this needs no torch, because the driver of the workflow does it too."""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from equidyn.errors import UnknownNameError

if TYPE_CHECKING:
    from equidyn.tasks.protocol import Task

TASKS = {  # module, class
    "forces": ("equidyn.tasks.forces", "Forces"),
    "voxels": ("equidyn.tasks.voxels", "Voxels"),
    "flow": ("equidyn.tasks.flow", "Flow"),
}


def build(
    name: str, dataset: str | Path, settings: dict, device: str = "cpu", grids: str | Path | None = None
) -> "Task":
    """The task of that name on a dataset file.

    Parameters
    ----------
    settings : of the run
    grids : file of held-out grids, for tasks that measure on them

    Raises
    ------
    UnknownNameError
        no such task; the message names those that there are
    DataError
        see the tasks
    """
    if name not in TASKS:
        raise UnknownNameError(f"task {name!r}, expected one of {sorted(TASKS)}")
    module, class_name = TASKS[name]
    files = {} if grids is None else {"grids": str(grids)}
    return getattr(importlib.import_module(module), class_name)(str(dataset), settings, device, **files)
