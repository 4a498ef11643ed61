"""``equidyn compare``: what changed between two measurements, with intervals.

Takes folders of ``equidyn measure`` and of the workflow (one run, or a whole folder of results). Where both
have the records of the same structures, shares are compared structure by structure; else their intervals are
added in quadrature, which is too wide where both saw the same items.
"""

import csv
import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from scipy.stats import t as student_t

from equidyn.errors import DataError
from equidyn.probe.records import Record, clusters_of, read_records
from equidyn.probe.result import write
from equidyn.probe.rows import NAN, number

IDENTITY = ("run", "quantity", "condition", "items", "weights", "rotations", "loss")
HELD_OUT = {"items": ("held-out", None), "weights": ("live", None)}  # of a workflow, what is compared


@dataclass(frozen=True)
class Change:
    """One row of one measurement beside that of another; shares in percent, ``difference`` is the second
    less the first with its 95 % interval, ``paired`` whether by structures.
    """

    what: str
    first: float
    second: float
    difference: float
    difference_lo: float
    difference_hi: float
    paired: bool
    ratio: float
    verdict: str

    def __str__(self) -> str:
        interval = f"[{number(self.difference_lo)}, {number(self.difference_hi)}]"
        shares = f"{number(self.first)} % -> {number(self.second)} %, difference {number(self.difference)}"
        how = "paired" if self.paired else "not paired"
        if math.isnan(self.first) or math.isnan(self.second):
            return f"{self.what}: equivariance error x {number(self.ratio)}; no shares to compare"
        ratio = f"equivariance error x {number(self.ratio)}"
        return f"{self.what}: {self.verdict}. {shares} {interval} ({how}); {ratio}"


COLUMNS = [column.name for column in fields(Change)]


def compare(first: Path, second: Path) -> list[Change]:
    """Changes of all rows that two folders share.

    A folder with a single model is compared with another such whatever their names.

    Raises
    ------
    DataError
        a folder without tables, or nothing in common
    """
    tables = rows_of(first), rows_of(second)
    names = [{row["run"] for row in table} for table in tables]
    same_model = len(names[0]) == len(names[1]) == 1
    keyed = [{_key(row, same_model): row for row in table} for table in tables]
    shared = [key for key in keyed[0] if key in keyed[1]]
    if not shared:
        raise DataError(f"{first} and {second}: no row in common ({sorted(names[0])}, {sorted(names[1])})")
    records = [read_records(folder / "items.jsonl") for folder in (first, second)]
    return [_change(key, keyed[0][key], keyed[1][key], records) for key in shared]


def rows_of(folder: Path) -> list[dict]:
    """The last step of every row of the tables of a folder, numbers as float."""
    paths = [folder / "decomposition.csv", *sorted(folder.glob("runs/*/decomposition.csv"))]
    paths = [path for path in paths if path.is_file()]
    if not paths:
        raise DataError(f"{folder}: no decomposition.csv there or under runs/, expected a measured folder")
    last: dict[tuple, dict] = {}
    for path in paths:
        with open(path, newline="") as file:
            for row in csv.DictReader(file):
                if any(row.get(name) not in allowed for name, allowed in HELD_OUT.items()):
                    continue
                key = _key(row, same_model=False)
                if key not in last or _number(row.get("step")) >= _number(last[key].get("step")):
                    last[key] = row
    return list(last.values())


def _key(row: dict, same_model: bool) -> tuple[str, ...]:
    names = IDENTITY[1:] if same_model else IDENTITY
    return tuple(row.get(name) or "" for name in names)


def _number(text: str | None) -> float:
    return float(text) if text else NAN


def _change(key: tuple[str, ...], one: dict, two: dict, records: list[list[Record]]) -> Change:
    first, second = _number(one["percent"]), _number(two["percent"])
    paired = _paired(one.get("quantity"), records)
    if paired is None:
        halves = [(_number(row["percent_hi"]) - _number(row["percent_lo"])) / 2 for row in (one, two)]
        difference, half = second - first, math.hypot(*halves)
    else:
        difference, half = paired
    low, high = difference - half, difference + half
    before, after = _number(one["equivariance"]), _number(two["equivariance"])
    return Change(
        what=", ".join(part for part in key if part),
        first=first,
        second=second,
        difference=difference,
        difference_lo=low,
        difference_hi=high,
        paired=paired is not None,
        ratio=after / before if before else NAN,
        verdict=verdict(low, high),
    )


def verdict(low: float, high: float) -> str:
    """Of the interval of a difference."""
    if math.isnan(low):
        return "no interval"
    if low > 0:
        return "more than before"
    return "less than before" if high < 0 else "no difference shown"


def _paired(quantity: str | None, records: list[list[Record]]) -> tuple[float, float] | None:
    """Difference of the shares of the same structures, second less first in percent, and half of its 95 %
    interval: jackknife over clusters. None where the structures are not the same, or have no labels.
    """
    kept = [{r.index: r for r in one if quantity in r.quantities} for one in records]
    if quantity is None or not kept[0] or kept[0].keys() != kept[1].keys():
        return None
    order = sorted(kept[0])
    pairs = [[one[index].quantities[quantity] for index in order] for one in kept]
    if not all(sums["labelled"] for one in pairs for sums in one):
        return None
    if [kept[0][i].formula for i in order] != [kept[1][i].formula for i in order]:
        return None
    if not kept[0][order[0]].formula and any(one["zero"] != two["zero"] for one, two in zip(*pairs)):
        return None  # items of a network have no names: their labels tell whether they are the same
    clusters = clusters_of([kept[0][index] for index in order])
    n, shares, deleted = int(clusters.max()) + 1, [], []
    for one in pairs:
        sums = torch.tensor([[s["equivariance"], s["total"]] for s in one], dtype=torch.float64)
        by_cluster = torch.zeros(n, 2, dtype=torch.float64).index_add_(0, clusters, sums)
        left = by_cluster.sum(0) - by_cluster
        shares.append((100 * by_cluster.sum(0)[0] / by_cluster.sum(0)[1]).item())
        deleted.append(100 * left[:, 0] / left[:, 1])
    difference = shares[1] - shares[0]
    if n < 2:
        return difference, NAN
    left = deleted[1] - deleted[0]
    error = ((n - 1) / n * ((left - left.mean()) ** 2).sum()).sqrt().item()
    return difference, float(student_t.ppf(0.975, n - 1)) * error


def command(first: Path, second: Path, out: Path | None) -> int:
    """Print the changes; write them as a table where ``out`` is given. Returns 0."""
    changes = compare(first, second)
    for settings in _settings(first, second):
        print(f"note: {settings}")
    print("\n".join(map(str, changes)))
    if out is not None:
        write(out, [asdict(change) for change in changes], COLUMNS)
    return 0


def _settings(first: Path, second: Path) -> list[str]:
    """How the two were not measured alike, where summaries say so."""
    paths = [folder / "summary.json" for folder in (first, second)]
    if not all(path.is_file() for path in paths):
        return []
    found = [json.loads(path.read_text()) for path in paths]
    names = ("structures_sha256", "data_sha256", "rotations", "n_rotations", "seed", "measured")
    return [
        f"{name}: {found[0].get(name)} and {found[1].get(name)}"
        for name in names
        if found[0].get(name) != found[1].get(name)
    ]
