"""Percent of held-out loss from equivariance error along an axis of an experiment matrix: against step,
beside the paper's runs on that axis, and against total loss, where points of the axis are compared.
"""

import json

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from equidyn.figures import style
from equidyn.figures.style import plt
from equidyn.results import tables
from equidyn.results.claims.axes import AXES, PUBLISHED, families

FIGURES = [
    {
        "name": "axis_size",
        "task": "",
        "place": 17,
        "claim": "C3",
        "caption": "By model size: percent against step (grey: the paper's runs) and against loss, a"
        " thin line per seed",
        "axes": ["model.size", "model.options.hidden", "model.options.width", "model.options.layers"],
    },
    {
        "name": "axis_data",
        "task": "",
        "place": 18,
        "claim": "C4",
        "caption": "By training-set size: percent against step (grey: the paper's runs) and against "
        "loss, a thin line per seed",
        "axes": ["training.n_train"],
    },
    {
        "name": "axis_optimizer",
        "task": "",
        "place": 19,
        "claim": "C5",
        "caption": "By optimizer and learning rate: percent against step (grey: the paper's runs) "
        "and against loss, a thin line per seed",
        "axes": ["training.optimizer", "training.lr"],
    },
    {
        "name": "axis_seed",
        "task": "",
        "place": 20,
        "claim": "C6",
        "caption": "Replicates: percent against step (grey: the paper's runs) and against loss, a "
        "thin line per seed",
        "axes": ["seed"],
    },
    {
        "name": "axis_augment",
        "task": "",
        "place": 21,
        "claim": "",
        "caption": "By probability of augmentation: percent against step (grey: the paper's runs) "
        "and against loss, a thin line per seed",
        "axes": ["training.augment"],
    },
    {
        "name": "axis_start",
        "task": "forces",
        "place": 22,
        "claim": "",
        "caption": "By how far apart the rows of the force head begin: percent against step and "
        "against loss, a thin line per seed",
        "axes": ["model.options.row_spread"],
    },
]

LEAST = 1e-4  # %, what is less is drawn there


def draw(rows: list[dict], paper: list[dict], extra: list[str]) -> Figure:
    """Figure with a row of two panels per group of runs; extra[0] is the JSON of {axes: wanted ones, points:
    {run: {group, axes, reference, …}}}.

    A colour per point, a thin line per seed. Flow is drawn at its time nearest 0.8. Grey: every published run
    on the axis, at the steps of the paper.
    """
    asked = json.loads(extra[0])
    claims = {AXES[axis] for axis in asked["axes"]}
    groups = {key: made for key, made in families(rows, asked["points"]).items() if key[0] in claims}
    if not groups:  # a product of seeds with another axis, none of them at the reference's own point
        return style.nothing(f"no run differs from its reference in {', '.join(asked['axes'])} alone")
    figure, axes = plt.subplots(
        len(groups), 2, figsize=(style.WIDE, 2.9 * len(groups) + 0.3), sharey="row", squeeze=False
    )
    published = []
    for (left, right), ((_, reference, _), members) in zip(axes, groups.items()):
        condition = nearest(tables.main_conditions(rows, reference))
        published = _published(paper, rows[0]["task"], asked["axes"], condition)
        _draw_published(left, published)
        for colour, (label, runs) in zip(style.sequence(len(members)), members.items()):
            for k, run in enumerate(runs):
                curve = tables.curve(rows, run, condition=condition)
                _draw_seed(left, right, curve, colour, label if k == 0 else None)
        _dress(left, right, style.label(reference) + (f", {condition}" if condition else ""))
    note = style.HOLLOW.replace("\n", " ")
    if rows[0]["task"] == "voxels" and published:
        note += "\nthe paper's voxel runs have σ = 0.9"
    if rows[0]["task"] == "flow" and published:
        note += "\nthe paper's flow curves count rows of its log, not steps"
    figure.supxlabel(note, fontsize=7, color="0.35")
    return figure


def _draw_published(axis: Axes, published: list[list[dict]]) -> None:
    for i, curve in enumerate(published):
        label = f"paper, {len(published)} run" + "s" * (len(published) > 1) if i == 0 else None
        x, y = [r["step"] for r in curve], [r["percent"] for r in curve]
        axis.plot(x, y, "-", color="0.75", lw=0.8, zorder=0, label=label)


def _draw_seed(left: Axes, right: Axes, curve: list[dict], colour, label: str | None) -> None:
    """One run: against step, and as a path over its loss."""
    style.trajectory(left, style.steps(curve), curve, colour, label, lw=0.8, least=LEAST)
    ratios = [r["total"] / r["zero_loss"] for r in curve]
    style.trajectory(right, ratios, curve, colour, lw=0.8, least=LEAST)


def _dress(left: Axes, right: Axes, title: str) -> None:
    for axis in (left, right):
        style.two_percent(axis)
        axis.set_yscale("log")
    style.clipped(left, LEAST)  # of both, which share the axis
    style.log_step(left)
    left.set(title=title, ylabel="equivariance error, %")
    left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    right.set_xscale("log")
    right.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    right.xaxis.set_major_formatter("{x:g}")
    right.xaxis.set_minor_formatter(NullFormatter())
    right.invert_xaxis()
    right.set_xlabel("total loss / zero predictor's (learning goes right)")


def _published(paper, task, wanted, condition) -> list[list[dict]]:
    """Curves of the paper's runs on these axes, drawn only where it published any."""
    prefixes = tuple(prefix for axis in wanted if axis in AXES for prefix in PUBLISHED.get(AXES[axis], ()))
    curves: dict[str, list[dict]] = {}
    for r in paper:
        if (
            prefixes
            and (r["task"], r["quantity"]) == (task, "percent_published")
            and r["run"].startswith(prefixes)
            and (" " not in r["run"] or r["run"].endswith(f" {condition}"))
        ):
            curves.setdefault(r["run"], []).append(r)
    return list(curves.values())


def nearest(conditions: list[str], time: float = 0.8) -> str:
    """The condition whose flow time is nearest to ``time``; of conditions that are none the middle one."""
    try:
        return min(conditions, key=lambda c: abs(float(c.removeprefix("t=")) - time))
    except ValueError:
        return conditions[len(conditions) // 2]
