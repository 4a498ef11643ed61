"""Percent of held-out loss from equivariance error against step along the axes of an experiment matrix: size, data, optimizer, seed, augmentation."""

import json

from equidyn import tables
from equidyn.figures import style
from equidyn.figures.style import plt


def draw(rows, paper, extra):
    """Figure with a panel per group of runs; extra[0] is the JSON of {run: {group, axes, reference}}. Flow is drawn at its time nearest 0.8."""
    points, groups = json.loads(extra[0]), {}
    for run in tables.runs(rows):
        if run in points:
            groups.setdefault(points[run]["group"], []).append(run)
    columns = min(3, len(groups))
    lines = -(-len(groups) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(2.4 * columns + 0.4, 2.3 * lines), sharey=True, squeeze=False)
    for axis, (group, runs) in zip(axes.flat, groups.items()):
        labels = {run: ", ".join(f"{path.split('.')[-1]} {value}" for path, value in points[run]["axes"].items()) for run in runs}
        reference = points[runs[0]].get("reference")
        if reference and reference in tables.runs(rows) and reference not in runs:
            labels[reference] = f"{reference} (reference)"
        for run, colour in zip(labels, style.sequence(len(labels))):
            condition = nearest(tables.conditions(rows, run))
            curve = tables.curve(rows, run, condition=condition)
            axis.plot(style.steps(curve), [max(r["percent"], 1e-4) for r in curve], "-", color=colour, label=labels[run])
            learned = [r for r in curve if r["total"] < 0.9 * r["zero_loss"]]
            axis.plot(style.steps(learned), [max(r["percent"], 1e-4) for r in learned], "o", ms=3, color=colour)
        axis.axhline(2, color="0.5", lw=0.8, ls=":")
        style.log_step(axis)
        axis.set_xlabel("step (0 drawn at 0.5)")
        axis.set_yscale("log")
        axis.set_title(group + (f", {condition}" if condition else ""), fontsize=8)
        axis.legend(fontsize=5.5)
    for axis in list(axes.flat)[len(groups) :]:
        axis.set_axis_off()
    for axis in axes[:, 0]:
        axis.set_ylabel("equivariance error, %")
    figure.supxlabel("dots: total loss below 0.9 × the zero predictor", fontsize=6.5, color="0.35")
    return figure


def nearest(conditions: list[str], time: float = 0.8) -> str:
    """The condition whose flow time is nearest to ``time``; the empty one of tasks without."""
    plain = [c for c in conditions if not c.endswith("sc")]
    return min(plain, key=lambda c: abs(float(c.removeprefix("t=") or time) - time))
