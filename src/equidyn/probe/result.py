"""The result of a measurement: rows that print as a line each, tables, a figure."""

import csv
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

from equidyn.errors import MissingPackageError, UnknownNameError, optional_packages
from equidyn.files import atomic_write
from equidyn.probe.records import Record
from equidyn.probe.rows import COLUMNS, NAN, Row
from equidyn.probe.verdicts import passes


@dataclass
class Result:
    """Rows by quantity; records of the structures; what there is to say about them; how it was made.

    Iterating gives the rows, ``result["forces"]`` one of them, ``str(result)`` a line for each.
    """

    rows: list[Row]
    records: list[Record] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    about: dict = field(default_factory=dict)

    def __str__(self) -> str:
        return "\n".join([*map(str, self.rows), *(f"note: {note}" for note in self.notes)])

    def __iter__(self):
        return iter(self.rows)

    def __getitem__(self, quantity: str) -> Row:
        for row in self.rows:
            if row.quantity == quantity:
                return row
        names = ", ".join(row.quantity for row in self.rows)
        raise UnknownNameError(f"result: no quantity {quantity!r}, expected one of {names}")

    def passes(self) -> bool:
        """Whether every row is exact or at most the limit, and no structure or checkpoint failed."""
        failed = self.about.get("failed") or any(record.failed for record in self.records)
        return all(passes(row.verdict) for row in self.rows) and not failed

    def to_frame(self):
        """The rows as a pandas DataFrame.

        Raises
        ------
        MissingPackageError
            pandas is not installed
        """
        try:
            import pandas
        except ModuleNotFoundError as error:
            raise MissingPackageError("pandas is not installed, expected here: pip install pandas") from error
        return pandas.DataFrame([asdict(row) for row in self.rows], columns=COLUMNS)

    def to_csv(self, path: str | Path) -> None:
        """The rows, in the columns of ``Row``; floats read back exactly."""
        write(Path(path), [asdict(row) for row in self.rows], COLUMNS)

    def items_to_csv(self, path: str | Path) -> None:
        """A row per structure and quantity, and per structure that failed."""
        write(Path(path), list(item_rows(self.records)), ITEM_COLUMNS)

    def plot(self, path: str | Path | None = None):
        """Errors by structure, or of a training run by step, see ``picture.draw``; returns the matplotlib
        figure, and saves it under ``path``.
        """
        with optional_packages():
            from equidyn.probe.picture import draw
        figure = draw(self.rows, self.records)
        if path is not None:
            with atomic_write(Path(path)) as temporary:
                figure.savefig(temporary, dpi=150, format=Path(path).suffix.lstrip(".") or "png")
        return figure


PAIRS = [(i, j) for i in "xyz" for j in "xyz"]
ITEM_COLUMNS = ["index", "formula", "cluster", "n_atoms", "quantity", "total", "equivariance", "percent"]
ITEM_COLUMNS += ["zero_loss", "special", "worst"] + [f"r{i}{j}" for i, j in PAIRS] + ["seconds", "failed"]


def item_rows(records: list[Record]):
    """Rows of ``per_item.csv``: means over the elements of one structure; ``worst`` is the r.m.s. deviation
    of its worst pose, the nine ``r`` that rotation.
    """
    for record in records:
        about = dict(index=record.index, formula=record.formula, cluster=record.cluster)
        about |= dict(n_atoms=record.n_atoms, seconds=record.seconds, failed=record.failed)
        if record.failed:
            yield about
        for name, sums in record.quantities.items():
            count, labelled = sums["count"], sums["labelled"]
            total = sums["total"] / count if labelled else NAN
            row = dict(quantity=name, total=total, equivariance=sums["equivariance"] / count)
            row["percent"] = 100 * row["equivariance"] / total if total > 0 else NAN
            row |= dict(zero_loss=sums["zero"] / count if labelled else NAN, worst=sums["worst"])
            row["special"] = sums.get("special", NAN)
            row |= {f"r{i}{j}": sums["worst_rotation"][k] for k, (i, j) in enumerate(PAIRS)}
            yield about | row


def write(path: Path, rows: list[dict], columns: list[str]) -> None:
    """Rows as CSV, whole or not at all; floats read back exactly, nan is empty."""

    def cell(value):
        if isinstance(value, float):
            return "" if math.isnan(value) else float.__repr__(float(value))
        return value

    with atomic_write(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=columns)
        writer.writeheader()
        writer.writerows({key: cell(value) for key, value in row.items()} for row in rows)
