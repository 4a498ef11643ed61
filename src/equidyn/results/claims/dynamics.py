"""C7 to C9: curvature, gradients and the force head over training."""

import math

import numpy as np
from scipy import stats

from equidyn.results.claims.rows import (
    MIN_CORRELATED,
    STATEMENTS,
    claim_row,
    counted_rows,
    groups_of,
    place_of,
    published_number,
)
from equidyn.results.claims.statistics import correlation, effective_number
from equidyn.results.verdicts import (
    AGREE,
    DIP,
    FAILS,
    HOLDS,
    INCONCLUSIVE,
    UNTESTABLE,
)

EXACT = 1e-10  # relative gap of an identity in float64
BETTER = 1.1  # times; over a linear head alone the two spectra coincide and the ratio is 1 by construction


def c7(rows: list[dict], paper: list[dict], curvature: list[dict]) -> list[dict]:
    """Per run and condition, two rows: condition numbers, and largest eigenvalues, of the twirled term over
    those of the equivariance term.

    ours: the ratio at the last usable checkpoint; lo, hi: smallest and largest of all. A checkpoint is usable
    if its percentage counts and, for condition numbers, if ``unresolved`` finds nothing. The verdict is that
    of ``better_conditioned``.
    """
    result = []
    for run, condition in groups_of(curvature):
        table = [r for r in curvature if (r["run"], r["condition"]) == (run, condition)]
        usable, told = {"condition_number": {}, "largest": {}}, {"condition_number": [], "largest": []}
        counts = counted_rows(rows, run, condition)
        for step in sorted({r["step"] for r in table}):
            terms = {r["term"]: r for r in table if r["step"] == step}
            if set(terms) != {"twirled", "equivariance"}:
                continue
            for name in usable:
                ratio = (
                    terms["twirled"][name] / terms["equivariance"][name]
                    if terms["equivariance"][name]
                    else math.inf
                )
                doubts = [] if step in counts else ["its percentage does not count"]
                if name == "condition_number":
                    doubts += dict.fromkeys(doubt for r in terms.values() if (doubt := unresolved(r)))
                if not doubts and math.isfinite(ratio):
                    usable[name][step] = ratio
                told[name].append(
                    f"step {step:.0f}: {ratio:.3g}" + (f" (not used: {', '.join(doubts)})" if doubts else "")
                )
        block = (
            f"{place_of(run, condition)}, block {table[0]['block']} ({table[0]['n_parameters']:.0f} "
            f"parameters, {table[0]['method']})"
        )
        for name, statement in (
            ("condition_number", STATEMENTS["C7"][0]),
            ("largest", "equivariance has the smoother landscape (largest eigenvalue lower)"),
        ):
            ratios = usable[name]
            low = min(ratios, key=lambda step: counts[step]["percent"], default=None)
            judged = better_conditioned(list(ratios.values()), ratios.get(low))
            conditions = (
                f"{block}; twirled / equivariance at "
                f"{'; '.join(told[name]) or 'no checkpoint with both terms'}"
            )
            published = (
                published_number(paper, table[0]["task"], "condition_number_ratio", condition)
                if name == "condition_number"
                else None
            )
            if name == "condition_number":
                conditions += (
                    f"; eigenvalues below {table[0]['threshold'] / table[0]['largest']:.0e} of the "
                    f"largest "
                    f"count as zero"
                )
                conditions += f"; residual at most {max(r['residual'] for r in table):.2g} of the largest"
            last = ratios[max(ratios)] if ratios else ""
            if published and ratios:
                conditions += f"; {last / published:.2g} x the paper's"
            lo, hi = (end(ratios.values(), default="") for end in (min, max))
            paper_said = f"about {published:.0f}" if published else ""
            result.append(
                claim_row(
                    "C7",
                    judged,
                    conditions,
                    last,
                    lo,
                    hi,
                    paper_said,
                    statement,
                    f"loss landscapes, {table[0]['task']}",
                )
            )
    return result


def better_conditioned(ratios: list[float], at_dip: float | None) -> str:
    """Verdict on ratios of usable checkpoints, and the one of the lowest percentage. In this order:

    `not testable at this scale`  no usable checkpoint
    `holds`                       the ratio is above ``BETTER`` at all of them
    `holds only at the dip`       not at all of them, but at the one of the lowest percentage
    `does not hold here`          else
    """
    if not ratios:
        return UNTESTABLE
    if min(ratios) > BETTER:
        return HOLDS
    return DIP if at_dip > BETTER else FAILS


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


def c8(rows: list[dict], paper: list[dict], gradients: list[dict]) -> list[dict]:
    """Per run and condition, Pearson (of logarithms, as published) and Spearman of gradient-norm ratio and
    percentage over counted checkpoints.

    `not testable at this scale` with fewer than five of them; else the verdict is that of ``tracks``.
    """
    result = []
    for run, condition in groups_of(gradients):
        counts, mine = (
            counted_rows(rows, run, condition),
            [r for r in gradients if (r["run"], r["condition"]) == (run, condition)],
        )
        used = [r for r in mine if r["step"] in counts and r["ratio"] > 0 and r["percent"] > 0]
        x, y, task = np.log([r["ratio"] for r in used]), np.log([r["percent"] for r in used]), mine[0]["task"]
        for kind in ("pearson", "spearman"):
            r, lo, hi, judged = "", "", "", UNTESTABLE
            conditions = f"{place_of(run, condition)}, the {len(used)} of {len(mine)} checkpoints that count"
            published = published_number(paper, task, f"{kind}_gradient_ratio_percent", condition)
            if len(used) >= MIN_CORRELATED and np.ptp(x) > 0 and np.ptp(y) > 0:
                r, lo, hi = correlation(x, y, kind)
                large = max(row["ratio"] for row in used)
                judged = tracks(lo, hi, large)
                conditions += (
                    f", ratio {min(row['ratio'] for row in used):.2g}-{large:.2g}, "
                    f"{mine[0]['n_items']:.0f} items x {mine[0]['n_rotations']:.0f} rotations"
                )
                conditions += (
                    f", cosine of the two gradients {min(row['cosine'] for row in used):.2f} to "
                    f"{max(row['cosine'] for row in used):.2f}"
                )
                independent = effective_number(x, y)
                conditions += "; checkpoints resemble their neighbours: "
                conditions += f"interval for {independent:.1f} independent ones"
                conditions += f"; {r / published:.2g} x the paper's" if published else ""
                conditions += (
                    f"; cost {np.median([row['seconds'] for row in mine]):.2g} s per checkpoint, two "
                    f"forward and two backward passes per rotation"
                )
            statement = (
                f"{STATEMENTS['C8'][0]} ({'Pearson of logarithms' if kind == 'pearson' else 'Spearman'})"
            )
            result.append(
                claim_row(
                    "C8",
                    judged,
                    conditions,
                    r,
                    lo,
                    hi,
                    "" if published is None else f"{published:.3g}",
                    statement,
                    f"{STATEMENTS['C8'][1]}, {task}",
                )
            )
    return result


def tracks(lo: float, hi: float, largest: float) -> str:
    """Verdict on the interval of a correlation and the largest ratio of the two gradients' norms.

    In this order:

    `holds`                       the interval lies above 0 and the ratio stays below 1
    `does not hold here`          the interval lies above 0 and the ratio does not, or it lies below 0.5
    `inconclusive`                else
    """
    if lo > 0:
        return HOLDS if largest < 1 else FAILS
    return FAILS if hi < 0.5 else INCONCLUSIVE


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


def c9(rows: list[dict], paper: list[dict], head: list[dict]) -> list[dict]:
    """Per run, two rows: slope of log error against log head variance over counted checkpoints, and exactness
    of the quadratic form.

    Slope, with the 95 % interval of least squares: beside that of the paper's own points; `not testable at
    this scale` with fewer than five checkpoints or without a published slope, else the verdict of
    ``replicates``. It is not 1, because features change with the head; that the error is quadratic at fixed
    features is the other row. exactness: `holds` if the measured error (all rotations of the cube, no
    sampling error for a linear head) is the quadratic form within ``EXACT``; else `does not hold here`.
    """
    result = []
    for run, _ in groups_of(head):
        mine, counts = [r for r in head if r["run"] == run], counted_rows(rows, run, "")
        used = [r for r in mine if r["step"] in counts and r["head_variance"] > 0 and r["equivariance"] > 0]
        x, y = np.log([r["head_variance"] for r in used]), np.log([r["equivariance"] for r in used])
        slope, lo, hi, judged = "", "", "", UNTESTABLE
        theirs = published_number(paper, "forces", "slope_head_variance_equivariance")
        conditions = (
            f"{place_of(run, '')}, the {len(used)} of {len(mine)} checkpoints that count, taken as "
            f"independent"
        )
        if len(used) >= MIN_CORRELATED and np.ptp(x) > 0 and np.ptp(y) > 0:
            fit = stats.linregress(x, y)
            half = stats.t.ppf(0.975, len(used) - 2) * fit.stderr
            slope, lo, hi = float(fit.slope), float(fit.slope - half), float(fit.slope + half)
            judged = replicates(lo, hi, theirs) if theirs else UNTESTABLE
            r, rank = (correlation(x, y, kind)[0] for kind in ("pearson", "spearman"))
            published = [
                published_number(paper, "forces", f"{kind}_head_variance_equivariance")
                for kind in ("pearson", "spearman")
            ]
            conditions += (
                f", variance spans a factor {math.exp(np.ptp(x)):.2g}; Pearson of logarithms "
                f"{r:.3f}, "
                f"Spearman {rank:.3f}"
            )
            conditions += (
                f" (paper {published[0]:.3f}, {published[1]:.3f}: {r / published[0]:.2g} x, "
                f"{rank / published[1]:.2g} x)"
                if all(published)
                else ""
            )
        result.append(
            claim_row(
                "C9",
                judged,
                conditions,
                slope,
                lo,
                hi,
                "" if theirs is None else f"slope {theirs:.3g} of its own points",
                "the equivariance error falls with the variance of the force head, as steeply as published",
            )
        )
        gap = max(
            abs(r["equivariance"] - r["quadratic_form"]) / r["quadratic_form"]
            if r["quadratic_form"] > 0
            else math.inf
            for r in mine
        )
        conditions = (
            f"{place_of(run, '')}, largest relative gap between measured error and closed form over "
            f"{len(mine)} checkpoints"
        )
        if all(r["quadratic_form"] > 0 for r in (mine[0], mine[-1])):
            change, features = (
                math.log(mine[-1]["quadratic_form"] / mine[0]["quadratic_form"]),
                float(np.nansum([r["features_part"] for r in mine])),
            )
            conditions += (
                f"; over training ln(error) changes by {change:.2f}, of which the features' part is "
                f"{features:.2f} and the head's {change - features:.2f}"
            )
        judged = HOLDS if gap <= EXACT else FAILS
        statement = (
            "at fixed features the equivariance error is an exact quadratic form of the head's deviation"
        )
        result.append(claim_row("C9", judged, conditions, gap, paper="not stated", statement=statement))
    return result
