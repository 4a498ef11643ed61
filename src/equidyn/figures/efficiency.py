"""Agnostic against equivariant networks: loss against training time, steps and operations, what a step of the
equivariant one may cost, predictions, and sizes of the training set.
"""

import json

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from equidyn.figures import style
from equidyn.figures.style import plt
from equidyn.results import efficiency, tables
from equidyn.results.claims.efficiency import judged
from equidyn.results.claims.replicates import seeds_text
from equidyn.results.efficiency import AGNOSTIC, BETWEEN, EQUIVARIANT, Contender

FIGURES = [
    {
        "name": "efficiency",
        "task": "",
        "place": 2,
        "claim": "C10",
        "caption": "An agnostic network against exactly equivariant ones and ways between. Held-out loss,"
        " mean over seeds (bands: lowest and highest), against training time on one thread, steps and counted"
        " operations; dashed: the agnostic network's twirled loss, symmetry for free. How many times dearer a"
        " step of the equivariant network may be and still tie, and what it costs (dotted). Loss against time"
        " per prediction, averaged over 1 to 24 rotations (P + E/n). Loss of the agnostic network over that"
        " of the others at equal training time: below 1 the agnostic one is ahead",
        "comparisons": True,
    }
]

PARTNERS = ["#0072B2", "#009E73", "#CC79A7"]
OTHERS = ["#D55E00", "#E69F00", "#56B4E9", "#999933"]
N_BUDGETS = 12


def draw(rows: list[dict], paper: list[dict], extra: list[str]) -> Figure:
    """Figure with two rows of three panels per comparison, and a third where training sets differ in size;
    extra: the JSON of {comparisons, points}, and the timing table.

    Flow at the time where the agnostic network is farthest below the best baseline.
    """
    asked, timing = json.loads(extra[0]), tables.read(extra[1:])
    drawn = []
    for name, comparison in asked["comparisons"].items():
        condition = _condition(rows, comparison[AGNOSTIC])
        found = efficiency.contenders(name, comparison, rows, asked["points"], timing, condition)
        if found and found[0].role == AGNOSTIC:
            drawn.append((condition, found))
    if not drawn:
        return style.nothing("no comparison has both curves and times")
    n_rows = [3 if _has_sizes(found) else 2 for _, found in drawn]
    figure = plt.figure(figsize=(style.WIDE, 2.25 * sum(n_rows) + 0.5 * len(drawn)))
    parts = figure.subfigures(len(drawn), 1, height_ratios=n_rows, squeeze=False)
    colours = _colours([one for _, found in drawn for one in found])
    for (part,), (condition, found), height in zip(parts, drawn, n_rows):
        _comparison(part, condition, found, height, colours)
    return figure


def _condition(rows: list[dict], run: str) -> str:
    """Under which the agnostic network is farthest below the best baseline at its end."""
    named = tables.main_conditions(rows, run)
    return min(named, key=lambda c: tables.curve(rows, run, condition=c)[-1]["baseline_ratio"], default="")


def _has_sizes(found: list[Contender]) -> bool:
    return len(efficiency.sizes(found, found[0].run)) > 1


def _comparison(part, condition: str, found: list[Contender], height: int, colours: dict[str, str]) -> None:
    whole = [c for c in found if c.n_train is None]
    agnostic = whole[0]
    axes = part.subplots(height, 3)
    title = (
        f"{agnostic.comparison}{', ' + condition if condition else ''}: {seeds_text(len(agnostic.curves))}"
    )
    part.suptitle(title, fontsize=8.5, x=0.01, ha="left")
    loss = style.loss_label(agnostic.curves[0][-1]["task"])
    units = (
        ("training time, s", lambda c: c.cost("step_seconds")),
        ("training step", lambda c: 1.0),
        ("training operations, TFLOP", lambda c: c.cost("train_flops") / 1e12),
    )
    for axis, (label, unit) in zip(axes[0], units):
        for one in whole:
            _curves(axis, one, unit(one), colours[one.run])
        _dress(axis, label, "")
    axes[0][0].set_ylabel(loss)
    _break_even(axes[1][0], agnostic, [c for c in whole if c.role == EQUIVARIANT], colours)
    _predictions(axes[1][1], whole, colours, loss)
    _ratios(axes[1][2], agnostic, whole[1:], colours)
    if height == 3:
        _sizes(axes[2][0], found, agnostic, [c for c in whole if c.role == EQUIVARIANT], colours)
        for axis in axes[2][1:]:
            axis.axis("off")
    handles, labels = axes[0][0].get_legend_handles_labels()
    place = (
        dict(loc="center", bbox_to_anchor=(0.66, 0.16)) if height == 3 else dict(loc="outside lower center")
    )
    part.legend(handles, labels, ncols=2 if height == 3 else 3, **place)


def _colours(found: list[Contender]) -> dict[str, str]:
    """One for each run of all comparisons."""
    given = {}
    for role, palette in ((EQUIVARIANT, PARTNERS), (BETWEEN, OTHERS), (AGNOSTIC, ["#000000"])):
        names = dict.fromkeys(one.run for one in found if one.role == role)
        given |= {name: palette[k % len(palette)] for k, name in enumerate(names)}
    return given


def _curves(axis: Axes, one: Contender, unit: float, colour: str) -> None:
    """Mean over seeds and the band between the lowest and the highest; of the agnostic one also twirled."""
    steps = [row["step"] for row in one.curves[0] if row["step"] > 0]
    x = np.array(steps) * unit
    lines = [("total", "-" if one.role != BETWEEN else "-.", 1.5 if one.role != BETWEEN else 0.9)]
    lines += [("twirled", "--", 1.1)] if one.role == AGNOSTIC else []
    for name, line, width in lines:
        y = np.array([[efficiency.loss_at(curve, step, name) for step in steps] for curve in one.curves])
        label = one.run + (", twirled" if name == "twirled" else "")
        axis.plot(x, np.exp(np.log(y).mean(0)), line, color=colour, lw=width, label=label)
        if one.role != BETWEEN and name == "total":
            axis.fill_between(x, y.min(0), y.max(0), color=colour, alpha=0.2, lw=0)


def _dress(axis: Axes, x: str, y: str) -> None:
    axis.set(xscale="log", yscale="log", ylabel=y)
    axis.set_xlabel(x, fontsize=7)
    _plain(axis.xaxis)
    _plain(axis.yaxis)


def _plain(scale: Axis) -> None:
    """Numbers at as many places of every decade as there is room for."""
    low, high = scale.get_view_interval()
    fine = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
    decades = {4: fine, 30: (1, 2, 5), 500: (1, 3)}
    subs = next((subs for most, subs in decades.items() if high < most * low), (1,))
    few = MaxNLocator(4, steps=[1, 2, 5, 10]) if high < 1.5 * low else LogLocator(subs=subs, numticks=9)
    scale.set_major_locator(few)
    scale.set_major_formatter("{x:g}")
    scale.set_minor_formatter(NullFormatter())


def _break_even(axis: Axes, agnostic: Contender, partners: list[Contender], colours: dict) -> None:
    """Times dearer per step at which a partner ties, by budget, and what its step costs."""
    first = min(row["step"] for row in agnostic.curves[0] if row["step"] > 0)
    budgets = np.geomspace(2 * first, agnostic.steps, N_BUDGETS) * agnostic.cost("step_seconds")
    for one in partners:
        by_budget = [efficiency.break_even(agnostic, one, seconds) for seconds in budgets]
        found = np.array([[np.nan if sign == "<" else x for x, sign in seeds] for seeds in by_budget])
        middle = np.median(found, 1)  # none where a seed never has the loss
        axis.plot(budgets, middle, color=colours[one.run], marker="o", ms=2.5, lw=1.2)
        for column in found.T:
            axis.plot(budgets, column, color=colours[one.run], lw=0.5, alpha=0.6)
        axis.axhline(efficiency.step_ratio(one, agnostic)[0], color=colours[one.run], lw=0.9, ls=":")
    axis.set_xlim(budgets[0] / 1.2, 1.2 * budgets[-1])  # where no partner ever ties there is nothing else
    _dress(axis, "budget of the agnostic network, s", "a step may cost (dotted: costs), ×")


def _predictions(axis: Axes, whole: list[Contender], colours: dict, loss: str) -> None:
    """Loss at the end against time per item, averaged over rotations; an equivariant one needs no average."""
    for one in whole:
        points = efficiency.averages(one)
        points = points[:1] if one.role == EQUIVARIANT else points
        x, y = [1e3 * seconds for _, seconds, _ in points], [value for *_, value in points]
        thin = one.role == BETWEEN
        axis.plot(
            x,
            y,
            "-." if thin else "-",
            color=colours[one.run],
            lw=0.7 if thin else 1.1,
            marker="s" if one.role == EQUIVARIANT else "o",
            ms=2.5 if thin else 4,
        )
    _dress(axis, "time per prediction, ms (1 to 24 rotations)", loss)


def _ratios(axis: Axes, agnostic: Contender, others: list[Contender], colours: dict) -> None:
    """Loss of the agnostic network over the others' at equal training time."""
    for y, one in enumerate(others):
        ratio, lo, hi = efficiency.loss_ratio(agnostic, one)
        axis.plot([ratio], [y], "o", ms=4, color=colours[one.run], mfc=_filled(lo, hi, colours[one.run]))
        if np.isfinite([lo, hi]).all():
            axis.plot([lo, hi], [y, y], color=colours[one.run], lw=1.2)
    axis.axvline(1, color="0.6", lw=0.8, ls=":")
    axis.set_yticks(range(len(others)), [one.run for one in others], fontsize=6)
    axis.set_ylim(len(others) - 0.4, -0.6)
    axis.set_xscale("log")
    _plain(axis.xaxis)
    axis.set_xlabel("agnostic loss / this one's", fontsize=7)


def _filled(lo: float, hi: float, colour: str) -> str:
    """Filled where the interval leaves 1 out."""
    return colour if judged(lo, hi) in ("holds", "does not hold here") else "white"


def _sizes(
    axis: Axes, found: list[Contender], agnostic: Contender, partners: list[Contender], colours
) -> None:
    """The same ratio by size of the training set."""
    ours = efficiency.sizes(found, agnostic.run)
    for one in partners:
        theirs = efficiency.sizes(found, one.run)
        both = [n for n in ours if n in theirs]
        ratios = np.array([efficiency.loss_ratio(ours[n], theirs[n]) for n in both])
        if len(both) > 1:
            span = np.abs(ratios[:, 1:] - ratios[:, :1]).T
            axis.errorbar(
                both, ratios[:, 0], yerr=span, color=colours[one.run], marker="o", ms=3, lw=1, capsize=2
            )
    axis.axhline(1, color="0.6", lw=0.8, ls=":")
    _dress(axis, "training items", "agnostic loss / equivariant's")
