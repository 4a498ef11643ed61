"""What lowers the percentage at the end of training: one change at a time, a marker per seed."""

import json

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from equidyn.figures import style
from equidyn.figures.axes import nearest
from equidyn.figures.style import plt
from equidyn.results import tables
from equidyn.results.claims.axes import point_text
from equidyn.results.claims.plateau import learned
from equidyn.results.claims.replicates import replicated
from equidyn.results.claims.rows import curves_of
from equidyn.results.verdicts import counted

FIGURES = [
    {
        "name": "lifts",
        "task": "",
        "place": 23,
        "claim": "C11",
        "caption": "What lowers the percentage at the end of training, one change at a time, a marker per"
        " seed: percentage (live, and EMA weights), loss, and equivariance error on training items over that"
        " on held-out ones",
        "axes": [
            "training.steps",
            "training.batch_size",
            "training.final_lr_fraction",
            "training.copies",
            "training.equivariance_penalty",
        ],
    }
]

FAINT = "0.85"


def draw(rows: list[dict], paper: list[dict], extra: list[str]) -> Figure:
    """Figure with a row of three panels per reference run; extra[0] is the JSON of {points: {run: {group,
    axes, reference, …}}}.
    """
    made = replicated(tables.runs(rows), json.loads(extra[0])["points"])
    references = {p.reference: p for p in made if p.own}
    families = {
        name: [own, *(p for p in made if not p.own and p.reference == name)]
        for name, own in references.items()
    }
    families = {name: family for name, family in families.items() if len(family) > 1}
    if not families:
        return style.nothing("no run differs from a reference in anything but its seed")
    heights = [len(family) for family in families.values()]
    figure, axes = plt.subplots(
        len(families),
        3,
        figsize=(style.WIDE, 0.23 * sum(heights) + 0.75 * len(heights) + 0.3),
        height_ratios=heights,
        sharex="col",
        sharey="row",
        squeeze=False,
    )
    for panels, (name, family) in zip(axes, families.items()):
        _row_of_panels(panels, rows, name, family)
    for axis, label in zip(
        axes[-1], ("equivariance error, %", "total / zero predictor's", "training / held-out items")
    ):
        axis.set_xlabel(label)
    note = (
        "at the end of training; circles: live weights (hollow: does not count), diamonds: EMA; grey: mean "
        "of the reference, dotted: 1"
    )
    figure.supxlabel(note, fontsize=7, color="0.35")
    return figure


def _row_of_panels(panels, rows: list[dict], name: str, family: list) -> None:
    labels = ["reference", *map(point_text, family[1:])]
    condition = nearest(tables.main_conditions(rows, name))
    for y, point in enumerate(family):
        live, ema = (curves_of(rows, point.runs, condition, weights=w) for w in ("live", "ema"))
        colour = "black" if y == 0 else style.QUANTITY["equivariance"]
        averaged = [c[-1]["percent"] for c in ema]
        panels[0].plot(averaged, [y + 0.22] * len(averaged), "D", ms=3, mfc="white", mew=0.8, color=colour)
        values = (
            [c[-1]["percent"] for c in live],
            [c[-1]["total"] / c[-1]["zero_loss"] for c in live],
            [
                seen["equivariance"] / held["equivariance"]
                for seen, held in learned(rows, point.runs, condition)
            ],
        )
        for axis, drawn in zip(panels, values):
            _dots(axis, drawn, y, colour, [counted(c[-1]) for c in live])
            if y == 0 and drawn:
                axis.axvline(np.exp(np.mean(np.log(drawn))), color=FAINT, lw=1, zorder=0)
    for axis in panels:
        axis.set_yticks(range(len(family)), labels)
        axis.set_ylim(len(family) - 0.4, -0.6)
    for axis in panels[:2]:
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter(NullFormatter())
    panels[0].set_title(style.label(name), loc="left")
    panels[2].axvline(1, color=FAINT, lw=1, ls=":", zorder=0)


def _dots(axis: Axes, values: list[float], y: float, colour: str, filled: list[bool]) -> None:
    """A marker per seed, hollow where it does not count."""
    for value, full in zip(values, filled):
        axis.plot([value], [y], "o", ms=3.6, color=colour, mfc=colour if full else "white", mew=0.8)
