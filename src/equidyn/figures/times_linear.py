"""The figure ``times`` on linear axes, cut at 25 %."""

from matplotlib.figure import Figure

from equidyn.figures import times

FIGURES = [
    {
        "name": "times_linear",
        "task": "flow",
        "place": 4,
        "claim": "C2",
        "caption": "The same on linear axes, cut at 25 %",
    },
]


def draw(rows: list[dict], paper: list[dict]) -> Figure:
    """Figure as that of ``times.draw``."""
    return times.draw(rows, paper, linear=True)
