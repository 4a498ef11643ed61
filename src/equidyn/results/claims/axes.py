"""C3 to C6: whether the outcome depends on model size, training-set size, optimizer, or seed."""

from equidyn.results import tables
from equidyn.results.claims.rows import STATEMENTS, against_text, claim_row, place_of, range_text
from equidyn.results.verdicts import (
    agree,
    robust,
    verdict,
)

AXES = {
    "model.size": "C3",
    "training.n_train": "C4",
    "training.optimizer": "C5",
    "training.lr": "C5",
    "seed": "C6",
}
PUBLISHED = {
    "C3": ("param-", "model-", "default"),
    "C4": ("train-", "data-", "default", "model-111M"),
    "C5": ("lr-", "SGD", "default"),
    "C6": ("default",),
}


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
    return [
        max(rows, key=lambda r: (r["quantity"] == "last", r["step"]))["percent"] for rows in found.values()
    ]


def c3_to_c6(rows: list[dict], paper: list[dict], points: dict) -> list[dict]:
    """C3 to C6: a row per claim, reference run and condition.

    ours: the largest last percentage; lo, hi: the smallest and largest end of all intervals.
    """
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
            curves = {
                run: curve
                for run, curve in curves.items()
                if curve and curve[-1]["equivariance"] > 10 * curve[-1]["floor"]
            }
            if reference not in curves:
                continue
            ends = [curve[-1] for curve in curves.values()]
            published = _published_last(paper, claim, ends[0]["task"], condition)
            worst = max(r["percent"] for r in ends)
            told = "; ".join(f"{_label(members[run])}: {_end(curve)}" for run, curve in curves.items())
            conditions = (
                f"{len(curves)} points around {place_of(reference, condition)}: {told}; largest / "
                f"smallest "
                f"at the end {worst / min(r['percent'] for r in ends):.2g}"
            )
            if missing := [run for run in members if run not in curves]:
                conditions += f"; without {', '.join(missing)}"
            if published:
                conditions += f"; largest / the paper's largest {worst / max(published):.2g}"
            judged = (agree if claim == "C6" else robust)(list(curves.values()))
            lo, hi, place = (
                min(r["percent_lo"] for r in ends),
                max(r["percent_hi"] for r in ends),
                f"{STATEMENTS[claim][1]}, {ends[0]['task']}",
            )
            result.append(
                claim_row(
                    claim,
                    judged,
                    conditions,
                    worst,
                    lo,
                    hi,
                    range_text(published, " % at the end"),
                    place=place,
                )
            )
    return result


def _beside(point: dict, claim: str) -> bool:
    """Whether a point of the matrix differs from its reference along the axes of a claim alone."""
    at = point.get("reference_axes", {})
    return all(value == at.get(axis) for axis, value in point["axes"].items() if AXES.get(axis) != claim)


def _label(axes):
    return ", ".join(f"{axis.split('.')[-1]} {value}" for axis, value in axes.items())


def _end(curve):
    return f"{curve[-1]['percent']:.3g} %, {against_text(curve[-1])} ({verdict(curve)})"
