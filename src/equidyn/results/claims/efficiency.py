"""C10 where a config compares: is an agnostic network ahead of an equivariant one at equal training time?

The verdicts were written down before the runs of ``config/efficiency.yaml``. The number is the held-out loss
of the agnostic network over that of its partner, both after the shorter of their training times, with Welch's
95 % interval over three seeds or more, widened by that of their times per step.

`holds` (the agnostic network is ahead) where the whole interval lies below 1, `does not hold here` where
it lies above, `inconclusive` where it includes 1; `not testable at this scale` with fewer than three seeds,
where the agnostic network has learned nothing that counts at its end, or where the partner is not exact: an
equivariance error above ten floors at some checkpoint.
"""

import math

from equidyn.results import efficiency, tables
from equidyn.results.claims.plateau import below
from equidyn.results.claims.replicates import of_times, seeds_text
from equidyn.results.claims.rows import STATEMENTS, claim_row, place_of
from equidyn.results.efficiency import EQUIVARIANT, Contender
from equidyn.results.verdicts import MIN_POINTS, UNTESTABLE, counted
from equidyn.symmetry.limits import EXACT

STATEMENT, PLACE = STATEMENTS["C10"]


def c10_compared(rows: list[dict], points: dict, comparisons: dict, timing: list[dict]) -> list[dict]:
    """A row per comparison and equivariant partner; of flow times one for all."""
    found = []
    for name, comparison in comparisons.items():
        by_partner: dict[str, list[dict]] = {}
        for condition in tables.main_conditions(rows, comparison["agnostic"]):
            for row in _rows(name, comparison, rows, points, timing, condition):
                by_partner.setdefault(row.pop("partner"), []).append(row)
        found += [of_times(rows_of) for rows_of in by_partner.values()]
    return found


def compared_tasks(rows: list[dict], comparisons: dict) -> set[str]:
    """Tasks of the comparisons."""
    named = {comparison["agnostic"] for comparison in comparisons.values()}
    return {row["task"] for row in rows if row["run"] in named}


def judged(lo: float, hi: float) -> str:
    """The verdict on "the agnostic network is ahead" from the interval of the ratio of losses."""
    return below(lo, hi, 1.0)


def _rows(name, comparison, rows, points, timing, condition: str) -> list[dict]:
    found = efficiency.contenders(name, comparison, rows, points, timing, condition)
    whole = [c for c in found if c.n_train is None]
    if not whole or whole[0].run != comparison["agnostic"]:
        return []
    agnostic, others = whole[0], [c for c in whole[1:] if c.role == EQUIVARIANT]
    return [{"partner": other.run, **_row(agnostic, other, found, condition)} for other in others]


def _row(agnostic: Contender, other: Contender, found: list[Contender], condition: str) -> dict:
    ratio, lo, hi = efficiency.loss_ratio(agnostic, other)
    verdict, why = judged(lo, hi), []
    if min(len(agnostic.curves), len(other.curves)) < MIN_POINTS:
        why.append(f"fewer than {MIN_POINTS} seeds")
    if not all(counted(curve[-1]) for curve in agnostic.curves):
        why.append("the agnostic network has not learned what counts at its end")
    if math.isnan(ratio):
        why.append("one of them has no loss at that time")
    if other.floors > EXACT:
        why.append(f"the partner is not exact: {other.floors:.2g} floors at some checkpoint")
    told = [
        f"{place_of(agnostic.run, condition)} against {other.run}, {_seeds(agnostic, other)}, "
        f"after {efficiency.budget(agnostic, other):.3g} s of training on one thread",
        *why,
        _costs_text(agnostic, other),
        f"twirled, {agnostic.run} would have {_twirled(agnostic, other):.3g} x the loss of {other.run}",
        _crossing_text(agnostic, other),
        _even_text(agnostic, other),
        f"{other.run} within {max(1.0, other.floors):.2g} floors of exact at every checkpoint",
        *_sizes_text(agnostic, other, found),
    ]
    task = agnostic.curves[0][-1]["task"]
    ours = [value if not math.isnan(value) else "" for value in (ratio, lo, hi)]
    statement = f"{STATEMENT} (here {agnostic.run} over {other.run}: ratio of losses at equal training time)"
    return claim_row(
        "C10",
        UNTESTABLE if why else verdict,
        "; ".join(told),
        ours,
        statement=statement,
        place=f"{PLACE}, {task}",
    )


def _costs_text(agnostic: Contender, other: Contender) -> str:
    value, lo, hi = efficiency.step_ratio(other, agnostic)
    flops = other.cost("train_flops") / agnostic.cost("train_flops")
    parameters = [int(c.costs[0]["parameters"]) for c in (agnostic, other)]
    return (
        f"a step of {other.run} takes {value:.3g} [{lo:.3g}, {hi:.3g}] x the time and {flops:.3g} x the FLOP "
        f"({parameters[1]:,} parameters against {parameters[0]:,})"
    )


def _twirled(agnostic: Contender, other: Contender) -> float:
    """The twirled loss of the agnostic network over the other's loss, at the budget."""
    seconds = efficiency.budget(agnostic, other)
    ours = efficiency.losses_at(agnostic, seconds, "twirled")
    theirs = efficiency.losses_at(other, seconds)
    return sum(ours) / len(ours) / (sum(theirs) / len(theirs))


def _crossing_text(agnostic: Contender, other: Contender) -> str:
    value, lo, hi, n = efficiency.crossing(agnostic, other)
    if math.isnan(value):
        found = efficiency.crossings(agnostic, other)
        return (
            f"of {len(found)} pairs of seeds {other.run} lies below throughout in {found.count(0.0)}, gets "
            f"below for good in {n} and ends above in {found.count(math.inf)}"
        )
    span = "" if math.isnan(lo) else f" [{lo:.3g}, {hi:.3g}]"
    return f"{other.run} has the lower loss for good after {value:.3g}{span} s"


def _even_text(agnostic: Contender, other: Contender) -> str:
    found = efficiency.break_even(agnostic, other, efficiency.budget(agnostic, other))
    told = ", ".join(f"{sign}{value:.3g}" for value, sign in found)
    signs = {"<": "<: it has not that loss by its last step", ">": ">: it has it at its first one"}
    why = "; ".join(meaning for sign, meaning in signs.items() if sign in told)
    return f"it ties while a step of it costs at most {told} x" + (f" ({why})" if why else "")


def _seeds(agnostic: Contender, other: Contender) -> str:
    ours, theirs = len(agnostic.curves), len(other.curves)
    return f"{seeds_text(ours)} each" if ours == theirs else f"{seeds_text(ours)} and {theirs} of the partner"


def _sizes_text(agnostic: Contender, other: Contender, found: list[Contender]) -> list[str]:
    ours, theirs = efficiency.sizes(found, agnostic.run), efficiency.sizes(found, other.run)
    ratios = {n: efficiency.loss_ratio(ours[n], theirs[n]) for n in ours if n in theirs}
    if len(ratios) < 2:
        return []
    told = ", ".join(f"{n}: {r:.3g} [{lo:.3g}, {hi:.3g}]" for n, (r, lo, hi) in ratios.items())
    ends = efficiency.pays_until({n: r for n, (r, _, _) in ratios.items()})
    until = "" if math.isnan(ends) else f"; it is 1 at about {ends:.0f}"
    return [f"ratio by training items: {told}{until}"]
