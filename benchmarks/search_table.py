"""The table of a search: loss at the end of every run of a results folder, by architecture, width and rate.

python benchmarks/search_table.py results/efficiency-search docs/results/efficiency/search.csv
"""

import json
import math
import sys
from pathlib import Path

import yaml

from equidyn.results import tables

COLUMNS = ("architecture", "options", "lr", "steps", "seconds", "total", "over_baseline", "best")


def row_of(run: Path) -> dict:
    """Geometric means over flow times."""
    settings = yaml.safe_load((run / "config.yaml").read_text())
    row = dict(architecture=settings["model"]["architecture"], lr=settings["training"]["lr"], best="")
    row |= dict(options=json.dumps(settings["model"].get("options", {})), steps=settings["training"]["steps"])
    if not (run / "decomposition.csv").is_file():
        return row | dict(seconds="", total="diverged", over_baseline="")
    rows = tables.read([run / "decomposition.csv"])
    conditions = [c for c in tables.conditions(rows, run.name) if not c.endswith("sc")]
    ends = [tables.curve(rows, run.name, condition=c)[-1] for c in conditions]
    for name, column in (("total", "total"), ("over_baseline", "baseline_ratio")):
        row[name] = float(f"{math.exp(sum(math.log(end[column]) for end in ends) / len(ends)):.4g}")
    return row | dict(seconds=json.loads((run / "summary.json").read_text())["seconds"])


def main(results: str, out: str) -> None:
    rows = [
        row_of(run) for run in sorted((Path(results) / "runs").glob("*/")) if (run / "config.yaml").is_file()
    ]
    kinds = {(r["architecture"], "tied" in r["options"]) for r in rows}
    for kind in kinds:
        alike = [r for r in rows if (r["architecture"], "tied" in r["options"]) == kind]
        measured = [r for r in alike if r["total"] != "diverged"]
        min(measured, key=lambda r: r["total"])["best"] = "yes"
    tables.write_table(Path(out), rows, list(COLUMNS))


if __name__ == "__main__":
    main(*sys.argv[1:])
