"""Percent of held-out loss from equivariance error against step, for the non-equivariant runs, with the
paper's milestones.
"""

from matplotlib.figure import Figure

from equidyn.figures import style
from equidyn.figures.style import plt
from equidyn.results import tables

FIGURES = [
    {
        "name": "percent",
        "task": "forces",
        "place": 1,
        "claim": "C2",
        "caption": "Percent of held-out loss due to equivariance error, against training step",
    },
    {
        "name": "percent",
        "task": "voxels",
        "place": 1,
        "claim": "C2",
        "caption": "Percent of held-out loss due to equivariance error at both noise levels",
    },
]

PAPER = {"forces": ("default-rep1", "paper: 6M on SPICE"), "voxels": ("model-111M", "paper: 111M, σ = 0.9")}
TIED = 1e-3  # percent; runs that never exceed it are exactly equivariant and belong to the plane


def draw(rows: list[dict], paper: list[dict], linear: bool = False) -> Figure:
    """Figure with one line and 95 % band per run, log-log or, over the steps of these runs, linear."""
    figure, axis = plt.subplots(figsize=(style.COLUMN, 3.3))
    for run in tables.runs(rows):
        curve, colour = tables.curve(rows, run), style.colour(run)
        if max(r["percent"] for r in curve) <= TIED:
            continue
        x = style.steps(curve)
        style.trajectory(axis, x, curve, colour, style.LABEL.get(run, run))
        averaged = tables.curve(rows, run, weights="ema")
        axis.plot(
            style.steps(averaged), [max(r["percent"], 1e-3) for r in averaged], "--", lw=0.9, color=colour
        )
        axis.fill_between(
            x,
            [max(r["percent_lo"], 1e-3) for r in curve],
            [r["percent_hi"] for r in curve],
            color=colour,
            alpha=0.2,
            lw=0,
        )
    published, label = PAPER.get(rows[0]["task"], (None, None))
    points = [
        r
        for r in paper
        if (r["task"], r["run"]) == (rows[0]["task"], published) and r["quantity"] == "percent_published"
    ]
    if linear:  # the paper's steps are ten to a hundred times as many
        points = [r for r in points if r["step"] <= max(r["step"] for r in rows)]
    if points:
        axis.plot(
            [r["step"] for r in points],
            [r["percent"] for r in points],
            "D",
            ms=4,
            mfc="none",
            mec="0.3",
            label=label,
        )
    style.percent_scale(axis, linear)
    if not linear:
        axis.set_xlim(left=0.4)
    axis.set_ylabel("equivariance error, % of held-out loss")
    figure.legend(loc="outside upper center", ncols=2, title=f"{style.HOLLOW}\ndashed: EMA weights")
    return figure
