"""Draw one figure from tables, as SVG, PNG and PDF."""

import importlib
from pathlib import Path
from types import ModuleType

from equidyn.extensions import module_of
from equidyn.figures import style
from equidyn.results import tables


def figure(figure: str, decompositions: list[Path], paper: Path, out: Path, extra: list[str] = ()) -> None:
    """Draw with a module of ``equidyn.figures``, or with a file outside the package.

    Parameters
    ----------
    figure : name of the module, or path of the file
    extra : files that the figure needs beside the tables;  out : path without extension
    """
    more = [list(extra)] if extra else []
    style.save(_module(figure).draw(tables.read(decompositions), tables.read_paper(paper), *more), str(out))


def _module(figure: str) -> ModuleType:
    return (
        module_of(figure) if figure.endswith(".py") else importlib.import_module(f"equidyn.figures.{figure}")
    )
