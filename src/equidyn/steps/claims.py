"""Write the claims table."""

from pathlib import Path

from equidyn.results import tables
from equidyn.results.claims.table import claims as rows_of
from equidyn.results.columns import CLAIMS


def claims(
    decompositions: list[Path],
    paper: Path,
    out: Path,
    points: dict | None = None,
    more: list[Path] = (),
    comparisons: dict | None = None,
) -> None:
    """Verdicts on the paper's claims from the tables of all runs.

    Parameters
    ----------
    paper : the paper's numbers;  points : what the runs of the matrix stand for, see ``config.expand``
    more : gradients.csv, curvature.csv and head.csv of any runs, timing.csv of any tasks
    comparisons : those of the config
    """
    by_name = {
        name: tables.read([path for path in more if path.stem.split("-")[0] == name])
        for name in ("gradients", "curvature", "head", "timing")
    }
    rows = rows_of(tables.read(decompositions), tables.read_paper(paper), points, by_name, comparisons)
    tables.write_table(out, rows, list(CLAIMS))
