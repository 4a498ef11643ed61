"""What a config costs before anything of it runs: disk, memory and hours, every number with its basis.

Operations, parameters and activations are counted on this code's models (``throughput``). Hours are
operations over achieved FLOP/s: measured rows of ``resources/throughput.csv``, or, for a card that nothing
was measured on, an assumed share of a peak that the caller names. An assumed card also needs at least
``LATENCY`` per kernel. Left out: loading, voxelizing, neighbour lists, optimizer, checkpoints, figures.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from equidyn.config import declared_tasks, origin, resolve_dataset, resolve_run
from equidyn.cost.shapes import Shape, dataset_bytes, download_size, shape_of
from equidyn.cost.throughput import FLOPS_PER_FORWARD, Cost, achieved, cost_of
from equidyn.data import store
from equidyn.declarations import own_tasks
from equidyn.defaults import AVERAGE, EQUIVARIANCE_PENALTY
from equidyn.symmetry.limits import CUBE_ORDER, FLOOR_ITEMS, FLOOR_ROTATIONS
from equidyn.training.checkpoint import steps_of

LATENCY = 10e-6  # s per kernel on an assumed card: an assumption too
# bytes per tensor of a file by torch.save, beside the numbers: measured, 288 to 330 on tiny and mini models
OVERHEAD = 310
GRID_BYTES_PER_ATOM = (
    6400  # of compressed grids at 0.25 Å: measured, 12 drug-like molecules of 30 atoms on average
)

# Peak memory of making a dataset, MiB of the parent and of a worker: the largest of benchmarks/convert.py,
# seven sources, files of up to 2 GB, and of generated data.
WORKERS = 2  # threads of the rule `dataset`
CONVERSION, ITEM = (
    (110, 140),
    400,
)  # bytes in the parent per item: 65 to 200 measured with one and four molecules, the rest is room for keys
GENERATION, HELD = (
    (290, 120),
    8,
)  # conformers and backbones are held whole: 5 to 8 times the dataset, measured; chains need 129 MiB in all


@dataclass(frozen=True)
class Assumed:
    """A card that nothing was measured on: achieved FLOP/s are assumed to be ``utilisation`` times
    ``peak``.
    """

    name: str = "A100"
    peak: float = 19.5e12  # float32 without TF32, as every run trains
    utilisation: float = 0.3

    @property
    def basis(self) -> str:
        """In words."""
        return (
            f"extrapolation: assumed {100 * self.utilisation:g} % of {self.peak / 1e12:g} TFLOP/s "
            f"({self.name}) and {LATENCY * 1e6:g} µs per kernel, nothing measured there"
        )


def checkpoint_bytes(cost: Cost) -> int:
    """Of one checkpoint: live and EMA weights in float32."""
    return 2 * (4 * cost.numbers + OVERHEAD * cost.tensors)


def forwards(settings: dict) -> tuple[float, int]:
    """Forward passes of items: (in training, in the decomposition of all checkpoints), as draws.py and
    measurement.py make them.
    """
    training, measured, task = settings["training"], settings["measure"], settings["task"]
    penalised = training.get("equivariance_penalty", EQUIVARIANCE_PENALTY) > 0  # one more such pass
    per_item = (training.get("average", AVERAGE) + penalised) * FLOPS_PER_FORWARD
    per_item += training.get("self_conditioning", 0) if task == "flow" else 0
    n_checkpoints = len(steps_of(training))
    items, rotations = measured["n_items"], measured["n_rotations"]
    times = measured.get("times", [])
    conditions = len(times) if task == "flow" else 1
    floor = FLOOR_ROTATIONS * min(FLOOR_ITEMS, measured["batch_size"], items)  # the control
    passes = 2 * conditions * (items * rotations + floor)  # live and EMA weights
    last = (
        passes  # training items
        + len(measured.get("self_conditioning_times", times)) * (items * (rotations + 1) + floor)
        + 2 * items * measured.get("off_grid", 0)
    )
    if conditions == 1:
        last += items * CUBE_ORDER + floor
    return training["steps"] * training["batch_size"] * per_item, n_checkpoints * passes + last


def estimate(
    config: dict,
    throughputs: list[dict],
    devices: Iterable[str] = (),
    assumed: Assumed | None = None,
    data: Path | None = None,
    table: dict[str, dict] | None = None,
) -> list[dict]:
    """Rows of ``columns.ESTIMATE`` for every download, dataset and run of an expanded config, then their sums
    (``of`` is download, dataset, run or all).

    Parameters
    ----------
    config : validated and without ``matrix`` (``config.expand``)
    throughputs : see ``throughput.read``;  devices : of that table, to give hours on;  assumed : one more
        device
    data : folder of dataset files, which are counted where they exist
    table : entries of the table of datasets by name (``download.table.read_table``); without it every
        download is of unknown size

    Raises
    ------
    DataError, KeyError
        see ``achieved`` and ``cost_of``
    """
    tasks = declared_tasks(config)
    kind_of = {run["dataset"]: tasks[run["task"]].kind for run in config["runs"].values()}
    rows = _download_rows(config, kind_of, table or {})
    for name, kind in sorted(kind_of.items()):
        rows += _dataset_rows(config, name, kind, data)
    for name in sorted(config["runs"]):
        rows += _run_rows(config, name, throughputs, devices, assumed, data)
    return rows + list(_totals(rows))


def _row(of, name, quantity, value, unit, basis, device=""):
    return dict(
        of=of,
        name=name,
        quantity=quantity,
        device=device,
        value="" if value is None else value,
        unit=unit,
        basis=basis,
    )


def _of_structures(config: dict, name: str) -> dict:
    """All settings of the dataset that the structures of another, or of itself, come from."""
    return {"seed": config["seed"], **origin(config, name)}


def _file(data, name):
    return None if data is None else data / f"{name}.h5"


def _dataset_rows(config, name, kind, data):
    settings, file = resolve_dataset(config, name), _file(data, name)
    shape = shape_of(_of_structures(config, name), kind, file)
    yield _row("dataset", name, "items", shape.items, "1", shape.basis)
    if file is not None and file.is_file():
        yield _row("dataset", name, "disk", file.stat().st_size, "byte", f"size of {file}")
        if found := store.poses_of(file)[1]:
            basis = f"training poses: {found.text()}"
            yield _row("dataset", name, "poses, deviation from isotropic", found.deviation, "1", basis)
    else:
        size = dataset_bytes(kind, shape)
        yield _row("dataset", name, "disk", size, "byte", f"schema, uncompressed; {shape.basis}")
        if settings["source"] not in ("backbones", "chains", "turned"):
            yield _row(
                "dataset",
                name,
                "disk, shards",
                size,
                "byte",
                f"while it is made: finished parts, once the size of the dataset; {shape.basis}",
            )
        yield _row("dataset", name, "memory, making it", *_making(settings, shape, size))
    if kind == "molecules" and "voxels" in settings:
        box, molecules = settings["voxels"], settings.get("n_held_out", shape.items or 0)
        size = molecules * shape.mean * GRID_BYTES_PER_ATOM * (0.25 / box["resolution"]) ** 3
        yield _row(
            "dataset",
            name,
            "disk, held-out grids",
            round(min(size, molecules * _grid_bytes(box))),
            "byte",
            "compressed, per atom as measured on 12 molecules",
        )


def _making(settings: dict, shape: Shape, size: int | None) -> tuple[int | None, str, str]:
    """Peak of a conversion or generation with two workers: value, unit, basis."""
    whole = settings["source"] in ("conformers", "backbones", "chains", "turned")
    parent, worker = GENERATION if whole else CONVERSION
    growing = (
        f"{HELD} x the dataset"
        if whole
        else f"{ITEM} bytes per item (65 to 200 measured, more where every item is another molecule)"
    )
    basis = (
        f"at most: {parent} MiB and {WORKERS} workers of {worker} MiB, as measured on generated files, and "
        f"{growing}; {shape.basis}"
    )
    if shape.items is None:
        return None, "byte", basis
    return (parent + WORKERS * worker) * 2**20 + (HELD * size if whole else ITEM * shape.items), "byte", basis


def _download_rows(config: dict, used: Iterable[str], table: dict[str, dict]) -> list[dict]:
    """A row per entry of the table of datasets that the datasets in use ask for."""
    names = {
        name
        for dataset in used
        for key in ("download", "held_out_download")
        for name in resolve_dataset(config, dataset).get(key, [])
    }
    rows = []
    for name in sorted(names):
        size, basis = download_size(table.get(name))
        basis += "" if table.get(name, {}).get("verified") else "; never tried by us"
        rows.append(_row("download", name, "disk", size, "byte", basis))
    return rows


def _grid_bytes(box):
    return 4 * len(box["elements"]) * box["grid"] ** 3


def _run_rows(config, name, throughputs, devices, assumed, data):
    settings = resolve_run(config, name)
    task, training = settings["task"], settings["training"]
    if task not in own_tasks():
        basis = f"not estimated: the task {task} comes from outside the package"
        yield _row("run", name, "training", None, "hour", basis)
        return
    dataset = _of_structures(config, settings["dataset"])
    shape = shape_of(dataset, own_tasks()[task].kind, _file(data, settings["dataset"]))
    box = dataset.get("voxels", {})
    channels, grid = len(box.get("elements", [])), box.get("grid", 0)
    cost = cost_of(settings["model"], task, round(shape.mean), (channels, grid))
    yield _row("run", name, "parameters", cost.parameters, "1", f"counted on {_label(settings)}")
    yield from _storage_rows(name, training, cost)
    host = _host_bytes(task, shape)
    if task == "voxels" and host is not None:  # held-out grids, and the noise of those measured
        host += _grid_bytes(box) * (dataset.get("n_held_out", shape.items) + settings["measure"]["n_items"])
    yield _row("run", name, "memory, host", host, "byte", f"the dataset as the task holds it; {shape.basis}")
    item = f"{grid}³ voxels" if task == "voxels" else f"{round(shape.mean)} rows ({shape.basis})"
    yield from _work_rows(name, settings, cost, f"counted: forward FLOP of one item, {item}")
    yield from _hour_rows(name, settings, cost, throughputs, devices, assumed)


def _label(settings: dict) -> str:
    model = settings["model"]
    return model["import"] if "import" in model else f"{model['architecture']} {model['size']}"


def _batch(training: dict) -> int:
    """Items of a forward pass."""
    return min(training["batch_size"], training.get("micro_batch", training["batch_size"]))


def _storage_rows(name: str, training: dict, cost: Cost) -> Iterator[dict]:
    """Checkpoints on the disk, and what the device holds."""
    one, n = checkpoint_bytes(cost), len(steps_of(training))
    moments = 1 if training["optimizer"] == "sgd" else 2
    disk = (n + 1) * one + (2 + moments) * 4 * cost.numbers
    memory = (3 + moments) * 4 * cost.numbers + _batch(training) * cost.kept
    yield _row("run", name, "checkpoint", one, "byte", "live and EMA weights in float32")
    basis = f"{n} checkpoints, the model, and while it trains the resume state"
    yield _row("run", name, "disk", disk, "byte", basis)
    basis = (
        f"weights, EMA, gradients, optimizer; {cost.kept / 2**20:.0f} MiB of activations per item, "
        f"counted in float32 with unfused attention"
    )
    yield _row("run", name, "memory, device", memory, "byte", basis)


def _work_rows(name: str, settings: dict, cost: Cost, basis: str) -> Iterator[dict]:
    """Operations of training and measuring."""
    trained, measured = forwards(settings)
    of_steps = f"{basis}, x {FLOPS_PER_FORWARD} x batch x steps"
    yield _row("run", name, "FLOP, training", trained * cost.flops, "1", of_steps)
    of_passes = f"{basis}, x {measured} forwards"
    yield _row("run", name, "FLOP, decomposition", measured * cost.flops, "1", of_passes)


def _hour_rows(name, settings, cost, throughputs, devices, assumed) -> Iterator[dict]:
    """Time on devices that something was measured on, and on an assumed card."""
    work = dict(zip(("training", "decomposition"), forwards(settings)))
    for device in devices:
        rate, basis = achieved(throughputs, device, settings["task"], _label(settings))
        for quantity, items in work.items():
            yield _row("run", name, quantity, items * cost.flops / rate / 3600, "hour", basis, device)
    if assumed is None:
        return
    of_pass = dict(training=_batch(settings["training"]), decomposition=settings["measure"]["batch_size"])
    for quantity, items in work.items():
        computing = items * cost.flops / (assumed.peak * assumed.utilisation)
        waiting = items / of_pass[quantity] * cost.kernels * LATENCY
        hours = max(computing, waiting) / 3600
        yield _row("run", name, quantity, hours, "hour", assumed.basis, f"{assumed.name}, assumed")


def _host_bytes(task: str, shape: Shape) -> int | None:
    if shape.items is None:
        return None
    rows = shape.items * shape.mean
    # forces: mask, numbers, positions, forces, for a moment those of the training items; per item energies,
    # numbers of the file, and counts of ten elements. flow: mask, breaks, residues, positions in Å and in nm
    return round(
        {
            "forces": rows * (26 + 12) + shape.items * 116,
            "flow": rows * (3 + 24) + shape.items * 64,
            "voxels": rows * 26,
        }[task]
    )


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
        yield _row(
            "all", "", quantity, sum(values), unit, f"sum of {len(values)} rows above{missing}", device
        )


def text(rows: list[dict]) -> str:
    """The rows as tables for people, one line per dataset, run and sum; every number points to its basis
    below. FLOP are in the rows alone.
    """
    notes: dict[str, int] = {}
    parts = []
    for of in ("download", "dataset", "run", "all"):
        table: dict[str, dict[str, str]] = {}
        for row in rows:
            if row["of"] == of and not row["quantity"].startswith("FLOP"):
                title = f"{row['quantity']}, {row['device']}" if row["device"] else row["quantity"]
                table.setdefault(row["name"], {})[title] = (
                    f"{_readable(row)} [{notes.setdefault(row['basis'], len(notes) + 1)}]"
                )
        if not table:
            continue
        titles = list(dict.fromkeys(title for cells in table.values() for title in cells))
        letters = {title: f"({number})" for number, title in enumerate(titles, 1)}
        parts += [f"{letter} {title}" for title, letter in letters.items()]
        lines = [
            [of, *letters.values()],
            *([name, *(cells.get(title, "") for title in titles)] for name, cells in table.items()),
        ]
        widths = [max(len(line[column]) for line in lines) for column in range(len(titles) + 1)]
        parts += [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines
        ] + [""]
    return "\n".join([*parts, *(f"[{number}] {basis}" for basis, number in notes.items())])


def _readable(row) -> str:
    value = row["value"]
    if value == "":
        return "not known"
    if row["unit"] == "byte":
        return f"{value / 2**30:.3g} GiB" if value >= 2**30 else f"{value / 2**20:.3g} MiB"
    return f"{value:.3g} h" if row["unit"] == "hour" else f"{value:,.0f}" if value < 1e10 else f"{value:.2e}"
