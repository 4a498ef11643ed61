"""The figure of a result: error of each structure against the size of its prediction, by quantity."""

import math

from matplotlib.figure import Figure

from equidyn.probe.records import Record
from equidyn.probe.rows import Row

LEAST = 1e-18  # what is drawn for nothing at all
ERROR, WORST, FLOOR = "#D55E00", "#999999", "#CC79A7"  # Okabe and Ito; the floor as in the other figures


def draw(rows: list[Row], records: list[Record]) -> Figure:
    """Figure with a panel per quantity, r.m.s. values on logarithmic axes; of several steps of a training
    run, their curve.
    """
    if len({row.step for row in rows}) > 1:
        return _curve(rows)
    figure = Figure(figsize=(3.4 * len(rows), 3.2), layout="constrained")
    for axis, row in zip(figure.subplots(1, len(rows), squeeze=False)[0], rows):
        _panel(axis, row, [r.quantities[row.quantity] for r in records if r.quantities])
    figure.suptitle(f"{rows[0].run}: {rows[0].n_items} structures", fontsize=9)
    return figure


def _panel(axis, row: Row, items: list[dict]) -> None:
    size = [_root(item["power"] / item["count"]) for item in items]
    error = [_root(item["equivariance"] / item["count"]) for item in items]
    axis.plot(size, [max(item["worst"], LEAST) for item in items], "_", color=WORST, label="worst pose")
    axis.plot(size, error, "o", ms=3, color=ERROR, label="over all poses")
    axis.axhline(_root(row.floor), color=FLOOR, lw=1, ls="--", label="floor")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_title(f"{row.quantity}: {row.verdict.split(':')[0]}", fontsize=8)
    axis.set_xlabel(f"r.m.s. prediction of a structure, {row.unit}", fontsize=8)
    axis.set_ylabel(f"r.m.s. equivariance error, {row.unit}", fontsize=8)
    axis.tick_params(which="both", labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=7)


def _curve(rows: list[Row]) -> Figure:
    """Share of the loss and losses by step."""
    figure = Figure(figsize=(6.9, 3.2), layout="constrained")
    share, losses = figure.subplots(1, 2)
    steps = [row.step for row in rows]
    share.plot(steps, [row.percent for row in rows], "o-", ms=3, color=ERROR)
    ends = [row.percent_lo for row in rows], [row.percent_hi for row in rows]
    share.fill_between(steps, *ends, color=ERROR, alpha=0.2, lw=0)
    share.set_ylabel("equivariance error, % of the loss", fontsize=8)
    for name, colour in (("total", "#000000"), ("equivariance", ERROR), ("floor", FLOOR)):
        values = [max(getattr(row, name), LEAST) for row in rows]
        losses.plot(steps, values, "-", color=colour, label=name)
    losses.plot(steps, [row.baseline_loss for row in rows], ":", color=WORST, label="learned nothing")
    losses.set_yscale("log")
    losses.set_ylabel("loss", fontsize=8)
    losses.legend(frameon=False, fontsize=7)
    for axis in (share, losses):
        axis.set_xlabel("training step", fontsize=8)
        axis.tick_params(which="both", labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def _root(square: float) -> float:
    return max(math.sqrt(max(square, 0.0)), LEAST)
