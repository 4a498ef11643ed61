"""Which runs of a matrix are the same but for the seed, and what they say together.

The interval of one network's number is over held-out items and rotations; its replicates tell how much
another seed changes it. The two are told apart: rows carry the former, conditions the latter.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from equidyn.results.verdicts import DIP, FAILS, HOLDS, INCONCLUSIVE, UNTESTABLE

WORST_FIRST = (FAILS, INCONCLUSIVE, DIP, HOLDS)


@dataclass(frozen=True)
class Point:
    """A point of an axis: its reference run, the axes on which it differs from it (without the seed), its
    runs, one per seed, and what else differs from the reference: {key: [own value, the reference's]}.
    """

    reference: str
    axes: dict[str, object]
    runs: list[str]
    besides: dict[str, list] = field(default_factory=dict)

    @property
    def own(self) -> bool:
        """Whether its runs are the reference and its replicates."""
        return not self.axes and not self.besides


def replicated(runs: list[str], points: dict) -> list[Point]:
    """Runs grouped into points, in the order of ``runs``; a run that is no point of a matrix is a point of
    its own, with the runs of the matrix that differ from it in the seed alone.

    Parameters
    ----------
    points : what the runs of the matrix stand for, as of ``config.expand``
    """
    found: dict[tuple, Point] = {}
    for run in sorted(runs, key=lambda run: run in points):  # references first
        point = points.get(run, {"axes": {}, "reference": run})
        at = point.get("reference_axes", {})
        axes = {a: value for a, value in point["axes"].items() if a != "seed" and value != at.get(a)}
        besides = point.get("besides", {})
        key = point["reference"], tuple(sorted(axes.items())), tuple((k, str(v)) for k, v in besides.items())
        found.setdefault(key, Point(point["reference"], axes, [], besides)).runs.append(run)
    return sorted(found.values(), key=lambda point: runs.index(point.runs[0]))


def seeds_text(n: int) -> str:
    """``one seed``, ``three seeds``."""
    numbers = {1: "one seed", 2: "two seeds", 3: "three seeds"}
    return numbers.get(n, f"{n} seeds")


def worst_of(found: list[dict]) -> dict:
    """Of the rows that have the worst verdict of all the one with the largest number. Worst first: `does not
    hold here`, `inconclusive`, `holds only at the dip`, `holds`; and if none can be judged, `not testable at
    this scale`.
    """
    verdicts = {row["verdict"] for row in found}
    worst = next((v for v in WORST_FIRST if v in verdicts), UNTESTABLE)
    return dict(max((row for row in found if row["verdict"] == worst), key=_number))


def _number(row: dict) -> float:
    """Its number, below all others where it has none."""
    ours = row["ours"]
    return -math.inf if ours == "" or math.isnan(ours) else ours


def of_times(found: list[dict]) -> dict:
    """Rows of the flow times of a run as one: times of one network are no independent evidence."""
    if len(found) == 1:
        return found[0]
    n_judged = sum(row["verdict"] != UNTESTABLE for row in found)
    told = f"{n_judged} of {len(found)} flow times can be judged; the number is the largest of that verdict"
    conditions = " | ".join([told, *(f"{row['verdict']}: {row['conditions']}" for row in found)])
    published = "; ".join(dict.fromkeys(row["paper"] for row in found if row["paper"]))
    worst = worst_of(found)
    worst["statement"] += _part_of(found, "flow times")
    return {**worst, "conditions": conditions, "paper": published}


def _part_of(found: list[dict], what: str) -> str:
    """Says of how many of the rows the verdict is, where some cannot be judged."""
    n_judged = sum(row["verdict"] != UNTESTABLE for row in found)
    if n_judged in (0, len(found)):
        return ""
    return f" ({n_judged} of {len(found)} {what}, the others cannot be judged)"


def of_seeds(found: list[dict]) -> dict:
    """Rows of the seeds of a point as one; lo and hi stay those of one network, over its items."""
    if len(found) == 1:
        return found[0]
    values = ", ".join(f"{row['ours']:.3g} ({row['verdict']})" for row in found)
    told = f"{seeds_text(len(found))}: {values}; the largest of that verdict, its interval over items alone"
    worst = worst_of(found)
    worst["statement"] += _part_of(found, "seeds")
    return {**worst, "conditions": f"{told} | {worst['conditions']}"}


def mean_over_seeds(values: list[float]) -> tuple[float, float, float]:
    """Mean of a number over three seeds or more with Student's 95 % interval."""
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return float(np.mean(values)), float(np.mean(values) - half), float(np.mean(values) + half)
