"""The three terms of the held-out loss against step, one panel per run, with zero-predictor line and numerical floor."""

from equidyn import tables
from equidyn.figures import style
from equidyn.figures.style import plt


def draw(rows, paper):
    """Figure with a panel per run, shared log axes."""
    names = tables.runs(rows)
    figure, axes = plt.subplots(1, len(names), figsize=(2.3 * len(names) + 0.6, 2.8), sharey=True, squeeze=False)
    for axis, run in zip(axes[0], names):
        curve = tables.curve(rows, run)
        x = style.steps(curve)
        for quantity, label in (("total", "total"), ("twirled", "twirled prediction error"), ("equivariance", "equivariance error")):
            axis.plot(x, [r[quantity] for r in curve], "-" if quantity != "twirled" else "--", marker="o", ms=2, color=style.QUANTITY[quantity], label=label)
        axis.plot(x, [r["floor"] for r in curve], ":", color=style.QUANTITY["floor"], label="numerical floor")
        axis.axhline(curve[0]["zero_loss"], color=style.QUANTITY["zero"], lw=0.9, label="zero predictor")
        if curve[0]["trivial_loss"] < 0.999 * curve[0]["zero_loss"]:
            axis.axhline(curve[0]["trivial_loss"], color=style.QUANTITY["zero"], lw=0.9, ls="-.", label="rescaled input")
        style.at_zero_level(axis, curve)
        style.log_step(axis)
        axis.set_yscale("log")
        axis.set_title(style.LABEL.get(run, run), fontsize=8)
    axes[0][0].set_ylabel(f"held-out loss, {style.UNIT[rows[0]['task']]}")
    axes[0][0].legend(fontsize=6, loc="best")
    return figure
