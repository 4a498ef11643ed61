"""Gradients of equivariance error and twirled error: ratio of their norms against the percentage, and ratio
and cosine over training.
"""

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import pearsonr, spearmanr

from equidyn.figures import style
from equidyn.figures.style import plt
from equidyn.results import tables
from equidyn.results.verdicts import counted

FIGURES = [
    {
        "name": "gradients",
        "task": "",
        "place": 13,
        "claim": "C8",
        "caption": "Gradient of the equivariance error against that of the twirled error, and the "
        "percentage, over training",
        "extra": "gradients.csv",
    },
]

MARKERS = "osD^v"


def draw(rows: list[dict], paper: list[dict], extra: list[str]) -> Figure:
    """Figure from gradients.csv files, a point per checkpoint: filled where the percentage counts, and
    correlations of those, as in the claims; star: last step.
    """
    groups: dict[tuple[str, str], list[dict]] = {}
    for row in tables.read(extra):
        groups.setdefault((row["run"], row["condition"]), []).append(row)
    groups = {
        key: sorted(group, key=lambda r: r["step"])
        for key, group in groups.items()
        if not style.all_exact(rows, key[0])
    }
    conditions, runs = (list(dict.fromkeys(key[k] for key in groups if key[k])) for k in (1, 0))
    figure = plt.figure(figsize=(style.WIDE, 3.9))
    panels = figure.add_gridspec(2, 2, width_ratios=(1.25, 1))
    scatter, ratio = figure.add_subplot(panels[:, 0]), figure.add_subplot(panels[0, 1])
    cosine = figure.add_subplot(panels[1, 1], sharex=ratio)
    for (run, condition), group in groups.items():
        counts = {r["step"] for r in tables.curve(rows, run, condition=condition) if counted(r)}
        group = [r for r in group if r["percent"] > 0 and r["ratio"] > 0]
        used = np.array([r["step"] in counts for r in group])
        x, y, steps = (
            np.array([r["percent"] for r in group]),
            np.array([r["ratio"] for r in group]),
            style.steps(group),
        )
        # flow times differ in colour and runs in marker; runs without conditions keep their own colour
        colour = (
            style.sequence(len(conditions))[conditions.index(condition)]
            if condition
            else style.colour(run, tables.runs(rows))
        )
        marker = MARKERS[runs.index(run) % len(MARKERS)]
        label = f"{style.label(run)} {condition}".strip() + correlations(np.stack([x, y], 1)[used])
        scatter.plot(x, y, "-", lw=0.5, color=colour, alpha=0.4)
        scatter.plot(x[~used], y[~used], marker, ms=3.5, color=colour, mfc="white", mew=0.8)
        scatter.plot(x[used], y[used], marker, ms=4, color=colour, mew=0, label=label)
        if len(group):
            style.star(scatter, x[-1], y[-1], used[-1], colour)
        ratio.plot(steps, y, "-", marker=marker, ms=2.5, color=colour, lw=1)
        cosine.plot(steps, [r["cosine"] for r in group], "-", marker=marker, ms=2.5, color=colour, lw=1)
    for axis in (scatter, ratio):
        axis.set_yscale("log")
        axis.axhline(1, color="0.6", lw=0.7, ls=":")
    scatter.set_xscale("log")
    scatter.set_xlabel("equivariance error, % of the loss of the same items")
    scatter.set_ylabel(r"$\|\nabla$ equivariance error$\|$ / $\|\nabla$ twirled error$\|$")
    ratio.set_ylabel("ratio of norms")
    ratio.tick_params(labelbottom=False, which="both")
    style.log_step(cosine)
    cosine.axhline(0, color="0.6", lw=0.7, ls=":")
    cosine.set_ylabel("cosine")
    figure.legend(
        loc="outside lower center",
        ncols=2,
        title="r: Pearson of logarithms, ρ: Spearman, over the checkpoints that count (filled; their number)",
    )
    return figure


def correlations(points: np.ndarray) -> str:
    """``, r = 0.75, ρ = 0.59 (15)`` of points [n, 2]; empty for fewer than three."""
    if len(points) < 3:
        return ""
    x, y = np.log(points).T
    return f": r = {pearsonr(x, y).statistic:.2f}, ρ = {spearmanr(x, y).statistic:.2f} ({len(points)})"
