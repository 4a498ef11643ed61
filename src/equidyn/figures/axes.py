"""Percent of held-out loss from equivariance error against step along an axis of an experiment matrix, beside
the paper's runs on that axis.
"""

import json
from pathlib import Path

from matplotlib.figure import Figure

from equidyn.figures import style
from equidyn.figures.style import plt
from equidyn.results import tables
from equidyn.results.claims.axes import AXES, PUBLISHED


def draw(rows: list[dict], paper: list[dict], extra: list[str]) -> Figure:
    """Figure with a panel per group of runs; extra[0] is the JSON of {axes: wanted ones, points: {run:
    {group, axes, reference, …}}}, the others ``summary.json``.

    Flow is drawn at its time nearest 0.8. Grey: every published run on the axis, at the steps of the paper.
    """
    asked, parameters = json.loads(extra[0]), {}
    for path in extra[1:]:
        summary = json.loads(Path(path).read_text())
        parameters[summary["run"]] = summary["parameters"]
    points, groups = asked["points"], {}
    for run in tables.runs(rows):
        if run in points and set(points[run]["axes"]) & set(asked["axes"]):
            groups.setdefault(points[run]["reference"], []).append(run)
    columns = min(2, len(groups))
    lines = -(-len(groups) // columns)
    width = style.COLUMN if columns == 1 else style.WIDE
    figure, axes = plt.subplots(
        lines, columns, figsize=(width, 3.6 * lines + 0.2), sharey=True, squeeze=False
    )
    for axis, (reference, runs) in zip(axes.flat, groups.items()):
        labels = {run: _label(points[run]["axes"]) for run in runs}
        at = {path: value for run in runs for path, value in points[run].get("reference_axes", {}).items()}
        if reference in tables.runs(rows):
            labels[reference] = f"{_label(at)} ({reference})"
        condition = nearest(tables.conditions(rows, runs[0]))
        published = _published(paper, rows[0]["task"], asked["axes"], condition)
        for i, curve in enumerate(published):
            label = f"paper, {len(published)} run" + "s" * (len(published) > 1) if i == 0 else None
            axis.plot(
                [r["step"] for r in curve],
                [r["percent"] for r in curve],
                "-",
                color="0.75",
                lw=0.8,
                zorder=0,
                label=label,
            )
        places = {
            run: _place(
                points[run]["axes"] if run != reference else at,
                parameters.get(run) if "model.size" in asked["axes"] else None,
            )
            for run in labels
        }
        ordered = sorted(labels, key=places.get)
        for run, colour in zip(ordered, style.sequence(len(ordered))):
            curve = tables.curve(rows, run, condition=condition)
            style.trajectory(axis, style.steps(curve), curve, colour, labels[run], least=1e-4)
        style.two_percent(axis)
        style.log_step(axis)
        axis.set_yscale("log")
        axis.set_title(style.LABEL.get(reference, reference) + (f", {condition}" if condition else ""))
        axis.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2 if columns == 1 or len(ordered) > 3 else 1
        )
    for axis in list(axes.flat)[len(groups) :]:
        axis.set_axis_off()
    for axis in axes[:, 0]:
        axis.set_ylabel("equivariance error, %")
    note = style.HOLLOW + (
        "\nthe paper's voxel runs have σ = 0.9" if rows[0]["task"] == "voxels" and published else ""
    )
    figure.supxlabel(note, fontsize=7, color="0.35")
    return figure


def _label(axes: dict) -> str:
    return ", ".join(
        f"{path.split('.')[-1]} {'all' if value is None else value}" for path, value in axes.items()
    )


def _place(axes: dict, parameters: int | None) -> tuple:
    """Order along an axis: models by their number of parameters, numbers by size (all of the data last),
    words by name.
    """
    if parameters is not None:
        return (parameters,)
    return tuple(
        (1, 0.0, "") if v is None else (0, float(v), "") if isinstance(v, (int, float)) else (0, 0.0, str(v))
        for _, v in sorted(axes.items())
    )


def _published(paper, task, wanted, condition) -> list[list[dict]]:
    """Curves of the paper's runs on these axes, drawn only where it published any."""
    prefixes = tuple(prefix for axis in wanted if axis in AXES for prefix in PUBLISHED[AXES[axis]])
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
    """The condition whose flow time is nearest to ``time``; the empty one of tasks without."""
    plain = [c for c in conditions if not c.endswith("sc")]
    return min(plain, key=lambda c: abs(float(c.removeprefix("t=") or time) - time))
