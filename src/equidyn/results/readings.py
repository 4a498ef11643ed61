"""Sentences of the report, made from tables alone."""

from equidyn.results import tables
from equidyn.results.verdicts import counted, verdict


def readings(rows: list[dict], task: str, paper: list[dict], chirality: list[dict]) -> list[str]:
    """What the last rows of a task say, in words made from the tables alone."""
    curves = {}
    for run in tables.runs([r for r in rows if r["task"] == task]):
        for condition in [c for c in tables.conditions(rows, run) if not c.endswith("sc")]:
            curves[run, condition] = tables.curve(rows, run, condition=condition)
    lines = [_ends(curve) for curve in curves.values()] if task != "flow" else [_below_rescaled(curves)]
    lines.append(_rises(curves))
    if task == "flow":
        if published := _published_rises(paper):
            lines.append(f"The paper's 60M run, by contrast, later rises: {published}.")
        lines += _hand(chirality)
    if task == "voxels":
        lines += _off_grid(rows)
    return lines


def _ends(curve: list[dict]) -> str:
    """Where a curve ends: percentage, interval, what was learned, verdict."""
    last = curve[-1]
    where, ratio = (
        f"{last['run']}{', ' + last['condition'] if last['condition'] else ''}",
        last["total"] / last["zero_loss"],
    )
    if last["equivariance"] <= 10 * last["floor"]:
        return f"{where}: exactly equivariant to rounding, at {ratio:.3g} × the zero-predictor loss."
    text = (
        f"{where}: {last['percent']:.3g} % [{last['percent_lo']:.3g}, {last['percent_hi']:.3g}] at "
        f"{ratio:.3g} × the zero-predictor loss; at most 2 %: {verdict(curve)}."
    )
    if ratio >= 0.8:
        text += (
            " So close to the zero predictor a low percentage is mostly that of predicting next to nothing."
        )
    if (lowest := min(curve, key=lambda r: r["percent"])) and not counted(lowest):
        text += (
            f" Its lowest percentage, {lowest['percent']:.2g} % at step {lowest['step']:.0f}, stands at "
            f"{lowest['total'] / lowest['zero_loss']:.3g} × and does not count."
        )
    return text


def _below_rescaled(curves: dict) -> str:
    """How far below the best rescaling of its input every flow time ends, and whether by a tenth from 0.4 to
    0.95.
    """
    told, middle = [], []
    for (run, condition), curve in curves.items():
        ratio, time = curve[-1]["total"] / curve[-1]["trivial_loss"], float(condition.removeprefix("t="))
        told.append(f"{run} {condition} {ratio:.2f} ×")
        middle += [ratio <= 0.9] if 0.4 <= time <= 0.95 else []
    judged = "yes" if middle and all(middle) else "no"
    return (
        f"Last total loss over that of the rescaled input: {', '.join(told)}. At least a tenth below it at "
        f"every t from 0.4 to 0.95: {judged}."
    )


RISE = 1.3  # times the lowest percentage before it


def _rises(curves: dict) -> str:
    """Curves that rise, after their first counted step, to at least ``RISE`` times the lowest percentage
    before: from, to, end.
    """
    told = []
    for (run, condition), curve in curves.items():
        rows, worst = (
            [r for r in curve if counted(r) and r["equivariance"] > 10 * r["floor"]],
            (1.0, None, None),
        )
        for k, peak in enumerate(rows[1:], 1):
            low = min(rows[:k], key=lambda r: r["percent"])
            worst = max(worst, (peak["percent"] / low["percent"], low, peak), key=lambda w: w[0])
        if worst[0] >= RISE:
            _, low, peak = worst
            told.append(
                f"{run}{' ' + condition if condition else ''} from {low['percent']:.2g} % (step "
                f"{low['step']:.0f}) to {peak['percent']:.2g} % "
                f"(step {peak['step']:.0f}), {rows[-1]['percent']:.2g} % at the end"
            )
    if not told:
        return f"No percentage that counts rises later to {RISE:g} × its lowest before or more."
    return f"Percentages that count and later rise ({RISE:g} × or more): {'; '.join(told)}."


def _published_rises(paper: list[dict]) -> str:
    """Flow times of the paper's 60M run whose last percentage is at least ``RISE`` times its lowest published
    milestone.
    """
    told = []
    for run in dict.fromkeys(
        r["run"] for r in paper if r["task"] == "flow" and r["run"].startswith("default-rep2 ")
    ):
        curve = [
            r
            for r in paper
            if (r["task"], r["run"]) == ("flow", run)
            and r["quantity"] in ("percent_published", "dip", "last")
        ]
        low, last = min(curve, key=lambda r: r["percent"]), max(curve, key=lambda r: r["step"])
        if last["percent"] >= RISE * low["percent"]:
            told.append(f"{run.split()[-1]} {low['percent']:.2g} to {last['percent']:.2g} %")
    return ", ".join(told)


def _hand(chirality: list[dict]) -> list[str]:
    """Whether the last checkpoint tells left from right: the chirality gap by flow time."""
    told = []
    for run in tables.runs(chirality):
        mine = [r for r in chirality if r["run"] == run]
        last = [r for r in mine if r["step"] == max(r["step"] for r in mine)]
        knows = [r["condition"] for r in last if r["lo"] > 0]
        learned = (
            f"at {', '.join(knows)}, and nowhere else"
            if knows
            else "at no flow time: this run has not learned the hand of its chains (docs/log.md)"
        )
        told.append(
            f"{run}: mirrored held-out chains have a higher twirled loss (95 % interval above 0) {learned}."
        )
    return told


def _off_grid(rows: list[dict]) -> list[str]:
    """Haar rotations of the atoms beside what an exactly equivariant blur measures so."""
    told = []
    for r in rows:
        if (r["task"], r["rotations"], r["weights"]) == ("voxels", "haar", "live"):
            alone = r["floor"] > r["equivariance"]
            judged = "interpolation alone could make it" if alone else "more than interpolation makes"
            told.append(
                f"{r['run']}, any rotation instead of the cube's: equivariance error "
                f"{r['equivariance']:.2g}, but an exactly equivariant blur measures {r['floor']:.2g} "
                f"that way: {judged} "
                "(the paper's voxel runs level off at 4e-6 to 1e-5, on another grid)."
            )
    return told
