"""C1, C2 and C10: what the curves of single runs say."""

import math

import numpy as np

from equidyn.results import tables
from equidyn.results.claims.rows import (
    against_text,
    claim_row,
    place_of,
    poses_text,
    published_number,
    range_text,
)
from equidyn.results.verdicts import (
    DIP,
    FAILS,
    HOLDS,
    INCONCLUSIVE,
    LEARNED,
    NOT_RUN,
    UNTESTABLE,
    counted,
    dip,
    first_step,
    verdict,
)


def additive(rows: list[dict]) -> float:
    """Largest |total − twirled − equivariance| relative to the total, over all rows; nan where a term or
    percentage of any row is.
    """
    gaps = [abs(r["total"] - r["twirled"] - r["equivariance"]) / r["total"] + 0 * r["percent"] for r in rows]
    return float(np.max(gaps))


def c1(rows: list[dict]) -> dict:
    """`holds` if every row has a percentage and its terms add up to 1e-12; else `does not hold here`."""
    gap = additive(rows)
    conditions = (
        f"exact by construction; largest relative gap over {len(rows)} rows as written, all of which have "
        f"a percentage"
    )
    statement = "total loss = twirled error + equivariance error, measurable at every checkpoint"
    return dict(
        claim="C1",
        statement=statement,
        place="definition",
        paper="exact",
        ours=gap,
        lo="",
        hi="",
        verdict=HOLDS if gap < 1e-12 else FAILS,
        conditions=conditions,
    )


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


def c2(curve: list[dict], paper: list[dict]) -> list[dict]:
    """The row of one curve; none for a model within ten times its numerical floor, which has no equivariance
    to learn.
    """
    last, lowest, best = curve[-1], min(curve, key=lambda r: r["percent"]), dip(curve)
    if last["equivariance"] <= 10 * last["floor"]:
        return []
    task, drawn = last["task"], "Haar" if last["rotations"] == "haar" else "cube"
    conditions = (
        f"{place_of(last['run'], last['condition'])}, step {last['step']:.0f}, "
        f"{against_text(last)}, "
        f"{last['n_items']:.0f} items x {last['n_rotations']:.0f} {drawn} rotations, {last['weights']} "
        f"weights, one seed"
    )
    if poses := poses_text(last):
        conditions += f"; {poses}"
    if not counted(last):
        conditions += f"; the last step does not count: total not below {LEARNED:g} x the best baseline"
    elif last["percent_lo"] <= 2.0 <= last["percent_hi"]:
        conditions += "; the interval includes 2 %"
    conditions += f"; {_levels(curve, paper)}"
    if best is None:
        conditions += "; no step counts"
    else:
        conditions += (
            f"; lowest that counts {best['percent']:.3g} % at step {best['step']:.0f} "
            f"({against_text(best)}), last / lowest {last['percent'] / best['percent']:.2f}"
        )
    if not counted(lowest):
        conditions += (
            f"; a dip to {lowest['percent']:.3g} % at step {lowest['step']:.0f} does not count: "
            f"{against_text(lowest)}"
        )
    steps = _milestones(paper, task, last["condition"], "first_step_le_2_percent")
    counted_in = "row of its log" if task == "flow" else "step"
    span = "" if not steps else f"<= 2 % first at {counted_in} {range_text(steps, figures=6)}"
    if task == "voxels" and (
        points := [
            r
            for r in paper
            if (r["task"], r["run"], r["quantity"]) == ("voxels", "model-111M", "percent_published")
        ]
    ):
        span = (
            f"{min(r['percent'] for r in points):.2g} % at the lowest, {points[-1]['percent']:.3g} % at "
            f"the end (111M, sigma 0.9)"
        )
        conditions += f"; last / the paper's last {last['percent'] / points[-1]['percent']:.2g}"
        at_dip, zero = (
            published_number(paper, "voxels", quantity, run="model-111M")
            for quantity in ("total_at_dip", "zero_predictor_estimate")
        )
        if at_dip and zero:
            conditions += (
                f"; the paper's lowest stands at about {at_dip / zero:.2g} x its zero predictor (estimated)"
            )
    statement = "equivariance error falls to <= 2 % of held-out loss within 1k-10k steps"
    return [
        dict(
            claim="C2",
            statement=statement,
            place=f"percent curves, {task}",
            paper=span,
            ours=last["percent"],
            lo=last["percent_lo"],
            hi=last["percent_hi"],
            verdict=verdict(curve),
            conditions=conditions,
        )
    ]


def of_times(found: list[dict]) -> dict:
    """The C2 rows of the flow times of a run as one: times of one network are no independent evidence.

    The verdict is the worst of the times that can be judged, in the order `does not hold here`,
    `inconclusive`, `holds only at the dip`, `holds`; `not testable at this scale` if none can. ours: the
    largest percentage of them, with its interval.
    """
    judged = [row for row in found if row["verdict"] != UNTESTABLE]
    worst = max(judged or found, key=lambda row: row["ours"])
    verdicts = {row["verdict"] for row in judged}
    verdict = next((v for v in (FAILS, INCONCLUSIVE, DIP, HOLDS) if v in verdicts), UNTESTABLE)
    told = f"{len(judged)} of {len(found)} flow times can be judged, the largest percentage of them here"
    conditions = " | ".join([told, *(f"{row['verdict']}: {row['conditions']}" for row in found)])
    published = "; ".join(dict.fromkeys(row["paper"] for row in found if row["paper"]))
    return {**worst, "verdict": verdict, "conditions": conditions, "paper": published}


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
        if b["twirled"] <= last["total"] < a["twirled"] and a["step"] > 0:
            share = math.log(a["twirled"] / last["total"]) / math.log(a["twirled"] / b["twirled"])
            return a["step"] * (b["step"] / a["step"]) ** share
    return None


def c10(rows: list[dict], points: dict) -> list[dict]:
    """Per task, from the runs that are no points of an axis: the largest counted share of the loss that a
    perfectly equivariant model of the same twirled error would save.

    `not testable at this scale`, because who wins at equal time needs equivariant models trained beside
    these, which no config declares; `not run` without a counted run.
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
        conditions += "; no equivariant model was trained for the same time"
        result.append(
            claim_row(
                "C10",
                UNTESTABLE,
                conditions,
                most["percent"],
                most["percent_lo"],
                most["percent_hi"],
                place=f"discussion, {task}",
            )
        )
    return result
