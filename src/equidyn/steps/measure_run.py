"""``equidyn measure --run``: a trained run of this workflow, measured as its table was made."""

import csv
from pathlib import Path

from equidyn.errors import DataError
from equidyn.results.claims.rows import percent_text
from equidyn.results.columns import DECOMPOSITION
from equidyn.results.tables import write_table
from equidyn.results.verdicts import counted, verdict
from equidyn.steps.measurement import Measurement, about_training
from equidyn.steps.run import Run, checkpoints_in, load, read_settings
from equidyn.training import checkpoint

KEY = ("step", "condition", "items", "weights", "rotations", "loss")  # of a row of the table


def measure_run(run: Path, dataset: Path | None = None, out: Path | None = None) -> int:
    """Measure the last checkpoint's live weights on held-out items, and compare with the run's table.

    Parameters
    ----------
    run : folder such as results/runs/forces
    dataset : its dataset file; by default the one beside ``runs/``
    out : table to write, CSV

    Returns
    -------
    0

    Raises
    ------
    DataError
        no such run, dataset or checkpoints
    """
    loaded, data = load_run(run, dataset)
    about = about_training(loaded.settings, data)
    n_rotations = loaded.settings["measure"]["n_rotations"]
    measurement = Measurement(loaded.settings["run"], loaded.task, loaded.model, n_rotations, about=about)
    saved = checkpoint.load(checkpoints_in(run / "checkpoints", loaded.settings)[-1])
    rows = list(measurement.rows(saved, measurement.plans(last=True)[0]))
    for row in rows:
        print(line(row))
    print(agreement(rows, run / "decomposition.csv"))
    if out is not None:
        write_table(out, rows, list(DECOMPOSITION))
    return 0


def load_run(run: Path, dataset: Path | None = None) -> tuple[Run, Path]:
    """A run from its folder, and its dataset file."""
    config = run / "config.yaml"
    if not config.is_file():
        raise DataError(f"{run}: no config.yaml there, expected a folder such as results/runs/forces")
    settings = read_settings(config)
    folder = run.resolve().parent.parent / "data"
    data = folder / f"{settings['dataset']}.h5" if dataset is None else dataset
    if not data.is_file():
        raise DataError(f"{data}: no such dataset file, expected that of {run} (or name it: --dataset)")
    grids = data.with_suffix("") / "grids.h5"
    return load(settings, data, grids if grids.is_file() else None), data


def load_last(run: Path, dataset: Path | None = None) -> tuple[Run, int]:
    """A run from its folder with the live weights of its last checkpoint, and their step.

    Raises
    ------
    DataError
        no such run, dataset or checkpoints
    """
    loaded, _ = load_run(run, dataset)
    return loaded, loaded.take(checkpoints_in(run / "checkpoints", loaded.settings)[-1])


def line(row: dict) -> str:
    """A row in one line, with the verdict on it alone."""
    where = f"{row['run']}, step {row['step']}" + (f", {row['condition']}" if row["condition"] else "")
    share = f"{percent_text(row)} of the loss"
    judged = f"at most 2 %: {verdict([row])}" if counted(row) else "has not learned enough to tell"
    return f"{where}, {row['loss']}: {share}; total {row['total']:.4g}, floor {row['floor']:.2g}; {judged}"


def agreement(rows: list[dict], table: Path) -> str:
    """Whether the rows are those of a table, to the last digit; else which columns differ."""
    if not table.is_file():
        return f"{table}: not there, nothing to compare with"
    with open(table, newline="") as file:
        kept = {tuple(row[name] for name in KEY): row for row in csv.DictReader(file)}
    differ: set[str] = set()
    for row in rows:
        key = tuple(str(row[name]) for name in KEY)
        if key not in kept:
            return f"{table}: no row for {dict(zip(KEY, key))}"
        differ |= {
            name for name, value in kept[key].items() if name != "seconds" and not _same(row[name], value)
        }
    if differ:
        return f"{table}: differs in {', '.join(sorted(differ))}"
    return f"{table}: the same {len(rows)} rows, to the last digit"


def _same(value, text: str) -> bool:
    if isinstance(value, float):
        return float.__repr__(float(value)) == text
    return str(value) == text
