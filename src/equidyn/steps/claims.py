"""Write the claims table."""

from pathlib import Path

from equidyn.results import tables
from equidyn.results.claims.table import claims as rows_of
from equidyn.results.columns import CLAIMS


def claims(
    decompositions: list[Path], paper: Path, out: Path, points: dict | None = None, more: list[Path] = ()
) -> None:
    """Verdicts on the paper's claims from the tables of all runs.

    Parameters
    ----------
    paper : the paper's numbers;  points : what the runs of the matrix stand for, see ``config.expand``
    more : gradients.csv, curvature.csv and head.csv of any runs
    """
    by_name = {
        name: tables.read([path for path in more if path.stem == name])
        for name in ("gradients", "curvature", "head")
    }
    rows = rows_of(tables.read(decompositions), tables.read_paper(paper), points, by_name)
    tables.write_table(out, rows, list(CLAIMS))
