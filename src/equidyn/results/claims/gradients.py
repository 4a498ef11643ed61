"""C8: whether the gradient of the equivariance term is small and tracks the percentage."""

import numpy as np

from equidyn.results import tables
from equidyn.results.claims.replicates import replicated, seeds_text
from equidyn.results.claims.rows import (
    MIN_CORRELATED,
    STATEMENTS,
    claim_row,
    counted_rows,
    groups_of,
    place_of,
    published_number,
)
from equidyn.results.claims.statistics import correlation_of_seeds
from equidyn.results.verdicts import FAILS, HOLDS, INCONCLUSIVE, UNTESTABLE

KINDS = {"pearson": "Pearson of logarithms", "spearman": "Spearman"}


def c8(rows: list[dict], paper: list[dict], gradients: list[dict], points: dict | None = None) -> list[dict]:
    """Per run (its seeds together) and condition, Pearson (of logarithms, as published) and Spearman of
    gradient-norm ratio and percentage over counted checkpoints.

    `not testable at this scale` with fewer than five of them in every seed; else the verdict is that of
    ``tracks`` on the interval of ``correlation_of_seeds``.
    """
    result = []
    for point in replicated(tables.runs(gradients), points or {}):
        mine = [r for r in gradients if r["run"] in point.runs]
        for condition in dict.fromkeys(condition for _, condition in groups_of(mine)):
            at = [r for r in mine if r["condition"] == condition]
            used = [_used(rows, at, run, condition) for run in point.runs]
            for kind in KINDS:
                result.append(_row(paper, at, used, kind, place_of(point.runs[0], condition), condition))
    return result


def _used(rows: list[dict], at: list[dict], run: str, condition: str) -> list[dict]:
    """Rows of one seed at checkpoints that count."""
    counts = counted_rows(rows, run, condition)
    return [r for r in at if r["run"] == run and r["step"] in counts and r["ratio"] > 0 and r["percent"] > 0]


def _row(paper, at: list[dict], used: list[list[dict]], kind: str, place: str, condition: str) -> dict:
    task = at[0]["task"]
    published = published_number(paper, task, f"{kind}_gradient_ratio_percent", condition)
    series = [(np.log([r["ratio"] for r in seed]), np.log([r["percent"] for r in seed])) for seed in used]
    series = [(x, y) for x, y in series if len(x) >= MIN_CORRELATED and np.ptp(x) > 0 and np.ptp(y) > 0]
    n_used = sum(map(len, used))
    conditions = [f"{place}, {seeds_text(len(used))}, the {n_used} of {len(at)} checkpoints that count"]
    r, lo, hi, judged = "", "", "", UNTESTABLE
    if series:
        r, lo, hi, told = correlation_of_seeds(series, kind)
        every = [row for seed in used for row in seed]
        largest = max(row["ratio"] for row in every)
        judged = tracks(lo, hi, largest)
        conditions += [
            told,
            *_spans(every, at),
            *([f"{r / published:.2g} x the paper's"] if published else []),
        ]
    return claim_row(
        "C8",
        judged,
        "; ".join(conditions),
        (r, lo, hi),
        paper="" if published is None else f"{published:.3g}",
        statement=f"{STATEMENTS['C8'][0]} ({KINDS[kind]})",
        place=f"{STATEMENTS['C8'][1]}, {task}",
    )


def _spans(every: list[dict], at: list[dict]) -> list[str]:
    """Between what the ratio, the percentage and the cosine lie, and what a checkpoint cost."""

    def span(name: str) -> str:
        values = [row[name] for row in every]
        return f"{min(values):.2g} to {max(values):.2g}"

    return [
        f"ratio {span('ratio')}, percentage {span('percent')}, cosine of the two gradients {span('cosine')}",
        f"{at[0]['n_items']:.0f} items x {at[0]['n_rotations']:.0f} rotations",
        f"{np.median([row['seconds'] for row in at]):.2g} s per checkpoint, two forward and two backward "
        f"passes per rotation",
    ]


def tracks(lo: float, hi: float, largest: float) -> str:
    """Verdict on the interval of a correlation and the largest ratio of the two gradients' norms.

    In this order:

    `holds`                       the interval lies above 0 and the ratio stays below 1
    `does not hold here`          the ratio does not stay below 1, or the interval lies below 0
    `inconclusive`                else
    """
    if lo > 0 and largest < 1:
        return HOLDS
    return FAILS if largest >= 1 or hi < 0 else INCONCLUSIVE
