"""The figure ``times`` on linear axes, cut at 25 %."""

from equidyn.figures import times


def draw(rows, paper):
    """Figure as that of ``times.draw``."""
    return times.draw(rows, paper, linear=True)
