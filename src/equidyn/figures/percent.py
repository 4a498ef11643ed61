"""Percent of held-out loss from equivariance error against step, for the non-equivariant runs, with the paper's milestones."""

from equidyn import tables
from equidyn.figures import style
from equidyn.figures.style import plt

PAPER = {"forces": ("default-rep1", "paper, EScAIP 6M on SPICE (published %)"), "voxels": ("model-111M", "paper, VoxMol 111M on GEOM-drugs, σ = 0.9 (published %)")}
TIED = 1e-3  # percent; runs that never exceed it are exactly equivariant and belong to the contrast figure


def draw(rows, paper, linear=False):
    """Figure with one line and 95 % band per run, log-log or, over the steps of these runs, linear; the shading belongs to the first run."""
    figure, axis = plt.subplots(figsize=(4.6, 3.2))
    names = [run for run in tables.runs(rows) if max(r["percent"] for r in tables.curve(rows, run)) > TIED]
    for run in names:
        colour = style.colour(run)
        curve = tables.curve(rows, run)
        x = style.steps(curve)
        axis.plot(x, [r["percent"] for r in curve], "o-", ms=3, color=colour, label=style.LABEL.get(run, run))
        axis.fill_between(x, [max(r["percent_lo"], 1e-3) for r in curve], [r["percent_hi"] for r in curve], color=colour, alpha=0.2, lw=0)
    if names:
        style.at_zero_level(axis, tables.curve(rows, names[0]))
    published, label = PAPER.get(rows[0]["task"], (None, None))
    points = [r for r in paper if (r["task"], r["run"]) == (rows[0]["task"], published) and r["quantity"] == "percent_published"]
    if linear:  # the paper's steps are ten to a hundred times as many
        points = [r for r in points if r["step"] <= max(r["step"] for r in rows)]
    if points:
        axis.plot([r["step"] for r in points], [r["percent"] for r in points], "D", ms=4, mfc="none", mec="0.3", label=label)
    axis.axhline(2, color="0.5", lw=0.8, ls=":")
    axis.text(1 if linear else 0.01, 2.1, "2 %", color="0.4", va="bottom", ha="right" if linear else "left", transform=axis.get_yaxis_transform())
    if linear:
        style.linear(axis)
    else:
        style.log_step(axis)
        axis.set_yscale("log")
        axis.set_xlim(left=0.4)
        axis.set_ylim(top=2e3)
    axis.set_ylabel("equivariance error, % of held-out loss")
    axis.set_title(f"shaded: total loss of {style.LABEL.get(names[0], names[0])} at or above the zero predictor" if names else "", fontsize=7, color="0.35")
    axis.legend(fontsize=6, loc="upper right")
    return figure
