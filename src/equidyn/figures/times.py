"""Flow matching: percent of held-out loss from equivariance error against step, a panel per flow time; below
it the loss, which says where a percentage counts.
"""

from matplotlib.figure import Figure

from equidyn.figures import style
from equidyn.figures.percent import LEAST, loss, percents, published
from equidyn.figures.style import plt
from equidyn.results import tables

FIGURES = [
    {
        "name": "times",
        "task": "flow",
        "place": 2,
        "claim": "C2",
        "caption": "Percent of held-out loss due to equivariance error against training step, a panel per"
        " flow time, and below it the loss over that of the best baseline: what is grey does not count,"
        " because the loss is not below the line",
    },
]

FAR = 20  # times our last step: the paper's points farther than that are left out


def draw(rows: list[dict], paper: list[dict]) -> Figure:
    """Figure with two rows of panels, a line per run; diamonds: the paper's 60M run."""
    names = tables.runs(rows)
    times = tables.main_conditions(rows, names[0])
    size = (style.WIDE, 3.9)
    figure, axes = plt.subplots(2, len(times), figsize=size, sharex=True, sharey="row", squeeze=False)
    last = FAR * max(r["step"] for r in rows)
    for (above, below), condition in zip(axes.T, times):
        for run in names:
            curve = tables.curve(rows, run, condition=condition)
            if not curve:
                continue
            look = style.colour(run, names), style.marker(run, names)
            percents(above, rows, run, condition, *look)
            loss(below, curve, style.label(run), *look)
        published(above, paper, "flow", f"default-rep2 {condition}", "paper: 60M, rows of its log", last)
    for (above, below), condition in zip(axes.T, times):  # once all is drawn that they share
        style.percent_scale(above, named=condition == times[0])
        style.loss_scale(below, named=condition == times[0])
        above.set(title=condition, xlabel="")
        below.set_xlabel("")
        below.set_xticks([1, 100, 10_000])
    axes[0][0].set_ylabel("equivariance error, %")
    axes[1][0].set_ylabel("loss / best baseline's")
    handles = {
        label: handle for axis in axes[:, 0] for handle, label in zip(*axis.get_legend_handles_labels())
    }
    note = f"training step (0 drawn at 0.5)\n{style.GREY}; dashed: EMA weights"
    if any(style.has_at(axis, LEAST) for axis in axes[0]):
        note += f"; below {LEAST:g} % drawn there"
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, title=note)
    return figure
