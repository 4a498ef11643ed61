"""The plane of percent and loss: every run a path, ours beside the paper's."""

from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from equidyn.figures import style
from equidyn.figures.style import plt
from equidyn.results import tables
from equidyn.results.claims.plateau import published_paths
from equidyn.results.verdicts import counted, exact
from equidyn.symmetry.limits import LEARNED

FIGURES = [
    {
        "name": "plane",
        "task": "",
        "place": 6,
        "claim": "C11",
        "caption": "Percent against loss, every run a path with its direction (of flow one run, a path per"
        " time): level where symmetry is learned only as well as the task, falling where it is learned"
        " ahead. Grey: does not count. Dashed: EMA weights. Right: the paper's runs",
    },
]

LEAST = 1e-2  # %, what is less is drawn there
FARTHEST = 3.0  # × the zero predictor: what lies above left the picture early
UNITS = {
    "forces": "estimated zero predictor's",
    "voxels": "estimated zero predictor's",
    "flow": "that of the first evaluation",
}


def draw(rows: list[dict], paper: list[dict]) -> Figure:
    """Figure with a panel of our runs and one of the paper's, where it published any with both numbers."""
    task = rows[0]["task"]
    published = published_paths(paper, task)
    size = (style.WIDE, 3.6) if published else (0.6 * style.WIDE, 3.4)
    figure, axes = plt.subplots(1, 2 if published else 1, figsize=size, sharey=True, squeeze=False)
    _ours(axes[0][0], rows)
    if published:
        _theirs(axes[0][1], published, task)
    axes[0][0].set_ylabel("equivariance error, % of held-out loss")
    note = style.GREY + (f"; the paper's: total not below {LEARNED:g} × its unit" if published else "")
    figure.supxlabel(note, fontsize=7, color="0.35")
    return figure


def _ours(axis: Axes, rows: list[dict]) -> None:
    names = tables.runs(rows)
    one = style.first_not_exact(rows)
    timed = [c for c in tables.main_conditions(rows, one) if c]
    lines = [(one, c, c) for c in timed] or [(run, "", style.label(run)) for run in names]
    colours = style.sequence(len(timed)) if timed else [style.colour(run, names) for run in names]
    markers = style.MARKERS if timed else [style.marker(run, names) for run in names]
    for colour, marker, (run, condition, label) in zip(colours, cycle(markers), lines):
        for weights, line in (("live", "-"), ("ema", "--")):
            curve = tables.curve(rows, run, condition=condition, weights=weights)
            curve = [r for r in curve if not exact(r)]
            if curve:
                x = np.array([r["total"] / r["zero_loss"] for r in curve])
                y, counts = np.array([r["percent"] for r in curve]), np.array([counted(r) for r in curve])
                _path(axis, x, y, counts, colour, marker, line, label if weights == "live" else None)
    title = style.label(one) if timed else "this workflow"
    _dress(axis, title, "total loss / zero predictor's (learning goes right)")


def _theirs(axis: Axes, published: dict, task: str) -> None:
    times = {name.split()[-1] for name in published if " t=" in name}
    if times:
        published = {n.split()[-1]: p for n, p in published.items() if n.startswith("default-rep2 ")}
    colours = style.sequence(len(published))
    for colour, marker, (name, (x, y)) in zip(colours, cycle(style.MARKERS), published.items()):
        _path(axis, x, y, x < LEARNED, colour, marker, "-", name)
    _dress(axis, "the paper" + (", 60M" if times else ""), f"total loss / {UNITS[task]}")


def _path(axis: Axes, x, y, counts, colour, marker: str, line: str, label: str | None) -> None:
    """A path with an arrow at its last segment; what does not count is pale."""
    y = np.maximum(y, LEAST)
    style.greyed(axis, x, y, counts, colour, label, line, marker)
    if line == "-" and len(x) > 1:
        seen = bool(counts[-1] and counts[-2])
        head = dict(arrowstyle="-|>", color=colour if seen else style.PALE, lw=1.3, mutation_scale=9)
        axis.annotate("", (x[-1], y[-1]), (x[-2], y[-2]), arrowprops=head)


def _dress(axis: Axes, title: str, label: str) -> None:
    axis.set(xscale="log", yscale="log", title=title)
    axis.set_xlabel(label, fontsize=7)
    style.two_percent(axis)
    style.clipped(axis, LEAST)
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=9))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.yaxis.set_major_formatter("{x:g}")
    low, high = axis.get_xlim()
    axis.set_xlim(min(high, FARTHEST), low)
    if axis.get_legend_handles_labels()[1]:
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.24), ncols=2, fontsize=6.5)
