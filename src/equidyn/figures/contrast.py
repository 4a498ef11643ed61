"""What was learned and how symmetric it is: percent against total loss in units of the zero-predictor
loss.
"""

from matplotlib.figure import Figure

from equidyn.figures import style
from equidyn.figures.style import plt
from equidyn.results import tables
from equidyn.results.verdicts import counted

FIGURES = [
    {
        "name": "contrast",
        "task": "forces",
        "place": 7,
        "claim": "C2",
        "caption": "Percent against what was learned, a path per run: a constant output sits at 1, learned"
        " symmetry left of it",
    },
    {
        "name": "contrast",
        "task": "voxels",
        "place": 7,
        "claim": "C2",
        "caption": "Percent against what was learned: a constant output sits at 1, learned symmetry "
        "left of it",
    },
]


def draw(rows: list[dict], paper: list[dict]) -> Figure:
    """Figure with one trajectory per run; training moves to the left, the right of 1 is no better than
    predicting nothing.
    """
    figure, axis = plt.subplots(figsize=(style.COLUMN, 3.3))
    for run in tables.runs(rows):
        colour = style.colour(run)
        curve = tables.curve(rows, run)
        x = [r["total"] / r["zero_loss"] for r in curve]
        style.trajectory(axis, x, curve, colour, style.LABEL.get(run, run))
        style.star(axis, x[-1], max(curve[-1]["percent"], 1e-12), counted(curve[-1]), colour)
    axis.axvspan(1, axis.get_xlim()[1], color="0.92", zorder=0, lw=0)
    style.two_percent(axis, "right")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("total loss / zero-predictor loss (star: last step)")
    axis.set_ylabel("equivariance error, % of held-out loss")
    figure.legend(loc="outside upper center", ncols=2, title=style.HOLLOW)
    return figure
