"""What imperfect symmetry costs in training time: total and twirled loss against seconds, and when the
twirled one passes the final total.
"""

import json
from pathlib import Path

from matplotlib.figure import Figure

from equidyn.figures import style
from equidyn.figures.axes import nearest
from equidyn.results import tables
from equidyn.results.claims.curves import break_even

FIGURES = [
    {
        "name": "cost",
        "task": "",
        "place": 12,
        "claim": "C10",
        "caption": "Total and twirled loss against training time; dotted: when the twirled loss "
        "passes the last total, hence what an equivariant step may cost at most",
        "extra": "summary.json",
    },
]


def draw(rows: list[dict], paper: list[dict], extra: list[str]) -> Figure:
    """Figure with a panel per run; extra: ``summary.json`` of the runs, for the seconds.

    Flow at its time nearest 0.8.
    """
    seconds = {(s := json.loads(Path(path).read_text()))["run"]: s["seconds"] / s["steps"] for path in extra}
    names = tables.runs(rows)
    figure, axes = style.panels(names)
    for axis, run in zip(axes[0], names):
        condition = nearest(tables.main_conditions(rows, run))
        curve = [r for r in tables.curve(rows, run, condition=condition) if r["step"] > 0]
        time = [r["step"] * seconds[run] for r in curve]
        for quantity, line, label in (
            ("total", "-", "total"),
            ("twirled", "--", "twirled: what an exactly equivariant model would have"),
        ):
            axis.plot(
                time,
                [r[quantity] for r in curve],
                line,
                marker="o",
                ms=2,
                color=style.QUANTITY[quantity],
                label=label,
            )
        step = break_even(curve)
        if step is not None:
            axis.axhline(curve[-1]["total"], color="0.6", lw=0.7, ls=":")
            axis.axvline(step * seconds[run], color="0.6", lw=0.7, ls=":")
            title = f"break-even\nat {curve[-1]['step'] / step:.2f} ×"
        else:
            title = "the last step\ndoes not count"
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlabel("training time, s")
        axis.set_title(f"{style.heading(run)}{', ' + condition if condition else ''}\n{title}", fontsize=7.5)
    axes[0][0].set_ylabel(style.loss_label(rows[0]["task"]))
    figure.legend(
        *axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=min(2, len(names))
    )
    return figure
