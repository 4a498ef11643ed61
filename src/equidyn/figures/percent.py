"""Percent of held-out loss from equivariance error against step, for the non-equivariant runs, with the
paper's milestones; beside it the loss, which says where a percentage counts.
"""

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from equidyn.figures import style
from equidyn.figures.style import plt
from equidyn.results import tables
from equidyn.results.verdicts import counted, exact

FIGURES = [
    {
        "name": "percent",
        "task": "forces",
        "place": 1,
        "claim": "C2",
        "caption": "Percent of held-out loss due to equivariance error against training step, and the loss"
        " over that of the best baseline: what is grey left does not count, because the loss right is not"
        " below the line",
    },
    {
        "name": "percent",
        "task": "voxels",
        "place": 1,
        "claim": "C2",
        "caption": "Percent of held-out loss due to equivariance error against training step, and the loss"
        " over that of the best baseline: what is grey left does not count, because the loss right is not"
        " below the line",
    },
]

PAPER = {"forces": ("default-rep1", "paper: 6M on SPICE"), "voxels": ("model-111M", "paper: 111M, σ = 0.9")}
LEAST = 1e-3  # percent; what is less is drawn there


def draw(rows: list[dict], paper: list[dict]) -> Figure:
    """Figure with two panels over the same steps, one line and 95 % band per run."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.WIDE, 3.5))
    names = tables.runs(rows)
    for run in names:
        curve, look = tables.curve(rows, run), (style.colour(run, names), style.marker(run, names))
        label = style.label(run)
        loss(right, curve, label, *look)
        percents(left, rows, run, "", *look)
    published(left, paper, rows[0]["task"], *PAPER.get(rows[0]["task"], ("", "")))
    style.percent_scale(left)
    style.clipped(left, LEAST)
    style.loss_scale(right)
    left.set_xlim(left=0.4)
    left.set_ylabel("equivariance error, % of held-out loss")
    handles = {
        label: handle for axis in (right, left) for handle, label in zip(*axis.get_legend_handles_labels())
    }
    note = f"{style.GREY}; dashed: EMA weights"
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, title=note)
    return figure


def percents(axis: Axes, rows: list[dict], run: str, condition: str, colour: str, marker: str) -> None:
    """Live and averaged weights of a run, if it is not exactly equivariant."""
    curve = tables.curve(rows, run, condition=condition)
    if not all(exact(r) for r in curve):
        percent(axis, curve, colour, marker=marker)
        percent(axis, tables.curve(rows, run, condition=condition, weights="ema"), colour, "--")


def percent(axis: Axes, curve: list[dict], colour: str, line: str = "-", marker: str = "o") -> None:
    """Percentages of a curve; its band where they count."""
    x, counts = style.steps(curve), [counted(r) for r in curve]
    style.greyed(axis, x, [max(r["percent"], LEAST) for r in curve], counts, colour, line=line, marker=marker)
    if line == "-":
        low, high = ([max(r[f"percent_{end}"], LEAST) for r in curve] for end in ("lo", "hi"))
        axis.fill_between(x, low, high, where=counts, color=colour, alpha=0.2, lw=0)
        for k in style.isolated(counts):
            axis.plot([x[k]] * 2, [low[k], high[k]], color=colour, alpha=0.5, lw=1.2)


def loss(axis: Axes, curve: list[dict], label: str, colour: str, marker: str) -> None:
    """Total loss of a curve over the best baseline's, with its band."""
    x = style.steps(curve)
    y = [r["baseline_ratio"] for r in curve]
    axis.plot(x, y, "-", color=colour, lw=1.3, label=label, marker=marker, ms=3)
    ends = [r["baseline_ratio_lo"] for r in curve], [r["baseline_ratio_hi"] for r in curve]
    axis.fill_between(x, *ends, color=colour, alpha=0.2, lw=0)


def published(axis: Axes, paper: list[dict], task: str, run: str, label: str, last: float = math.inf) -> None:
    """The paper's percentages of a run, up to a step."""
    points = [r for r in paper if (r["task"], r["run"], r["quantity"]) == (task, run, "percent_published")]
    points = [r for r in points if r["step"] <= last]
    if points:
        x, y = [r["step"] for r in points], [r["percent"] for r in points]
        axis.plot(x, y, "D", ms=3.5, mfc="none", mec="0.3", mew=0.8, label=label, clip_on=False)
