"""Draw one figure from tables, as SVG, PNG and PDF."""

import importlib
from pathlib import Path

from equidyn.figures import style
from equidyn.results import tables


def figure(figure: str, decompositions: list[Path], paper: Path, out: Path, extra: list[str] = ()) -> None:
    """Draw with a module of ``equidyn.figures``.

    Parameters
    ----------
    extra : files that the figure needs beside the tables;  out : path without extension
    """
    module = importlib.import_module(f"equidyn.figures.{figure}")
    more = [list(extra)] if extra else []
    style.save(module.draw(tables.read(decompositions), tables.read_paper(paper), *more), str(out))
