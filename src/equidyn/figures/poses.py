"""Equivariance error against how alike the training poses are, at equal loss and at the end."""

import json

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from equidyn.figures import style
from equidyn.figures.axes import nearest
from equidyn.figures.style import plt
from equidyn.results import tables
from equidyn.results.claims.poses import groups, points_of, shared_conditions
from equidyn.results.verdicts import counted

FIGURES = [
    {
        "name": "poses",
        "task": "forces",
        "place": 22,
        "claim": "C2",
        "caption": "Equivariance error, without augmentation, against how alike the training poses are"
        " (largest mean gyration over trace; 1/3: isotropic): at equal loss, and at the end of training; a"
        " point per seed, its bar the 95 % interval over molecules; squares: turned by angles up to a cone,"
        " circles: a share turned",
        "axes": ["dataset"],
    }
]


ISOTROPIC = "largest mean gyration of training structures over trace (1/3: isotropic)"


def draw(rows: list[dict], paper: list[dict], extra: list[str]) -> Figure:
    """Figure with a row of two panels per group of runs that differ in dataset and seed alone."""
    found = groups(rows, json.loads(extra[0])["points"])
    found = {name: members for name, members in found.items() if shared_conditions(rows, members)}
    if not found:
        return style.nothing("no runs without augmentation differ in their dataset (and seed) alone")
    size = (style.WIDE, 2.6 * len(found) + 0.3)
    figure, axes = plt.subplots(len(found), 2, figsize=size, sharey="row", squeeze=False)
    for (left, right), (group, members) in zip(axes, found.items()):
        condition = nearest(shared_conditions(rows, members))
        level, equal = points_of(rows, members, condition)
        _scatter(left, equal)
        ends = [tables.curve(rows, point["run"], condition=condition)[-1] for point in equal]
        _scatter(right, [point | _end(row) for point, row in zip(equal, ends)])
        place = f"{group}, {condition}" if condition else group
        left.set(title=f"{place}, all at {level:.2f} × the zero predictor", ylabel="equivariance error, %")
        right.set(title="at the end of training")
    figure.supxlabel(f"{ISOTROPIC}\n{style.HOLLOW}".replace("count,\n", "count, "))
    return figure


def _end(row: dict) -> dict:
    return dict(percent=row["percent"], lo=row["percent_lo"], hi=row["percent_hi"], counts=counted(row))


def _scatter(axis: Axes, found: list[dict]) -> None:
    for point in found:
        cone = "cone" in point["dataset"]
        colour = style.QUANTITY["twirled" if cone else "equivariance"]
        bar = [[point["percent"] - point["lo"]], [point["hi"] - point["percent"]]]
        look = dict(fmt="s" if cone else "o", ms=3.5, lw=0.6, color=colour)
        look |= dict(mfc=colour if point["counts"] else "white")
        axis.errorbar([point["second"]], [point["percent"]], bar, **look)
    style.two_percent(axis, "right")
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())
