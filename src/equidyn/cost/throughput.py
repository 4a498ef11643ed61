"""Operations of a model, counted, and how fast machines do them, measured: ``resources/throughput.csv``.

Floating-point operations are counted on this code's models (torch's FLOP counter on one item, forward; a
training step is three forwards per item), as are parameters and the activations kept for the backward pass.
"""

import csv
import functools
import json
import math
import os
import statistics
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from equidyn import files
from equidyn.declarations import own_models
from equidyn.device import processor
from equidyn.errors import DataError
from equidyn.geometry.neighbours import neighbour_list
from equidyn.models import registry
from equidyn.results.columns import THROUGHPUT

FLOPS_PER_FORWARD = 3  # of a training step: backward costs two forwards (counted: 2.87 to 3.00 in all)
COLUMNS = list(THROUGHPUT)
STEPS = 8  # that are timed


@dataclass(frozen=True)
class Cost:
    """Of a model: numbers and tensors in its state; FLOP, kernels and bytes kept for the backward pass of one
    item's forward pass.
    """

    parameters: int
    numbers: int
    tensors: int
    flops: int
    kernels: int
    kept: int


def one_item(
    task: str, model: torch.nn.Module, rows: int, grid: tuple[int, int], device: str, b: int = 1
) -> dict[str, torch.Tensor]:
    """Random inputs of b items for a model of a task; grid is (channels, edge)."""
    if task == "voxels":
        return dict(noisy=torch.rand(b, grid[0], *[grid[1]] * 3, device=device))
    mask = torch.ones(b, rows, dtype=torch.bool, device=device)
    positions = torch.randn(b, rows, 3, device=device) * 1.2 * rows ** (1 / 3)
    if task == "flow":
        index = torch.arange(1, rows + 1, device=device).expand(b, rows)
        return dict(
            x_t=positions,
            t=torch.full((b,), 0.5, device=device),
            mask=mask,
            index=index,
            breaks=torch.zeros(b, rows, device=device),
            x_sc=torch.zeros_like(positions),
        )
    neighbours, valid = neighbour_list(positions, mask, model.cutoff, model.n_neighbours)
    return dict(
        numbers=torch.ones(b, rows, dtype=torch.long, device=device),
        positions=positions,
        mask=mask,
        neighbours=neighbours,
        neighbour_mask=valid,
    )


class _Kernels(TorchDispatchMode):
    """Counts operators that are no views."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += not function.is_view
        return function(*args, **(kwargs or {}))


def cost_of(model: dict, task: str, rows: int, grid: tuple[int, int]) -> Cost:
    """Count a model (the section of a run's config) on one item; models whose shapes depend on no values are
    counted without memory or arithmetic.

    Raises
    ------
    KeyError
        unknown architecture or size
    """
    return _cost(json.dumps(model, sort_keys=True), task, rows, tuple(grid))


@functools.lru_cache(maxsize=64)
def _cost(model_json, task, rows, grid):
    named = json.loads(model_json)
    device = "cpu" if task == "forces" else "meta"  # neighbour masks select atoms by value
    with torch.random.fork_rng(devices=[]), torch.device(device):
        model = registry.build_named(named).train()
        inputs = one_item(task, model, rows, grid, device)
    own = {p.untyped_storage()._cdata for p in model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    counter, kernels = FlopCounterMode(display=False), _Kernels()
    # the plain form of attention is the one whose products are counted on every device
    with (
        sdpa_kernel(SDPBackend.MATH),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        counter,
        kernels,
    ):
        output = model(**inputs)
    del output
    state = model.state_dict()
    return Cost(
        sum(p.numel() for p in model.parameters()),
        sum(v.numel() for v in state.values()),
        len(state),
        counter.get_total_flops(),
        kernels.count,
        sum(kept.values()),
    )


def read(path: str | Path) -> list[dict]:
    """Rows of the table of measured throughputs: device, task, model, achieved_flops (FLOP/s), source, date.

    Raises
    ------
    DataError
        no such file, another header, or a throughput that is no positive number
    """
    if not Path(path).is_file():
        raise DataError(f"{path}: no such table of throughputs")
    with open(path, newline="") as file:
        reader = csv.DictReader(file)
        rows, columns = list(reader), reader.fieldnames
    if columns != COLUMNS:
        raise DataError(f"{path}: columns {columns}, expected {COLUMNS}")
    for number, row in enumerate(rows, 2):
        try:
            row["achieved_flops"] = float(row["achieved_flops"])
        except ValueError:
            row["achieved_flops"] = 0.0
        if not 0 < row["achieved_flops"] < math.inf:
            raise DataError(
                f"{path}, line {number}: achieved_flops is not a positive number, expected FLOP/s"
            )
    return rows


def achieved(throughputs: list[dict], device: str, task: str, model: str) -> tuple[float, str]:
    """FLOP/s of a model on a device and their basis: its own row, else the fastest of its task there.

    Raises
    ------
    DataError
        no row of that device, or none of that task on it; names what there is
    """
    here = [row for row in throughputs if row["device"] == device]
    if not here:
        known = sorted({row["device"] for row in throughputs})
        raise DataError(
            f"throughput: no row of device {device!r}, expected one of {known}, or an assumed card "
            f"(--device-flops, --utilisation)"
        )
    rows = [row for row in here if row["task"] == task]
    if not rows:
        raise DataError(
            f"throughput: no row of task {task!r} on device {device!r}, expected one of "
            f"{sorted({row['task'] for row in here})}"
        )
    own = [row for row in rows if row["model"] == model]
    row = own[-1] if own else max(rows, key=lambda row: row["achieved_flops"])
    how = "measured" if own else f"extrapolation: {row['model']}, not {model}, measured"
    return row["achieved_flops"], f"{how} on {device} ({row['date']}; {row['source']})"


def measured_on_cpu() -> list[dict]:
    """Rows for ``resources/throughput.csv`` of this machine: training steps of the tiny and mini models on
    the threads that torch has.
    """
    device = f"{processor()}, {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}"
    rows = []
    for architecture, task, length, edge, b in (
        ("escaip", "forces", 20, 0, 16),
        ("rawdir", "forces", 20, 0, 32),
        ("voxmol", "voxels", 0, 20, 8),
        ("proteina", "flow", 57, 0, 8),
    ):
        for size in ("tiny", "mini"):
            cost = cost_of(dict(architecture=architecture, size=size), task, length, (8, edge))
            model = registry.build(architecture, size)
            inputs, optimizer = (
                one_item(task, model, length, (8, edge), "cpu", b),
                torch.optim.AdamW(model.parameters(), lr=1e-5),
            )
            times = []
            for _ in range(STEPS + 2):
                started = time.perf_counter()
                optimizer.zero_grad(set_to_none=True)
                output = model(**inputs)
                (output[1] if task == "forces" else output).square().mean().backward()
                optimizer.step()
                times.append(time.perf_counter() - started)
            rate = FLOPS_PER_FORWARD * b * cost.flops / statistics.median(times[2:])
            source = (
                f"median of {STEPS} steps of {b} items; load {os.getloadavg()[0]:.1f} on "
                f"{os.cpu_count()} "
                f"cores, 1 of it this"
            )
            rows.append(
                dict(
                    device=device,
                    task=task,
                    model=f"{architecture} {size}",
                    achieved_flops=rate,
                    source=source,
                    date=date.today().isoformat(),
                )
            )
    return rows


def measured_on_gpu(path: str | Path) -> list[dict]:
    """Rows for ``resources/throughput.csv`` from the JSON file that ``benchmarks/gpu_check.py`` writes.

    Raises
    ------
    DataError
        not such a file
    """
    known = own_models()
    try:
        found = json.loads(Path(path).read_text())
        source = f"gpu_check, torch {found['torch']}"
        return [
            dict(
                device=found["hardware"],
                task=known[m["architecture"]].task,
                model=f"{m['architecture']} {m['size']}",
                achieved_flops=m["tflops"] * 1e12,
                source=f"{source}, {m['items']} x {m['length']}",
                date=found["date"],
            )
            for m in found["models"]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: {type(error).__name__} ({error}), expected the file of benchmarks/gpu_check.py --out"
        ) from error


def write(path: str | Path, rows: list[dict]) -> None:
    """The table with these rows added; a row of the same device, task and model is replaced.

    Raises DataError as ``read`` and ``files.atomic_write`` do.
    """
    old = read(path) if Path(path).is_file() else []
    new = {
        (row["device"], row["task"], row["model"]): {
            **row,
            "achieved_flops": float(f"{row['achieved_flops']:.4g}"),
        }
        for row in [*old, *rows]
    }
    with files.atomic_write(Path(path)) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(new.values())
