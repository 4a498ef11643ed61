"""C3 to C6: whether the percentage depends on model size, training-set size, optimizer, or seed.

Runs of an axis learn at different speeds, and the percentage changes while they learn; so its points are
compared with each other where their total losses are equal, at the lowest that all of them reach.
"""

import math
from functools import lru_cache

import numpy as np
from scipy import stats

from equidyn.results import tables
from equidyn.results.claims.replicates import Point, of_times, replicated, seeds_text
from equidyn.results.claims.rows import STATEMENTS, against_text, claim_row, curves_of, place_of, range_text
from equidyn.results.verdicts import UNTESTABLE, AtLoss, alike, at_loss, lowest_ratio, within

AXES = {
    "model.size": "C3",
    "model.options.hidden": "C3",
    "model.options.width": "C3",
    "model.options.layers": "C3",
    "training.n_train": "C4",
    "training.optimizer": "C5",
    "training.lr": "C5",
    "seed": "C6",
    "training.augment": "augment",  # drawn, and no claim of the paper's; so is the next
    "model.options.row_spread": "start",
}
APART = {
    "model.options.hidden": "width",
    "model.options.layers": "depth",
}  # axes of C3 with rows of their own
PUBLISHED = {
    "C3": ("param-", "model-", "default"),
    "C4": ("train-", "data-", "default", "model-111M"),
    "C5": ("lr-", "SGD", "default"),
    "C6": ("default",),
}


def _published_last(paper: list[dict], claim: str, task: str, condition: str) -> list[float]:
    """The last published percentage of every run of the paper on the claim's axis."""
    found: dict[str, list[dict]] = {}
    for r in paper:
        if (
            r["task"] == task
            and r["run"].startswith(PUBLISHED[claim])
            and r["quantity"] in ("last", "percent_published")
            and (" " not in r["run"] or r["run"].endswith(f" {condition}"))
        ):
            found.setdefault(r["run"], []).append(r)
    return [
        max(rows, key=lambda r: (r["quantity"] == "last", r["step"]))["percent"] for rows in found.values()
    ]


def c3_to_c6(rows: list[dict], paper: list[dict], points: dict) -> list[dict]:
    """C3 to C6: a row per claim, reference run and axis.

    ours: the largest over the smallest percentage of the points (C6: of the replicates) at equal loss, with
    its 95 % interval, see ``ratio_of_points``. The verdict is ``alike``; of points of one seed each there is
    none, because another seed alone moves a percentage by a factor that their intervals do not know.
    """
    result = []
    for (claim, reference, axis), members in families(rows, points).items():
        if claim not in PUBLISHED:
            continue
        found = []
        for condition in tables.main_conditions(rows, reference):
            labelled = {label: curves_of(rows, runs, condition) for label, runs in members.items()}
            labelled = {label: curves for label, curves in labelled.items() if curves}
            if len(labelled) > 1:
                found.append(_row(claim, place_of(reference, condition), axis, labelled, paper, condition))
        if found:
            result.append(of_times(found))
    return result


def families(rows: list[dict], points: dict) -> dict[tuple, dict[str, list[str]]]:
    """(claim, reference, axis) → label of each point → its runs, one per seed; the reference first. ``axis``
    names what has rows of its own within a claim, else it is empty.
    """
    made = replicated(tables.runs(rows), points)
    own = {point.reference: point.runs for point in made if point.own}
    grouped: dict[tuple, list[Point]] = {}
    for point in made:
        if point.reference in own and (found := _claim_of(point)):
            claim, axis = found
            grouped.setdefault((claim, point.reference, axis), []).append(point)
    labelled = {}
    for (claim, reference, axis), members in grouped.items():
        at = {a: points[p.runs[0]].get("reference_axes", {}).get(a) for p in members for a in p.axes}
        labelled[claim, reference, axis] = {axes_text(at): own[reference]} | {
            point_text(point): point.runs for point in members
        }
    for reference, runs in own.items():
        if len(runs) > 1:
            labelled["C6", reference, ""] = {f"seed {_seed(run, reference, points)}": [run] for run in runs}
    return dict(sorted(labelled.items(), key=lambda item: item[0][0]))


def _seed(run: str, reference: str, points: dict) -> int:
    """The seed of a replicate, or of the reference as its replicates know it."""
    if "seed" in points.get(run, {}).get("axes", {}):
        return points[run]["axes"]["seed"]
    others = [p for p in points.values() if p["reference"] == reference and "seed" in p["axes"]]
    return others[0].get("reference_axes", {}).get("seed", 0)


def _claim_of(point: Point) -> tuple[str, str] | None:
    """Claim, and name of the axis where it has rows of its own, of a point that differs from its reference
    along the axes of one claim alone; else None.
    """
    claims, apart = {AXES.get(axis) for axis in point.axes}, {APART.get(axis, "") for axis in point.axes}
    if len(claims) != 1 or None in claims or len(apart) > 1:
        return None
    return claims.pop(), apart.pop()


def _row(claim, place, axis, labelled: dict[str, list[list[dict]]], paper, condition: str) -> dict:
    level = max(lowest_ratio(curve) for curves in labelled.values() for curve in curves)
    at = {label: [at_loss(curve, level) for curve in curves] for label, curves in labelled.items()}
    ratio, lo, hi = ratio_of_points(list(at.values()))
    replicates = claim == "C6" or any(len(curves) > 1 for curves in labelled.values())
    judged = alike(len(at), lo, hi) if replicates else UNTESTABLE
    task = next(iter(labelled.values()))[0][-1]["task"]
    where, published = STATEMENTS[claim][1], _published_last(paper, claim, task, condition)
    conditions = "; ".join(
        [
            f"{len(labelled)} points around {place}, {_seeds(labelled)}",
            f"all at {level:.3g} x the zero predictor: {_at_text(at)}",
            f"at the end: {_ends_text(labelled)}",
            *_bars_text(labelled),
        ]
    )
    if published and claim != "C6":
        worst = max(curve[-1]["percent"] for curves in labelled.values() for curve in curves)
        conditions += f"; largest at the end / the paper's largest {worst / max(published):.2g}"
    statement = f"{STATEMENTS[claim][0]} (here {axis + ': ' if axis else ''}{', '.join(labelled)})"
    return claim_row(
        claim,
        judged,
        conditions,
        (ratio, lo, hi),
        paper=range_text(published, " % at the end"),
        statement=statement,
        place=f"{where}, {task}",
    )


def ratio_of_points(found: list[list[AtLoss]]) -> tuple[float, float, float]:
    """The largest over the smallest percentage of the points of an axis, with its 95 % interval; nan where
    one does not count.

    With several seeds a point's percentage is their geometric mean and the interval Tukey's for the pair of
    that many points, from the spread over seeds within points; with one seed it is made of the ends of the
    points' own intervals.

    Parameters
    ----------
    found : per point, what its seeds have at equal loss
    """
    if len(found) < 2 or not all(p.counts and p.percent > 0 for seeds in found for p in seeds):
        return math.nan, math.nan, math.nan
    logs = [np.log([p.percent for p in seeds]) for seeds in found]
    means = np.array([x.mean() for x in logs])
    high, low = int(means.argmax()), int(means.argmin())
    ratio = math.exp(means[high] - means[low])
    freedom = sum(len(x) - 1 for x in logs)
    if freedom == 0:
        top, bottom = found[high][0], found[low][0]
        lo = top.lo / bottom.hi if bottom.hi > 0 else math.nan
        return ratio, lo, top.hi / bottom.lo if bottom.lo > 0 else math.inf
    variance = sum(((x - x.mean()) ** 2).sum() for x in logs) / freedom
    q = _studentized_range(len(found), freedom)
    half = q * math.sqrt(variance / 2 * (1 / len(logs[high]) + 1 / len(logs[low])))
    return ratio, ratio * math.exp(-half), ratio * math.exp(half)


@lru_cache
def _studentized_range(n_points: int, freedom: int) -> float:
    return float(stats.studentized_range.ppf(0.95, n_points, freedom))


def axes_text(axes: dict) -> str:
    """``n_train 100``; what a reference does not set is all of the data, what the model's size says, or the
    default.
    """
    return ", ".join(
        f"{axis.split('.')[-1]} {_unset(axis) if value is None else value}" for axis, value in axes.items()
    )


def _unset(axis: str) -> str:
    if axis == "training.n_train":
        return "all"
    return "of its size" if axis.startswith("model.options.") else "default"


def point_text(point: Point) -> str:
    """``n_train 500 (and batch_size 1, not 64)``: its axes, and what else differs from the reference."""
    told = "; ".join(
        axes_text({key: own}) + ", not " + axes_text({key: other}).split(" ", 1)[1]
        for key, (own, other) in point.besides.items()
    )
    return axes_text(point.axes) + (f" (and {told})" if told else "")


def _seeds(labelled) -> str:
    numbers = sorted({len(curves) for curves in labelled.values()})
    return " or ".join(seeds_text(n) for n in numbers) + " each"


def _at_text(at: dict[str, list[AtLoss]]) -> str:
    def text(p: AtLoss) -> str:
        return f"{p.percent:.3g} [{p.lo:.3g}, {p.hi:.3g}]" + ("" if p.counts else " (does not count)")

    return ", ".join(f"{label} {' '.join(text(p) for p in found)} %" for label, found in at.items())


def _bars_text(labelled) -> list[str]:
    """Says so where the bar below which a percentage counts moves along the axis."""
    bars = [c[-1]["baseline_loss"] / c[-1]["zero_loss"] for curves in labelled.values() for c in curves]
    low, high = min(bars), max(bars)
    if high <= 1.01 * low:
        return []
    return [f"baselines are fitted to each run's own items: the best is at {low:.3g} to {high:.3g} x zero"]


def _ends_text(labelled) -> str:
    def text(curve) -> str:
        return f"{curve[-1]['percent']:.3g} %, {against_text(curve[-1])} ({within(curve)})"

    return ", ".join(f"{label} {' '.join(text(c) for c in curves)}" for label, curves in labelled.items())
