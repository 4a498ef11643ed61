"""C7: whether the equivariance term has the better-conditioned, smoother landscape."""

import math

from equidyn.results.claims.rows import (
    STATEMENTS,
    claim_row,
    counted_rows,
    place_of,
    published_number,
)
from equidyn.results.verdicts import DIP, FAILS, HOLDS, INCONCLUSIVE, UNTESTABLE

CONDITIONED, SMOOTH = "better conditioned", "smoother"
FIXED = 0.01  # width of an interval over molecules, relative to its ratio, below which no molecule matters


def c7(rows: list[dict], paper: list[dict], curvature: list[dict]) -> list[dict]:
    """Per run, condition and block, two rows: effective ranks (trace over largest eigenvalue) of the
    equivariance term over those of the twirled term, and largest eigenvalues of the twirled term over those
    of the equivariance term. Above 1 either speaks for the claim.

    ours, lo, hi: the ratio at the last checkpoint that counts, with its 95 % interval over molecules. The
    verdict is that of ``better``, which takes no account of how large either term itself is (the conditions
    name their ratio), but `not testable at this scale` where the ratio is ``fixed``: over a layer that feeds
    a linear head both Hessians are the same features times a matrix of the head's weights, whose ratio is
    known beforehand (docs/log.md, 2026-11-26). Condition numbers are told only where ``unresolved`` finds
    nothing: of a spectrum without a gap they repeat the threshold.
    """
    result = []
    for run, condition, block in dict.fromkeys(_place(r) for r in curvature):
        table = [r for r in curvature if _place(r) == (run, condition, block)]
        counts = counted_rows(rows, run, condition)
        steps = {r["step"]: r for r in table if r["term"] == "twirled"}
        used = {step: r for step, r in steps.items() if step in counts}
        low = min(used, key=lambda step: counts[step]["percent"], default=None)
        where = f"loss landscapes, {table[0]['task']}"
        common = [_block(table[0], run, condition), *_not_counted(steps, used)]
        for kind, name, statement, paper_said in (
            (CONDITIONED, "effective_rank", STATEMENTS["C7"][0], _published(paper, table[0], condition)),
            (
                SMOOTH,
                "largest",
                "equivariance has the smoother landscape (largest eigenvalue lower, in the unit of the loss)",
                "",
            ),
        ):
            ratios = {step: _ratio(r, name, kind) for step, r in used.items()}
            ours = ratios[max(ratios)] if ratios else ("", "", "")
            told = [f"step {step:.0f}: {_text(ratio)}" for step, ratio in sorted(ratios.items())]
            if kind == CONDITIONED:
                told += _condition_numbers(table, used)
            else:
                traces = [f"step {s:.0f} {_text(_ratio(r, 'trace', kind))}" for s, r in sorted(used.items())]
                told += [f"traces, twirled / equivariance: {', '.join(traces)}"] if traces else []
                levels = [f"step {s:.0f} {_level_ratio(counts[s]):.3g}" for s in sorted(used)]
                told += [f"the terms themselves: {', '.join(levels)}"] if levels else []
            judged = better(list(ratios.values()), ratios.get(low))
            if ratios and all(fixed(ratio) for ratio in ratios.values()):
                judged = UNTESTABLE
                told.append("the ratio is the same for all molecules: that of weights, not of a landscape")
            conditions = "; ".join([*common, *told])
            result.append(
                claim_row("C7", judged, conditions, ours, paper=paper_said, statement=statement, place=where)
            )
    return result


def better(ratios: list[tuple], at_dip: tuple | None) -> str:
    """Verdict on intervals (ratio, lo, hi) of the checkpoints that count, and the one of the lowest
    percentage. In this order:

    `not testable at this scale`  no such checkpoint
    `holds`                       at all of them the whole interval lies above 1
    `holds only at the dip`       not at all, but at the one of the lowest percentage
    `does not hold here`          at all of them the whole interval lies below 1
    `inconclusive`                else
    """
    if not ratios:
        return UNTESTABLE
    if all(lo > 1 for _, lo, _ in ratios):
        return HOLDS
    if at_dip is not None and at_dip[1] > 1:
        return DIP
    return FAILS if all(hi < 1 for _, _, hi in ratios) else INCONCLUSIVE


def fixed(ratio: tuple[float, float, float]) -> bool:
    """Whether a ratio (value, lo, hi) is the same for all molecules: its interval has next to no width."""
    value, lo, hi = ratio
    return hi - lo < FIXED * abs(value)


def unresolved(row: dict) -> str:
    """Why the condition number of a row of curvature.csv says nothing about the landscape; empty where it
    does.

    The smallest positive eigenvalue must stand clear of the error of the eigen-solver, of the negative
    eigenvalues that sampled rotations put into the twirled term, and of the threshold: where a spectrum falls
    off without a gap, a condition number near 1/threshold only repeats the threshold.
    """
    smallest = row["smallest_positive"]
    if not smallest > 0 or row["residual"] * row["largest"] > 0.1 * smallest:
        return f"{row['term']} term: smallest eigenvalue not resolved"
    if -row["most_negative"] > smallest:
        return f"{row['term']} term: negative eigenvalues as large as the smallest positive one"
    if row["condition_number"] * row["threshold"] > 0.3 * row["largest"]:
        return f"{row['term']} term: condition number is 1 / threshold"
    return ""


def _ratio(row: dict, name: str, kind: str) -> tuple[float, float, float]:
    """The ratio of a row, twirled over equivariance, with its interval; the inverse for conditioning."""
    value, lo, hi = (row[f"{name}_ratio{end}"] for end in ("", "_lo", "_hi"))
    if kind == SMOOTH:
        return value, lo, hi
    inverse = 1 / value if value > 0 else math.nan
    return inverse, 1 / hi if hi > 0 else math.nan, 1 / lo if lo > 0 else math.inf


def _text(ratio: tuple[float, float, float]) -> str:
    return "{:.3g} [{:.3g}, {:.3g}]".format(*ratio)


def _place(row: dict) -> tuple[str, str, str]:
    return row["run"], row["condition"], row["block"]


def _block(row: dict, run: str, condition: str) -> str:
    return (
        f"{place_of(run, condition)}, block {row['block']} ({row['n_parameters']:.0f} parameters, "
        f"{row['method']}), {row['n_items']:.0f} molecules x {row['n_rotations']:.0f} rotations, intervals "
        f"by bootstrap over molecules of one network"
    )


def _not_counted(steps: dict, used: dict) -> list[str]:
    left = [f"{step:.0f}" for step in sorted(set(steps) - set(used))]
    return [f"step {', '.join(left)} not used: the percentage there does not count"] if left else []


def _level_ratio(row: dict) -> float:
    """Twirled over equivariance error: what their curvatures would differ by if shape did not matter."""
    return row["twirled"] / row["equivariance"]


def _condition_numbers(table: list[dict], used: dict) -> list[str]:
    """Ratios of condition numbers where both are resolved, else why not."""
    told = []
    for step in sorted(used):
        terms = {r["term"]: r for r in table if r["step"] == step}
        doubts = list(dict.fromkeys(doubt for r in terms.values() if (doubt := unresolved(r))))
        ratio = terms["twirled"]["condition_number"] / terms["equivariance"]["condition_number"]
        told.append(f"step {step:.0f} " + (", ".join(doubts) if doubts else f"{ratio:.3g}"))
    return [f"condition numbers, twirled / equivariance: {'; '.join(told)}"] if told else []


def _published(paper: list[dict], row: dict, condition: str) -> str:
    found = published_number(paper, row["task"], "condition_number_ratio", condition)
    return f"condition number about {found:.0f} x lower" if found else ""
