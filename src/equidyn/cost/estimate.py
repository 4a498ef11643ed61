"""What a config costs before anything of it runs: disk, memory and hours, every number with its basis.

Operations, parameters and activations are counted on this code's models (``throughput``). Hours are
operations over achieved FLOP/s: measured rows of ``resources/throughput.csv``, or, for a card that nothing
was measured on, an assumed share of a peak that the caller names. An assumed card also needs at least
``LATENCY`` per kernel. Left out: loading, voxelizing, neighbour lists, optimizer, checkpoints, figures.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from equidyn.config import declared_tasks, origin, resolve_dataset, resolve_run
from equidyn.cost.throughput import FLOPS_PER_FORWARD, Cost, achieved, cost_of
from equidyn.data import store
from equidyn.data.generate import experimental_chains
from equidyn.data.schema import KINDS
from equidyn.declarations import own_tasks
from equidyn.defaults import AVERAGE, EQUIVARIANCE_PENALTY
from equidyn.guards import content_digest
from equidyn.training.checkpoint import steps_of

LATENCY = 10e-6  # s per kernel on an assumed card: an assumption too
# bytes per tensor of a file by torch.save, beside the numbers: measured, 288 to 330 on tiny and mini models
OVERHEAD = 310
GRID_BYTES_PER_ATOM = (
    6400  # of compressed grids at 0.25 Å: measured, 12 drug-like molecules of 30 atoms on average
)
SELF_CONDITIONING_FORWARDS = 1

# Items, mean and largest number of atoms or residues of published files, as quoted by others (pdb_small:
# expected); used until the dataset file exists.
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
class Shape:
    """Items of a dataset: how many (None: not known), rows (atoms, residues) per item, and how that
    is known.
    """

    items: int | None
    mean: float
    longest: int
    basis: str


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


def shape_of(settings: dict, kind: str, file: Path | None = None) -> Shape:
    """Items of a dataset: from its file where that exists, else from its settings, else as quoted for its
    downloads. Fragments of chains are counted without making the dataset.
    """
    if (
        file is not None and file.is_file() and content_digest.has_digest(file)
    ):  # a dataset of an older version will be made again
        with content_digest.open_checked(file, "dataset") as data:
            lengths = data["offsets"][1:] - data["offsets"][:-1]
        return Shape(len(lengths), float(lengths.mean()), int(lengths.max()), f"counted in {file}")
    if settings["source"] == "conformers":
        return Shape(
            settings["n_conformers"],
            0.7 * settings["max_atoms"],
            settings["max_atoms"],
            "mean atoms assumed 0.7 max_atoms",
        )
    if "chains" in settings and Path(settings["chains"]).is_file():
        kept, _ = experimental_chains.fragments(experimental_chains.read(settings["chains"]), settings)
        lengths = np.array([fragment.stop - fragment.start for fragment in kept] or [0])
        basis = f"fragments of {settings['chains']}, counted"
        return Shape(len(kept), float(lengths.mean()), int(lengths.max()), basis)
    names = [*settings.get("download", []), *settings.get("held_out_download", [])]
    if names and all(name in QUOTED for name in names):
        quoted = [QUOTED[name] for name in names]
        items = sum(q[0] for q in quoted)
        return Shape(
            items,
            sum(q[0] * q[1] for q in quoted) / items,
            max(q[2] for q in quoted),
            f"items and lengths of {', '.join(names)} as quoted or expected, not counted",
        )
    if kind == "backbones":
        low, high = settings["min_residues"], settings["max_residues"]
        basis = "mean residues assumed in the middle of min_residues and max_residues"
        unknown = (
            f"{basis}; number of chains not known before they are read: none is quoted for "
            f"{', '.join(names or settings.get('files', [settings['source']]))}"
        )
        return Shape(
            settings.get("n_chains"), (low + high) / 2, high, basis if "n_chains" in settings else unknown
        )
    return Shape(None, 30, 150, "items not counted before the files are read; assumed 30 atoms, 150 at most")


def download_size(entry: dict | None) -> tuple[int | None, str]:
    """Bytes of a download, or None, and how they are known, from its entry of the table of datasets."""
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


def checkpoint_bytes(cost: Cost) -> int:
    """Of one checkpoint: live and EMA weights in float32."""
    return 2 * (4 * cost.numbers + OVERHEAD * cost.tensors)


def dataset_bytes(kind: str, shape: Shape) -> int | None:
    """Of a dataset file, uncompressed; None where the number of items is not known."""
    if shape.items is None:
        return None
    per = {"row": shape.items * shape.mean, "item": shape.items, "boundary": shape.items + 1}
    return round(
        sum(
            per[key.per] * math.prod(key.trailing) * np.dtype(key.dtype).itemsize
            for key in KINDS[kind].values()
        )
    )


def forwards(settings: dict) -> tuple[float, int]:
    """Forward passes of items: (in training, in the decomposition of all checkpoints), as draws.py and
    measurement.py make them.
    """
    training, measured, task = settings["training"], settings["measure"], settings["task"]
    penalised = training.get("equivariance_penalty", EQUIVARIANCE_PENALTY) > 0  # one more such pass
    per_item = (training.get("average", AVERAGE) + penalised) * FLOPS_PER_FORWARD
    per_item += training.get("self_conditioning", 0) * SELF_CONDITIONING_FORWARDS if task == "flow" else 0
    n_checkpoints = len(steps_of(training))
    items, rotations = measured["n_items"], measured["n_rotations"]
    conditions = len(measured.get("times", [])) if task == "flow" else 1
    floor = 4 * min(4, measured["batch_size"], items)  # the control, four items and four rotations
    passes = 2 * conditions * (items * rotations + floor)  # live and EMA weights
    last = (
        passes  # training items
        + len(measured.get("self_conditioning_times", [])) * (items * (rotations + 1) + floor)
        + 2 * items * measured.get("off_grid", 0)
    )
    if conditions == 1:
        last += items * 24 + floor
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
    table : entries of the table of datasets by name (``table.read_table``); without it every download is
        of unknown size

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


def _file(data, name):
    return None if data is None else data / f"{name}.h5"


def _dataset_rows(config, name, kind, data):
    settings, file = resolve_dataset(config, name), _file(data, name)
    shape = shape_of(origin(config, name), kind, file)
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
    task, training, model = settings["task"], settings["training"], settings["model"]
    if task not in own_tasks():
        basis = f"not estimated: the task {task} comes from outside the package"
        yield _row("run", name, "training", None, "hour", basis)
        return
    dataset = origin(config, settings["dataset"])
    shape = shape_of(dataset, own_tasks()[task].kind, _file(data, settings["dataset"]))
    box = dataset.get("voxels", {})
    cost = cost_of(model, task, round(shape.mean), (len(box.get("elements", [])), box.get("grid", 0)))
    label = model["import"] if "import" in model else f"{model['architecture']} {model['size']}"

    def row(quantity, value, unit, basis, device=""):
        return _row("run", name, quantity, value, unit, basis, device)

    yield row("parameters", cost.parameters, "1", f"counted on {label}")
    one, n = checkpoint_bytes(cost), len(steps_of(training))
    yield row("checkpoint", one, "byte", "live and EMA weights in float32")
    moments = 1 if training["optimizer"] == "sgd" else 2
    yield row(
        "disk",
        (n + 1) * one + (2 + moments) * 4 * cost.numbers,
        "byte",
        f"{n} checkpoints, the model, and while it trains the resume state",
    )
    state = (3 + moments) * 4 * cost.numbers
    batch = min(training["batch_size"], training.get("micro_batch", training["batch_size"]))
    basis = (
        f"weights, EMA, gradients, optimizer; {cost.kept / 2**20:.0f} MiB of activations per item, "
        f"counted in float32 with unfused attention"
    )
    yield row("memory, device", state + batch * cost.kept, "byte", basis)
    host = _host_bytes(task, shape)
    if task == "voxels" and host is not None:  # held-out grids, and the noise of those measured
        host += _grid_bytes(box) * (dataset.get("n_held_out", shape.items) + settings["measure"]["n_items"])
    yield row("memory, host", host, "byte", f"the dataset as the task holds it; {shape.basis}")
    trained, measured = forwards(settings)
    per_item = "forward FLOP of one item, " + (
        f"{box['grid']}³ voxels" if task == "voxels" else f"{round(shape.mean)} rows ({shape.basis})"
    )
    yield row(
        "FLOP, training",
        trained * cost.flops,
        "1",
        f"counted: {per_item}, x {FLOPS_PER_FORWARD} x batch x steps",
    )
    yield row(
        "FLOP, decomposition", measured * cost.flops, "1", f"counted: {per_item}, x {measured} forwards"
    )
    for device in devices:
        rate, basis = achieved(throughputs, device, task, label)
        yield row("training", trained * cost.flops / rate / 3600, "hour", basis, device)
        yield row("decomposition", measured * cost.flops / rate / 3600, "hour", basis, device)
    if assumed is not None:
        rate = assumed.peak * assumed.utilisation
        calls, decompose_calls = trained / batch, measured / settings["measure"]["batch_size"]
        for quantity, items, passes in (
            ("training", trained, calls),
            ("decomposition", measured, decompose_calls),
        ):
            yield row(
                quantity,
                max(items * cost.flops / rate, passes * cost.kernels * LATENCY) / 3600,
                "hour",
                assumed.basis,
                f"{assumed.name}, assumed",
            )


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
