"""What the rows of all claims share: statements, columns, and the words for runs, spans and published
numbers.
"""

from collections.abc import Iterable
from typing import Any

from equidyn.data.poses import SURE
from equidyn.results import tables
from equidyn.results.verdicts import WINDOW, counted, exact

WINDOW_TEXT = "-".join(f"{step // 1000}k" for step in WINDOW)
STATEMENTS = {
    "C1": ("total loss = twirled error + equivariance error, measurable at every checkpoint", "definition"),
    "C2": (
        f"equivariance error falls to <= 2 % of held-out loss within {WINDOW_TEXT} steps",
        "percent curves",
    ),
    "C3": ("robust to model size", "percent curves by model size, 1M to 400M"),
    "C4": ("robust to training-set size", "percent curves by training-set size, 500 to 1M"),
    "C5": ("robust to optimizer and learning rate", "percent curves by optimizer"),
    "C6": ("replicates agree", "percent curves of three replicates"),
    "C7": (
        "equivariance has the better-conditioned landscape (trace over largest eigenvalue is larger)",
        "loss landscapes",
    ),
    "C8": (
        "gradient of the equivariance term is small and tracks the percentage",
        "gradient-norm ratio against percent",
    ),
    "C9": (
        "equivariance error is quadratic in the deviation of the head from equivariance",
        "variance of the force head",
    ),
    "C10": ("the penalty is small, so a non-equivariant model may win per GPU-hour", "discussion"),
    "C11": (
        "symmetry is learned ahead of the task: the percentage falls by a fifth or more as the loss halves",
        "percent against loss",
    ),
}
MIN_CORRELATED = 5  # checkpoints
NOTHING = ("", "", "")  # in place of a number and its interval


def against_text(row: dict) -> str:
    """Total loss in units of what predicts nothing learned."""
    told = f"total {row['total'] / row['zero_loss']:.3f} x the zero predictor"
    if row["baseline"] != "zero":
        told += (
            f", {row['baseline_ratio']:.3f} [{row['baseline_ratio_lo']:.3f}, "
            f"{row['baseline_ratio_hi']:.3f}] x {row['baseline']}"
        )
    return told


def percent_and_ends(row: dict) -> tuple[float, float, float]:
    """A percentage and the ends of its interval."""
    return row["percent"], row["percent_lo"], row["percent_hi"]


def percent_text(row: dict) -> str:
    """A percentage with its interval."""
    return f"{row['percent']:.3g} % [{row['percent_lo']:.3g}, {row['percent_hi']:.3g}]"


def poses_text(row: dict) -> str:
    """A sentence's end where training could not show rotations to the network; else nothing."""
    if row["augment"] > 0 or not row["pose_deviation"] > SURE:
        return ""
    return (
        f"trained without augmentation on aligned poses ({row['pose_deviation']:.0f} standard deviations "
        f"from isotropic)"
    )


def claim_row(
    claim: str,
    verdict: str,
    conditions: str,
    ours: Iterable[float | str] = NOTHING,
    *,
    paper: object = "",
    statement: str | None = None,
    place: str | None = None,
) -> dict:
    """A row of ``columns.CLAIMS``; statement and place are those of ``STATEMENTS`` unless given.

    Parameters
    ----------
    ours : a number and the ends of its 95 % interval, empty texts for what there is not
    paper : what was published
    """
    value, lo, hi = ours
    known, where = STATEMENTS[claim]
    return dict(
        claim=claim,
        statement=statement or known,
        place=place or where,
        paper=paper,
        ours=value,
        lo=lo,
        hi=hi,
        verdict=verdict,
        conditions=conditions,
    )


def place_of(run: str, condition: str) -> str:
    """``run forces, t=0.9``."""
    return f"run {run}" + (f", {condition}" if condition else "")


def range_text(values: list[float], unit: str = "", figures: int = 3) -> str:
    """``0.5-2 %`` of values from 0.5 to 2, one number where they are equal, nothing where there are none."""
    if not values:
        return ""
    return (
        f"{min(values):.{figures}g}"
        + (f"-{max(values):.{figures}g}" if max(values) > min(values) else "")
        + unit
    )


def counted_rows(rows: list[dict], run: str, condition: str) -> dict[float, dict]:
    """Step → row of the run's curve, where its percentage counts."""
    return {r["step"]: r for r in tables.curve(rows, run, condition=condition) if counted(r)}


def curves_of(rows: list[dict], runs: list[str], condition: str, **which: str) -> list[list[dict]]:
    """Curves (``which`` as of ``tables.curve``) of runs that have an equivariance to learn at their end."""
    curves = [tables.curve(rows, run, condition=condition, **which) for run in runs]
    return [c for c in curves if c and not exact(c[-1])]


def groups_of(table: list[dict]) -> list[tuple[str, str]]:
    """Runs with their conditions, in order of appearance."""
    return list(dict.fromkeys((r["run"], r.get("condition", "")) for r in table))


def published_number(
    paper: object, task: Any, quantity: str, condition: str = "", run: str = ""
) -> float | None:
    """A published number other than a percentage; None if there is none."""
    found = [r for r in paper if (r["task"], r["quantity"]) == (task, quantity) and r["run"].startswith(run)]
    return next((r["percent"] for r in found if not condition or r["run"].endswith(f" {condition}")), None)
