"""What the jobs of a config cost, gathered from Snakemake's benchmark files, beside what was estimated.

snakemake stages --cores 1 --configfile config/mine.yaml
"""

import csv
import math
from pathlib import Path

from equidyn.device import processor
from equidyn.errors import DataError
from equidyn.figures import stages as figure
from equidyn.figures import style
from equidyn.results.columns import STAGES
from equidyn.results.tables import write_table

MIB = 2**20
ESTIMATED = {"train": "training", "decompose": "decomposition"}  # rule → what the estimate calls it


def stages(benchmarks: Path, estimate: Path, out: Path, stem: Path) -> None:
    """Write ``stages.csv`` and its figure.

    Parameters
    ----------
    benchmarks : folder of the config's benchmark files;  estimate : its table, where there is one
    out : table;  stem : of the figure, without extension

    Raises
    ------
    DataError
        no benchmark files
    """
    rows = rows_of(benchmarks, estimate, processor())
    if not rows:
        raise DataError(f"{benchmarks}: no *.tsv, expected those of jobs that have run")
    write_table(out, rows, list(STAGES))
    stem.parent.mkdir(parents=True, exist_ok=True)
    style.save(figure.draw(rows), str(stem))


def rows_of(benchmarks: Path, estimate: Path, machine: str) -> list[dict]:
    """A row per job, in the columns of ``results.columns.STAGES``; hours are those on ``machine``."""
    expected, rows = _expected(estimate, machine), []
    for path in sorted(benchmarks.rglob("*.tsv")):
        rule = path.parent.name if path.parent != benchmarks else path.stem
        with open(path, newline="") as file:
            found = list(csv.DictReader(file, delimiter="\t"))
        for line in found:
            seconds, mib = expected.get((rule, path.stem), (math.nan, math.nan))
            measured = dict(seconds=_number(line["s"]), cpu_seconds=_number(line["cpu_time"]))
            measured |= dict(peak_mib=_number(line["max_rss"]))
            rows.append(
                dict(rule=rule, job=path.stem, **measured, estimated_seconds=seconds, estimated_mib=mib)
            )
    return rows


def _number(text: str) -> float:
    """Snakemake writes a dash or NA where a job was too short to be looked at."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _expected(estimate: Path, machine: str) -> dict[tuple[str, str], tuple[float, float]]:
    """Seconds and MiB of memory by rule and run: of this machine, else of one of its name, nan where neither
    is in the estimate.
    """
    if not estimate.is_file():
        return {}
    with open(estimate, newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["of"] == "run" and line["value"]]
    found, name = {}, machine.partition(" (family")[0]
    for run in {line["name"] for line in lines}:
        own = [line for line in lines if line["name"] == run]
        held = sum(float(x["value"]) for x in own if x["quantity"] in ("memory, host", "memory, device"))
        for rule, quantity in ESTIMATED.items():
            of_device = {x["device"]: float(x["value"]) for x in own if x["quantity"] == quantity}
            hours = [value for device, value in of_device.items() if device.startswith(machine)]
            # rows of before have the name alone
            hours += [value for device, value in of_device.items() if device.startswith(f"{name}, ")]
            found[rule, run] = (3600 * hours[0] if hours else math.nan, held / MIB)
    return found
