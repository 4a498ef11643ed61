"""A figure from outside the package, as the tests hand it to a config's ``extensions``."""

from matplotlib.figure import Figure

from equidyn.results import tables

FIGURES = [
    {"name": "last_total", "task": "forces", "caption": "Last total loss of every run", "claim": "C2"},
]


def draw(rows, paper) -> Figure:
    """A bar per run."""
    figure = Figure(figsize=(3.5, 2.5))
    runs = tables.runs(rows)
    figure.subplots().bar(runs, [tables.curve(rows, run)[-1]["total"] for run in runs])
    return figure
