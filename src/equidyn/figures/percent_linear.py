"""The figure ``percent`` on linear axes, cut at 25 %: what happens late rather than early."""

from matplotlib.figure import Figure

from equidyn.figures import percent


def draw(rows: list[dict], paper: list[dict]) -> Figure:
    """Figure as that of ``percent.draw``."""
    return percent.draw(rows, paper, linear=True)
