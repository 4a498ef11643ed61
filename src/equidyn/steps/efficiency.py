"""Write the table of the comparisons of a config."""

from pathlib import Path

from equidyn.results import efficiency, tables
from equidyn.results.columns import EFFICIENCY


def write(decompositions: list[Path], timing: list[Path], comparisons: dict, points: dict, out: Path) -> None:
    """``efficiency.csv``; its columns are ``results.columns.EFFICIENCY``.

    Parameters
    ----------
    timing : tables of the tasks that are compared
    comparisons, points : of the config, see ``config.expand``
    """
    rows, times, found = tables.read(decompositions), tables.read(timing), []
    for name, comparison in comparisons.items():
        for condition in tables.main_conditions(rows, comparison["agnostic"]):
            made = efficiency.contenders(name, comparison, rows, points, times, condition)
            found += efficiency.table(made, condition)
    tables.write_table(out, found, list(EFFICIENCY))
