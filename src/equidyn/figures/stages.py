"""What the jobs of a config cost, stage by stage: seconds in all, and the largest memory of a job."""

import math

import numpy as np
from matplotlib.figure import Figure

from equidyn.figures import style
from equidyn.figures.style import plt


def draw(rows: list[dict]) -> Figure:
    """Two panels with a bar per rule, the dearest on top; ticks are single jobs."""
    rules = {row["rule"]: [r for r in rows if r["rule"] == row["rule"]] for row in rows}
    totals = {rule: sum(r["seconds"] for r in jobs) for rule, jobs in rules.items()}
    order = sorted(rules, key=totals.get)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(style.WIDE, 0.9 + 0.2 * len(order)), sharey=True, width_ratios=(2, 1)
    )
    place = np.arange(len(order))
    left.barh(place, [totals[rule] for rule in order], color=style.QUANTITY["twirled"], label="wall clock")
    cpu = [sum(r["cpu_seconds"] for r in rules[rule] if not math.isnan(r["cpu_seconds"])) for rule in order]
    left.barh(place, cpu, height=0.35, color=style.QUANTITY["equivariance"], label="CPU")
    for y, rule in zip(place, order):
        peaks = [r["peak_mib"] / 1024 for r in rules[rule] if not math.isnan(r["peak_mib"])]
        right.plot(peaks, [y] * len(peaks), "|", color="0.2", ms=8)
    names = [f"{rule} ({len(rules[rule])})" for rule in order]
    left.set_yticks(place, names)
    left.set_xlabel("seconds, all jobs of a rule (their number)")
    right.set_xlabel("largest memory of a job, GiB")
    right.set_xlim(left=0)
    left.legend(loc="lower right")
    return figure
