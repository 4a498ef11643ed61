"""C1, C2 and C10: what the curves of single runs say."""

import re

import numpy as np

from equidyn.results import tables
from equidyn.results.claims.replicates import seeds_text
from equidyn.results.claims.rows import (
    STATEMENTS,
    against_text,
    claim_row,
    percent_and_ends,
    place_of,
    poses_text,
    published_number,
    range_text,
)
from equidyn.results.verdicts import (
    FAILS,
    HOLDS,
    NOT_RUN,
    UNTESTABLE,
    WINDOW,
    counted,
    dip,
    exact,
    first_step,
    share_of_the_way,
    within,
)
from equidyn.symmetry.limits import LEARNED

ROWS = " rows as written"  # what is written after their number


def additive(rows: list[dict]) -> float:
    """Largest |total − twirled − equivariance| relative to the total, over all rows; nan where a term or
    percentage of any row is.
    """
    gaps = [
        abs(r["total"] - r["twirled"] - r["equivariance"]) / (r["total"] or 1.0) + 0 * r["percent"]
        for r in rows
    ]
    return float(np.max(gaps))


def c1(rows: list[dict]) -> dict:
    """`holds` if every row has a percentage and its terms add up to 1e-12; else `does not hold here`."""
    gap = additive(rows)
    conditions = (
        f"exact by construction; largest relative gap over {len(rows)}{ROWS}, all of which have a percentage"
    )
    verdict = HOLDS if gap < 1e-12 else FAILS
    return claim_row("C1", verdict, conditions, (gap, "", ""), paper="exact")


def rows_counted(claims: list[dict]) -> int | None:
    """How many rows a table of claims was made from, by its first claim; None where it does not say."""
    found = (
        re.search(rf"(\d+){ROWS}", row.get("conditions") or "") for row in claims if row.get("claim") == "C1"
    )
    return next((int(match[1]) for match in found if match), None)


def _milestones(paper: list[dict], task: str, condition: str, quantity: str) -> list[float]:
    """The paper's steps of a quantity such as ``first_step_le_2_percent`` over its default runs."""
    found = [
        r for r in paper if (r["task"], r["quantity"]) == (task, quantity) and r["run"].startswith("default")
    ]
    return [r["step"] for r in found if not condition or r["run"].endswith(f" {condition}")]


def _levels(curve: list[dict], paper: list[dict]) -> str:
    """First counted steps at most 10, 5, 2 and 1 %, and their ratio to the mean of the paper's; no ratio for
    flow, whose published curves count rows of a log, not steps.
    """
    told, task = [], curve[-1]["task"]
    for percent in (10, 5, 2, 1):
        step = first_step(curve, percent)
        published = []
        if task != "flow":
            published = _milestones(paper, task, "", f"first_step_le_{percent}_percent")
        ratio = (
            f", {step * len(published) / sum(published):.2g} x the paper's"
            if published and step is not None
            else ""
        )
        told.append(f"{percent} %: {'none' if step is None else f'{step:.0f}'}{ratio}")
    return f"first steps that count with at most {'; '.join(told)}"


def c2(curve: list[dict], paper: list[dict], n_seeds: int = 1) -> list[dict]:
    """The row of one curve; none for a model within ten times its numerical floor, which has no equivariance
    to learn. Its verdict is that of ``within``.
    """
    last = curve[-1]
    if exact(last):
        return []
    span, beside = _published(last, paper)
    conditions = "; ".join(
        [_how(last, n_seeds), *_end(curve), _levels(curve, paper), *_lowest(curve), *beside]
    )
    return [
        claim_row(
            "C2",
            within(curve),
            conditions,
            percent_and_ends(last),
            paper=span,
            place=f"{STATEMENTS['C2'][1]}, {last['task']}",
        )
    ]


def _how(last: dict, n_seeds: int) -> str:
    """Where and with what the last row was measured, and the poses that it was trained on."""
    drawn = "Haar" if last["rotations"] == "haar" else "cube"
    told = (
        f"{place_of(last['run'], last['condition'])}, step {last['step']:.0f}, {against_text(last)}, "
        f"{last['n_items']:.0f} items x {last['n_rotations']:.0f} {drawn} rotations, {last['weights']} "
        f"weights, {seeds_text(n_seeds)}"
    )
    poses = poses_text(last)
    return f"{told}; {poses}" if poses else told


def _end(curve: list[dict]) -> list[str]:
    """What limits the last row: it does not count, its interval includes 2 %, the window is still open."""
    last, told = curve[-1], []
    if not counted(last):
        told.append(f"the last step does not count: total not below {LEARNED:g} x the best baseline")
    elif last["percent_lo"] <= 2.0 <= last["percent_hi"]:
        told.append("the interval includes 2 %")
    start, end = WINDOW
    first = next((r["step"] for r in curve if counted(r) and r["percent_hi"] <= 2.0), None)
    if first is not None and first < start:
        told.append(f"first at most 2 % at step {first:.0f}, before the paper's window begins")
    elif first is None and last["step"] < end:
        told.append(f"the run ends at step {last['step']:.0f}, before the window does")
    return told


def _lowest(curve: list[dict]) -> list[str]:
    """The lowest percentage that counts, and a lower one that does not."""
    lowest, best, told = min(curve, key=lambda r: r["percent"]), dip(curve), []
    if best is None:
        told.append("no step counts")
    else:
        told.append(
            f"lowest that counts {best['percent']:.3g} % at step {best['step']:.0f} "
            f"({against_text(best)}), last / lowest {curve[-1]['percent'] / best['percent']:.2f}"
        )
    if not counted(lowest):
        where = f"{lowest['percent']:.3g} % at step {lowest['step']:.0f}"
        told.append(f"the lowest, {where}, does not count: {against_text(lowest)}")
    return told


def _published(last: dict, paper: list[dict]) -> tuple[str, list[str]]:
    """What the paper has of this, and how ours compares."""
    task = last["task"]
    if task == "voxels":
        return _published_voxels(last, paper)
    steps = _milestones(paper, task, last["condition"], "first_step_le_2_percent")
    counted_in = "row of its log" if task == "flow" else "step"
    return ("" if not steps else f"<= 2 % first at {counted_in} {range_text(steps, figures=6)}"), []


def _published_voxels(last: dict, paper: list[dict]) -> tuple[str, list[str]]:
    wanted = ("voxels", "model-111M", "percent_published")
    points = [r for r in paper if (r["task"], r["run"], r["quantity"]) == wanted]
    if not points:
        return "", []
    lowest, end = min(r["percent"] for r in points), points[-1]["percent"]
    told = [f"last / the paper's last {last['percent'] / end:.2g}"]
    at_dip, zero = (
        published_number(paper, "voxels", quantity, run="model-111M")
        for quantity in ("total_at_dip", "zero_predictor_estimate")
    )
    if at_dip and zero:
        told.append(
            f"the paper's lowest stands at about {at_dip / zero:.2g} x its zero predictor (estimated)"
        )
    return f"{lowest:.2g} % at the lowest, {end:.3g} % at the end (111M, sigma 0.9)", told


def break_even(curve: list[dict]) -> float | None:
    """Step at which the twirled loss first reaches the last total, by interpolation in log step and log loss;
    None if nothing was learned.

    The last step over this one is how many times dearer per step an exactly equivariant model with the same
    twirled curve may be before it loses.
    """
    last = curve[-1]
    if not counted(last):
        return None
    for a, b in zip(curve[:-1], curve[1:]):
        if 0 < b["twirled"] <= last["total"] < a["twirled"] and a["step"] > 0:  # estimates may be negative
            share = share_of_the_way(a["twirled"], b["twirled"], last["total"])
            return a["step"] * (b["step"] / a["step"]) ** share
    return None


def _ends_of(rows: list[dict], runs: list[str]) -> list[dict]:
    """Last rows of runs under each condition, where they have an equivariance to learn."""
    curves = (tables.curve(rows, run, condition=c) for run in runs for c in tables.main_conditions(rows, run))
    return [curve[-1] for curve in curves if not exact(curve[-1])]


def _beside(rows: list[dict], last: dict) -> str:
    """The exactly equivariant run of the task with as many steps, if there is one."""
    for run in tables.runs([r for r in rows if r["task"] == last["task"]]):
        curve = tables.curve(rows, run, condition=last["condition"])
        if not curve:  # measured at other flow times
            continue
        end = curve[-1]
        same_items = (end["zero_loss"], end["n_items"]) == (last["zero_loss"], last["n_items"])
        if end["step"] == last["step"] and same_items and exact(end):
            ratio = end["total"] / last["total"]
            return f"{run}, exactly equivariant, ends at {ratio:.3g} x its loss at that step, one seed each"
    return "no equivariant model was trained for as many steps on these data"


def c10(rows: list[dict], points: dict) -> list[dict]:
    """Per task, from the runs that are no points of an axis, or else the references of those: the largest
    counted share of the loss that a perfectly equivariant model of the same twirled error would save; beside
    it, where a control of it was trained, its total loss at as many steps.

    `not testable at this scale`, because who wins at equal time needs equivariant models trained beside
    these, which no config declares; `not run` without a counted run.
    """
    result = []
    for task in dict.fromkeys(r["task"] for r in rows):
        names = tables.runs([r for r in rows if r["task"] == task])
        references = [run for run in names if run in points and points[run]["reference"] == run]
        found = _ends_of(rows, [run for run in names if run not in points]) or _ends_of(rows, references)
        ends = [last for last in found if counted(last)]
        if not ends:
            result.append(
                claim_row(
                    "C10", NOT_RUN, f"the last step of no {task} run counts", place=f"discussion, {task}"
                )
            )
            continue
        most = max(ends, key=lambda r: r["percent"])
        told = (
            f"exact equivariance at the same twirled error could save at most {most['percent']:.3g} % of "
            f"the loss (total {most['total']:.3g}, twirled {most['twirled']:.3g})"
        )
        conditions = (
            f"{told}: {place_of(most['run'], most['condition'])}, step {most['step']:.0f}, the largest of "
            f"{len(ends)}"
        )
        if step := break_even(tables.curve(rows, most["run"], condition=most["condition"])):
            conditions += (
                f"; an equivariant model with its twirled curve has the last total at step {step:.0f} and "
                f"wins only if a step costs less than {most['step'] / step:.2f} x"
            )
        conditions += f"; {_beside(rows, most)}"
        result.append(
            claim_row(
                "C10",
                UNTESTABLE,
                conditions,
                percent_and_ends(most),
                place=f"discussion, {task}",
            )
        )
    return result
