"""Flow matching: the three terms of the held-out loss against step, one panel per flow time."""

from matplotlib.figure import Figure

from equidyn.figures import style
from equidyn.figures.style import plt
from equidyn.results import tables

FIGURES = [
    {
        "name": "time_losses",
        "task": "flow",
        "place": 6,
        "claim": "C1",
        "caption": "The three terms of the held-out loss per flow time, beside three that have "
        "learned nothing",
    },
]


def draw(rows: list[dict], paper: list[dict]) -> Figure:
    """Figure of the first run that is not exactly equivariant, with the zero predictor, the rescaled input
    and the best baseline; the numerical floor is in the legend.
    """
    run = style.first_not_exact(rows)
    times = tables.main_conditions(rows, run)
    columns = min(4, len(times))
    figure, axes = plt.subplots(
        -(-len(times) // columns),
        columns,
        figsize=(style.WIDE, 2.1 * -(-len(times) // columns) + 0.4),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for axis, condition in zip(axes.flat, times):
        curve = tables.curve(rows, run, condition=condition)
        x = style.steps(curve)
        for quantity in ("total", "twirled", "equivariance"):
            axis.plot(
                x,
                [r[quantity] for r in curve],
                "--" if quantity == "twirled" else "-",
                marker="o",
                ms=2,
                color=style.QUANTITY[quantity],
                label=quantity,
            )
        axis.axhline(curve[0]["zero_loss"], color=style.QUANTITY["zero"], lw=0.9, label="zero predictor")
        axis.axhline(
            curve[0]["trivial_loss"],
            color=style.QUANTITY["zero"],
            lw=0.9,
            ls="-.",
            label="rescaled input a(t)·x$_t$",
        )
        axis.axhline(
            curve[0]["baseline_loss"],
            color="k",
            lw=0.9,
            ls=":",
            label=f"best baseline ({curve[0]['baseline']})",
        )
        axis.set_title(condition, fontsize=8)
        style.log_step(axis)
        axis.set_xlabel("step (0 drawn at 0.5)")
        axis.set_yscale("log")
    for axis in axes[:, 0]:
        axis.set_ylabel(f"velocity loss, {style.unit('flow')}")
    for axis in axes[:-1].flat:
        axis.set_xlabel("")
    handles, labels = axes[0][0].get_legend_handles_labels()
    floor = max(
        r["floor"] for r in rows if r["run"] == run
    )  # 12 decades below: drawn it would flatten everything else
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=5,
        title=f"{style.label(run)}; numerical floor at most {floor:.0e} nm²",
    )
    return figure
