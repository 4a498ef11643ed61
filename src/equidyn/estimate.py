"""What a config costs before anything of it runs: disk, memory and hours, every number with its basis.

Floating-point operations are counted on this code's models (torch's FLOP counter on one item, forward; a training step is three forwards per
item), as are parameters and the activations kept for the backward pass. Hours are operations over achieved FLOP/s: measured rows of
``resources/throughput.csv``, or, for a card that nothing was measured on, an assumed share of a peak that the caller names. An assumed card
also needs at least ``LATENCY`` per kernel. Left out: data loading, voxelizing, neighbour lists, optimizer, checkpoint writing, dynamics, figures.
"""

import csv
import functools
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import h5py
import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from equidyn.config import resolve_dataset, resolve_run
from equidyn.data.schema import KINDS, DataError
from equidyn.models import registry
from equidyn.models.geometry import neighbour_list
from equidyn.training.checkpoint import log_spaced

LATENCY = 10e-6  # s per kernel on an assumed card: an assumption too
OVERHEAD = 310  # bytes per tensor of a file by torch.save, beside the numbers: measured, 288 to 330 on tiny and mini models
GRID_BYTES_PER_ATOM = 6400  # of compressed grids at 0.25 Å: measured, 12 drug-like molecules of 30 atoms on average
FLOPS_PER_FORWARD = 3  # of a training step: backward costs two forwards (counted: 2.87 to 3.00 in all)
SELF_CONDITIONING_FORWARDS = 1
KIND = {"forces": "forces", "voxels": "molecules", "flow": "backbones"}  # of the dataset file of a task
THROUGHPUT = ["device", "task", "model", "achieved_flops", "source", "date"]
COLUMNS = ("of", "name", "quantity", "device", "value", "unit", "basis")

# Items, mean and largest number of atoms or residues of published files, as quoted by others (pdb_small: expected); used until the dataset file exists.
QUOTED = {
    "maceoff23_train": (951_005, 30, 150),
    "maceoff23_test": (50_195, 30, 150),
    "geom_drugs_train": (1_100_000, 44, 181),
    "geom_drugs_val": (146_000, 44, 181),
    "geom_drugs_test": (146_000, 44, 181),
    "qm9": (133_885, 18, 29),
    "rmd17": (1_000_000, 16, 24),
    "pdb_small": (300, 153, 256),
}
# Peak memory of making a dataset, MiB of the parent and of a worker: the largest of benchmarks/convert.py, seven sources, files of up to 2 GB, and of generated data.
WORKERS = 2  # threads of the rule `dataset`
CONVERSION, ITEM = (110, 140), 400  # bytes in the parent per item: 65 to 200 measured with one and four molecules, the rest is room for keys
GENERATION, HELD = (290, 120), 8  # conformers and backbones are held whole: 5 to 8 times the dataset, measured


@dataclass(frozen=True)
class Shape:
    """Items of a dataset: how many (None: not known), rows (atoms, residues) per item, and how that is known."""

    items: int | None
    mean: float
    longest: int
    basis: str


@dataclass(frozen=True)
class Cost:
    """Of a model: numbers and tensors in its state; FLOP, kernels and bytes kept for the backward pass of one item's forward pass."""

    parameters: int
    numbers: int
    tensors: int
    flops: int
    kernels: int
    kept: int


@dataclass(frozen=True)
class Assumed:
    """A card that nothing was measured on: achieved FLOP/s are assumed to be ``utilisation`` times ``peak``."""

    name: str = "A100"
    peak: float = 19.5e12  # float32 without TF32, as every run trains
    utilisation: float = 0.3

    @property
    def basis(self) -> str:
        """In words."""
        return f"extrapolation: assumed {100 * self.utilisation:g} % of {self.peak / 1e12:g} TFLOP/s ({self.name}) and {LATENCY * 1e6:g} µs per kernel, nothing measured there"


def shape_of(settings: dict, task: str, file: Path | None = None) -> Shape:
    """Items of a dataset: from its file where that exists, else from its settings, else as quoted for its downloads."""
    if file is not None and file.is_file():
        with h5py.File(file, "r") as data:
            lengths = data["offsets"][1:] - data["offsets"][:-1]
        return Shape(len(lengths), float(lengths.mean()), int(lengths.max()), f"counted in {file}")
    if settings["source"] == "conformers":
        return Shape(settings["n_conformers"], 0.7 * settings["max_atoms"], settings["max_atoms"], "mean atoms assumed 0.7 max_atoms")
    names = [*settings.get("download", []), *settings.get("held_out_download", [])]
    if names and all(name in QUOTED for name in names):
        quoted = [QUOTED[name] for name in names]
        items = sum(q[0] for q in quoted)
        return Shape(items, sum(q[0] * q[1] for q in quoted) / items, max(q[2] for q in quoted), f"items and lengths of {', '.join(names)} as quoted or expected, not counted")
    if task == "flow":
        low, high = settings["min_residues"], settings["max_residues"]
        basis = "mean residues assumed in the middle of min_residues and max_residues"
        unknown = f"{basis}; number of chains not known before they are read: none is quoted for {', '.join(names or settings.get('files', []))}"
        return Shape(settings.get("n_chains"), (low + high) / 2, high, basis if "n_chains" in settings else unknown)
    return Shape(None, 30, 150, "items not counted before the files are read; assumed 30 atoms, 150 at most")


def download_size(entry: dict | None) -> tuple[int | None, str]:
    """Bytes of a download, or None, and how they are known: from an entry of the table of datasets (None: there is none)."""
    if entry is None:
        return None, "not known: no such entry in the table of datasets"
    if "ids" in entry or "ids_file" in entry:
        files = f"{len(entry['ids'])} files" if "ids" in entry else "the files of its list"
        return None, f"not known: sizes of {files} are not in the table of datasets"
    if entry["size"]:
        return entry["size"], "size that the table of datasets states"
    if size := (entry.get("quoted") or {}).get("size"):
        return size, "size as quoted by others (table of datasets), not confirmed"
    return None, "not known: the table of datasets neither states nor quotes a size"


def one_item(task: str, model: torch.nn.Module, rows: int, grid: tuple[int, int], device: str, b: int = 1) -> dict[str, torch.Tensor]:
    """Random inputs of b items for a model of a task; grid is (channels, edge)."""
    if task == "voxels":
        return dict(noisy=torch.rand(b, grid[0], *[grid[1]] * 3, device=device))
    mask = torch.ones(b, rows, dtype=torch.bool, device=device)
    positions = torch.randn(b, rows, 3, device=device) * 1.2 * rows ** (1 / 3)
    if task == "flow":
        index = torch.arange(1, rows + 1, device=device).expand(b, rows)
        return dict(x_t=positions, t=torch.full((b,), 0.5, device=device), mask=mask, index=index, breaks=torch.zeros(b, rows, device=device), x_sc=torch.zeros_like(positions))
    neighbours, valid = neighbour_list(positions, mask, model.cutoff, model.n_neighbours)
    return dict(numbers=torch.ones(b, rows, dtype=torch.long, device=device), positions=positions, mask=mask, neighbours=neighbours, neighbour_mask=valid)


class _Kernels(TorchDispatchMode):
    """Counts operators that are no views."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += not function.is_view
        return function(*args, **(kwargs or {}))


def cost_of(model: dict, task: str, rows: int, grid: tuple[int, int]) -> Cost:
    """Count a model (the section of a run's config) on one item; models whose shapes depend on no values are counted without memory or arithmetic.

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
        model = registry.build(named["architecture"], named["size"], 0, **named.get("options", {})).train()
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
    with sdpa_kernel(SDPBackend.MATH), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), counter, kernels:
        output = model(**inputs)
    del output
    state = model.state_dict()
    return Cost(sum(p.numel() for p in model.parameters()), sum(v.numel() for v in state.values()), len(state), counter.get_total_flops(), kernels.count, sum(kept.values()))


def checkpoint_bytes(cost: Cost) -> int:
    """Of one checkpoint: live and EMA weights in float32."""
    return 2 * (4 * cost.numbers + OVERHEAD * cost.tensors)


def dataset_bytes(task: str, shape: Shape) -> int | None:
    """Of a dataset file, uncompressed; None where the number of items is not known."""
    if shape.items is None:
        return None
    per = {"row": shape.items * shape.mean, "item": shape.items, "boundary": shape.items + 1}
    return round(sum(per[key.per] * math.prod(key.trailing) * np.dtype(key.dtype).itemsize for key in KINDS[KIND[task]].values()))


def forwards(settings: dict) -> tuple[float, int]:
    """Forward passes of items: (in training, in the decomposition of all checkpoints), as loop.py and decompose.py make them."""
    training, measured, task = settings["training"], settings["measure"], settings["task"]
    per_item = FLOPS_PER_FORWARD + (training.get("self_conditioning", 0) * SELF_CONDITIONING_FORWARDS if task == "flow" else 0)
    n_checkpoints = len(log_spaced(training["steps"], training["n_checkpoints"]))
    items, rotations = measured["n_items"], measured["n_rotations"]
    conditions = len(measured.get("times", [])) if task == "flow" else 1
    floor = 4 * min(measured["batch_size"], items)  # the control, one batch and four rotations
    passes = conditions * (items * rotations + floor)
    last = passes + len(measured.get("self_conditioning_times", [])) * (items * (rotations + 1) + floor) + 2 * items * measured.get("off_grid", 0)
    if conditions == 1:
        last += items * 24 + floor
    return training["steps"] * training["batch_size"] * per_item, n_checkpoints * passes + last


def read_throughput(path: str | Path) -> list[dict]:
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
    if columns != THROUGHPUT:
        raise DataError(f"{path}: columns {columns}, expected {THROUGHPUT}")
    for number, row in enumerate(rows, 2):
        try:
            row["achieved_flops"] = float(row["achieved_flops"])
        except ValueError:
            row["achieved_flops"] = 0.0
        if not 0 < row["achieved_flops"] < math.inf:
            raise DataError(f"{path}, line {number}: achieved_flops is not a positive number, expected FLOP/s")
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
        raise DataError(f"throughput: no row of device {device!r}, expected one of {known}, or an assumed card (--device-flops, --utilisation)")
    rows = [row for row in here if row["task"] == task]
    if not rows:
        raise DataError(f"throughput: no row of task {task!r} on device {device!r}, expected one of {sorted({row['task'] for row in here})}")
    own = [row for row in rows if row["model"] == model]
    row = own[-1] if own else max(rows, key=lambda row: row["achieved_flops"])
    how = "measured" if own else f"extrapolation: {row['model']}, not {model}, measured"
    return row["achieved_flops"], f"{how} on {device} ({row['date']}; {row['source']})"


def measured_on_cpu(steps: int = 8) -> list[dict]:
    """Rows for ``resources/throughput.csv`` of this machine: training steps of the tiny and mini models on the threads that torch has."""
    device = f"{_processor()}, {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}"
    rows = []
    for architecture, task, length, edge, b in (("escaip", "forces", 20, 0, 16), ("voxmol", "voxels", 0, 20, 8), ("proteina", "flow", 57, 0, 8)):
        for size in ("tiny", "mini"):
            cost = cost_of(dict(architecture=architecture, size=size), task, length, (8, edge))
            model = registry.build(architecture, size)
            inputs, optimizer = one_item(task, model, length, (8, edge), "cpu", b), torch.optim.AdamW(model.parameters(), lr=1e-5)
            times = []
            for _ in range(steps + 2):
                started = time.perf_counter()
                optimizer.zero_grad(set_to_none=True)
                output = model(**inputs)
                (output[1] if task == "forces" else output).square().mean().backward()
                optimizer.step()
                times.append(time.perf_counter() - started)
            rate = FLOPS_PER_FORWARD * b * cost.flops / statistics.median(times[2:])
            source = f"median of {steps} steps of {b} items; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, 1 of it this"
            rows.append(dict(device=device, task=task, model=f"{architecture} {size}", achieved_flops=rate, source=source, date=date.today().isoformat()))
    return rows


def measured_on_gpu(path: str | Path) -> list[dict]:
    """Rows for ``resources/throughput.csv`` from the JSON file that ``benchmarks/gpu_check.py`` writes.

    Raises
    ------
    DataError
        not such a file
    """
    tasks = {"escaip": "forces", "rawdir": "forces", "voxmol": "voxels", "proteina": "flow"}
    try:
        found = json.loads(Path(path).read_text())
        source = f"gpu_check, torch {found['torch']}"
        return [
            dict(
                device=found["hardware"], task=tasks[m["architecture"]], model=f"{m['architecture']} {m['size']}", achieved_flops=m["tflops"] * 1e12,
                source=f"{source}, {m['items']} x {m['length']}", date=found["date"],
            )
            for m in found["models"]
        ]  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: {type(error).__name__} ({error}), expected the file of benchmarks/gpu_check.py --out") from error


def write_throughput(path: str | Path, rows: list[dict]) -> None:
    """The table with these rows added; a row of the same device, task and model is replaced."""
    old = read_throughput(path) if Path(path).is_file() else []
    new = {(row["device"], row["task"], row["model"]): {**row, "achieved_flops": float(f"{row['achieved_flops']:.4g}")} for row in [*old, *rows]}
    temporary = Path(path).with_suffix(".part")
    with open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, THROUGHPUT, lineterminator="\n")
        writer.writeheader()
        writer.writerows(new.values())
    os.replace(temporary, path)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def estimate(
    config: dict,
    throughputs: list[dict],
    devices: Iterable[str] = (),
    assumed: Assumed | None = None,
    data: Path | None = None,
    table: dict[str, dict] | None = None,
) -> list[dict]:
    """Rows of COLUMNS for every download, dataset and run of an expanded config, then their sums (``of`` is download, dataset, run or all).

    Parameters
    ----------
    config : validated and without ``matrix`` (``config.expand``)
    throughputs : see ``read_throughput``;  devices : of that table, to give hours on;  assumed : one more device
    data : folder of dataset files, which are counted where they exist
    table : entries of the table of datasets by name (``catalogue.read_table``); without it every download is of unknown size

    Raises
    ------
    DataError, KeyError
        see ``achieved`` and ``cost_of``
    """
    task_of = {run["dataset"]: run["task"] for run in config["runs"].values()}
    rows = _download_rows(config, task_of, table or {})
    for name, task in sorted(task_of.items()):
        rows += _dataset_rows(config, name, task, data)
    for name in sorted(config["runs"]):
        rows += _run_rows(config, name, throughputs, devices, assumed, data)
    return rows + list(_totals(rows))


def _row(of, name, quantity, value, unit, basis, device=""):
    return dict(of=of, name=name, quantity=quantity, device=device, value="" if value is None else value, unit=unit, basis=basis)


def _file(data, name):
    return None if data is None else data / f"{name}.h5"


def _dataset_rows(config, name, task, data):
    settings, file = resolve_dataset(config, name), _file(data, name)
    shape = shape_of(settings, task, file)
    yield _row("dataset", name, "items", shape.items, "1", shape.basis)
    if file is not None and file.is_file():
        yield _row("dataset", name, "disk", file.stat().st_size, "byte", f"size of {file}")
    else:
        size = dataset_bytes(task, shape)
        yield _row("dataset", name, "disk", size, "byte", f"schema, uncompressed; {shape.basis}")
        if settings["source"] != "backbones":
            yield _row("dataset", name, "disk, shards", size, "byte", f"while it is made: finished parts, once the size of the dataset; {shape.basis}")
        yield _row("dataset", name, "memory, making it", *_making(settings, shape, size))
    if task == "voxels":
        box, molecules = settings["voxels"], settings.get("n_held_out", shape.items or 0)
        size = molecules * shape.mean * GRID_BYTES_PER_ATOM * (0.25 / box["resolution"]) ** 3
        yield _row("dataset", name, "disk, held-out grids", round(min(size, molecules * _grid_bytes(box))), "byte", "compressed, per atom as measured on 12 molecules")


def _making(settings: dict, shape: Shape, size: int | None) -> tuple[int | None, str, str]:
    """Peak of a conversion or generation with two workers: value, unit, basis."""
    whole = settings["source"] in ("conformers", "backbones")
    parent, worker = GENERATION if whole else CONVERSION
    growing = f"{HELD} x the dataset" if whole else f"{ITEM} bytes per item (65 to 200 measured, more where every item is another molecule)"
    basis = f"at most: {parent} MiB and {WORKERS} workers of {worker} MiB, as measured on generated files, and {growing}; {shape.basis}"
    if shape.items is None:
        return None, "byte", basis
    return (parent + WORKERS * worker) * 2**20 + (HELD * size if whole else ITEM * shape.items), "byte", basis


def _download_rows(config: dict, used: Iterable[str], table: dict[str, dict]) -> list[dict]:
    """A row per entry of the table of datasets that the datasets in use ask for."""
    names = {name for dataset in used for key in ("download", "held_out_download") for name in resolve_dataset(config, dataset).get(key, [])}
    sizes = {name: download_size(table.get(name)) for name in sorted(names)}
    return [_row("download", name, "disk", size, "byte", basis) for name, (size, basis) in sizes.items()]


def _grid_bytes(box):
    return 4 * len(box["elements"]) * box["grid"] ** 3


def _run_rows(config, name, throughputs, devices, assumed, data):
    settings = resolve_run(config, name)
    task, training, model = settings["task"], settings["training"], settings["model"]
    dataset = resolve_dataset(config, settings["dataset"])
    shape = shape_of(dataset, task, _file(data, settings["dataset"]))
    box = dataset.get("voxels", {})
    cost = cost_of(model, task, round(shape.mean), (len(box.get("elements", [])), box.get("grid", 0)))
    label = f"{model['architecture']} {model['size']}"

    def row(quantity, value, unit, basis, device=""):
        return _row("run", name, quantity, value, unit, basis, device)

    yield row("parameters", cost.parameters, "1", f"counted on {label}")
    one, n = checkpoint_bytes(cost), len(log_spaced(training["steps"], training["n_checkpoints"]))
    yield row("checkpoint", one, "byte", "live and EMA weights in float32")
    moments = 1 if training["optimizer"] == "sgd" else 2
    yield row("disk", (n + 1) * one + (2 + moments) * 4 * cost.numbers, "byte", f"{n} checkpoints, the model, and while it trains the resume state")
    state = (3 + moments) * 4 * cost.numbers
    batch = min(training["batch_size"], training.get("micro_batch", training["batch_size"]))
    basis = f"weights, EMA, gradients, optimizer; {cost.kept / 2**20:.0f} MiB of activations per item, counted in float32 with unfused attention"
    yield row("memory, device", state + batch * cost.kept, "byte", basis)
    host = _host_bytes(task, shape)
    if task == "voxels" and host is not None:  # held-out grids, and the noise of those measured
        host += _grid_bytes(box) * (dataset.get("n_held_out", shape.items) + settings["measure"]["n_items"])
    yield row("memory, host", host, "byte", f"the dataset as the task holds it; {shape.basis}")
    trained, measured = forwards(settings)
    per_item = "forward FLOP of one item, " + (f"{box['grid']}³ voxels" if task == "voxels" else f"{round(shape.mean)} rows ({shape.basis})")
    yield row("FLOP, training", trained * cost.flops, "1", f"counted: {per_item}, x {FLOPS_PER_FORWARD} x batch x steps")
    yield row("FLOP, decomposition", measured * cost.flops, "1", f"counted: {per_item}, x {measured} forwards")
    for device in devices:
        rate, basis = achieved(throughputs, device, task, label)
        yield row("training", trained * cost.flops / rate / 3600, "hour", basis, device)
        yield row("decomposition", measured * cost.flops / rate / 3600, "hour", basis, device)
    if assumed is not None:
        rate = assumed.peak * assumed.utilisation
        calls, decompose_calls = trained / batch, measured / settings["measure"]["batch_size"]
        for quantity, items, passes in (("training", trained, calls), ("decomposition", measured, decompose_calls)):
            yield row(quantity, max(items * cost.flops / rate, passes * cost.kernels * LATENCY) / 3600, "hour", assumed.basis, f"{assumed.name}, assumed")


def _host_bytes(task: str, shape: Shape) -> int | None:
    if shape.items is None:
        return None
    padded = shape.items * shape.longest
    # forces: mask, numbers, positions, forces, and 8-byte copies of numbers and mask for the reference energies; flow: mask, breaks, float32 and float64 positions
    return round({"forces": padded * (26 + 2 * 8), "flow": padded * (2 + 12 + 24), "voxels": shape.items * shape.mean * 26}[task])


def _totals(rows):
    sums = {}
    for row in rows:
        quantity = row["quantity"].split(",")[0]
        if quantity in ("disk", "training", "decomposition") and row["value"] != "":
            key = quantity, row["device"], row["unit"]
            sums.setdefault(key, []).append(row["value"])
    unknown = sorted({row["name"] for row in rows if row["quantity"] == "disk" and row["value"] == ""})
    for (quantity, device, unit), values in sums.items():
        missing = f"; without {', '.join(unknown)}, not known" if quantity == "disk" and unknown else ""
        yield _row("all", "", quantity, sum(values), unit, f"sum of {len(values)} rows above{missing}", device)


def text(rows: list[dict]) -> str:
    """The rows as tables for people, one line per dataset, run and sum; every number points to its basis below. FLOP are in the rows alone."""
    notes: dict[str, int] = {}
    parts = []
    for of in ("download", "dataset", "run", "all"):
        table: dict[str, dict[str, str]] = {}
        for row in rows:
            if row["of"] == of and not row["quantity"].startswith("FLOP"):
                title = f"{row['quantity']}, {row['device']}" if row["device"] else row["quantity"]
                table.setdefault(row["name"], {})[title] = f"{_readable(row)} [{notes.setdefault(row['basis'], len(notes) + 1)}]"
        if not table:
            continue
        titles = list(dict.fromkeys(title for cells in table.values() for title in cells))
        letters = {title: f"({number})" for number, title in enumerate(titles, 1)}
        parts += [f"{letter} {title}" for title, letter in letters.items()]
        lines = [[of, *letters.values()], *([name, *(cells.get(title, "") for title in titles)] for name, cells in table.items())]
        widths = [max(len(line[column]) for line in lines) for column in range(len(titles) + 1)]
        parts += ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines] + [""]
    return "\n".join([*parts, *(f"[{number}] {basis}" for basis, number in notes.items())])


def _readable(row) -> str:
    value = row["value"]
    if value == "":
        return "not known"
    if row["unit"] == "byte":
        return f"{value / 2**30:.3g} GiB" if value >= 2**30 else f"{value / 2**20:.3g} MiB"
    return f"{value:.3g} h" if row["unit"] == "hour" else f"{value:,.0f}" if value < 1e10 else f"{value:.2e}"
