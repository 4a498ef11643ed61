"""Sentences of the report, made from tables alone."""

from scipy.stats import t as student_t

from equidyn.results import tables
from equidyn.results.claims.rows import percent_text, poses_text
from equidyn.results.verdicts import FAILS, INCONCLUSIVE, PERCENT, WINDOW_END, counted, exact, verdict, within


def readings(rows: list[dict], task: str, paper: list[dict], chirality: list[dict]) -> list[str]:
    """What the last rows of a task say, in words made from the tables alone."""
    curves = {}
    for run in tables.runs([r for r in rows if r["task"] == task]):
        for condition in tables.main_conditions(rows, run):
            curves[run, condition] = tables.curve(rows, run, condition=condition)
    lines = [_ends(curve) for curve in curves.values()] if task != "flow" else _beyond_linear(curves)
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
    if exact(last):
        return f"{where}: exactly equivariant to rounding, at {ratio:.3g} × the zero-predictor loss."
    text = (
        f"{where}: {percent_text(last)} at "
        f"{ratio:.3g} × the zero-predictor loss{_against(last)}; at most 2 %: "
        f"{within(curve)}{_why(curve)} (one seed)."
    )
    if poses := poses_text(last):
        text += f" It was {poses}."
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


def _why(curve: list[dict]) -> str:
    """Why a percentage above 2 % is no verdict yet."""
    last = curve[-1]
    if within(curve) != INCONCLUSIVE or last["percent_lo"] <= PERCENT:
        return ""
    if verdict([r for r in curve if r["step"] <= WINDOW_END]) != FAILS:
        return ", as an interval within the paper's window includes 2 %"
    if last["step"] < WINDOW_END:
        return f", as the run ends at step {last['step']:.0f} and the paper's window at {WINDOW_END}"
    return f", as the first step from the end of the paper's window on, {WINDOW_END}, does not show it"


def _against(row: dict) -> str:
    """The total over the best baseline, with its interval, where that is not the zero predictor."""
    if row["baseline"] == "zero":
        return ""
    return (
        f", {row['baseline_ratio']:.3g} [{row['baseline_ratio_lo']:.3g}, {row['baseline_ratio_hi']:.3g}] × "
        f"its best baseline ({row['baseline']})"
    )


def _beyond_linear(curves: dict) -> list[str]:
    """Per run and flow time: the last total over the best baseline, the linear denoiser of the chain, and
    since when it counts; where the network is no more than that baseline, and where it is.
    """
    runs = dict.fromkeys(run for run, _ in curves)
    return [
        line
        for run in runs
        for line in _beyond_linear_of({c: curve for (name, c), curve in curves.items() if name == run}, run)
    ]


def _beyond_linear_of(curves: dict, run: str) -> list[str]:
    told, more, same = [], [], []
    for condition, curve in curves.items():
        last, first = curve[-1], next((r["step"] for r in curve if counted(r)), None)
        told.append(
            f"{condition} {last['baseline_ratio']:.2f} [{last['baseline_ratio_lo']:.2f}, "
            f"{last['baseline_ratio_hi']:.2f}] × {last['baseline']}"
        )
        if counted(last):
            more.append(
                f"{run} {condition}, which counts from step {first:.0f}, ends at {last['percent']:.2g} % "
                f"[{last['percent_lo']:.2g}, {last['percent_hi']:.2g}]: {within(curve)}"
            )
        else:
            same.append(condition)
    lines = [f"{run}, last total loss over the best baseline: {', '.join(told)}."]
    if same:
        lines.append(
            f"At {', '.join(same)} {run} is not a tenth better than what knows mean distances along "
            "the chain alone; its percentages there do not count."
        )
    lines.append(f"More than that, at most 2 %: {'; '.join(more)}." if more else "It is more at no time.")
    return lines


RISE = 1.3  # times the lowest percentage before it


def _rises(curves: dict) -> str:
    """Curves that rise, after their first counted step, to at least ``RISE`` times the lowest percentage
    before: from, to, end.
    """
    told = []
    for (run, condition), curve in curves.items():
        rows, worst = (
            [r for r in curve if counted(r) and not exact(r)],
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
        knows = [r["condition"] for r in last if _above_zero(r, len(last))]
        learned = (
            f"at {', '.join(knows)}, and nowhere else"
            if knows
            else "at no flow time: this run has not learned the hand of its chains (docs/log.md)"
        )
        told.append(
            f"{run}: mirrored held-out chains have a higher twirled loss (95 % interval above 0, for "
            f"{len(last)} times together) {learned}."
        )
    return told


def _above_zero(row: dict, n_tests: int) -> bool:
    """Whether a gap's interval lies above 0 if it is made for ``n_tests`` of them at once (Bonferroni)."""
    one, all_of_them = student_t.ppf([0.975, 1 - 0.025 / n_tests], row["n_items"] - 1)
    return row["gap"] > (row["hi"] - row["gap"]) * all_of_them / one


def _off_grid(rows: list[dict]) -> list[str]:
    """Haar rotations of the atoms beside what a perfect denoiser measures so."""
    told = []
    for r in rows:
        if (r["task"], r["rotations"], r["weights"]) == ("voxels", "haar", "live"):
            alone = r["floor"] > r["equivariance"]
            judged = "interpolation alone could make it"
            if not alone:
                judged = (
                    "more than interpolation of clean grids makes, but the noise, turned by interpolation, "
                    "is no longer white, which a network may answer to"
                )
            told.append(
                f"{r['run']}, any rotation instead of the cube's: equivariance error "
                f"{r['equivariance']:.2g}, where a perfect denoiser measures {r['floor']:.2g} "
                f"that way: {judged} "
                "(the paper's voxel runs level off at 4e-6 to 1e-5, on another grid)."
            )
    return told
