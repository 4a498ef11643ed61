"""What a measurement of a model says, in one phrase, and the numbers that the phrases turn on."""

import math

from equidyn.symmetry.limits import EXACT, LEARNED

ROUNDING = 1e-3  # r.m.s. share of a prediction; what differs by more at the identity is not rounding
SINGLE = 2.0**-23  # eps of float32, in which a prediction may be a number as large as its size
SUMMED = 32  # last digits that a sum over atoms may be off by

AT_FLOOR = "exact (at the floor)"
NOTHING = "predicts zero everywhere: nothing to judge"
STOCHASTIC = "stochastic: repeats of one input differ, so that part of this is noise"
A_BUG = "meant to be equivariant, but above the floor: a bug?"
UNLABELLED = "no labels, so no share of a loss"
NO_LOSS = "the labels are its own predictions: there is no loss to have a share of"
ZERO_LABELS = "labels are all zero: nothing to compare with"
UNLEARNED = "has not learned enough to tell"
NO_INTERVAL = "one cluster of structures: no interval, no verdict"
PASSED = (AT_FLOOR, NO_LOSS, "at most")  # beginnings of verdicts that satisfy --fail-above


def verdict(row: dict, limit: float, meant_equivariant: bool = False) -> str:
    """The first of these that holds.

    Predictions that are all zero; repeats that differ; an error within ``EXACT`` floors; above it although
    the model is meant to be equivariant; no labels, or labels that say nothing; a total loss that does not
    lie, with its whole interval, below ``LEARNED`` times that of having learned nothing; the interval of the
    percentage at most ``limit``, above it, or neither.

    Parameters
    ----------
    row : by the names of ``rows.Row``
    limit : percent
    """
    if row["size"] == 0:
        return NOTHING
    if row["floor_repeats"] > rounding_limit(row):
        return STOCHASTIC
    if row["equivariance"] <= EXACT * row["floor"]:
        own = row["total"] <= EXACT * row["floor"]
        return NO_LOSS if own else AT_FLOOR
    if meant_equivariant:
        return A_BUG
    if math.isnan(row["total"]):
        return UNLABELLED
    if row["zero_loss"] == 0:
        return ZERO_LABELS
    if math.isnan(row["percent_hi"]):
        return NO_INTERVAL
    if not row["baseline_ratio_hi"] < LEARNED:
        return UNLEARNED
    if row["percent_hi"] <= limit:
        return f"at most {limit:g} %"
    if row["percent_lo"] > limit:
        return f"above {limit:g} %"
    return f"inconclusive: the interval includes {limit:g} %"


def rounding_limit(row: dict) -> float:
    """The largest mean square change at the identity that is rounding: small beside the spread of
    predictions, which an offset of energies leaves alone, or float32's in a number of their size.
    """
    spread = 0.0 if math.isnan(row["spread"]) else row["spread"]
    return max(ROUNDING**2 * spread, last_digits(row["size"]))


def last_digits(size: float) -> float:
    """Mean square of what a float32 sum of such predictions may be rounded by."""
    return (SUMMED * SINGLE) ** 2 * size


def passes(found: str) -> bool:
    """Whether a verdict shows that the share is at most the limit."""
    return found.startswith(PASSED)
