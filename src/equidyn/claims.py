"""The paper's claims, a row per run or axis, with verdicts computed from tables by the rules of ``verdicts`` and of each function's docstring."""

import math

import numpy as np
from scipy import stats

from equidyn import tables
from equidyn.verdicts import DIP, FAILS, HOLDS, LEARNED, NOT_RUN, UNTESTABLE, agree, counted, dip, first_step, robust, verdict

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
EXACT = 1e-10  # relative gap of an identity in float64
MIN_CORRELATED = 5  # checkpoints
BETTER = 1.1  # times; over a linear head alone the two spectra coincide and the ratio is 1 by construction


def additive(rows: list[dict]) -> float:
    """Largest |total − twirled − equivariance| relative to the total, over all rows; nan where a term or percentage of any row is."""
    gaps = [abs(r["total"] - r["twirled"] - r["equivariance"]) / r["total"] + 0 * r["percent"] for r in rows]
    return float(np.max(gaps))


def _c1(rows: list[dict]) -> dict:
    """`holds` if every row has a percentage and its terms add up to 1e-12; else `does not hold here`."""
    gap = additive(rows)
    conditions = f"exact by construction; largest relative gap over {len(rows)} rows as written, all of which have a percentage"
    statement = "total loss = twirled error + equivariance error, measurable at every checkpoint"
    return dict(claim="C1", statement=statement, place="definition", paper="exact", ours=gap, lo="", hi="", verdict=HOLDS if gap < 1e-12 else FAILS, conditions=conditions)


def _milestones(paper: list[dict], task: str, condition: str, quantity: str) -> list[float]:
    """The paper's steps of a quantity such as ``first_step_le_2_percent`` over its default runs."""
    found = [r for r in paper if (r["task"], r["quantity"]) == (task, quantity) and r["run"].startswith("default")]
    return [r["step"] for r in found if not condition or r["run"].endswith(f" {condition}")]


def _levels(curve: list[dict], paper: list[dict]) -> str:
    """First counted steps at most 10, 5, 2 and 1 %, and their ratio to the mean of the paper's."""
    told = []
    for percent in (10, 5, 2, 1):
        step = first_step(curve, percent)
        published = _milestones(paper, curve[-1]["task"], curve[-1]["condition"], f"first_step_le_{percent}_percent")
        ratio = f", {step * len(published) / sum(published):.2g} x the paper's" if published and step is not None else ""
        told.append(f"{percent} %: {'none' if step is None else f'{step:.0f}'}{ratio}")
    return f"first steps that count with at most {'; '.join(told)}"


def _c2(curve: list[dict], paper: list[dict]) -> list[dict]:
    """The row of one curve; none for a model within ten times its numerical floor, which has no equivariance to learn."""
    last, lowest, best = curve[-1], min(curve, key=lambda r: r["percent"]), dip(curve)
    if last["equivariance"] <= 10 * last["floor"]:
        return []
    task, drawn = last["task"], "Haar" if last["rotations"] == "haar" else "cube"
    conditions = f"{_where(last['run'], last['condition'])}, step {last['step']:.0f}, {_against(last)}, {last['n_items']:.0f} items x {last['n_rotations']:.0f} {drawn} rotations"
    if not counted(last):
        conditions += f"; the last step does not count: total not below {LEARNED:g} x both"
    elif last["percent_lo"] <= 2.0 <= last["percent_hi"]:
        conditions += "; the interval includes 2 %"
    conditions += f"; {_levels(curve, paper)}"
    if best is None:
        conditions += "; no step counts"
    else:
        conditions += f"; lowest that counts {best['percent']:.3g} % at step {best['step']:.0f} ({_against(best)}), last / lowest {last['percent'] / best['percent']:.2f}"
    if not counted(lowest):
        conditions += f"; a dip to {lowest['percent']:.3g} % at step {lowest['step']:.0f} does not count: {_against(lowest)}"
    steps = _milestones(paper, task, last["condition"], "first_step_le_2_percent")
    span = "" if not steps else f"<= 2 % first at step {_span(steps, figures=6)}"
    if task == "voxels" and (points := [r for r in paper if (r["task"], r["run"], r["quantity"]) == ("voxels", "model-111M", "percent_published")]):
        span = f"{min(r['percent'] for r in points):.2g} % at the lowest, {points[-1]['percent']:.3g} % at the end (111M, sigma 0.9)"
        conditions += f"; last / the paper's last {last['percent'] / points[-1]['percent']:.2g}"
        at_dip, zero = (_number(paper, "voxels", quantity, run="model-111M") for quantity in ("total_at_dip", "zero_predictor_estimate"))
        if at_dip and zero:
            conditions += f"; the paper's lowest stands at about {at_dip / zero:.2g} x its zero predictor (estimated)"
    statement = "equivariance error falls to <= 2 % of held-out loss within 1k-10k steps"
    return [
        dict(claim="C2", statement=statement, place=f"percent curves, {task}", paper=span,
             ours=last["percent"], lo=last["percent_lo"], hi=last["percent_hi"], verdict=verdict(curve), conditions=conditions)
    ]  # fmt: skip


def _against(row: dict) -> str:
    """Total loss in units of what predicts nothing learned."""
    trivial = f", {row['total'] / row['trivial_loss']:.3f} x the rescaled input" if row["trivial_loss"] < 0.999 * row["zero_loss"] else ""
    return f"total {row['total'] / row['zero_loss']:.3f} x the zero predictor{trivial}"


def _row(claim, verdict, conditions, ours="", lo="", hi="", paper="", statement=None, place=None):
    known, where = STATEMENTS[claim]
    return dict(claim=claim, statement=statement or known, place=place or where, paper=paper, ours=ours, lo=lo, hi=hi, verdict=verdict, conditions=conditions)


def _where(run, condition):
    return f"run {run}" + (f", {condition}" if condition else "")


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
            if axis in AXES and _beside(point, AXES[axis]):
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


def _beside(point: dict, claim: str) -> bool:
    """Whether a point of the matrix differs from its reference along the axes of a claim alone."""
    at = point.get("reference_axes", {})
    return all(value == at.get(axis) for axis, value in point["axes"].items() if AXES.get(axis) != claim)


def _label(axes):
    return ", ".join(f"{axis.split('.')[-1]} {value}" for axis, value in axes.items())


def _end(curve):
    return f"{curve[-1]['percent']:.3g} %, {_against(curve[-1])} ({verdict(curve)})"


def _span(values, unit="", figures=3):
    if not values:
        return ""
    return f"{min(values):.{figures}g}" + (f"-{max(values):.{figures}g}" if max(values) > min(values) else "") + unit


def _counted(rows: list[dict], run: str, condition: str) -> dict[float, dict]:
    """Step → row of the run's curve, where its percentage counts."""
    return {r["step"]: r for r in tables.curve(rows, run, condition=condition) if counted(r)}


def _groups(table):
    return list(dict.fromkeys((r["run"], r.get("condition", "")) for r in table))


def _c7(rows: list[dict], paper: list[dict], curvature: list[dict]) -> list[dict]:
    """Per run and condition, two rows: condition numbers, and largest eigenvalues, of the twirled term over those of the equivariance term.

    ours: the ratio at the last usable checkpoint; lo, hi: smallest and largest of all. A checkpoint is usable if its percentage counts and, for condition
    numbers, if ``unresolved`` finds nothing.
    `not testable at this scale`  no usable checkpoint
    `holds`                       the ratio is above ``BETTER`` at all of them
    `holds only at the dip`       not at all of them, but at the one of the lowest percentage
    `does not hold here`          else
    """
    result = []
    for run, condition in _groups(curvature):
        table = [r for r in curvature if (r["run"], r["condition"]) == (run, condition)]
        usable, told = {"condition_number": {}, "largest": {}}, {"condition_number": [], "largest": []}
        counts = _counted(rows, run, condition)
        for step in sorted({r["step"] for r in table}):
            terms = {r["term"]: r for r in table if r["step"] == step}
            if set(terms) != {"twirled", "equivariance"}:
                continue
            for name in usable:
                ratio = terms["twirled"][name] / terms["equivariance"][name] if terms["equivariance"][name] else math.inf
                doubts = [] if step in counts else ["its percentage does not count"]
                if name == "condition_number":
                    doubts += dict.fromkeys(doubt for r in terms.values() if (doubt := unresolved(r)))
                if not doubts and math.isfinite(ratio):
                    usable[name][step] = ratio
                told[name].append(f"step {step:.0f}: {ratio:.3g}" + (f" (not used: {', '.join(doubts)})" if doubts else ""))
        block = f"{_where(run, condition)}, block {table[0]['block']} ({table[0]['n_parameters']:.0f} parameters, {table[0]['method']})"
        for name, statement in (("condition_number", STATEMENTS["C7"][0]), ("largest", "equivariance has the smoother landscape (largest eigenvalue lower)")):
            ratios = usable[name]
            low = min(ratios, key=lambda step: counts[step]["percent"], default=None)
            judged = UNTESTABLE if not ratios else HOLDS if min(ratios.values()) > BETTER else DIP if ratios[low] > BETTER else FAILS
            conditions = f"{block}; twirled / equivariance at {'; '.join(told[name]) or 'no checkpoint with both terms'}"
            published = _number(paper, table[0]["task"], "condition_number_ratio", condition) if name == "condition_number" else None
            if name == "condition_number":
                conditions += f"; eigenvalues below {table[0]['threshold'] / table[0]['largest']:.0e} of the largest count as zero"
                conditions += f"; residual at most {max(r['residual'] for r in table):.2g} of the largest"
            last = ratios[max(ratios)] if ratios else ""
            if published and ratios:
                conditions += f"; {last / published:.2g} x the paper's"
            lo, hi = (end(ratios.values(), default="") for end in (min, max))
            paper_said = f"about {published:.0f}" if published else ""
            result.append(_row("C7", judged, conditions, last, lo, hi, paper_said, statement, f"loss landscapes, {table[0]['task']}"))
    return result


def unresolved(row: dict) -> str:
    """Why the condition number of a row of curvature.csv says nothing about the landscape; empty where it does.

    The smallest positive eigenvalue must stand clear of the error of the eigen-solver, of the negative eigenvalues that sampled rotations put into the
    twirled term, and of the threshold: where a spectrum falls off without a gap, a condition number near 1/threshold only repeats the threshold.
    """
    smallest = row["smallest_positive"]
    if not smallest > 0 or row["residual"] * row["largest"] > 0.1 * smallest:
        return f"{row['term']} term: smallest eigenvalue not resolved"
    if -row["most_negative"] > smallest:
        return f"{row['term']} term: negative eigenvalues as large as the smallest positive one"
    if row["condition_number"] * row["threshold"] > 0.3 * row["largest"]:
        return f"{row['term']} term: condition number is 1 / threshold"
    return ""


def _number(paper, task, quantity, condition="", run=""):
    """A published number other than a percentage; None if there is none."""
    found = [r for r in paper if (r["task"], r["quantity"]) == (task, quantity) and r["run"].startswith(run)]
    return next((r["percent"] for r in found if not condition or r["run"].endswith(f" {condition}")), None)


def correlation(x, y, kind: str = "pearson") -> tuple[float, float, float]:
    """Correlation of two series with its 95 % interval by Fisher's z (Spearman with Bonett and Wright's variance), for ``effective_number`` points.

    The interval is (−1, 1) where that is three or less.
    """
    r = float((stats.pearsonr if kind == "pearson" else stats.spearmanr)(x, y)[0])
    n = effective_number(x, y)
    if n <= 3:
        return r, -1.0, 1.0
    half = 1.96 * math.sqrt((1 + (r * r / 2 if kind == "spearman" else 0)) / (n - 3))
    most = 1 - 6 / (len(x) ** 3 - len(x))  # half a step of Spearman's below 1: equal ranks of a few points do not make an interval without width
    z = math.atanh(min(max(r, -most), most))
    return r, math.tanh(z - half), math.tanh(z + half)


def effective_number(x, y) -> float:
    """Number of independent points that two series of n neighbours are worth: n (1 − ρ_x ρ_y) / (1 + ρ_x ρ_y), at most n.

    ρ are the correlations of neighbours (Bretherton et al., J. Climate 12, 1990 (1999), eq. 31). Successive checkpoints resemble each other.
    """
    rho = [float(np.corrcoef(series[:-1], series[1:])[0, 1]) for series in (np.asarray(x), np.asarray(y))]
    product = max(0.0, rho[0] * rho[1]) if np.isfinite(rho).all() else 0.0
    return len(x) * (1 - product) / (1 + product)


def _c8(rows: list[dict], paper: list[dict], gradients: list[dict]) -> list[dict]:
    """Per run and condition, Pearson (of logarithms, as published) and Spearman of gradient-norm ratio and percentage over counted checkpoints.

    `not testable at this scale`  fewer than five of them, or an interval from below 0 to above 0.5
    `holds`                       the interval lies above 0 and the ratio stays below 1 at all of them
    `does not hold here`          else
    """
    result = []
    for run, condition in _groups(gradients):
        counts, mine = _counted(rows, run, condition), [r for r in gradients if (r["run"], r["condition"]) == (run, condition)]
        used = [r for r in mine if r["step"] in counts and r["ratio"] > 0 and r["percent"] > 0]
        x, y, task = np.log([r["ratio"] for r in used]), np.log([r["percent"] for r in used]), mine[0]["task"]
        for kind in ("pearson", "spearman"):
            r, lo, hi, judged = "", "", "", UNTESTABLE
            conditions = f"{_where(run, condition)}, the {len(used)} of {len(mine)} checkpoints that count"
            published = _number(paper, task, f"{kind}_gradient_ratio_percent", condition)
            if len(used) >= MIN_CORRELATED and np.ptp(x) > 0 and np.ptp(y) > 0:
                r, lo, hi = correlation(x, y, kind)
                large = max(row["ratio"] for row in used)
                judged = (HOLDS if large < 1 else FAILS) if lo > 0 else FAILS if hi < 0.5 else UNTESTABLE
                conditions += f", ratio {min(row['ratio'] for row in used):.2g}-{large:.2g}, {mine[0]['n_items']:.0f} items x {mine[0]['n_rotations']:.0f} rotations"
                conditions += f", cosine of the two gradients {min(row['cosine'] for row in used):.2f} to {max(row['cosine'] for row in used):.2f}"
                conditions += f"; checkpoints resemble their neighbours: interval for {effective_number(x, y):.1f} independent ones" + (
                    f"; {r / published:.2g} x the paper's" if published else ""
                )
                conditions += f"; cost {np.median([row['seconds'] for row in mine]):.2g} s per checkpoint, two forward and two backward passes per rotation"
            statement = f"{STATEMENTS['C8'][0]} ({'Pearson of logarithms' if kind == 'pearson' else 'Spearman'})"
            result.append(_row("C8", judged, conditions, r, lo, hi, "" if published is None else f"{published:.3g}", statement, f"{STATEMENTS['C8'][1]}, {task}"))
    return result


def _c9(rows: list[dict], paper: list[dict], head: list[dict]) -> list[dict]:
    """Per run, two rows: slope of log error against log head variance over counted checkpoints, and exactness of the quadratic form.

    The variance is quadratic in the deviation, so a quadratic error has slope 1. 95 % interval of least squares.
    slope: `not testable at this scale` with fewer than five checkpoints or an interval that holds 1 and is wider than 1; `holds` if it holds 1; else `does not hold here`
    exactness: `holds` if the measured error (all rotations of the cube, no sampling error for a linear head) is the quadratic form within ``EXACT``; else `does not hold here`
    """
    result = []
    for run, _ in _groups(head):
        mine, counts = [r for r in head if r["run"] == run], _counted(rows, run, "")
        used = [r for r in mine if r["step"] in counts and r["head_variance"] > 0 and r["equivariance"] > 0]
        x, y = np.log([r["head_variance"] for r in used]), np.log([r["equivariance"] for r in used])
        slope, lo, hi, judged = "", "", "", UNTESTABLE
        conditions = f"{_where(run, '')}, the {len(used)} of {len(mine)} checkpoints that count, taken as independent"
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
        judged = HOLDS if gap <= EXACT else FAILS
        statement = "at fixed features the equivariance error is an exact quadratic form of the head's deviation"
        result.append(_row("C9", judged, conditions, gap, paper="not stated", statement=statement))
    return result


def break_even(curve: list[dict]) -> float | None:
    """Step at which the twirled loss first reaches the last total, by interpolation in log step and log loss; None if nothing was learned.

    The last step over this one is how many times dearer per step an exactly equivariant model with the same twirled curve may be before it loses.
    """
    last = curve[-1]
    if not counted(last):
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
                if counted(last) and last["equivariance"] > 10 * last["floor"]:
                    ends.append(last)
        if not ends:
            result.append(_row("C10", NOT_RUN, f"the last step of no {task} run counts", place=f"discussion, {task}"))
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
    result = [_c1(rows)]
    for run in tables.runs(rows):
        for condition in tables.conditions(rows, run):
            if not condition.endswith("sc"):  # self-conditioning on is a second look at the same model
                result += _c2(tables.curve(rows, run, condition=condition), paper)
    result += _axes(rows, paper, points)
    result += _c7(rows, paper, more.get("curvature", [])) + _c8(rows, paper, more.get("gradients", [])) + _c9(rows, paper, more.get("head", [])) + _c10(rows, points)
    made = {r["claim"] for r in result}
    result += [_row(claim, NOT_RUN, "needs runs that this config does not declare") for claim in STATEMENTS if claim not in made]
    return sorted(result, key=lambda r: int(r["claim"][1:]))
