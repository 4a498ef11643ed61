"""When a percentage counts, and what a curve of them says: the rules that claims and figures share.

A constant output is perfectly equivariant, and so are the input rescaled and a linear denoiser of the chain
(``equidyn.baselines``): equivariant with next to nothing learned. A percentage therefore counts only where
the total loss lies at least a tenth below the best of them (``counted``), with its interval. "≤ 2 %" is
judged with the 95 % interval of the percentage.
"""

import math
from dataclasses import dataclass

from equidyn.symmetry.limits import EXACT, LEARNED

PERCENT = 2.0  # what the paper says the percentage falls to
AGREE = 2.0  # replicates agree within this factor; the paper's three force runs end within 1.5
MIN_POINTS = 3  # of an axis, or replicates
WINDOW = (1_000, 10_000)  # steps within which the paper's percentages fall
WINDOW_END = WINDOW[1]

HOLDS, DIP, FAILS, INCONCLUSIVE, UNTESTABLE, NOT_RUN = VERDICTS = (
    "holds",
    "holds only at the dip",
    "does not hold here",
    "inconclusive",
    "not testable at this scale",
    "not run",
)


def exact(row: dict) -> bool:
    """Whether a model's equivariance error is no more than rounding, so that it has nothing to learn."""
    return row["equivariance"] <= EXACT * row["floor"]


def counted(row: dict) -> bool:
    """Whether the total loss lies at least a tenth below that of the best predictor that has learned next to
    nothing, with the whole 95 % interval of their paired ratio.
    """
    return row["baseline_ratio_hi"] < LEARNED


def first_step(curve: list[dict], percent: float, ratio: float = math.inf) -> float | None:
    """First counted step with at most ``percent`` of the loss from equivariance error *and* a total below
    ratio × that of the zero predictor; None if there is none.
    """
    return next(
        (
            r["step"]
            for r in curve
            if counted(r) and r["percent"] <= percent and r["total"] < ratio * r["zero_loss"]
        ),
        None,
    )


def dip(curve: list[dict]) -> dict | None:
    """The row of the lowest counted percentage."""
    return min((r for r in curve if counted(r)), key=lambda r: r["percent"], default=None)


def verdict(curve: list[dict], percent: float = PERCENT) -> str:
    """Verdict on "at most ``percent`` of the loss" for one curve, by step. In this order:

    `holds`                       at the last step, counted, the whole interval is at most ``percent``
    `holds only at the dip`       so at some earlier step
    `not testable at this scale`  no step counts
    `does not hold here`          at every counted step the whole interval lies above
    `inconclusive`                else: the interval of some counted step includes ``percent`` or is missing
    """
    rows = [r for r in curve if counted(r)]
    below = [r for r in rows if r["percent_hi"] <= percent]
    if below and below[-1] is curve[-1]:
        return HOLDS
    if below:
        return DIP
    if not rows:
        return UNTESTABLE
    return FAILS if all(r["percent_lo"] > percent for r in rows) else INCONCLUSIVE


def within(curve: list[dict]) -> str:
    """Verdict on "falls to at most 2 % by step 10,000", the end of the paper's window (C2).

    That of ``verdict`` over the steps of the window, but `holds only at the dip` where it holds there and not
    at the curve's end, and `inconclusive` where it fails and the first step at the window's end or after it
    does not show so: there is none, it does not count, or its interval reaches down to 2 %.
    """
    judged = verdict([r for r in curve if r["step"] <= WINDOW_END])
    if judged == HOLDS:
        return verdict(curve)
    if judged == FAILS:
        end = next((r for r in curve if r["step"] >= WINDOW_END), None)
        return FAILS if end and counted(end) and end["percent_lo"] > PERCENT else INCONCLUSIVE
    return judged


def alike(n_points: int, lo: float, hi: float) -> str:
    """Verdict on "the percentage does not depend on the axis" (C3 to C5) and on "replicates agree" (C6), from
    the interval of the ratio of largest to smallest percentage of the points, all at one loss. In this order:

    `not run`                     a single point or none
    `not testable at this scale`  fewer than three points, or no loss that all reach and that counts
    `holds`                       the whole interval lies within a factor ``AGREE``
    `does not hold here`          none of it does
    `inconclusive`                else
    """
    if n_points < 2:
        return NOT_RUN
    if n_points < MIN_POINTS or math.isnan(lo):
        return UNTESTABLE
    if hi <= AGREE:
        return HOLDS
    return FAILS if lo > AGREE else INCONCLUSIVE


@dataclass(frozen=True)
class AtLoss:
    """The percentage of a curve, with its interval, where its total loss is a given multiple of the zero
    predictor's, and whether it counts there.
    """

    percent: float
    lo: float
    hi: float
    counts: bool


def lowest_ratio(curve: list[dict]) -> float:
    """The lowest total loss of a curve in units of the zero predictor's."""
    return min(r["total"] / r["zero_loss"] for r in curve)


def share_of_the_way(before: float, after: float, value: float) -> float:
    """How far from one positive number to another a third lies, in logarithms: 0 at one, 1 at the other."""
    return math.log(before / value) / math.log(before / after)


def at_loss(curve: list[dict], ratio: float) -> AtLoss:
    """Where the curve first has this total over zero predictor: linear in the logarithm of that ratio between
    the steps before and after.

    Raises
    ------
    ValueError
        a curve that never does
    """
    ratios = [r["total"] / r["zero_loss"] for r in curve]
    k = next((k for k, found in enumerate(ratios) if found <= ratio), None)
    if k is None:
        raise ValueError(f"no total at or below {ratio} x the zero predictor, lowest {min(ratios)}")
    after, before = curve[k], curve[max(k - 1, 0)]
    share = 1.0
    if k > 0:
        share = share_of_the_way(ratios[k - 1], ratios[k], ratio)
    there = {
        name: (1 - share) * before[name] + share * after[name]
        for name in ("percent", "percent_lo", "percent_hi", "baseline_ratio_hi")
    }
    return AtLoss(there["percent"], there["percent_lo"], there["percent_hi"], counted(there))
