"""Percent of held-out loss from equivariance error against step along an axis of an experiment matrix, beside the paper's runs on that axis."""

import json

from equidyn import tables
from equidyn.claims import AXES, PUBLISHED
from equidyn.figures import style
from equidyn.figures.style import plt


def draw(rows, paper, extra):
    """Figure with a panel per group of runs; extra[0] is the JSON of {axes: wanted ones, points: {run: {group, axes, reference}}}.

    Flow is drawn at its time nearest 0.8. Grey: every published run on the axis, at the steps of the paper.
    """
    asked = json.loads(extra[0])
    points, groups = asked["points"], {}
    for run in tables.runs(rows):
        if run in points and set(points[run]["axes"]) & set(asked["axes"]):
            groups.setdefault(points[run]["group"], []).append(run)
    columns = min(3, len(groups))
    lines = -(-len(groups) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(2.6 * columns + 0.6, 2.9 * lines), sharey=True, squeeze=False)
    for axis, (group, runs) in zip(axes.flat, groups.items()):
        runs.sort(key=lambda run: [v if isinstance(v, (int, float)) else 0 for v in points[run]["axes"].values()])  # words stay in order of names
        labels = {run: ", ".join(f"{path.split('.')[-1]} {value}" for path, value in points[run]["axes"].items()) for run in runs}
        reference = points[runs[0]].get("reference")
        if reference and reference in tables.runs(rows) and reference not in runs:
            labels[reference] = f"{reference} (reference)"
        condition = nearest(tables.conditions(rows, runs[0]))
        published = _published(paper, rows[0]["task"], asked["axes"], condition)
        for i, curve in enumerate(published):
            label = f"paper, {len(published)} run" + "s" * (len(published) > 1) if i == 0 else None
            axis.plot([r["step"] for r in curve], [r["percent"] for r in curve], "-", color="0.75", lw=0.8, zorder=0, label=label)
        colours = [*style.sequence(len(runs)), "#000000"]  # the reference comes last
        for run, colour in zip(labels, colours):
            curve = tables.curve(rows, run, condition=condition)
            axis.plot(style.steps(curve), [max(r["percent"], 1e-4) for r in curve], "-", color=colour, label=labels[run])
            learned = [r for r in curve if r["total"] < 0.9 * r["zero_loss"]]
            axis.plot(style.steps(learned), [max(r["percent"], 1e-4) for r in learned], "o", ms=3, color=colour)
        axis.axhline(2, color="0.5", lw=0.8, ls=":")
        style.log_step(axis)
        axis.set_xlabel("step (0 drawn at 0.5)")
        axis.set_yscale("log")
        axis.set_title(group + (f", {condition}" if condition else ""), fontsize=8)
        axis.legend(fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2)
    for axis in list(axes.flat)[len(groups) :]:
        axis.set_axis_off()
    for axis in axes[:, 0]:
        axis.set_ylabel("equivariance error, %")
    figure.supxlabel("dots: total loss below 0.9 × the zero predictor", fontsize=6.5, color="0.35")
    return figure


def _published(paper, task, wanted, condition) -> list[list[dict]]:
    """Curves of the paper's runs on these axes, drawn only where it published any."""
    prefixes = tuple(prefix for axis in wanted if axis in AXES for prefix in PUBLISHED[AXES[axis]])
    curves: dict[str, list[dict]] = {}
    for r in paper:
        if prefixes and (r["task"], r["quantity"]) == (task, "percent_published") and r["run"].startswith(prefixes) and (" " not in r["run"] or r["run"].endswith(f" {condition}")):
            curves.setdefault(r["run"], []).append(r)
    return list(curves.values())


def nearest(conditions: list[str], time: float = 0.8) -> str:
    """The condition whose flow time is nearest to ``time``; the empty one of tasks without."""
    plain = [c for c in conditions if not c.endswith("sc")]
    return min(plain, key=lambda c: abs(float(c.removeprefix("t=") or time) - time))
