"""The equivariance error in parts: by degree or irrep, by element and distance from the centre, and by the
angle between two poses.
"""

from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch

from equidyn.probe.records import Record, clusters_of
from equidyn.probe.result import Result, write
from equidyn.probe.rows import NAN, Row
from equidyn.symmetry.content import ANGLES
from equidyn.symmetry.decomposition import ratio_interval


@dataclass(frozen=True)
class Part:
    """Content in one representation (`degree`: 1, 2, …, with parity for O(3), and `rest`; `irrep` of the
    cube), in the square of the unit, and in percent of the equivariance error, with 95 % intervals; or that
    of the atoms of one `element` or in one shell around the centroid (`distance`), its value a mean over
    their components; or the mean of half the squared difference between poses so many degrees apart
    (`angle`).
    """

    run: str
    quantity: str
    kind: str
    part: str
    value: float
    value_lo: float
    value_hi: float
    percent: float
    percent_lo: float
    percent_hi: float


COLUMNS = [column.name for column in fields(Part)]
REST = "rest"


def parts(result: Result) -> list[Part]:
    """Lines for every quantity whose records have them."""
    good = [record for record in result.records if not record.failed and record.quantities]
    made = (_content, _atoms, _angles)
    return [part for row in result.rows for make in made for part in make(row, good)]


def _content(row: Row, records: list[Record]) -> list[Part]:
    kept = [record.quantities.get(row.quantity, {}) for record in records]
    if not kept or not kept[0].get("content"):
        return []
    count = _column([sums["count"] for sums in kept])
    names = list(kept[0]["content"])
    values = {name: _column([sums["content"][name] for sums in kept]) for name in names}
    kind, whole = "irrep" if "A2" in names else "degree", _column([sums["equivariance"] for sums in kept])
    if kind == "degree":
        values[REST] = whole - sum(values.values())
    clusters = clusters_of(records)
    found = []
    for name, value in values.items():
        mean, low, high, _ = ratio_interval(value, 100 * count, clusters)
        share = ratio_interval(value, whole, clusters)[:3]
        found.append(Part(row.run, row.quantity, kind, name, mean, low, high, *share))
    return found


def _atoms(row: Row, records: list[Record]) -> list[Part]:
    kept = [record.quantities.get(row.quantity, {}) for record in records]
    found = []
    for kind in ("element", "distance"):
        tables = [sums.get("atoms", {}).get(kind) for sums in kept]
        if not tables or None in tables:
            continue
        whole, clusters = _column([sums["equivariance"] for sums in kept]), clusters_of(records)
        for name in sorted({name for table in tables for name in table}, key=_order):
            value, count = (_column([table.get(name, (0.0, 0))[k] for table in tables]) for k in (0, 1))
            mean, low, high, _ = ratio_interval(value, 100 * count, clusters)
            share = ratio_interval(value, whole, clusters)[:3]
            found.append(Part(row.run, row.quantity, kind, name, mean, low, high, *share))
    return found


def _order(name: str) -> tuple[float, str]:
    """Shells by distance, elements by name."""
    start = name.partition("-")[0].partition(" ")[0]
    return (float(start), name) if start.replace(".", "").isdigit() else (0.0, name)


def _angles(row: Row, records: list[Record]) -> list[Part]:
    kept = [record.quantities.get(row.quantity, {}).get("angle") for record in records]
    if not kept or not kept[0]:
        return []
    elements = np.array([record.quantities[row.quantity]["count"] for record in records])
    sums, pairs = (np.array([one[k] for one in kept]) for k in (0, 1))  # (n_items, ANGLES)
    counts = torch.from_numpy(pairs * elements[:, None]).double()
    found, clusters = [], clusters_of(records)
    for place in range(ANGLES):
        low_end, high_end = (round(180 / ANGLES * edge) for edge in (place, place + 1))
        name = f"{low_end}-{high_end}°"
        if counts[:, place].sum() > 0:
            mean, low, high, _ = ratio_interval(
                torch.from_numpy(sums[:, place]), 100 * counts[:, place], clusters
            )
            found.append(Part(row.run, row.quantity, "angle", name, mean, low, high, NAN, NAN, NAN))
    return found


def _column(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def to_csv(found: list[Part], path: Path) -> None:
    """The parts as a file."""
    write(path, [asdict(part) for part in found], COLUMNS)
