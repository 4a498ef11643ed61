"""What was learned and how symmetric it is: percent against total loss in units of the zero-predictor loss."""

from equidyn import tables
from equidyn.figures import style
from equidyn.figures.style import plt


def draw(rows, paper):
    """Figure with one trajectory per run; training moves to the left, the right of 1 is no better than predicting nothing."""
    figure, axis = plt.subplots(figsize=(4.6, 3.2))
    for run in tables.runs(rows):
        colour = style.colour(run)
        curve = tables.curve(rows, run)
        x, y = [r["total"] / r["zero_loss"] for r in curve], [max(r["percent"], 1e-12) for r in curve]
        axis.plot(x, y, "o-", ms=3, color=colour, label=style.LABEL.get(run, run))
        axis.plot(x[-1], y[-1], "*", ms=9, color=colour)
    axis.axvspan(1, axis.get_xlim()[1], color="0.92", zorder=0, lw=0)
    axis.axhline(2, color="0.5", lw=0.8, ls=":")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("total loss / zero-predictor loss (star: last step)")
    axis.set_ylabel("equivariance error, % of held-out loss")
    axis.legend(fontsize=6.5)
    return figure
