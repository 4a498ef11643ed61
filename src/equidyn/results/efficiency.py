"""Agnostic against equivariant networks: at equal training time, from decomposition and timing tables.

Losses of a curve belong to steps; what a step costs is measured apart, all runs in turn (``timing.csv``), and
a curve's time is its steps times the geometric mean of that. Between two checkpoints the logarithm of the
loss is linear in that of the step. A pair is compared at its *budget*, the shorter of the two training times,
where the learning rate of one has run down and, with steps chosen for it, that of the other nearly.

*Break-even* at a budget: n steps of the agnostic network take that long and reach a loss; an equivariant one
needs m steps for it, so it may cost n/m times as much per step and still tie. It wins where its measured
ratio is less.
"""

import math
from dataclasses import dataclass

import numpy as np

from equidyn.results import tables
from equidyn.results.claims.replicates import Point, mean_over_seeds, replicated
from equidyn.results.claims.statistics import ratio_of_means
from equidyn.results.verdicts import MIN_POINTS, share_of_the_way
from equidyn.symmetry.expected_loss import SIZES, expected
from equidyn.symmetry.limits import CUBE_ORDER

AGNOSTIC, EQUIVARIANT, BETWEEN = ROLES = ("agnostic", "equivariant", "between")
N_TRAIN = "training.n_train"  # the axis of data sizes

Curve = list[dict]


@dataclass(frozen=True)
class Contender:
    """One network of a comparison: its curves by seed, and what it costs by round.

    ``costs`` are rows of ``timing.csv``; ``n_train`` is None where it has all training items.
    """

    comparison: str
    run: str
    role: str
    curves: list[Curve]
    costs: list[dict]
    n_train: int | None = None

    def cost(self, name: str) -> float:
        """Geometric mean over rounds."""
        return math.exp(np.mean([math.log(row[name]) for row in self.costs]))

    @property
    def steps(self) -> float:
        """Of training."""
        return self.curves[0][-1]["step"]

    @property
    def seconds(self) -> float:
        """Of training, all of it."""
        return self.steps * self.cost("step_seconds")

    def ends(self, name: str) -> list[float]:
        """A column at the end, by seed."""
        return [curve[-1][name] for curve in self.curves]

    @property
    def floors(self) -> float:
        """Largest equivariance error of any checkpoint, in floors."""
        return max(_in_floors(row) for curve in self.curves for row in curve)


def _in_floors(row: dict) -> float:
    if row["floor"] > 0:
        return row["equivariance"] / row["floor"]
    return 0.0 if row["equivariance"] == 0 else math.inf


def contenders(
    name: str, comparison: dict, rows: list[dict], points: dict, timing: list[dict], condition: str = ""
) -> list[Contender]:
    """The networks of a comparison, agnostic first, each once per size of its training set; those without
    curves under the condition or without times are left out.

    Parameters
    ----------
    comparison : an entry of the config's ``comparisons``
    rows, timing : decomposition and timing tables
    points : what the runs of the matrix stand for, see ``config.expand``
    """
    made = replicated(tables.runs(rows), points)
    found = []
    for role in ROLES:
        named = comparison.get(role, [])
        for run in [named] if role == AGNOSTIC else named:
            costs = [row for row in timing if row["run"] == run]
            own = [
                point
                for point in made
                if point.reference == run and set(point.axes) <= {N_TRAIN} and not point.besides
            ]
            for point in own or [Point(run, {}, [run])]:
                curves = [tables.curve(rows, one, condition=condition) for one in point.runs]
                curves = [curve for curve in curves if curve]
                if curves and costs:
                    size = point.axes.get(N_TRAIN)
                    found.append(Contender(name, run, role, curves, costs, size))
    return found


def step_ratio(one: Contender, other: Contender) -> tuple[float, float, float]:
    """Seconds of a step of one over those of the other within rounds, with Student's 95 % interval."""
    theirs = {row["round"]: row["step_seconds"] for row in other.costs}
    logs = [
        math.log(row["step_seconds"] / theirs[row["round"]]) for row in one.costs if row["round"] in theirs
    ]
    if len(logs) < MIN_POINTS:
        value = math.exp(np.mean(logs)) if logs else math.nan
        return value, math.nan, math.nan
    value, low, high = (math.exp(end) for end in mean_over_seeds(logs))
    return value, low, high


def loss_at(curve: Curve, step: float, name: str = "total") -> float:
    """A loss of a curve at a step between its first positive and its last one; nan outside."""
    rows = [row for row in curve if row["step"] > 0]
    steps = [row["step"] for row in rows]
    if not rows or step < steps[0] or step > steps[-1] * (1 + 1e-9):
        return math.nan
    logs = np.interp(math.log(step), np.log(steps), np.log([row[name] for row in rows]))
    return float(np.exp(logs))


def step_of(curve: Curve, loss: float) -> float:
    """The step at which the total of a curve is first at or below a loss; inf where it never is."""
    rows = [row for row in curve if row["step"] > 0]
    if rows and rows[0]["total"] <= loss:
        return rows[0]["step"]
    for a, b in zip(rows, rows[1:]):
        if b["total"] <= loss:
            share = share_of_the_way(a["total"], b["total"], loss)
            return a["step"] * (b["step"] / a["step"]) ** share
    return math.inf


def budget(agnostic: Contender, other: Contender) -> float:
    """Seconds of training at which two are compared: the shorter of their training times."""
    return min(agnostic.seconds, other.seconds)


def losses_at(contender: Contender, seconds: float, name: str = "total") -> list[float]:
    """A loss after so much training, by seed."""
    steps = min(seconds / contender.cost("step_seconds"), contender.steps)
    return [loss_at(curve, steps, name) for curve in contender.curves]


def loss_ratio(agnostic: Contender, other: Contender) -> tuple[float, float, float]:
    """Loss of the agnostic network over the other's at their budget: ratio of geometric means with Welch's
    95 % interval over seeds, widened by that of their times per step; nan with fewer than three seeds.

    The times widen it so: the two are compared at the budget that they would have if a step of the other took
    as little or as much time as the interval of ``step_ratio`` allows.
    """
    few = min(len(agnostic.curves), len(other.curves)) < MIN_POINTS
    ratio, low, high = step_ratio(other, agnostic)
    found = []
    for factor in (1.0, low / ratio, high / ratio):
        seconds = min(agnostic.seconds, other.seconds * factor)
        ours, theirs = losses_at(agnostic, seconds), losses_at(other, seconds / factor)
        if few or not np.isfinite([*ours, *theirs]).all():
            return float(np.mean(ours) / np.mean(theirs)), math.nan, math.nan
        found.append(ratio_of_means(ours, theirs))
    return found[0][0], min(f[1] for f in found), max(f[2] for f in found)


def crossing_of(ours: Curve, theirs: Curve, our_cost: float, their_cost: float) -> float:
    """Seconds after which the second curve lies below the first for good: 0 where it does from the beginning
    of what both cover, inf where it does not at the end of that.
    """
    times = np.geomspace(
        max(
            min(r["step"] for r in c if r["step"] > 0) * s
            for c, s in ((ours, our_cost), (theirs, their_cost))
        ),
        min(ours[-1]["step"] * our_cost, theirs[-1]["step"] * their_cost),
        400,
    )
    gaps = [
        math.log(loss_at(theirs, min(t / their_cost, theirs[-1]["step"])))
        - math.log(loss_at(ours, min(t / our_cost, ours[-1]["step"])))
        for t in times[1:]
    ]
    above = [k for k, gap in enumerate(gaps) if not gap < 0]
    if not above:
        return 0.0
    return math.inf if above[-1] == len(gaps) - 1 else float(times[1:][above[-1] + 1])


def crossings(agnostic: Contender, other: Contender) -> list[float]:
    """``crossing_of`` the two, by seed."""
    costs = agnostic.cost("step_seconds"), other.cost("step_seconds")
    return [crossing_of(a, b, *costs) for a, b in zip(agnostic.curves, other.curves)]


def crossing(agnostic: Contender, other: Contender) -> tuple[float, float, float, int]:
    """Seconds of training after which the other network has the lower loss for good: geometric mean over
    seeds with Student's 95 % interval where all have such a crossing, nan else; and how many have it.
    """
    found = crossings(agnostic, other)
    crossed = [value for value in found if 0 < value < math.inf]
    if len(crossed) < len(found) or not found:
        return math.nan, math.nan, math.nan, len(crossed)
    if len(crossed) < MIN_POINTS:
        return float(np.exp(np.mean(np.log(crossed)))), math.nan, math.nan, len(crossed)
    value, low, high = (math.exp(end) for end in mean_over_seeds([math.log(value) for value in crossed]))
    return value, low, high, len(crossed)


def break_even(agnostic: Contender, other: Contender, seconds: float) -> list[tuple[float, str]]:
    """How many times dearer per step the other may be and still have the agnostic one's loss after so much
    training of that; by seed, with the sign "". Where it has not that loss by its last step the number is
    what it is less than, with "<", and where it has it at its first one what it is at least, with ">"; nan
    and "<" where the agnostic one has no loss there.
    """
    n = min(seconds / agnostic.cost("step_seconds"), agnostic.steps)
    found = []
    for ours, theirs in zip(agnostic.curves, other.curves):
        loss = loss_at(ours, n)
        needed = math.inf if math.isnan(loss) else step_of(theirs, loss)
        first = next(row["step"] for row in theirs if row["step"] > 0)
        if math.isinf(needed):
            found.append((math.nan if math.isnan(loss) else n / theirs[-1]["step"], "<"))
        else:
            found.append((n / needed, ">" if needed == first else ""))
    return found


def rotations_needed(agnostic: Contender, other: Contender, order: int | None) -> float:
    """The fewest rotations over which the agnostic network's mean, by P + E/n, has the other's loss, both at
    the end of training and means over seeds; inf where 24 do not suffice.
    """
    wanted = np.mean(other.ends("total"))
    terms = list(zip(agnostic.ends("twirled"), agnostic.ends("equivariance")))
    for n in range(1, max(SIZES) + 1):
        if np.mean([expected(p, e, n, order) for p, e in terms]) <= wanted:
            return float(n)
    return math.inf


def order_of(contender: Contender) -> int | None:
    """Of the finite group that its rotations were drawn from."""
    return CUBE_ORDER if contender.curves[0][-1]["rotations"] == "cube" else None


def sizes(found: list[Contender], run: str) -> dict[int, Contender]:
    """Contenders of a run by their number of training items, smallest first."""
    mine = [c for c in found if c.run == run]
    by_size = {c.n_train or int(c.costs[0]["n_train"]): c for c in mine}
    return dict(sorted(by_size.items()))


def pays_until(ratios: dict[int, float]) -> float:
    """Training items at which a ratio of losses that is above 1 for few of them falls to 1, between two sizes
    linear in the logarithms; nan where it does not cross.
    """
    pairs = list(ratios.items())
    for (n, a), (m, b) in zip(pairs, pairs[1:]):
        if a > 1 >= b:
            return n * (m / n) ** (math.log(a) / math.log(a / b))
    return math.nan


def table(found: list[Contender], condition: str) -> list[dict]:
    """Rows of ``columns.EFFICIENCY`` of one comparison under one condition: every contender beside the
    agnostic network of as many training items.
    """
    rows = []
    for one in found:
        beside = [c for c in found if c.role == AGNOSTIC and c.n_train == one.n_train]
        if beside:
            rows.append(_row(one, beside[0], condition))
    return rows


def _row(one: Contender, agnostic: Contender, condition: str) -> dict:
    costs, seconds = one.costs[0], budget(agnostic, one)
    row = dict(comparison=one.comparison, task=one.curves[0][-1]["task"], run=one.run, role=one.role)
    row |= dict(condition=condition, n_train=one.n_train or costs["n_train"], n_seeds=len(one.curves))
    row |= {name: costs[name] for name in ("parameters", "train_flops", "item_flops")}
    row |= dict(steps=one.steps, step_seconds=one.cost("step_seconds"), item_seconds=one.cost("item_seconds"))
    row |= dict(budget=seconds, floors=one.floors)
    row |= {name: float(np.mean(one.ends(name))) for name in ("total", "twirled", "percent")}
    row |= _with_ends("step_ratio", step_ratio(one, agnostic))
    if one is agnostic:
        return row
    row |= _with_ends("loss_ratio", loss_ratio(agnostic, one))
    *crossed, n = crossing(agnostic, one)
    found = break_even(agnostic, one, seconds)
    even = [value for value, sign in found if not sign]
    ends = (math.nan,) * 3
    if len(even) == len(found):
        ends = float(np.exp(np.mean(np.log(even)))), min(even), max(even)
    needed = rotations_needed(agnostic, one, order_of(agnostic))
    cost = needed * agnostic.cost("item_seconds") / one.cost("item_seconds")
    row |= _with_ends("crossing", crossed) | dict(n_crossing=n) | _with_ends("break_even", ends)
    row |= dict(n_break_even=len(even))
    return row | dict(rotations=needed, item_ratio=cost)


def _with_ends(name: str, values) -> dict[str, float]:
    return dict(zip((name, f"{name}_lo", f"{name}_hi"), values))


def averages(contender: Contender) -> list[tuple[int, float, float]]:
    """(rotations, seconds per item, mean loss over seeds) of predictions averaged at test time, P + E/n."""
    cost, order, found = contender.cost("item_seconds"), order_of(contender), []
    for n in SIZES:
        losses = [expected(c[-1]["twirled"], c[-1]["equivariance"], n, order) for c in contender.curves]
        found.append((n, n * cost, float(np.exp(np.mean(np.log(losses))))))
    return found
