"""Hessians of twirled error and equivariance error over a block of parameters: condition number, largest
eigenvalue, effective rank, at a few checkpoints.
"""

import csv
import string

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from equidyn.figures import style
from equidyn.figures.style import plt
from equidyn.results.claims.rows import counted_rows

FIGURES = [
    {
        "name": "curvature",
        "task": "",
        "place": 14,
        "claim": "C7",
        "caption": "Curvature of both terms over a block of parameters: largest eigenvalue and "
        "effective condition number",
        "extra": "curvature.csv",
    },
]

PANELS = {
    "condition_number": "condition number",
    "largest": "largest eigenvalue",
    "effective_rank": "effective rank\n(trace / largest)",
}
TERMS = {"twirled": "o", "equivariance": "s"}


def draw(rows: list[dict], paper: list[dict], extra: list[str]) -> Figure:
    """Figure from curvature.csv files: a pair of points per checkpoint, hollow where the percentage does not
    count, log axes; the number beside a pair is twirled / equivariance.

    The dotted line in the first panel is 1 / threshold: a condition number near it says where the threshold
    is, not how the landscape is.
    """
    found = []
    for path in extra:
        with open(path, newline="") as file:
            found += list(csv.DictReader(file))
    places = list(dict.fromkeys((r["run"], r["block"], r["step"]) for r in found))
    value = {
        (r["run"], r["block"], r["step"], r["term"], quantity): float(r[quantity])
        for r in found
        for quantity in PANELS
    }
    condition = {(r["run"], r["block"], r["step"]): r["condition"] for r in found}
    filled = [
        float(step) in counted_rows(rows, run, condition[run, block, step]) for run, block, step in places
    ]
    figure, axes = plt.subplots(
        len(PANELS), 1, figsize=(style.COLUMN if len(places) < 5 else style.WIDE, 5.0), sharex=True
    )
    for axis, (quantity, label) in zip(axes, PANELS.items()):
        for i, (place, counts) in enumerate(zip(places, filled)):
            _pair(axis, i, [value[(*place, term, quantity)] for term in TERMS], counts)
        for term, marker in TERMS.items():
            axis.plot([], [], marker, color=style.QUANTITY[term], label=f"{term} error")
        axis.set_yscale("log")
        axis.margins(y=0.2)
        low, high = axis.get_ylim()
        widen = max(
            1.0, (10 * low / high) ** 0.5
        )  # at least a decade, or differences of a percent fill the panel
        axis.set_ylim(low / widen, high * widen)
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.set_ylabel(label)
    threshold = float(found[0]["threshold"]) / float(found[0]["largest"])
    axes[0].axhline(1 / threshold, color="0.5", lw=0.9, ls=":", label="1 / threshold")
    letter = dict(zip(dict.fromkeys((run, block) for run, block, _ in places), string.ascii_uppercase))
    axes[-1].set_xticks(
        range(len(places)), [f"{letter[run, block]}\nstep {step}" for run, block, step in places], fontsize=7
    )
    axes[-1].set_xlim(-0.5, len(places) - 0.3)
    blocks = dict.fromkeys(
        f"{letter[r['run'], r['block']]}: {r['run']}, {r['block']}, {r['n_parameters']} parameters, "
        f"{r['method']}"
        for r in found
    )
    note = f"eigenvalues below {threshold:.0e} of the largest count as zero\nnumbers: twirled / equivariance"
    note += "" if all(filled) else "\nhollow: the percentage does not count"
    figure.suptitle("\n".join([*blocks, note]), fontsize=7, color="0.35")
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=7, ncols=3, loc="outside lower center")
    return figure


def _pair(axis: Axes, i: int, pair: list[float], counts: bool) -> None:
    """Both terms of a checkpoint at place i, with their ratio beside; what is not positive is left out."""
    if min(pair) > 0:
        axis.plot([i, i], pair, "-", color="0.75", lw=1.2, zorder=1)
        middle = (i, (pair[0] * pair[1]) ** 0.5)
        how = dict(xytext=(7, 0), textcoords="offset points", va="center", fontsize=7, color="0.3")
        axis.annotate(f"{pair[0] / pair[1]:.2g}", middle, **how)
    for (term, marker), y in zip(TERMS.items(), pair):
        if y > 0:
            colour = style.QUANTITY[term]
            size = 8 if marker == "o" else 4
            axis.plot(i, y, marker, ms=size, color=colour, mfc=colour if counts else "white", zorder=2)
