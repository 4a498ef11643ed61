"""The figure ``percent`` on linear axes, cut at 25 %: what happens late rather than early."""

from matplotlib.figure import Figure

from equidyn.figures import percent

FIGURES = [
    {
        "name": "percent_linear",
        "task": "forces",
        "place": 3,
        "claim": "C2",
        "caption": "The same on linear axes, cut at 25 %",
    },
    {
        "name": "percent_linear",
        "task": "voxels",
        "place": 3,
        "claim": "C2",
        "caption": "The same on linear axes, cut at 25 %",
    },
]


def draw(rows: list[dict], paper: list[dict]) -> Figure:
    """Figure as that of ``percent.draw``."""
    return percent.draw(rows, paper, linear=True)
