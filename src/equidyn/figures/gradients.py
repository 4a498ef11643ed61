"""Ratio of the gradient norms of equivariance error and twirled error against the percentage, one point per checkpoint."""

import csv

import numpy as np
from scipy.stats import pearsonr, spearmanr

from equidyn.figures import style
from equidyn.figures.style import plt

TIED = 1e-3  # percent; runs that never exceed it are exactly equivariant: their gradients are rounding
MARKERS = "osD^v"


def draw(rows, paper, extra):
    """Figure from gradients.csv files: log-log, Pearson of the logarithms and Spearman per run and condition in the legend; star: last step."""
    figure, axis = plt.subplots(figsize=(4.6, 3.6))
    groups: dict[tuple[str, str], list[dict]] = {}
    for path in extra:
        with open(path, newline="") as file:
            for row in csv.DictReader(file):
                groups.setdefault((row["run"], row["condition"]), []).append(row)
    groups = {key: group for key, group in groups.items() if max(float(r["percent"]) for r in group) > TIED}
    conditions = list(dict.fromkeys(condition for _, condition in groups if condition))
    runs = list(dict.fromkeys(run for run, _ in groups))
    for (run, condition), group in groups.items():
        points = np.array([[float(r["percent"]), float(r["ratio"])] for r in sorted(group, key=lambda r: float(r["step"]))])
        points = points[(points > 0).all(1)]
        # flow times differ in colour and runs in marker; runs without conditions keep their own colour
        colour = style.sequence(len(conditions))[conditions.index(condition)] if condition else style.colour(run)
        marker = MARKERS[runs.index(run) % len(MARKERS)]
        label = f"{style.LABEL.get(run, run)} {condition}".strip() + correlations(points)
        axis.plot(*points.T, marker, ms=3.5, color=colour, alpha=0.85, mew=0, label=label)
        axis.plot(*points.T, "-", lw=0.5, color=colour, alpha=0.4)
        axis.plot(*points[-1], "*", ms=9, color=colour, mec="white", mew=0.4)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("equivariance error, % of the loss of the same items (star: last step)")
    axis.set_ylabel(r"$\|\nabla$ equivariance error$\|$ / $\|\nabla$ twirled error$\|$")
    figure.legend(fontsize=6, loc="outside lower center", ncols=1, title="r: Pearson of logarithms, ρ: Spearman, over checkpoints", title_fontsize=6)
    return figure


def correlations(points: np.ndarray) -> str:
    """``, r = 0.75, ρ = 0.59 (15)`` of points [n, 2]; empty for fewer than three."""
    if len(points) < 3:
        return ""
    x, y = np.log(points).T
    return f": r = {pearsonr(x, y).statistic:.2f}, ρ = {spearmanr(x, y).statistic:.2f} ({len(points)})"
