"""Flow matching at the last step, by flow time: percent, and loss relative to the best baseline, with
intervals.
"""

import numpy as np
from matplotlib.figure import Figure

from equidyn.figures import style
from equidyn.figures.style import plt
from equidyn.results import tables
from equidyn.results.verdicts import counted
from equidyn.symmetry.limits import LEARNED

FIGURES = [
    {
        "name": "final_times",
        "task": "flow",
        "place": 8,
        "claim": "C2",
        "caption": "Last step by flow time: percent, and how far the loss lies below that of the "
        "best baseline",
    },
]


def draw(rows: list[dict], paper: list[dict]) -> Figure:
    """Figure with two panels; runs side by side, EMA weights and self-conditioning of the first run that is
    not exactly equivariant as markers.
    """
    names, marked = tables.runs(rows), style.first_not_exact(rows)
    measured = [tables.main_conditions(rows, run) for run in names]
    times = [c for c in measured[0] if all(c in of_run for of_run in measured)]
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.WIDE, 2.9))
    place, width = np.arange(len(times)), 0.8 / len(names)
    for k, run in enumerate(names):
        last = [tables.curve(rows, run, condition=c)[-1] for c in times]
        x = place + (k + 0.5) * width - 0.4
        percent = np.array([r["percent"] for r in last])
        bars = [percent - [r["percent_lo"] for r in last], [r["percent_hi"] for r in last] - percent]
        colours = [style.colour(run, names) if counted(r) else style.PALE for r in last]
        left.bar(
            x,
            percent,
            width,
            color=colours,
            yerr=np.maximum(bars, 0),
            error_kw=dict(lw=0.8),
        )
        ratio = np.array([r["baseline_ratio"] for r in last])
        ends = [
            ratio - [r["baseline_ratio_lo"] for r in last],
            [r["baseline_ratio_hi"] for r in last] - ratio,
        ]
        right.bar(x, ratio, width, color=colours, yerr=np.maximum(ends, 0), error_kw=dict(lw=0.8))
        left.bar([0], [0], color=style.colour(run, names), label=style.label(run))
    ema = [tables.curve(rows, marked, condition=c, weights="ema")[-1:] for c in times]
    left.plot(
        [p for p, r in zip(place, ema) if r],
        [r[0]["percent"] for r in ema if r],
        "D",
        ms=4,
        mfc="none",
        mec="k",
        label=f"EMA weights, {marked}",
    )
    with_sc = [tables.curve(rows, marked, condition=f"{c},sc")[-1:] for c in times]
    left.plot(
        [p for p, r in zip(place, with_sc) if r],
        [r[0]["percent"] for r in with_sc if r],
        "s",
        ms=4,
        mfc="none",
        mec="0.45",
        label=f"self-conditioning on, {marked}",
    )
    left.set_ylabel("equivariance error, % of held-out loss")
    right.set_ylabel("total loss / loss of the best baseline")
    right.axhline(1, color=style.QUANTITY["zero"], ls="-.", lw=0.9)
    right.axhline(LEARNED, color="0.3", ls=":", lw=0.9)
    figure.supxlabel(style.GREY + " (dotted)", fontsize=7, color="0.35")
    for axis in (left, right):
        axis.set_xticks(place, [c.removeprefix("t=") for c in times])
        axis.set_xlabel("flow time t")
    left.set_ylim(top=1.35 * left.get_ylim()[1])  # room for the legend
    left.legend()
    return figure
