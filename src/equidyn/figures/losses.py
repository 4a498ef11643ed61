"""The three terms of the held-out loss against step, one panel per run, with zero-predictor line; the
numerical floor is in the legend.
"""

from matplotlib.figure import Figure

from equidyn.figures import style
from equidyn.results import tables
from equidyn.results.verdicts import exact

FIGURES = [
    {
        "name": "losses",
        "task": "forces",
        "place": 5,
        "claim": "C1",
        "caption": "Total loss, twirled error and equivariance error, with zero-predictor line and "
        "numerical floor",
    },
    {
        "name": "losses",
        "task": "voxels",
        "place": 5,
        "claim": "C1",
        "caption": "Total loss, twirled error and equivariance error, with zero-predictor line, best"
        " baseline and numerical floor",
    },
]


def draw(rows: list[dict], paper: list[dict]) -> Figure:
    """Figure with a panel per run, shared log axes."""
    names = tables.runs(rows)
    figure, axes = style.panels(names)
    for axis, run in zip(axes[0], names):
        curve = tables.curve(rows, run)
        x = style.steps(curve)
        for quantity, label in (
            ("total", "total"),
            ("twirled", "twirled prediction error"),
            ("equivariance", "equivariance error"),
        ):
            axis.plot(
                x,
                [r[quantity] for r in curve],
                "-" if quantity != "twirled" else "--",
                marker="o",
                ms=2,
                color=style.QUANTITY[quantity],
                label=label,
            )
        axis.axhline(curve[0]["zero_loss"], color=style.QUANTITY["zero"], lw=0.9, label="zero predictor")
        if curve[0]["trivial_loss"] < 0.999 * curve[0]["zero_loss"]:
            axis.axhline(
                curve[0]["trivial_loss"],
                color=style.QUANTITY["zero"],
                lw=0.9,
                ls="-.",
                label="rescaled input",
            )
        if curve[0]["baseline"] != "zero":
            axis.axhline(curve[0]["baseline_loss"], color="k", lw=0.9, ls=":", label=curve[0]["baseline"])
        if run == "forces":  # the paper's default on the same scale: its zero predictor lies near ours
            for quantity in ("total", "equivariance"):
                points = [
                    r for r in paper if (r["run"], r["quantity"]) == ("default-rep1", f"loss_{quantity}")
                ]
                axis.plot(
                    [r["step"] for r in points],
                    [r["percent"] for r in points],
                    "D",
                    ms=3,
                    mfc="none",
                    mew=0.7,
                    color=style.QUANTITY[quantity],
                )
        style.at_zero_level(axis, curve)
        style.log_step(axis)
        axis.set_yscale("log")
        axis.set_xlabel("step (0 drawn at 0.5)")
        axis.set_title(style.heading(run), fontsize=7.5)
    axes[0][0].set_ylabel(style.loss_label(rows[0]["task"]))
    handles = {label: handle for axis in axes[0] for handle, label in zip(*axis.get_legend_handles_labels())}
    curves = [tables.curve(rows, run) for run in names]
    floor = max(
        r["floor"] for curve in curves for r in curve
    )  # up to nine decades below: drawn it would flatten everything else, as would an exactly equivariant run
    if above := [r["equivariance"] for curve in curves for r in curve if not exact(r)]:
        axes[0][0].set_ylim(bottom=min(above) / 2)
    notes = ["diamonds: the paper's 6M run on SPICE"] if "forces" in names else []
    notes += ["shaded: total at or above the zero predictor", f"numerical floor at most {floor:.0e}"]
    narrow = len(names) < 3
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside lower center",
        ncols=2 if len(names) == 1 else 3,
        title=("\n" if narrow else "; ").join(notes),
    )
    return figure
