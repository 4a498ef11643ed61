"""C9: how the equivariance error falls with the variance of EScAIP's force head."""

import math

import numpy as np
from scipy import stats

from equidyn.results import tables
from equidyn.results.claims.replicates import mean_over_seeds, replicated, seeds_text
from equidyn.results.claims.rows import (
    MIN_CORRELATED,
    claim_row,
    counted_rows,
    place_of,
    published_number,
)
from equidyn.results.claims.statistics import correlation
from equidyn.results.verdicts import AGREE, FAILS, HOLDS, INCONCLUSIVE, MIN_POINTS, UNTESTABLE

IDENTICAL = 1e-10  # relative gap of an identity in float64


def c9(rows: list[dict], paper: list[dict], head: list[dict], points: dict | None = None) -> list[dict]:
    """Per run (its seeds together), two rows: slope of log error against log head variance over counted
    checkpoints, and exactness of the quadratic form.

    The slope is not 1, because features change with the head; that the error is quadratic at fixed features
    is the other row.
    """
    result = []
    for point in replicated(tables.runs(head), points or {}):
        mine = {run: [r for r in head if r["run"] == run] for run in point.runs}
        result += [_slope_row(rows, paper, mine), _exactness_row(mine)]
    return result


def _slope_row(rows: list[dict], paper: list[dict], mine: dict[str, list[dict]]) -> dict:
    """Slope beside that of the paper's own points, with a 95 % interval: Student's over three seeds or more,
    else least squares. `not testable at this scale` with fewer than five checkpoints or without a published
    slope, else the verdict of ``replicates``.
    """
    theirs = published_number(paper, "forces", "slope_head_variance_equivariance")
    series = [_series(rows, run, table) for run, table in mine.items()]
    usable = [(x, y) for x, y in series if len(x) >= MIN_CORRELATED and np.ptp(x) > 0 and np.ptp(y) > 0]
    n_used, n = sum(len(x) for x, _ in series), sum(map(len, mine.values()))
    conditions = [
        f"{place_of(next(iter(mine)), '')}, {seeds_text(len(mine))}, {n_used} of {n} checkpoints count"
    ]
    slope, lo, hi, judged = "", "", "", UNTESTABLE
    if usable:
        fits = [stats.linregress(x, y) for x, y in usable]
        if len(fits) >= MIN_POINTS:
            slope, lo, hi = mean_over_seeds([fit.slope for fit in fits])
            conditions.append(f"slopes {', '.join(f'{fit.slope:.3g}' for fit in fits)}, interval over seeds")
        else:
            (x, _), fit = usable[0], fits[0]
            half = stats.t.ppf(0.975, len(x) - 2) * fit.stderr
            slope, lo, hi = float(fit.slope), float(fit.slope - half), float(fit.slope + half)
            conditions.append("interval of one seed, checkpoints taken as independent")
        conditions += [_correlations(*usable[0], paper)]
        judged = replicates(lo, hi, theirs) if theirs else UNTESTABLE
    return claim_row(
        "C9",
        judged,
        "; ".join(conditions),
        (slope, lo, hi),
        paper="" if theirs is None else f"slope {theirs:.3g} of its own points",
        statement="the equivariance error falls with the variance of the force head, as steeply as published",
    )


def _series(rows: list[dict], run: str, table: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of variance and error at the checkpoints that count."""
    counts = counted_rows(rows, run, "")
    used = [r for r in table if r["step"] in counts and r["head_variance"] > 0 and r["equivariance"] > 0]
    return np.log([r["head_variance"] for r in used]), np.log([r["equivariance"] for r in used])


def _correlations(x: np.ndarray, y: np.ndarray, paper: list[dict]) -> str:
    """Span of the variance and correlations, beside the paper's."""
    kinds = ("pearson", "spearman")
    ours = [correlation(x, y, kind)[0] for kind in kinds]
    theirs = [published_number(paper, "forces", f"{kind}_head_variance_equivariance") for kind in kinds]
    told = (
        f"first seed: variance spans a factor {math.exp(np.ptp(x)):.2g}; Pearson of logarithms "
        f"{ours[0]:.3f}, Spearman {ours[1]:.3f}"
    )
    return f"{told} (paper {theirs[0]:.3f}, {theirs[1]:.3f})" if all(theirs) else told


def replicates(lo: float, hi: float, published: float) -> str:
    """Verdict on the interval of a slope beside a published one. In this order:

    `holds`               the whole interval lies within a factor ``AGREE`` of it
    `does not hold here`  none of it does
    `inconclusive`        else
    """
    least, most = published / AGREE, published * AGREE
    if least <= lo and hi <= most:
        return HOLDS
    return FAILS if hi < least or lo > most else INCONCLUSIVE


def _exactness_row(mine: dict[str, list[dict]]) -> dict:
    """`holds` if the measured error (all rotations of the cube, no sampling error for a linear head) is the
    quadratic form within ``IDENTICAL``; else `does not hold here`. Where the rows of the head are equal, both
    are nothing but rounding, and there is nothing to compare.
    """
    statement = "at fixed features the equivariance error is an exact quadratic form of the head's deviation"
    every = [r for table in mine.values() for r in table if r["quadratic_form"] > 0]
    run, table = next(iter(mine.items()))
    if not every:
        conditions = f"{place_of(run, '')}, the rows of its head are equal at every checkpoint"
        return claim_row("C9", UNTESTABLE, conditions, paper="not stated", statement=statement)
    gap = max(abs(r["equivariance"] - r["quadratic_form"]) / r["quadratic_form"] for r in every)
    conditions = (
        f"{place_of(run, '')}, largest relative gap between measured error and closed form over {len(every)} "
        f"checkpoints"
    )
    first, last = table[0]["quadratic_form"], table[-1]["quadratic_form"]
    if first > 0 and last > 0:
        change, features = math.log(last / first), float(np.nansum([r["features_part"] for r in table]))
        conditions += (
            f"; from its first to its last, ln(error) changes by {change:.2f}, of which the features' part "
            f"is {features:.2f} and the head's {change - features:.2f}"
        )
    judged = HOLDS if gap <= IDENTICAL else FAILS
    return claim_row("C9", judged, conditions, (gap, "", ""), paper="not stated", statement=statement)
