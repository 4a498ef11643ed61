"""The paper's claims, with verdicts computed from tables: ``VERDICTS``, by the rules in each function's docstring.

A percentage counts only where the total loss is below the zero-predictor loss and that of the rescaled input (``baseline``), here and in every rule below
("counted"): both are exactly equivariant without anything learned.
"""

import math

import numpy as np
from scipy import stats

from equidyn import tables

HOLDS, DIP, FAILS, UNTESTABLE, NOT_RUN = VERDICTS = ("holds", "holds only at the dip", "does not hold here", "not testable at this scale", "not run")

COLUMNS = ("claim", "statement", "place", "paper", "ours", "lo", "hi", "verdict", "conditions")
STATEMENTS = {
    "C3": ("robust to model size (1M to 400M)", "percent curves by model size"),
    "C4": ("robust to training-set size (500 to 1M)", "percent curves by training-set size"),
    "C5": ("robust to optimizer and learning rate", "percent curves by optimizer"),
    "C6": ("replicates agree", "percent curves of three replicates"),
    "C7": ("equivariance has the better-conditioned landscape (condition number about 1000 x lower for forces)", "loss landscapes"),
    "C8": ("gradient of the equivariance term is small and tracks the percentage", "gradient-norm ratio against percent"),
    "C9": ("equivariance error is quadratic in the deviation of the head from equivariance", "variance of the force head"),
    "C10": ("the penalty is small, so a non-equivariant model may win per GPU-hour", "discussion"),
}
AXES = {"model.size": "C3", "training.n_train": "C4", "training.optimizer": "C5", "training.lr": "C5", "seed": "C6"}
PUBLISHED = {"C3": ("param-", "model-", "default"), "C4": ("train-", "data-", "default", "model-111M"), "C5": ("lr-", "SGD", "default"), "C6": ("default",)}
AGREE = 2.0  # replicates agree within this factor; the paper's three force runs end within 1.5
EXACT, SAMPLED = 1e-10, 0.25  # relative gap of an identity in float64; of one whose side is measured on few rotations drawn at random
MIN_POINTS, MIN_CORRELATED = 3, 5
BETTER = 1.1  # times better conditioned; over a linear head alone the two spectra coincide and the ratio is 1 by construction
LEARNED = 0.9  # x zero-predictor loss: steps are compared with the paper's only below it, because a curve passes 1.0 while its output is still next to nothing


def baseline(row: dict) -> float:
    """What must be beaten before a percentage counts: the zero predictor, and the best rescaling of the input where that is better."""
    return min(row["zero_loss"], row.get("trivial_loss", row["zero_loss"]))


def first_step(curve: list[dict], percent: float, ratio: float = 1.0) -> float | None:
    """First step with at most ``percent`` of the loss from equivariance error *and* total below ratio × zero-predictor loss."""
    return next((r["step"] for r in curve if r["percent"] <= percent and r["total"] < ratio * baseline(r)), None)


def verdict(curve: list[dict], percent: float = 2.0) -> str:
    """`holds` (at the last step), `holds only at the dip` (at some earlier step) or `does not hold here`.

    A percentage counts only below ``baseline``: a constant output is equivariant too.
    """
    if first_step(curve[-1:], percent) is not None:
        return HOLDS
    return DIP if first_step(curve, percent) is not None else FAILS


def additive(rows: list[dict]) -> float:
    """Largest |total − twirled − equivariance| relative to the total, over all rows."""
    return max(abs(r["total"] - r["twirled"] - r["equivariance"]) / r["total"] for r in rows)


def _reached(curve: list[dict], step: float) -> str:
    found = next(r for r in curve if r["step"] == step)
    return f"{step:.0f} (total {found['total'] / found['zero_loss']:.3f} x zero-predictor loss)"


def _dip(curve: list[dict]) -> dict | None:
    """The row of the lowest counted percentage."""
    return min((r for r in curve if r["total"] < baseline(r)), key=lambda r: r["percent"], default=None)


def _c2(curve: list[dict], paper: list[dict]) -> list[dict]:
    """The row of one curve; none for a model within ten times its numerical floor, which has no equivariance to learn."""
    last, first = curve[-1], first_step(curve, 2.0)
    if last["equivariance"] <= 10 * last["floor"]:
        return []
    where = f"run {last['run']}" + (f", {last['condition']}" if last["condition"] else "")
    drawn = "Haar" if last["rotations"] == "haar" else "cube"
    conditions = (
        f"{where}, step {last['step']:.0f}, total {last['total'] / last['zero_loss']:.3f} x zero-predictor loss, {last['n_items']:.0f} items x "
        f"{last['n_rotations']:.0f} {drawn} rotations; first step <= 2 % below the zero-predictor loss: {'none' if first is None else _reached(curve, first)}"
    )
    if last["trivial_loss"] < 0.999 * last["zero_loss"]:
        conditions += f"; total {last['total'] / last['trivial_loss']:.3f} x the loss of the rescaled input"
    if last["percent_lo"] <= 2.0 <= last["percent_hi"]:
        conditions += "; the interval includes 2 %"
    steps = [first_step(curve, percent, LEARNED) for percent in (10.0, 5.0, 2.0, 1.0)]
    conditions += f"; first steps <= 10/5/2/1 % with total below {LEARNED:g} x: {'/'.join('none' if s is None else f'{s:.0f}' for s in steps)}"
    lowest, dip = min(curve, key=lambda r: r["percent"]), _dip(curve)
    if lowest["total"] >= lowest["zero_loss"]:
        conditions += f"; a dip to {lowest['percent']:.3g} % at step {lowest['step']:.0f} is not counted: total {lowest['total'] / lowest['zero_loss']:.3f} x zero-predictor loss"
    if dip is not None:
        conditions += f"; lowest counted {dip['percent']:.3g} % at step {dip['step']:.0f} (total {dip['total'] / dip['zero_loss']:.3f} x)"
        conditions += f", last / lowest {last['percent'] / dip['percent']:.2f}"
    published = [
        r["step"]
        for r in paper
        if r["task"] == last["task"] and r["run"].startswith("default") and r["run"].endswith(last["condition"]) and r["quantity"] == "first_step_le_2_percent"
    ]
    span = "" if not published else f"<= 2 % first at step {min(published):.0f}" + (f"-{max(published):.0f}" if len(published) > 1 else "")
    if published and steps[2] is not None:
        conditions += f"; 2 % at {steps[2] / (sum(published) / len(published)):.2g} x the paper's step"
    if last["task"] == "voxels":
        points = [r for r in paper if r["task"] == "voxels" and r["run"] == "model-111M" and r["quantity"] == "percent_published"]
        span = f"{min(r['percent'] for r in points):.2g} % at the lowest, {points[-1]['percent']:.3g} % at the end (111M, sigma 0.9)" if points else ""
    return [
        dict(claim="C2", statement="equivariance error falls to <= 2 % of held-out loss within 1k-10k steps", place=f"percent curves, {last['task']}", paper=span,
             ours=last["percent"], lo=last["percent_lo"], hi=last["percent_hi"], verdict=verdict(curve), conditions=conditions)
    ]  # fmt: skip


def _row(claim, verdict, conditions, ours="", lo="", hi="", paper="", statement=None, place=None):
    known, where = STATEMENTS[claim]
    return dict(claim=claim, statement=statement or known, place=place or where, paper=paper, ours=ours, lo=lo, hi=hi, verdict=verdict, conditions=conditions)


def _where(run, condition):
    return f"run {run}" + (f", {condition}" if condition else "")


def robust(curves: list[list[dict]]) -> str:
    """Verdict on "the outcome does not depend on the axis" (C3, C4, C5), from the curves of its points, the reference first.

    In this order:
    `not run`                     a single curve or none
    `does not hold here`          some points reach at most 2 % and another, whose loss did come below the zero predictor's, never does
    `not testable at this scale`  fewer than three points; or none reaches 2 %; or a point never comes below the zero-predictor loss
    `holds`                       every point is at most 2 % at its last step
    `holds only at the dip`       every point is at most 2 % somewhere, not all of them at the last step
    """
    if len(curves) < 2:
        return NOT_RUN
    verdicts = [verdict(curve) for curve in curves]
    learned = [_dip(curve) is not None for curve in curves]
    if any(v != FAILS for v in verdicts) and any(v == FAILS and ok for v, ok in zip(verdicts, learned)):
        return FAILS
    if len(curves) < MIN_POINTS or not all(learned) or all(v == FAILS for v in verdicts):
        return UNTESTABLE
    return HOLDS if all(v == HOLDS for v in verdicts) else DIP


def agree(curves: list[list[dict]]) -> str:
    """Verdict on "replicates agree" (C6).

    Percentages agree when the largest is at most ``AGREE`` times the smallest, or all their intervals share a value.
    `not run`                     a single curve or none
    `not testable at this scale`  fewer than three replicates, or one ends at or above the zero-predictor loss
    `holds`                       all have the same verdict of C2, and their last percentages agree
    `holds only at the dip`       otherwise, if their lowest counted percentages agree
    `does not hold here`          else
    """
    if len(curves) < 2:
        return NOT_RUN
    if len(curves) < MIN_POINTS or any(curve[-1]["total"] >= baseline(curve[-1]) for curve in curves):
        return UNTESTABLE
    if len({verdict(curve) for curve in curves}) == 1 and _close([curve[-1] for curve in curves]):
        return HOLDS
    return DIP if _close([_dip(curve) for curve in curves]) else FAILS


def _close(rows):
    percents = [r["percent"] for r in rows]
    return max(percents) <= AGREE * min(percents) or max(r["percent_lo"] for r in rows) <= min(r["percent_hi"] for r in rows)


def _published_last(paper: list[dict], claim: str, task: str, condition: str) -> list[float]:
    """The last published percentage of every run of the paper on the claim's axis."""
    found: dict[str, list[dict]] = {}
    for r in paper:
        if (
            r["task"] == task
            and r["run"].startswith(PUBLISHED[claim])
            and r["quantity"] in ("last", "percent_published")
            and (" " not in r["run"] or r["run"].endswith(f" {condition}"))
        ):
            found.setdefault(r["run"], []).append(r)
    return [max(rows, key=lambda r: (r["quantity"] == "last", r["step"]))["percent"] for rows in found.values()]


def _axes(rows: list[dict], paper: list[dict], points: dict) -> list[dict]:
    """C3 to C6: a row per claim, reference run and condition. ours: the largest last percentage; lo, hi: the smallest and largest end of all intervals."""
    families: dict[tuple, dict] = {}  # (claim, reference) → label of each run, the reference first
    for run, point in points.items():
        for axis, value in point["axes"].items():
            if axis in AXES:
                at = point.get("reference_axes", {}).get(axis)
                members = families.setdefault((AXES[axis], point["reference"]), {point["reference"]: {}})
                members[point["reference"]][axis] = "all" if at is None else at
                members.setdefault(run, {})[axis] = value
    result, known = [], set(tables.runs(rows))
    for (claim, reference), members in sorted(families.items(), key=lambda item: int(item[0][0][1:])):
        for condition in [c for c in tables.conditions(rows, reference) if not c.endswith("sc")]:
            curves = {run: tables.curve(rows, run, condition=condition) for run in members if run in known}
            curves = {run: curve for run, curve in curves.items() if curve and curve[-1]["equivariance"] > 10 * curve[-1]["floor"]}
            if reference not in curves:
                continue
            ends = [curve[-1] for curve in curves.values()]
            published = _published_last(paper, claim, ends[0]["task"], condition)
            worst = max(r["percent"] for r in ends)
            told = "; ".join(f"{_label(members[run])}: {_end(curve)}" for run, curve in curves.items())
            conditions = f"{len(curves)} points around {_where(reference, condition)}: {told}; largest / smallest at the end {worst / min(r['percent'] for r in ends):.2g}"
            if missing := [run for run in members if run not in curves]:
                conditions += f"; without {', '.join(missing)}"
            if published:
                conditions += f"; largest / the paper's largest {worst / max(published):.2g}"
            judged = (agree if claim == "C6" else robust)(list(curves.values()))
            lo, hi, place = min(r["percent_lo"] for r in ends), max(r["percent_hi"] for r in ends), f"{STATEMENTS[claim][1]}, {ends[0]['task']}"
            result.append(_row(claim, judged, conditions, worst, lo, hi, _span(published, " % at the end"), place=place))
    return result


def _label(axes):
    return ", ".join(f"{axis.split('.')[-1]} {value}" for axis, value in axes.items())


def _end(curve):
    last = curve[-1]
    trivial = f", {last['total'] / last['trivial_loss']:.2f} x rescaled input" if last["trivial_loss"] < 0.999 * last["zero_loss"] else ""
    return f"{last['percent']:.3g} % at {last['total'] / last['zero_loss']:.2f} x zero predictor{trivial} ({verdict(curve)})"


def _span(values, unit=""):
    if not values:
        return ""
    return f"{min(values):.3g}" + (f"-{max(values):.3g}" if max(values) > min(values) else "") + unit


def _counted(rows: list[dict], run: str, condition: str) -> dict[float, dict]:
    """Step → row of the run's curve, where its percentage counts."""
    return {r["step"]: r for r in tables.curve(rows, run, condition=condition) if r["total"] < baseline(r)}


def _groups(table):
    return list(dict.fromkeys((r["run"], r.get("condition", "")) for r in table))


def _c7(rows: list[dict], paper: list[dict], curvature: list[dict]) -> list[dict]:
    """Per run and condition. ours: condition number of the twirled term over that of the equivariance term at the last counted checkpoint; lo, hi: smallest, largest there.

    `not testable at this scale`  no counted checkpoint where both condition numbers are finite and their smallest eigenvalues exceed the error of the eigen-solver
    `holds`                       the ratio is above ``BETTER`` at all of them
    `holds only at the dip`       not at all of them, but at the one of the lowest percentage
    `does not hold here`          else
    """
    result = []
    for run, condition in _groups(curvature):
        table = [r for r in curvature if (r["run"], r["condition"]) == (run, condition)]
        counted, ratios, told = _counted(rows, run, condition), {}, []
        for step in sorted({r["step"] for r in table}):
            terms = {r["term"]: r for r in table if r["step"] == step}
            if set(terms) != {"twirled", "equivariance"}:
                continue
            ratio, top = (terms["twirled"][name] / terms["equivariance"][name] if terms["equivariance"][name] else math.inf for name in ("condition_number", "largest"))
            told.append(f"step {step:.0f}: {ratio:.3g}, largest eigenvalues {top:.3g}" + ("" if step in counted else " (at or above the zero-predictor loss, not counted)"))
            resolved = all(r["residual"] * r["largest"] < r["smallest_positive"] for r in terms.values())
            if not resolved:
                told[-1] += " (smallest eigenvalue not resolved, not counted)"
            if step in counted and resolved and math.isfinite(ratio):
                ratios[step] = ratio
        dip = min(ratios, key=lambda step: counted[step]["percent"], default=None)
        judged = UNTESTABLE if not ratios else HOLDS if min(ratios.values()) > BETTER else DIP if ratios[dip] > BETTER else FAILS
        last = ratios[max(ratios)] if ratios else ""
        conditions = (
            f"{_where(run, condition)}, block {table[0]['block']} ({table[0]['n_parameters']:.0f} parameters), eigenvalues above {_span([r['threshold'] for r in table])}, "
            f"residual at most {max(r['residual'] for r in table):.2g} ({table[0]['method']}); twirled / equivariance at {'; '.join(told) or 'no checkpoint with both terms'}"
        )
        published = _number(paper, table[0]["task"], "condition_number_ratio", condition)
        if published and ratios:
            conditions += f"; {last / published:.2g} x the paper's"
        lo, hi = (end(ratios.values(), default="") for end in (min, max))
        result.append(_row("C7", judged, conditions, last, lo, hi, f"about {published:.0f}" if published else "", place=f"loss landscapes, {table[0]['task']}"))
    return result


def _number(paper, task, quantity, condition=""):
    """A published number other than a percentage; None if there is none."""
    return next((r["percent"] for r in paper if r["task"] == task and r["quantity"] == quantity and (not condition or r["run"].endswith(f" {condition}"))), None)


def correlation(x, y, kind: str = "pearson") -> tuple[float, float, float]:
    """Correlation with its 95 % interval by Fisher's z (Spearman with Bonett and Wright's variance); points are taken as independent."""
    r = float((stats.pearsonr if kind == "pearson" else stats.spearmanr)(x, y)[0])
    half = 1.96 * math.sqrt((1 + (r * r / 2 if kind == "spearman" else 0)) / (len(x) - 3))
    z = math.atanh(min(max(r, -1 + 1e-12), 1 - 1e-12))
    return r, math.tanh(z - half), math.tanh(z + half)


def _c8(rows: list[dict], paper: list[dict], gradients: list[dict]) -> list[dict]:
    """Per run and condition, Pearson (of logarithms, as published) and Spearman of gradient-norm ratio and percentage over counted checkpoints.

    `not testable at this scale`  fewer than five of them, or an interval from below 0 to above 0.5
    `holds`                       the interval lies above 0 and the ratio stays below 1 at all of them
    `does not hold here`          else
    """
    result = []
    for run, condition in _groups(gradients):
        counted, mine = _counted(rows, run, condition), [r for r in gradients if (r["run"], r["condition"]) == (run, condition)]
        used = [r for r in mine if r["step"] in counted and r["ratio"] > 0 and r["percent"] > 0]
        x, y, task = np.log([r["ratio"] for r in used]), np.log([r["percent"] for r in used]), mine[0]["task"]
        for kind in ("pearson", "spearman"):
            r, lo, hi, judged = "", "", "", UNTESTABLE
            conditions = f"{_where(run, condition)}, {len(used)} of {len(mine)} checkpoints below the zero-predictor loss"
            published = _number(paper, task, f"{kind}_gradient_ratio_percent", condition)
            if len(used) >= MIN_CORRELATED and np.ptp(x) > 0 and np.ptp(y) > 0:
                r, lo, hi = correlation(x, y, kind)
                large = max(row["ratio"] for row in used)
                judged = (HOLDS if large < 1 else FAILS) if lo > 0 else FAILS if hi < 0.5 else UNTESTABLE
                conditions += f", ratio {min(row['ratio'] for row in used):.2g}-{large:.2g}, {mine[0]['n_items']:.0f} items x {mine[0]['n_rotations']:.0f} rotations"
                conditions += "; Fisher interval, too narrow because successive checkpoints are not independent" + (f"; {r / published:.2g} x the paper's" if published else "")
            statement = f"{STATEMENTS['C8'][0]} ({'Pearson of logarithms' if kind == 'pearson' else 'Spearman'})"
            result.append(_row("C8", judged, conditions, r, lo, hi, "" if published is None else f"{published:.3g}", statement, f"{STATEMENTS['C8'][1]}, {task}"))
    return result


def _c9(rows: list[dict], paper: list[dict], head: list[dict]) -> list[dict]:
    """Per run, two rows: slope of log error against log head variance over counted checkpoints, and exactness of the quadratic form.

    The variance is quadratic in the deviation, so a quadratic error has slope 1. 95 % interval of least squares.
    slope: `not testable at this scale` with fewer than five checkpoints or an interval that holds 1 and is wider than 1; `holds` if it holds 1; else `does not hold here`
    exactness: `holds` if the measured error is the quadratic form within ``EXACT``; `not testable at this scale` if within ``SAMPLED``, which a measurement on rotations
    drawn at random cannot beat; else `does not hold here`
    """
    result = []
    for run, _ in _groups(head):
        mine, counted = [r for r in head if r["run"] == run], _counted(rows, run, "")
        used = [r for r in mine if r["step"] in counted and r["head_variance"] > 0 and r["equivariance"] > 0]
        x, y = np.log([r["head_variance"] for r in used]), np.log([r["equivariance"] for r in used])
        slope, lo, hi, judged = "", "", "", UNTESTABLE
        conditions = f"{_where(run, '')}, {len(used)} of {len(mine)} checkpoints below the zero-predictor loss"
        if len(used) >= MIN_CORRELATED and np.ptp(x) > 0 and np.ptp(y) > 0:
            fit = stats.linregress(x, y)
            half = stats.t.ppf(0.975, len(used) - 2) * fit.stderr
            slope, lo, hi = float(fit.slope), float(fit.slope - half), float(fit.slope + half)
            judged = FAILS if not lo <= 1 <= hi else HOLDS if hi - lo <= 1 else UNTESTABLE
            r, rank = (correlation(x, y, kind)[0] for kind in ("pearson", "spearman"))
            published = [_number(paper, "forces", f"{kind}_head_variance_equivariance") for kind in ("pearson", "spearman")]
            conditions += f", variance spans a factor {math.exp(np.ptp(x)):.2g}; Pearson of logarithms {r:.3f}, Spearman {rank:.3f}"
            conditions += f" (paper {published[0]:.3f}, {published[1]:.3f}: {r / published[0]:.2g} x, {rank / published[1]:.2g} x)" if all(published) else ""
        result.append(_row("C9", judged, conditions, slope, lo, hi, "slope 1 if quadratic", f"{STATEMENTS['C9'][0]}: slope of log error against log head variance"))
        gap = max(abs(r["equivariance"] - r["quadratic_form"]) / r["quadratic_form"] if r["quadratic_form"] > 0 else math.inf for r in mine)
        conditions = f"{_where(run, '')}, largest relative gap between measured error and closed form over {len(mine)} checkpoints"
        if all(r["quadratic_form"] > 0 for r in (mine[0], mine[-1])):
            change, features = math.log(mine[-1]["quadratic_form"] / mine[0]["quadratic_form"]), float(np.nansum([r["features_part"] for r in mine]))
            conditions += f"; over training ln(error) changes by {change:.2f}, of which the features' part is {features:.2f} and the head's {change - features:.2f}"
        judged = HOLDS if gap <= EXACT else UNTESTABLE if gap <= SAMPLED else FAILS
        statement = "at fixed features the equivariance error is an exact quadratic form of the head's deviation"
        result.append(_row("C9", judged, conditions, gap, paper="not stated", statement=statement))
    return result


def break_even(curve: list[dict]) -> float | None:
    """Step at which the twirled loss first reaches the last total, by interpolation in log step and log loss; None if nothing was learned.

    The last step over this one is how many times dearer per step an exactly equivariant model with the same twirled curve may be before it loses.
    """
    last = curve[-1]
    if last["total"] >= baseline(last):
        return None
    for a, b in zip(curve[:-1], curve[1:]):
        if b["twirled"] <= last["total"] < a["twirled"] and a["step"] > 0:
            share = math.log(a["twirled"] / last["total"]) / math.log(a["twirled"] / b["twirled"])
            return a["step"] * (b["step"] / a["step"]) ** share
    return None


def _c10(rows: list[dict], points: dict) -> list[dict]:
    """Per task, from the runs that are no points of an axis: the largest counted share of the loss that a perfectly equivariant model of the same twirled error would save.

    `not testable at this scale`, because who wins at equal time needs equivariant models trained beside these, which no config declares; `not run` without a counted run.
    """
    result = []
    for task in dict.fromkeys(r["task"] for r in rows):
        ends = []
        for run in [run for run in tables.runs([r for r in rows if r["task"] == task]) if run not in points]:
            for condition in [c for c in tables.conditions(rows, run) if not c.endswith("sc")]:
                last = tables.curve(rows, run, condition=condition)[-1]
                if last["total"] < last["zero_loss"] and last["equivariance"] > 10 * last["floor"]:
                    ends.append(last)
        if not ends:
            result.append(_row("C10", NOT_RUN, f"no {task} run ends below the zero-predictor loss", place=f"discussion, {task}"))
            continue
        most = max(ends, key=lambda r: r["percent"])
        told = f"exact equivariance at the same twirled error could save at most {most['percent']:.3g} % of the loss (total {most['total']:.3g}, twirled {most['twirled']:.3g})"
        conditions = f"{told}: {_where(most['run'], most['condition'])}, step {most['step']:.0f}, the largest of {len(ends)}"
        if step := break_even(tables.curve(rows, most["run"], condition=most["condition"])):
            conditions += f"; an equivariant model with its twirled curve has the last total at step {step:.0f} and wins only if a step costs less than {most['step'] / step:.2f} x"
        conditions += "; no equivariant model was trained for the same time"
        result.append(_row("C10", UNTESTABLE, conditions, most["percent"], most["percent_lo"], most["percent_hi"], place=f"discussion, {task}"))
    return result


def claims(rows: list[dict], paper: list[dict], points: dict | None = None, more: dict[str, list[dict]] | None = None) -> list[dict]:
    """Rows with the columns ``COLUMNS`` for the claims C1 to C10, in this order; a claim without data has one row, `not run`.

    Parameters
    ----------
    rows : decomposition tables
    paper : the paper's numbers
    points : what the runs of the matrix stand for, as of ``config.expand``
    more : rows of the tables ``gradients``, ``curvature`` and ``head`` of all runs that have them
    """
    points, more = points or {}, more or {}
    gap = additive(rows)
    result = [
        dict(claim="C1", statement="total loss = twirled error + equivariance error, measurable at every checkpoint", place="definition", paper="exact",
             ours=gap, lo="", hi="", verdict=HOLDS if gap < 1e-12 else FAILS,
             conditions=f"exact by construction; largest relative gap over {len(rows)} rows as written")
    ]  # fmt: skip
    for run in tables.runs(rows):
        for condition in tables.conditions(rows, run):
            if not condition.endswith("sc"):  # self-conditioning on is a second look at the same model
                result += _c2(tables.curve(rows, run, condition=condition), paper)
    result += _axes(rows, paper, points)
    result += _c7(rows, paper, more.get("curvature", [])) + _c8(rows, paper, more.get("gradients", [])) + _c9(rows, paper, more.get("head", [])) + _c10(rows, points)
    made = {r["claim"] for r in result}
    result += [_row(claim, NOT_RUN, "needs runs that this config does not declare") for claim in STATEMENTS if claim not in made]
    return sorted(result, key=lambda r: int(r["claim"][1:]))
