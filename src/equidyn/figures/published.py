"""A run of published size over the paper's curve of the same model: percent of held-out loss from
equivariance error against step, ours as a ratio of means, theirs as that and as they draw it.

Drawn where a config asks for it: beside toy models the paper's curves say nothing.
"""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from equidyn.figures import style
from equidyn.figures.style import plt
from equidyn.results import tables

FIGURES = [
    {
        "name": "published",
        "task": "forces",
        "place": 30,
        "claim": "C2",
        "on_request": True,
        "caption": "Runs of published size over the paper's: percent of held-out loss from equivariance"
        " error",
    },
    {
        "name": "published",
        "task": "voxels",
        "place": 30,
        "claim": "C2",
        "on_request": True,
        "caption": "Runs of published size over the paper's: percent of held-out loss from equivariance"
        " error",
    },
    {
        "name": "published",
        "task": "flow",
        "place": 30,
        "claim": "C2",
        "on_request": True,
        "caption": "Runs of published size over the paper's: percent of held-out loss from equivariance"
        " error",
    },
]
PAPER = Path(__file__).resolve().parents[3] / "resources/paper_milestones.csv"
TRAIN_50K = {  # of EScAIP 6M on 50,000 structures: quantity → line and label
    "percent_ratio": ("-", "0.2", "paper, EScAIP 6M, 50k of SPICE: ratio of means"),
    "percent_drawn": ("--", "0.5", "the same, published convention"),
}
POINTS = {  # of the others: run, with the condition after it where there are some, marker and label
    "voxels": [
        ("model-7M", "D", "paper, VoxMol 7M on GEOM-drugs"),
        ("data-10%", "s", "paper, VoxMol 111M on a tenth of it"),  # begins earlier
    ],
    "flow": [("default-rep2", "D", "paper, 60M on PDB (steps: rows of its log)")],
}
LOWEST = 1e-5  # percent
LIVE, EMA = "live", "ema"


def draw(rows: list[dict], paper: list[dict]) -> Figure:
    """Figure of one panel per run, log-log, of several times one for live and one for EMA weights, else these
    dashed; the band is a 95 % interval; what is below 0.00001 % is drawn there.
    """
    panels = [
        (run, weights)
        for run in tables.runs(rows)
        for weights in ((LIVE, EMA) if len(tables.main_conditions(rows, run)) > 1 else (LIVE,))
    ]
    size = min(style.WIDE, 4.6 * len(panels)), 3.4
    figure, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False)
    for axis, (run, weights) in zip(axes[0], panels):
        of_run = [r for r in rows if r["run"] == run]
        _panel(axis, of_run, style.colour(run, tables.runs(rows)), paper, weights)
    if axes[0, 0].get_legend() is None:  # the times, alike in all panels
        drawn = axes[0, 0].get_legend_handles_labels()
        figure.legend(*drawn, fontsize=6, loc="outside lower center", ncol=5)
    axes[0, 0].set_ylabel("equivariance error, % of held-out loss")
    return figure


def _panel(axis: Axes, rows: list[dict], own: str, paper: list[dict], weights: str) -> None:
    run, task = rows[0]["run"], rows[0]["task"]
    conditions = tables.main_conditions(rows, run)
    colours = [own] if len(conditions) == 1 else style.sequence(len(conditions))
    _published(axis, task, paper, dict(zip(conditions, colours)))
    for condition, colour in zip(conditions, colours):
        curve = tables.curve(rows, run, condition=condition, weights=weights)
        x, label = style.steps(curve), condition or f"{run}, ours: ratio of means, 95 %"
        axis.plot(x, _drawn(curve), "o-", ms=3, color=colour, label=label)
        low, high = ([max(r[f"percent_{end}"], LOWEST) for r in curve] for end in ("lo", "hi"))
        axis.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)
    if len(conditions) == 1:
        averaged = tables.curve(rows, run, weights=EMA)
        axis.plot(
            style.steps(averaged),
            _drawn(averaged),
            "--",
            color=colours[0],
            label="EMA weights",
        )
        style.at_zero_level(axis, tables.curve(rows, run))
        title = "shaded: our total loss at or above the zero predictor"
    else:
        title = {LIVE: "live weights", EMA: "EMA weights"}[weights]
    axis.set_title(title, fontsize=7, color="0.35")
    axis.axhline(2, color="0.5", lw=0.8, ls=":")
    axis.text(0.01, 2.1, "2 %", color="0.4", va="bottom", transform=axis.get_yaxis_transform())
    style.clipped(axis, LOWEST)
    style.log_step(axis)
    axis.set_yscale("log")
    axis.set_xlim(left=0.4)
    if len(conditions) == 1:
        axis.legend(fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.2))


def _drawn(curve: list[dict]) -> list[float]:
    """Percentages, those below ``LOWEST`` there: a network that begins equivariant has but rounding."""
    return [max(row["percent"], LOWEST) for row in curve]


def _published(axis: Axes, task: str, paper: list[dict], colours: dict[str, str]) -> None:
    """The paper's curve of a task, or its points by condition."""
    if task == "forces":
        for quantity, (line, colour, label) in TRAIN_50K.items():
            found = [
                r for r in paper if (r["task"], r["run"], r["quantity"]) == (task, "train-50k", quantity)
            ]
            axis.plot(
                [r["step"] for r in found],
                [r["percent"] for r in found],
                line,
                color=colour,
                label=label,
                lw=1.2,
            )
        return
    for name, marker, label in POINTS[task]:
        for condition, colour in colours.items():
            wanted = (task, f"{name} {condition}".strip(), "percent_published")
            points = [r for r in paper if (r["task"], r["run"], r["quantity"]) == wanted]
            axis.plot(
                [r["step"] for r in points],
                [r["percent"] for r in points],
                marker,
                ms=3,
                mfc="white",
                mec=colour if condition else "0.3",
                mew=0.9,
                zorder=4,  # above our curves, which they are compared with
                label=label,
            )
            label = None
