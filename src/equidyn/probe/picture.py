"""The figure of a result: error of each structure against the size of its prediction, by quantity.

On logarithmic axes there is no place for zero: what is exactly zero is told below the panel, not drawn.
Legends stand beside the panels, ticks carry few labels in plain numbers.
"""

import math

from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, Locator, MaxNLocator, NullLocator

from equidyn.probe.records import Record
from equidyn.probe.rows import Row

ERROR, WORST, FLOOR = "#D55E00", "#999999", "#CC79A7"  # Okabe and Ito; the floor as in the other figures
PANEL, HEIGHT, BELOW = 3.4, 3.2, 0.4  # inches: of a panel, and of the legend below them all
MOST = 5  # labelled ticks of an axis
STEPS = ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5, 7))  # of a decade, from few ticks to many


def draw(rows: list[Row], records: list[Record]) -> Figure:
    """Figure with a panel per quantity, r.m.s. values on logarithmic axes; of several steps of a training
    run, their curve.
    """
    if len({row.step for row in rows}) > 1:
        return _curve(rows)
    figure = Figure(figsize=(PANEL * len(rows), HEIGHT + BELOW), layout="constrained")
    for axis, row in zip(figure.subplots(1, len(rows), squeeze=False)[0], rows):
        _panel(axis, row, [r.quantities[row.quantity] for r in records if r.quantities])
    figure.suptitle(f"{rows[0].run}: {rows[0].n_items} structures", fontsize=9)
    _legend(figure)
    return figure


def _panel(axis, row: Row, items: list[dict]) -> None:
    axis.set_xscale("log")
    axis.set_yscale("log")
    differ = [item for item in items if item["equivariance"] > 0]
    size = [math.sqrt(item["power"] / item["count"]) for item in differ]
    error = [math.sqrt(item["equivariance"] / item["count"]) for item in differ]
    worst = [(x, item["worst"]) for x, item in zip(size, differ) if item["worst"] > 0]  # nan: not known
    if worst:
        axis.plot(*zip(*worst), "_", color=WORST, label="worst pose")
    if differ:
        axis.plot(size, error, "o", ms=3, color=ERROR, label="over all poses")
    if row.floor > 0:
        axis.axhline(math.sqrt(row.floor), color=FLOOR, lw=1, ls="--", label="floor")
    axis.set_title(f"{row.quantity}: {row.verdict.split(':')[0]}", fontsize=8)
    told = "".join(f"\n{line}" for line in _not_drawn(row, len(items) - len(differ), len(items)))
    unit = f", {row.unit}" if row.unit else ""
    axis.set_xlabel(f"r.m.s. prediction of a structure{unit}{told}", fontsize=8)
    axis.set_ylabel(f"r.m.s. equivariance error{unit}", fontsize=8)
    for one in (axis.xaxis, axis.yaxis):
        _ticks(one, bool(differ))
    _plain(axis)


def _not_drawn(row: Row, equal: int, n: int) -> list[str]:
    """Sentences on what is zero: structures whose poses all give the same prediction, and the floor."""
    lines = []
    if equal:
        lines.append(f"{equal} of {n} structures: error exactly 0, not drawn")
    if not row.floor > 0:
        lines.append("floor exactly 0, not drawn")
    return lines


class FewTicks(Locator):
    """Ticks of a logarithmic axis: decades, or round parts of them, at most ``MOST``; in a narrow range a
    regular scale's.
    """

    def __call__(self):
        return self.tick_values(*sorted(self.axis.get_view_interval()))

    def tick_values(self, vmin, vmax):
        """In the range [vmin, vmax] of positive numbers."""
        decades = range(math.floor(math.log10(vmin)), math.ceil(math.log10(vmax)) + 1)
        best: list[float] = []
        for steps in STEPS:
            found = [step * 10.0**decade for decade in decades for step in steps]
            found = [value for value in found if vmin <= value <= vmax]
            if len(found) > MOST:
                break
            best = found
        if len(best) > 1:
            return best
        if len(decades) > MOST:  # many decades: some of them
            every = -(-len(decades) // MOST)
            return [10.0**d for d in decades if d % every == 0 and vmin <= 10.0**d <= vmax]
        regular = MaxNLocator(nbins=MOST - 2, steps=[1, 2, 5, 10]).tick_values(vmin, vmax)
        return [value for value in regular if vmin <= value <= vmax]


def label(value: float) -> str:
    """Of a tick: a plain number, or one with a power of ten where that is shorter.

    Examples
    --------
    >>> label(0.7), label(50.0), label(6.25)
    ('0.7', '50', '6.25')
    >>> label(2e-15), label(1e-6)
    ('$2×10^{-15}$', '$10^{-6}$')
    """
    if 1e-3 <= abs(value) < 1e4:
        return f"{value:.10g}"
    digits, _, power = f"{value:.9e}".partition("e")
    front = f"{float(digits):g}"
    return f"${'' if front == '1' else front + '×'}10^{{{int(power)}}}$"


def _ticks(one: Axis, any_points: bool) -> None:
    one.set_major_locator(FewTicks() if any_points else NullLocator())
    one.set_major_formatter(FuncFormatter(lambda value, _: label(value)))
    one.set_minor_locator(NullLocator())


def _plain(axis) -> None:
    axis.tick_params(which="both", labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure) -> None:
    """One for all panels, below them."""
    handles = {}
    for axis in figure.axes:
        for handle, name in zip(*axis.get_legend_handles_labels()):
            handles.setdefault(name, handle)
    if handles:
        how = dict(loc="outside lower center", ncols=len(handles), frameon=False, fontsize=7)
        figure.legend(handles.values(), handles.keys(), **how)


def _curve(rows: list[Row]) -> Figure:
    """Share of the loss and losses by step."""
    figure = Figure(figsize=(2 * PANEL, HEIGHT + BELOW), layout="constrained")
    share, losses = figure.subplots(1, 2)
    steps = [row.step for row in rows]
    share.plot(steps, [row.percent for row in rows], "o-", ms=3, color=ERROR)
    ends = [row.percent_lo for row in rows], [row.percent_hi for row in rows]
    share.fill_between(steps, *ends, color=ERROR, alpha=0.2, lw=0)
    share.set_ylabel("equivariance error, % of the loss", fontsize=8)
    losses.set_yscale("log")
    told = ""
    for name, colour in (("total", "#000000"), ("equivariance", ERROR), ("floor", FLOOR)):
        values = [getattr(row, name) for row in rows]
        drawn = [value if value > 0 else math.nan for value in values]
        losses.plot(steps, drawn, "-", color=colour, label=name)
        if zeros := sum(value == 0 for value in values):
            told += f"\n{name} exactly 0 at {zeros} of {len(rows)} steps, not drawn"
    losses.plot(steps, [row.baseline_loss for row in rows], ":", color=WORST, label="learned nothing")
    losses.set_ylabel("loss", fontsize=8)
    _ticks(losses.yaxis, True)
    share.set_xlabel("training step", fontsize=8)
    losses.set_xlabel(f"training step{told}", fontsize=8)
    for axis in (share, losses):
        _plain(axis)
    _legend(figure)
    return figure
