"""Flow matching: percent of held-out loss from equivariance error against step, one line per flow time, one
panel per run.
"""

from matplotlib.figure import Figure

from equidyn.figures import style
from equidyn.figures.style import plt
from equidyn.results import tables
from equidyn.results.verdicts import counted
from equidyn.symmetry.limits import LEARNED

FIGURES = [
    {
        "name": "times",
        "task": "flow",
        "place": 2,
        "claim": "C2",
        "caption": "Percent of held-out loss due to equivariance error against training step, one "
        "line per flow time (raw behind, running mean in front)",
    },
]


def draw(rows: list[dict], paper: list[dict], linear: bool = False) -> Figure:
    """Figure with a panel per run, log-log or linear; values thin with dots where they count, mean over
    neighbouring checkpoints thick; diamonds: the paper's 60M run.
    """
    names = tables.runs(rows)
    figure, axes = plt.subplots(
        1, len(names), figsize=(min(style.WIDE, 2.6 * len(names) + 1.9), 3.1), sharey=True, squeeze=False
    )
    for axis, run in zip(axes[0], names):
        times = [c for c in tables.conditions(rows, run) if not c.endswith("sc")]
        for condition, colour in zip(times, style.sequence(len(times))):
            curve = tables.curve(rows, run, condition=condition)
            x, y = style.steps(curve), [r["percent"] for r in curve]
            axis.plot(x, y, "-", color=colour, lw=0.7, alpha=0.35)
            axis.plot(x, smooth(y), "-", color=colour, label=condition)
            low = [(a, b) for a, b, r in zip(x, y, curve) if counted(r)]
            axis.plot([a for a, _ in low], [b for _, b in low], "o", ms=3, color=colour)
            points = [
                r
                for r in paper
                if (r["task"], r["run"], r["quantity"])
                == ("flow", f"default-rep2 {condition}", "percent_published")
                and r["step"] <= (1 if linear else 20) * max(x)
            ]
            axis.plot(
                [r["step"] for r in points],
                [r["percent"] for r in points],
                "D",
                ms=3,
                mfc="none",
                mec=colour,
                mew=0.7,
            )
        style.percent_scale(axis, linear)
        axis.set_title(style.LABEL.get(run, run), fontsize=8)
    axes[0][0].set_ylabel("equivariance error, % of held-out loss")
    axes[0][-1].legend(
        loc="center left",
        bbox_to_anchor=(1, 0.5),
        title=(
            f"dots: interval of the\ntotal below {LEARNED:g} ×\nthe best baseline\n"
            "diamonds: paper,\n60M on PDB, at\nrows of its log"
        ),
    )
    return figure


def smooth(values: list[float]) -> list[float]:
    """Geometric mean of each value and its neighbours; the ends keep theirs."""
    inner = [(a * b * c) ** (1 / 3) for a, b, c in zip(values, values[1:], values[2:])]
    return [values[0], *inner, values[-1]] if len(values) > 1 else values
