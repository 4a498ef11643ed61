"""When a percentage counts, and what a curve of them says: the rules that claims and figures share.

A constant output is perfectly equivariant, and so are the input rescaled and a linear denoiser of the chain
(``equidyn.baselines``): equivariant with next to nothing learned. A percentage therefore counts only where
the total loss lies at least a tenth below the best of them (``counted``), with its interval. "≤ 2 %" is
judged with the 95 % interval of the percentage.
"""

import math

LEARNED = 0.9  # × the baseline: a curve passes 1.0 while its output is still next to nothing
AGREE = 2.0  # replicates agree within this factor; the paper's three force runs end within 1.5
MIN_POINTS = 3  # of an axis, or replicates

HOLDS, DIP, FAILS, INCONCLUSIVE, UNTESTABLE, NOT_RUN = VERDICTS = (
    "holds",
    "holds only at the dip",
    "does not hold here",
    "inconclusive",
    "not testable at this scale",
    "not run",
)


def baseline(row: dict) -> float:
    """Loss of the best predictor that has learned nothing."""
    return min(row["baseline_loss"], row["trivial_loss"])


def counted(row: dict) -> bool:
    """Whether the total loss lies at least a tenth below ``baseline``, with the whole 95 % interval."""
    return row["baseline_ratio_hi"] * row["baseline_loss"] < LEARNED * baseline(row)


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


def verdict(curve: list[dict], percent: float = 2.0) -> str:
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


def robust(curves: list[list[dict]]) -> str:
    """Verdict on "the outcome does not depend on the axis" (C3, C4, C5), from the curves of its points.

    In this order:

    `not run`                     a single curve or none
    `does not hold here`          ``verdict`` is that of some points, and others hold, if only at the dip
    `not testable at this scale`  fewer than three points; or some are not testable; or all fail alike
    `inconclusive`                some points are
    `holds`                       every point holds
    `holds only at the dip`       every point holds, some only at the dip
    """
    if len(curves) < 2:
        return NOT_RUN
    verdicts = [verdict(curve) for curve in curves]
    if FAILS in verdicts and (HOLDS in verdicts or DIP in verdicts):
        return FAILS
    if len(curves) < MIN_POINTS or UNTESTABLE in verdicts or FAILS in verdicts:
        return UNTESTABLE
    if INCONCLUSIVE in verdicts:
        return INCONCLUSIVE
    return HOLDS if set(verdicts) == {HOLDS} else DIP


def agree(curves: list[list[dict]]) -> str:
    """Verdict on "replicates agree" (C6).

    Percentages agree when the largest is at most ``AGREE`` times the smallest, or all their intervals share a
        value. In this order:
    `not run`                     a single curve or none
    `not testable at this scale`  fewer than three replicates, or one whose last step does not count
    `holds`                       their last percentages agree
    `holds only at the dip`       their lowest counted percentages agree
    `does not hold here`          else
    """
    if len(curves) < 2:
        return NOT_RUN
    if len(curves) < MIN_POINTS or not all(counted(curve[-1]) for curve in curves):
        return UNTESTABLE
    if _close([curve[-1] for curve in curves]):
        return HOLDS
    return DIP if _close([dip(curve) for curve in curves]) else FAILS


def _close(rows):
    percents = [r["percent"] for r in rows]
    return max(percents) <= AGREE * min(percents) or max(r["percent_lo"] for r in rows) <= min(
        r["percent_hi"] for r in rows
    )
