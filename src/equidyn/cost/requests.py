"""What a job of a run asks a cluster for: memory and minutes, from the config's estimate where there is one.

The driver of a workflow reads this; it needs no torch.
"""

import csv
import functools
import math
from pathlib import Path

from equidyn.errors import DataError

MIB = 2**20
LEAST_MB = 2000
PROCESS_MB = {"cpu": 1000, "cuda": 4000}  # of Python, torch and what they load; on a GPU not measured
MEMORY, TIME = 1.5, 3.0  # × the estimate: as far as estimates were found off, see docs/cluster.md
EXTRA_MINUTES = 15  # reading, starting, a slow node
LONGEST = 7 * 1440  # minutes: a longer job goes on from its resume state at the next attempt
UNKNOWN = dict(mem_mb=16000, runtime=1440)  # of a run that has no estimate
ON_A_CPU = "thread"  # in the names of devices that are processors


def requests(
    estimate: str | Path, run: str, step: str, device: str, processes: int = 1, attempt: int = 1
) -> dict[str, int]:
    """``mem_mb`` and ``runtime`` in minutes of a step (``training`` or ``decomposition``) of a run; time for
    every attempt more, memory for each of several processes, as each holds the dataset.

    Hours are those of the slowest device of the estimate's, of the kind that the config asks for. Memory on a
    CPU holds what a GPU would have.

    Parameters
    ----------
    estimate : the table of ``equidyn estimate``;  device : of the config: cpu, cuda or auto

    Examples
    --------
    >>> requests("absent.csv", "run", "training", "cpu")
    {'mem_mb': 16000, 'runtime': 1440}
    """
    path = Path(estimate)
    if not path.is_file():
        return dict(UNKNOWN) | dict(runtime=min(LONGEST, attempt * UNKNOWN["runtime"]))
    found = _read(path, path.stat().st_mtime_ns)
    columns = {"of", "name", "quantity", "device", "value"}
    if found and not columns <= set(found[0]):
        raise DataError(
            f"{path}: columns {list(found[0])}, expected {sorted(columns)} (of `equidyn estimate`)"
        )
    rows = [row for row in found if (row["of"], row["name"]) == ("run", run)]
    on_gpu = device == "cuda"
    hours = [
        float(row["value"])
        for row in rows
        if row["quantity"] == step and row["value"] and (ON_A_CPU not in row["device"]) == on_gpu
    ]
    held = {row["quantity"]: float(row["value"]) for row in rows if row["value"]}
    host = held.get("memory, host")
    asked = dict(UNKNOWN)
    if hours:
        asked["runtime"] = EXTRA_MINUTES + math.ceil(60 * TIME * max(hours))
    asked["runtime"] = min(LONGEST, attempt * asked["runtime"])
    if host is not None:
        needed = host + (0 if on_gpu else held.get("memory, device", 0.0))
        each = PROCESS_MB["cuda" if on_gpu else "cpu"] + math.ceil(MEMORY * needed / MIB)
        asked["mem_mb"] = max(LEAST_MB, processes * each)
    return asked


@functools.lru_cache(maxsize=4)
def _read(path: Path, stamp: int) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))
