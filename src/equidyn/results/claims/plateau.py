"""C11, a question of ours: is the symmetry learned ahead of the task, or only as well?

The verdicts were written down before the runs of ``config/plateau.yaml``. If a network only learns the
symmetry as well as its task, equivariance error and total loss fall together and the percentage stays: a
plateau.

*Ahead.* ``change`` is the factor by which the percentage changes while the total loss halves: 2^−s with s the
slope of ln(percent) against ln(total) over the steps that count; below 1 it falls, above 1 it rises. `holds`
where its whole interval is at most ``AHEAD``, `does not hold here` where all of it lies above, else
`inconclusive`; `not testable at this scale` with fewer than ``MIN_STEPS`` steps that count or a loss that
falls by less than ``MIN_RANGE`` over them. Live and averaged (EMA) weights have rows of their own, because
live ones carry the noise of the optimizer, which falls with the learning rate.

*Lifts.* What lowers the percentage at the end of training: the ratio of a point's percentage to that of its
reference. `holds` (it lowers it) where the whole interval is below 1, `does not hold here` where it is above,
`inconclusive` where it includes 1, `not testable at this scale`, but with its number, where a run does not
count at its end.

*Learned.* The equivariance error on training items over that on held-out ones. `holds` (it is not learned,
rather than learned and not generalized) where the whole interval is at least ``ALIKE``, `does not hold here`
where all of it lies below, else `inconclusive`; `not testable at this scale` where a run does not count at
its end. The two kinds of items are different molecules, the same in every seed: what they differ by is no
matter of seeds, so the interval is widened by it (``item_error``).

Intervals are Student's over three seeds or more; with fewer *ahead* is not testable, because the steps of one
run are not independent, and the other two have no row.
"""

import math

import numpy as np
from scipy import stats

from equidyn.results import tables
from equidyn.results.claims.axes import point_text
from equidyn.results.claims.replicates import Point, mean_over_seeds, of_times, replicated, seeds_text
from equidyn.results.claims.rows import (
    STATEMENTS,
    claim_row,
    curves_of,
    percent_text,
    place_of,
    published_number,
    range_text,
)
from equidyn.results.claims.statistics import ratio_of_means
from equidyn.results.verdicts import (
    FAILS,
    HOLDS,
    INCONCLUSIVE,
    MIN_POINTS,
    UNTESTABLE,
    at_loss,
    counted,
    exact,
    lowest_ratio,
)
from equidyn.symmetry.limits import LEARNED

POSES = "dataset"  # of the axes: the question of ``claims.poses``
LENGTH = "training.steps"  # of the axes: a longer path of the same run
AHEAD = 0.8  # times the percentage at twice the loss: a fifth less
ALIKE = 0.8
MIN_STEPS, MIN_RANGE = 3, 1.2

LIFTS = "lowers the percentage at the end of training"
LEARNED_TOO = (
    "equivariance error is as large on training items as on held-out ones: not learned, rather than learned "
    "and not generalized"
)
STATEMENT, PLACE = STATEMENTS["C11"]


def c11(rows: list[dict], paper: list[dict], points: dict) -> list[dict]:
    """Rows of the three questions: *ahead* and *learned* of reference runs and of those that differ from them
    in the number of steps alone, *lifts* of every other point.
    """
    found, made = [], replicated(tables.runs(rows), points)
    own = {point.reference: point for point in made if point.own}
    lifts: dict[str, list[dict]] = {}
    for point in made:
        conditions = tables.main_conditions(rows, point.runs[0])
        replicates = len(point.runs) >= MIN_POINTS
        if set(point.axes) <= {LENGTH} and not point.besides:
            for weights in ("live", "ema"):
                found += _joined([_ahead(rows, paper, point, c, weights) for c in conditions])
            if replicates:
                found += _joined([_learned(rows, point, c) for c in conditions])
        reference = own.get(point.reference)
        if (
            not point.own
            and not set(point.axes) & {POSES}
            and replicates
            and reference
            and len(reference.runs) >= MIN_POINTS
        ):
            lifted = _joined([_lift(rows, point, reference, c) for c in conditions])
            lifts.setdefault(point.reference, []).extend(lifted)
            found += lifted
    for of_reference in lifts.values():
        _say_how_many(of_reference)
    return found


def _say_how_many(lifts: list[dict]) -> None:
    """In the conditions of comparisons with one reference: each interval is made as if it were alone."""
    judged = [row for row in lifts if row["verdict"] != UNTESTABLE]
    for row in judged if len(judged) > 1 else []:
        row["conditions"] += f"; one of {len(judged)} comparisons with this reference, 95 % each"


def _joined(made: list[dict | None]) -> list[dict]:
    """The rows of flow times as one."""
    found = [row for row in made if row]
    return [of_times(found)] if found else []


def path(curve: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """ln(total / zero predictor's) and ln(percent) at the steps that count."""
    rows = [r for r in curve if counted(r) and r["percent"] > 0 and not exact(r)]
    x = np.log([r["total"] / r["zero_loss"] for r in rows])
    return x, np.log([r["percent"] for r in rows])


def slope(x: np.ndarray, y: np.ndarray) -> float:
    """Least-squares slope; nan where a path is too short."""
    if len(x) < MIN_STEPS or np.ptp(x) < math.log(MIN_RANGE):
        return math.nan
    return float(stats.linregress(x, y).slope)


def change(curves: list[list[dict]]) -> tuple[float, float, float]:
    """Factor by which the percentage changes while the loss halves, with its 95 % interval, see the module;
    nan where a run's path is too short, the interval also with fewer than three seeds.
    """
    slopes = [slope(*path(curve)) for curve in curves]
    if not slopes or any(math.isnan(value) for value in slopes):
        return math.nan, math.nan, math.nan
    ends = float(np.mean(slopes)), math.nan, math.nan
    if len(slopes) >= MIN_POINTS:
        ends = mean_over_seeds(slopes)
    value, low, high = (2.0**-end for end in ends)  # of slopes: the ends change places
    return value, high, low


def below(lo: float, hi: float, limit: float) -> str:
    """The verdict on a factor that should be at most ``limit``, from its interval, see the module."""
    if math.isnan(lo):
        return UNTESTABLE
    if hi <= limit:
        return HOLDS
    return FAILS if lo > limit else INCONCLUSIVE


def alike(lo: float, hi: float) -> str:
    """The verdict on the interval of training items over held-out ones, see the module."""
    if lo >= ALIKE:
        return HOLDS
    return FAILS if hi < ALIKE else INCONCLUSIVE


def _ahead(rows, paper, point: Point, condition: str, weights: str) -> dict | None:
    curves = curves_of(rows, point.runs, condition, weights=weights)
    if not curves:
        return None
    values = change(curves)
    n = len(curves)
    told = [f"{place_of(point.runs[0], condition)}, {weights} weights, {seeds_text(n)}"]
    told += [_path_text(curve) for curve in curves]
    ours = [value if not math.isnan(value) else "" for value in values]
    task, verdict = curves[0][-1]["task"], below(*values[1:], AHEAD)
    published = published_changes(paper, task, condition)
    beside = range_text(published, " x as the loss halves") if weights == "live" else ""
    return claim_row("C11", verdict, "; ".join(told), ours, paper=beside, place=f"{PLACE}, {task}, {weights}")


def _path_text(curve: list[dict]) -> str:
    rows = [r for r in curve if counted(r)]
    if not rows:
        return f"{curve[-1]['run']}: no step counts"
    first, last = rows[0], rows[-1]
    at = [f"{percent_text(r)} at {r['total'] / r['zero_loss']:.3g}" for r in (first, last)]
    lowest = min(rows, key=lambda r: r["percent"])
    return (
        f"{curve[-1]['run']}: {at[0]} x the zero predictor (step {first['step']:.0f}) to {at[1]} x (step "
        f"{last['step']:.0f}), lowest {lowest['percent']:.3g} % at step {lowest['step']:.0f}"
    )


def published_changes(paper: list[dict], task: str, condition: str) -> list[float]:
    """``change`` of the paper's runs over steps with a total at least a tenth below the zero predictor's."""
    changes = []
    for run, (x, y) in published_paths(paper, task).items():
        if not condition or run.endswith(f" {condition}"):
            value = slope(np.log(x[x < LEARNED]), np.log(y[x < LEARNED]))
            changes += [] if math.isnan(value) else [2.0**-value]
    return changes


def published_paths(paper: list[dict], task: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Total over zero predictor, and percent, by step of the paper's runs that have both. The zero predictor
    is estimated for forces and voxels (resources/README.md), and the first logged total for flow.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for r in paper:
        if r["task"] == task and r["quantity"] in ("path_percent", "path_total"):
            found.setdefault(r["run"], {}).setdefault(r["quantity"], []).append(r["percent"])
    zero, paths = published_number(paper, task, "zero_predictor_estimate"), {}
    for run, curve in found.items():
        total = np.array(curve["path_total"])
        paths[run] = total / (zero or total[0]), np.array(curve["path_percent"])
    return paths


def lift(ours: list[dict], reference: list[dict]) -> tuple[float, float, float]:
    """Geometric mean of the percentages over that of the reference's, with Welch's 95 % interval over seeds;
    nan with fewer than three seeds.
    """
    few = min(len(ours), len(reference)) < MIN_POINTS
    if few or not all(r["percent"] > 0 for r in [*ours, *reference]):
        return math.nan, math.nan, math.nan
    return ratio_of_means(*([r["percent"] for r in group] for group in (ours, reference)))


def _lift(rows, point: Point, reference: Point, condition: str) -> dict | None:
    curves = curves_of(rows, point.runs, condition)
    others = curves_of(rows, reference.runs, condition)
    if len(curves) < MIN_POINTS or len(others) < MIN_POINTS:
        return None
    ends = [c[-1] for c in [*curves, *others]]
    n_counting = sum(map(counted, ends))
    values = lift([c[-1] for c in curves], [c[-1] for c in others])
    ema = [curves_of(rows, p.runs, condition, weights="ema") for p in (point, reference)]
    averaged = lift(*([c[-1] for c in group] for group in ema))
    told = [
        f"{place_of(point.runs[0], condition)} against {reference.runs[0]}, {seeds_text(len(curves))} each",
        _ends_text("live", curves, others),
        f"EMA weights: ratio {averaged[0]:.3g} [{averaged[1]:.3g}, {averaged[2]:.3g}]",
        _equal_text(curves, others),
        f"{n_counting} of {len(ends)} count at the end",
    ]
    verdict = below(*values[1:], 1.0) if n_counting == len(ends) else UNTESTABLE
    ours = [value if not math.isnan(value) else "" for value in values]
    name, task = point_text(point), curves[0][-1]["task"]
    return claim_row(
        "C11", verdict, "; ".join(told), ours, statement=f"{name} {LIFTS}", place=f"what lifts it, {task}"
    )


def _ends_text(name: str, curves, others) -> str:
    def text(group) -> str:
        percents = " ".join(f"{c[-1]['percent']:.3g}" for c in group)
        ratios = " ".join(f"{c[-1]['total'] / c[-1]['zero_loss']:.3g}" for c in group)
        return f"{percents} % at {ratios} x the zero predictor"

    return f"{name} weights at the end: {text(curves)}, reference {text(others)}"


def _equal_text(curves, others) -> str:
    """The same ratio where all have the same loss."""
    level = max(lowest_ratio(curve) for curve in [*curves, *others])
    ours, reference = ([at_loss(c, level) for c in group] for group in (curves, others))
    found = [p.counts and p.percent > 0 for p in [*ours, *reference]]
    if not all(found):
        told = "none counts" if not any(found) else f"only {sum(found)} of {len(found)} count"
        return f"at {level:.3g} x the zero predictor, which all reach, {told}"
    ratio, lo, hi = ratio_of_means(*([p.percent for p in group] for group in (ours, reference)))
    return f"all at {level:.3g} x the zero predictor: ratio {ratio:.3g} [{lo:.3g}, {hi:.3g}]"


def learned(rows: list[dict], runs: list[str], condition: str) -> list[tuple[dict, dict]]:
    """The last rows of training and of held-out items, live weights, by seed."""
    pairs = []
    for run in runs:
        seen = tables.curve(rows, run, condition=condition, items="training")
        held = curves_of(rows, [run], condition)
        if seen and held:
            pairs.append((seen[-1], held[0][-1]))
    return pairs


def item_error(row: dict) -> float:
    """Standard error over items of ln(equivariance error), at most: that of ln(percent), by its interval, and
    that of ln(total), by the components of its variance, added as if they always went together.
    """
    of_percent = (row["percent_hi"] - row["percent_lo"]) / (2 * 1.96 * row["percent"])
    variance = row["variance_items"] + row["variance_rotations"] / row["n_rotations"]
    return of_percent + math.sqrt(max(variance, 0.0) / row["n_items"]) / row["total"]


def learned_interval(pairs: list[tuple[dict, dict]]) -> tuple[float, float, float]:
    """Geometric mean over seeds of the ratio of equivariance errors, with its 95 % interval over seeds and
    items.
    """
    logs = [math.log(seen["equivariance"] / held["equivariance"]) for seen, held in pairs]
    mean, low, _ = mean_over_seeds(logs)
    of_items = float(np.mean([math.hypot(item_error(seen), item_error(held)) for seen, held in pairs]))
    half = math.hypot(mean - low, 1.96 * of_items)
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def _learned(rows, point: Point, condition: str) -> dict | None:
    pairs = learned(rows, point.runs, condition)
    if len(pairs) < MIN_POINTS or not all(
        r["equivariance"] > 0 and r["percent"] > 0 for p in pairs for r in p
    ):
        return None
    task = pairs[0][0]["task"]
    ends = learned_interval(pairs)
    ratios = [seen["equivariance"] / held["equivariance"] for seen, held in pairs]
    told = [f"{place_of(point.runs[0], condition)}, {seeds_text(len(ratios))}, live weights at the end"]
    told += ["equivariance error, training / held-out items: " + " ".join(f"{r:.3g}" for r in ratios)]
    seeds = [math.exp(end) for end in mean_over_seeds([math.log(ratio) for ratio in ratios])]
    told += [f"over seeds alone [{seeds[1]:.3g}, {seeds[2]:.3g}]; items may add what they do to each term"]
    n_counting = sum(counted(held) for _, held in pairs)
    told += [f"{n_counting} of {len(pairs)} count at the end"]
    verdict = alike(ends[1], ends[2]) if n_counting == len(pairs) else UNTESTABLE
    return claim_row(
        "C11", verdict, "; ".join(told), ends, statement=LEARNED_TOO, place=f"training items, {task}"
    )
