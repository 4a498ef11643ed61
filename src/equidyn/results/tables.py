"""Read decomposition tables; the selections that figures and claims share."""

import csv
from collections.abc import Iterable
from pathlib import Path

from equidyn.declarations import own_tasks
from equidyn.errors import DataError
from equidyn.files import atomic_write
from equidyn.results.columns import CHIRALITY, CURVATURE, DECOMPOSITION, GRADIENTS, HEAD, TIMING

SELF_CONDITIONED = ",sc"  # how such conditions end
READ = (DECOMPOSITION, GRADIENTS, CURVATURE, HEAD, CHIRALITY, TIMING)
TEXT = {name for table in READ for name, column in table.items() if column.text}


def read(paths: Iterable[str | Path]) -> list[dict]:
    """Rows of decomposition, gradient, curvature or head tables, numbers as float.

    Raises
    ------
    DataError
        a table without rows or with a value that is no number, naming file and column
    """
    rows = []
    for path in paths:
        with open(Path(path), newline="") as file:
            found = list(csv.DictReader(file))
        if not found:
            raise DataError(f"{path}: no rows; rerun the rule that makes it")
        for row in found:
            try:
                rows.append({k: v if k in TEXT else float(v) for k, v in row.items()})
            except (TypeError, ValueError) as error:
                raise DataError(
                    f"{path}: {error}; expected numbers in all columns but {sorted(TEXT)}"
                ) from error
    return rows


def curve(
    rows: list[dict],
    run: str,
    loss: str = "mse",
    rotations: str | None = None,
    weights: str = "live",
    condition: str = "",
    items: str = "held-out",
) -> list[dict]:
    """Rows of one curve, by step; rotations None are those of every checkpoint."""
    wanted = (run, loss, weights, condition, items)
    of_run = [r for r in rows if r["run"] == run]
    rotations = rotations or (main_rotations(of_run) if of_run else "")
    chosen = [
        r
        for r in of_run
        if (r["run"], r["loss"], r["weights"], r["condition"], r["items"]) == wanted
        and r["rotations"] == rotations
    ]
    return sorted(chosen, key=lambda r: r["step"])


def main_rotations(rows: list[dict]) -> str:
    """The rotations that every checkpoint of a run is measured with, from its rows: as its task declares, or,
    for a task from outside the package, those of its first row.
    """
    declared = own_tasks().get(rows[0]["task"])
    return declared.rotations if declared else rows[0]["rotations"]


def conditions(rows: list[dict], run: str) -> list[str]:
    """Conditions of a run, in order of appearance."""
    return list(dict.fromkeys(r["condition"] for r in rows if r["run"] == run))


def main_conditions(rows: list[dict], run: str) -> list[str]:
    """Those that every checkpoint is measured under: not those with self-conditioning (``t=0.8,sc``), which
    look at a model a second time, nor those of rotations off the grid.
    """
    of_run = [r for r in rows if r["run"] == run]
    main = main_rotations(of_run) if of_run else ""
    found = conditions([r for r in of_run if r["rotations"] == main], run)
    return [condition for condition in found if not condition.endswith(SELF_CONDITIONED)]


def runs(rows: list[dict]) -> list[str]:
    """Names of the runs, in order of appearance."""
    return list(dict.fromkeys(r["run"] for r in rows))


def read_paper(path: str | Path) -> list[dict]:
    """The paper's numbers, by step: task, run, quantity, step, percent (or what else the quantity names)."""
    with open(path, newline="") as file:
        rows = [
            {**row, "step": float(row["step"]), "percent": float(row["percent"])}
            for row in csv.DictReader(file)
        ]
    return sorted(rows, key=lambda row: row["step"])


def write_table(path: Path, rows: list[dict], columns: list[str]) -> None:
    """Rows as CSV, whole or not at all; floats so that they read back exactly.

    Raises
    ------
    DataError
        see ``files.atomic_write``
    ValueError
        a row with a column that is not among these
    """
    with atomic_write(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=columns)
        writer.writeheader()
        for row in rows:  # numpy's floats would write their type, too
            writer.writerow({k: float.__repr__(v) if isinstance(v, float) else v for k, v in row.items()})
