"""The paper's claims, with verdicts computed from tables."""

from equidyn import tables

COLUMNS = ("claim", "statement", "place", "paper", "ours", "lo", "hi", "verdict", "conditions")
PLACE = "main text, place not recorded"
OTHER = {
    "C3": ("robust to model size (1M to 400M)", PLACE),
    "C4": ("robust to training-set size (500 to 1M)", PLACE),
    "C5": ("robust to optimizer and learning rate", PLACE),
    "C6": ("replicates agree", PLACE),
    "C7": ("equivariance has the better-conditioned landscape", PLACE),
    "C8": ("gradient of the equivariance term tracks the percentage", PLACE),
    "C9": ("equivariance error is quadratic in the deviation of the head", PLACE),
    "C10": ("a non-equivariant model may win per GPU-hour", PLACE),
}


def first_step(curve: list[dict], percent: float, ratio: float = 1.0) -> float | None:
    """First step with at most ``percent`` of the loss from equivariance error *and* total below ratio × zero-predictor loss."""
    return next((r["step"] for r in curve if r["percent"] <= percent and r["total"] < ratio * r["zero_loss"]), None)


def verdict(curve: list[dict], percent: float = 2.0) -> str:
    """`holds` (at the last step), `holds only at the dip` (at some earlier step) or `does not hold here`.

    A percentage counts only where the total loss is below the zero-predictor loss: a constant output is equivariant too.
    """
    if first_step(curve[-1:], percent) is not None:
        return "holds"
    return "holds only at the dip" if first_step(curve, percent) is not None else "does not hold here"


def additive(rows: list[dict]) -> float:
    """Largest |total − twirled − equivariance| relative to the total, over all rows."""
    return max(abs(r["total"] - r["twirled"] - r["equivariance"]) / r["total"] for r in rows)


def _reached(curve: list[dict], step: float) -> str:
    found = next(r for r in curve if r["step"] == step)
    return f"{step:.0f} (total {found['total'] / found['zero_loss']:.3f} x zero-predictor loss)"


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
    published = [
        r["step"]
        for r in paper
        if r["task"] == last["task"] and r["run"].startswith("default") and r["run"].endswith(last["condition"]) and r["quantity"] == "first_step_le_2_percent"
    ]
    span = "" if not published else f"<= 2 % first at step {min(published):.0f}" + (f"-{max(published):.0f}" if len(published) > 1 else "")
    if last["task"] == "voxels":
        points = [r for r in paper if r["task"] == "voxels" and r["run"] == "model-111M" and r["quantity"] == "percent_published"]
        span = f"{min(r['percent'] for r in points):.2g} % at the lowest, {points[-1]['percent']:.3g} % at the end (111M, sigma 0.9)" if points else ""
    return [
        dict(claim="C2", statement="equivariance error falls to <= 2 % of held-out loss within 1k-10k steps", place=f"percent curves, {last['task']}", paper=span,
             ours=last["percent"], lo=last["percent_lo"], hi=last["percent_hi"], verdict=verdict(curve), conditions=conditions)
    ]  # fmt: skip


def claims(rows: list[dict], paper: list[dict]) -> list[dict]:
    """One row per claim (C2: per run that is not within its numerical floor) with the columns ``COLUMNS``."""
    gap = additive(rows)
    result = [
        dict(claim="C1", statement="total loss = twirled error + equivariance error, measurable at every checkpoint", place="definition", paper="exact",
             ours=gap, lo="", hi="", verdict="holds" if gap < 1e-12 else "does not hold here",
             conditions=f"exact by construction; largest relative gap over {len(rows)} rows as written")
    ]  # fmt: skip
    for run in tables.runs(rows):
        for condition in tables.conditions(rows, run):
            if not condition.endswith("sc"):  # self-conditioning on is a second look at the same model
                result += _c2(tables.curve(rows, run, condition=condition), paper)
    for claim, (statement, place) in OTHER.items():
        result.append(
            dict(claim=claim, statement=statement, place=place, paper="", ours="", lo="", hi="", verdict="not run", conditions="needs runs that this config does not declare")
        )
    return result
