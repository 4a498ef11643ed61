"""Is a structure a molecule, or a cell of something that goes on? A cell that is not said to have no periodic
directions is periodic, as in extended XYZ.
"""

from collections.abc import Mapping

import numpy as np

CELLS = ("lattice", "cell", "unit_cell", "cells", "box", "box_vectors", "lattice_vectors")
FLAGS = ("pbc", "periodic")


def periodic(stated: Mapping[str, object]) -> str | None:
    """What of the keys of a frame or a file says that it is periodic; None where nothing does."""
    lower = {str(key).lower(): key for key in stated}
    flags = [lower[name] for name in FLAGS if name in lower]
    cells = [lower[name] for name in CELLS if name in lower]
    told = [key for key in flags or cells if _any(stated[key])]
    return ", ".join(f"{key}={_short(stated[key])}" for key in told) or None


def _any(value: object) -> bool:
    """Whether a flag is set in any direction, or a cell has any extent."""
    if isinstance(value, str):
        words = value.replace(",", " ").split()
        return any(word.lower() not in ("f", "false", "0", "none", "no", "0.0") for word in words)
    found = np.asarray(value)
    if found.dtype.kind in "SU":
        return any(_any(str(word)) for word in found.reshape(-1))
    return bool(found.dtype.kind in "biuf" and np.any(found != 0))


def _short(value: object) -> str:
    return " ".join(str(value).split())[:60]
