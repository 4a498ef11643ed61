"""C2's condition: whether runs without augmentation keep more equivariance error where their training poses
are more alike.

The rule, stated before the experiment was run: at equal loss, the lowest that all runs of a group reach, the
logarithm of the percentage against the largest mean gyration of the training poses (column ``pose_second``)
has a slope whose 95 % interval lies above zero (`holds`), below (`does not hold here`), or includes it
(`inconclusive`); seeds are runs like others. Where a run does not count at that loss the slope is given and
not judged.
"""

import math

import numpy as np
from scipy import stats

from equidyn.results import tables
from equidyn.results.claims.replicates import of_times
from equidyn.results.claims.rows import claim_row, place_of
from equidyn.results.verdicts import FAILS, HOLDS, INCONCLUSIVE, UNTESTABLE, at_loss, lowest_ratio

AXIS = "dataset"
STATEMENT = "without augmentation, more alike poses leave more equivariance error"


def groups(rows: list[dict], points: dict) -> dict[str, dict[str, list[str]]]:
    """Groups of the matrix whose runs differ in dataset (and seed) alone and had no augmentation: dataset →
    runs, one per seed.
    """
    found: dict[str, dict[str, list[str]]] = {}
    turned = {r["run"] for r in rows if r["augment"] > 0}
    for run in tables.runs(rows):
        axes = points.get(run, {}).get("axes", {})
        if AXIS in axes and set(axes) <= {AXIS, "seed"} and run not in turned:
            found.setdefault(points[run]["group"], {}).setdefault(axes[AXIS], []).append(run)
    return {group: members for group, members in found.items() if len(members) > 1}


def points_of(
    rows: list[dict], members: dict[str, list[str]], condition: str = ""
) -> tuple[float, list[dict]]:
    """The loss, over the zero predictor's, at which runs are compared, and what each has there: dataset,
    run, second and fourth moment of its poses, percent with its interval, whether it counts.
    """
    names = [run for runs in members.values() for run in runs]
    curves = {run: tables.curve(rows, run, condition=condition) for run in names}
    level = max(lowest_ratio(curve) for curve in curves.values())
    found = []
    for dataset, runs in members.items():
        for run in runs:
            at = at_loss(curves[run], level)
            moments = {name: curves[run][0][f"pose_{name}"] for name in ("second", "fourth")}
            found.append(dict(vars(at), dataset=dataset, run=run, **moments))
    return level, found


def slope(found: list[dict]) -> tuple[float, float, float]:
    """d ln(percent) / d (second moment), with its 95 % interval (Student's t, one point a run); nan where
    there are fewer than three degrees of alignment.
    """
    x = np.array([p["second"] for p in found])
    if len(set(x.round(6))) < 3 or not all(p["percent"] > 0 for p in found):
        return math.nan, math.nan, math.nan
    fit = stats.linregress(x, np.log([p["percent"] for p in found]))
    half = float(stats.t.ppf(0.975, len(x) - 2)) * fit.stderr
    return float(fit.slope), float(fit.slope - half), float(fit.slope + half)


def c2_poses(rows: list[dict], points: dict) -> list[dict]:
    """A row per group; ours: how many times larger the percentage is at its most aligned poses than at its
    least, from the slope.
    """
    made = []
    for group, members in groups(rows, points).items():
        shared = shared_conditions(rows, members)
        if shared:
            made.append(of_times([_row(rows, group, members, condition) for condition in shared]))
    return made


def shared_conditions(rows: list[dict], members: dict[str, list[str]]) -> list[str]:
    """Those under which all runs of a group were measured, without self-conditioning."""
    measured = [tables.main_conditions(rows, run) for runs in members.values() for run in runs]
    return [c for c in measured[0] if all(c in of_run for of_run in measured)]


def _row(rows: list[dict], group: str, members: dict[str, list[str]], condition: str) -> dict:
    level, found = points_of(rows, members, condition)
    values = slope(found)
    reach = max(p["second"] for p in found) - min(p["second"] for p in found)
    ends = [math.exp(reach * value) if not math.isnan(value) else "" for value in values]
    task = tables.curve(rows, found[0]["run"], condition=condition)[0]["task"]
    told = [f"{dataset} {_moments(found, dataset)}: {_percents(found, dataset)}" for dataset in members]
    conditions = "; ".join(
        [
            f"group {place_of(group, condition)}, all at {level:.3g} x the zero predictor",
            "second and fourth moment of training poses, percent of every seed: " + ", ".join(told),
        ]
    )
    n_counting = sum(p["counts"] for p in found)
    verdict = judged(values) if n_counting == len(found) else UNTESTABLE
    conditions += f"; {n_counting} of {len(found)} count at that loss"
    return claim_row("C2", verdict, conditions, ends, statement=STATEMENT, place=f"training poses, {task}")


def judged(values: tuple[float, float, float]) -> str:
    """The verdict on a slope and its interval, see the module."""
    _, lo, hi = values
    if math.isnan(lo):
        return UNTESTABLE
    if lo > 0:
        return HOLDS
    return FAILS if hi < 0 else INCONCLUSIVE


def _moments(found: list[dict], dataset: str) -> str:
    one = next(p for p in found if p["dataset"] == dataset)
    return f"({one['second']:.3f}, {one['fourth']:.3f})"


def _percents(found: list[dict], dataset: str) -> str:
    chosen = [p for p in found if p["dataset"] == dataset]
    return " ".join(f"{p['percent']:.3g} [{p['lo']:.3g}, {p['hi']:.3g}]" for p in chosen) + " %"
