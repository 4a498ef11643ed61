"""One look for all figures: colour-blind safe (Okabe and Ito; Tol), one colour for one thing everywhere,
drawn at the width they are read at.

Quantities and runs share no colour. A filled marker is a percentage that counts (``verdicts.counted``), a
hollow one does not.
"""

import textwrap
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

from equidyn.declarations import own_tasks  # noqa: E402
from equidyn.files import atomic_write  # noqa: E402
from equidyn.results import tables  # noqa: E402
from equidyn.results.labels import label  # noqa: E402
from equidyn.results.verdicts import counted, exact  # noqa: E402
from equidyn.symmetry.limits import LEARNED  # noqa: E402

COLUMN, WIDE = 3.5, 6.9  # inches: one column of a page, both
KINDS = {
    "svg": {"metadata": {"Date": None}},
    "png": {"dpi": 200},
    "pdf": {"metadata": {"CreationDate": None}},
}

HOLLOW = f"hollow: does not count,\ninterval of the total not below {LEARNED:g} × best baseline"
GREY = f"grey: does not count, interval of the total not below {LEARNED:g} × best baseline"
PALE = "0.8"
HIGHEST = 4.0  # × the best baseline: what lies above left the picture early
QUANTITY = {
    "total": "#000000",
    "twirled": "#0072B2",
    "equivariance": "#D55E00",
    "zero": "#777777",
    "floor": "#CC79A7",
}
RUN = {
    "forces": "#009E73",
    "forces-raw": "#E69F00",
    "forces-raw-aug": "#56B4E9",
    "forces-control": "#882255",
    "forces-aligned": "#332288",
    "voxels-0.3": "#009E73",
    "voxels-0.445": "#009E73",
    "voxels-0.9": "#E69F00",
    "flow": "#009E73",
}
MARKERS = "osv^DPXd"  # so that curves are told apart without colours
OTHERS = ["#44AA99", "#AA4499", "#999933", "#CC6677", "#117733", "#88CCEE", "#DDCC77", "#661100"]

plt.rcParams.update(
    {
        "font.size": 8,
        "axes.titlesize": 8,
        "legend.fontsize": 7,
        "legend.title_fontsize": 7,
        "xtick.labelsize": 7.5,
        "ytick.labelsize": 7.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "svg.hashsalt": "equidyn",
        "figure.constrained_layout.use": True,
        "lines.linewidth": 1.4,
    }
)


def unit(task: str) -> str:
    """Of the squared loss of a task; empty for one from outside the package."""
    declared = own_tasks().get(task)
    return declared.unit if declared else ""


def loss_label(task: str) -> str:
    """Of an axis with losses of a task."""
    return "held-out loss" + (f", {unit(task)}" if unit(task) else "")


def colour(run: str, names: list[str]) -> str:
    """The run's own colour in every figure; that of others by their order among the figure's ``names``."""
    return RUN.get(run) or OTHERS[_order(run, names) % len(OTHERS)]


def marker(run: str, names: list[str]) -> str:
    """The run's own marker alike; no two of 64 runs have both in common."""
    if run in RUN:
        return MARKERS[list(RUN).index(run) % len(MARKERS)]
    k = _order(run, names)
    return MARKERS[(k + k // len(OTHERS)) % len(MARKERS)]


def _order(run: str, names: list[str]) -> int:
    """Among those that have no look of their own."""
    return [name for name in names if name not in RUN].index(run)


def sequence(n: int) -> list:
    """n colours in order, for flow times."""
    return [plt.cm.viridis(0.85 * i / max(1, n - 1)) for i in range(n)]


def heading(run: str) -> str:
    """A run's label as the title of a narrow panel."""
    return label(run).replace(", ", ",\n").replace(" (", "\n(")


def panels(names: list[str]) -> tuple[Figure, np.ndarray]:
    """(figure, axes [1, n]) with a panel per run, as wide as they need between one column and the page."""
    return plt.subplots(
        1,
        len(names),
        figsize=(min(WIDE, max(COLUMN, 2.3 * len(names) + 0.8)), 2.9),
        sharey=True,
        squeeze=False,
    )


def log_step(axis: Axes) -> None:
    """Logarithmic step axis; step 0 is drawn at 0.5."""
    axis.set_xscale("log")
    axis.set_xlabel("training step (0 drawn at 0.5)")


def steps(curve: list[dict]) -> list[float]:
    """Steps as drawn."""
    return [max(r["step"], 0.5) for r in curve]


def trajectory(
    axis: Axes,
    x: np.ndarray,
    curve: list[dict],
    colour: str,
    label: str | None = None,
    lw: float = 1.4,
    least: float = 1e-12,
) -> None:
    """The percentages of a curve, with filled markers where they count and hollow ones where they do not."""
    y = [max(r["percent"], least) for r in curve]
    axis.plot(x, y, "-", lw=lw, color=colour, label=label)
    for filled in (True, False):
        points = [(a, b) for a, b, r in zip(x, y, curve) if counted(r) == filled]
        if points:
            axis.plot(*zip(*points), "o", ms=3.2, color=colour, mfc=colour if filled else "white", mew=0.9)


def star(axis: Axes, x: float, y: float, filled: bool, colour: str) -> None:
    """The last step, hollow where its percentage does not count."""
    axis.plot(
        [x],
        [y],
        "*",
        ms=10,
        color=colour,
        mfc=colour if filled else "white",
        mec="white" if filled else colour,
        mew=0.4 if filled else 0.9,
    )


def first_not_exact(rows: list[dict]) -> str:
    """The first run that is not exactly equivariant, if there is one: what a figure of one run shows."""
    names = tables.runs(rows)
    broken = (run for run in names if not all_exact(rows, run))
    return next(broken, names[0])


def all_exact(rows: list[dict], run: str) -> bool:
    """Whether a run is exactly equivariant at every checkpoint, under each of its conditions."""
    curves = [tables.curve(rows, run, condition=c) for c in tables.main_conditions(rows, run)]
    return all(exact(row) for curve in curves for row in curve)


def isolated(counts: list[bool]) -> list[int]:
    """Places of points that count between two that do not: of a line they would show nothing."""
    padded = [False, *map(bool, counts), False]
    return [k for k, here in enumerate(padded[1:-1]) if here and not (padded[k] or padded[k + 2])]


def has_at(axis: Axes, least: float) -> bool:
    """Whether a line of the axis has a point at the least percentage that is drawn."""
    return any((np.asarray(line.get_ydata(), float) == least).any() for line in axis.lines)


def clipped(axis: Axes, least: float) -> None:
    """Says that smaller percentages are drawn at the least, where a line of the axis has one there."""
    if not has_at(axis, least):
        return
    where = axis.get_yaxis_transform()
    text = f"below {least:g} % drawn there"
    axis.text(0.99, 1.1 * least, text, fontsize=7, color="0.4", ha="right", va="bottom", transform=where)


def greyed(
    axis: Axes,
    x: list,
    y: list,
    counts: list[bool],
    colour: str,
    label: str | None = None,
    line: str = "-",
    marker: str = "o",
) -> None:
    """A curve in its colour where its percentages count, pale elsewhere."""
    width = 1.3 if line == "-" else 0.8
    axis.plot(x, y, line, color=PALE, lw=0.7 * width, zorder=1)
    kept, shown = np.where(counts, y, np.nan), label if np.any(counts) else None
    axis.plot(x, kept, line, color=colour, lw=width, marker=marker, ms=3 if line == "-" else 0, label=shown)
    if line != "-":
        alone = isolated(counts)
        axis.plot([x[k] for k in alone], [y[k] for k in alone], "_", color=colour, ms=5, mew=width)


def two_percent(axis: Axes, side: str = "left") -> None:
    """The line that the claims are about, named at one end."""
    axis.axhline(2, color="0.5", lw=0.8, ls=":")
    axis.text(
        0.01 if side == "left" else 0.99,
        2.1,
        "2 %",
        color="0.4",
        va="bottom",
        ha=side,
        fontsize=7,
        transform=axis.get_yaxis_transform(),
    )


def percent_scale(axis: Axes, named: bool = True) -> None:
    """Percentages against steps, both logarithmic, with the line of 2 %."""
    axis.axhline(2, color="0.5", lw=0.8, ls=":") if not named else two_percent(axis)
    log_step(axis)
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter("{x:g}")


def loss_scale(axis: Axes, named: bool = True) -> None:
    """Losses over the best baseline's against steps, with the line below which percentages count."""
    axis.axhline(1, color=QUANTITY["zero"], ls="-.", lw=0.9)
    axis.axhline(LEARNED, color="0.5", lw=0.8, ls=":")
    if named:
        across = axis.get_yaxis_transform()
        axis.text(0.02, 0.95 * LEARNED, "counts", color="0.4", va="top", fontsize=7, transform=across)
    log_step(axis)
    axis.set_yscale("log")
    axis.set_ylim(top=min(axis.get_ylim()[1], HIGHEST))
    axis.set_ylabel("total loss / best baseline's" if named else "")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())


def at_zero_level(axis: Axes, curve: list[dict]) -> None:
    """Shade the steps up to the last one whose total loss is at or above the zero-predictor loss."""
    above = [x for x, r in zip(steps(curve), curve) if r["total"] >= r["zero_loss"]]
    if above:
        axis.axvspan(0.4, max(above), color="0.92", zorder=0, lw=0)


def nothing(text: str) -> Figure:
    """A small figure that says why there is nothing to draw."""
    figure = plt.figure(figsize=(COLUMN, 1))
    figure.supxlabel(textwrap.fill(text, 50))
    return figure


def save(figure: Figure, stem: str) -> None:
    """SVG, PNG (200 dpi) and PDF, each whole or not at all, without dates, so that the same table gives the
    same file.
    """
    for kind, how in KINDS.items():
        with atomic_write(Path(f"{stem}.{kind}")) as path:
            figure.savefig(path, format=kind, **how)
    plt.close(figure)
