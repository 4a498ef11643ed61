"""The report's first sentences on a task: how much of the loss is broken symmetry, does that count, and is
symmetry learned ahead of the task?
"""

import re
from collections import Counter
from dataclasses import dataclass

from equidyn.results import tables
from equidyn.results.claims.plateau import published_changes, published_paths
from equidyn.results.claims.rows import STATEMENTS, percent_text, range_text
from equidyn.results.labels import LABEL
from equidyn.results.verdicts import UNTESTABLE, counted, exact
from equidyn.symmetry.limits import LEARNED

AHEAD_PLACE = STATEMENTS["C11"][1]
MANY = 6  # numbers in one sentence; of more, the lowest and the highest


@dataclass(frozen=True)
class Part:
    """Words of a sentence; with the run whose table they come from, if they are a number."""

    text: str
    run: str = ""


def answer(rows: list[dict], task: str) -> list[Part]:
    """The sentences on a task, from the last step of every run, live weights."""
    last = [
        tables.curve(rows, run, condition=condition)[-1]
        for run in tables.runs([r for r in rows if r["task"] == task])
        for condition in tables.main_conditions(rows, run)
    ]
    tied = [r for r in last if exact(r)]
    counting = [r for r in last if counted(r) and r not in tied]
    told = [r for r in counting if r["percent_lo"] > 0]
    unsure = [r for r in counting if r not in told]
    rest = [r for r in last if not counted(r) and r not in tied]
    parts = _numbers(told) if told else []
    if not counting and rest:
        parts = [Part("No percentage counts: no run learned enough to tell.")]
    if unsure:
        parts.append(Part(f"{' ' * bool(told)}Not told apart from none: "))
        for k, row in enumerate(unsure):
            parts += [Part(f"{', ' * (k > 0)}{_name(row)}, "), Part(percent_text(row), row["run"])]
        parts.append(Part("."))
    if rest and counting:
        parts.append(Part(f" Not learned enough to tell: {_names(rest)}."))
    if tied:
        parts.append(Part(f"{' ' * bool(parts)}Exactly equivariant, to rounding: {_names(tied)}."))
    return parts


def ahead(claims: list[dict], task: str) -> str:
    """The verdicts on C11 for the live weights of a task's runs, in a sentence; empty without any.

    Parameters
    ----------
    claims : rows of ``claims.csv``
    """
    found = [r for r in claims if r["claim"] == "C11" and r["place"] == f"{AHEAD_PLACE}, {task}, live"]
    if not found:
        return ""
    if all(r["verdict"] == UNTESTABLE for r in found):
        return "Whether it falls as the loss does cannot be told from so few seeds or steps."
    if len(found) > MANY:
        counts = Counter(r["verdict"] for r in found)
        told = ", ".join(f"{verdict} ({n})" for verdict, n in counts.items())
        return f"Is equivariance learned ahead of the task? {told}."
    told = "; ".join(_ahead_of(r) for r in found)
    return f"Is equivariance learned ahead of the task, so that this share falls as the loss does? {told}."


def of_the_paper(paper: list[dict], task: str) -> str:
    """How the share changed in the paper's own runs, over losses that would count, where it published both
    numbers; else nothing.
    """
    paths = published_paths(paper, task)
    changes = published_changes(paper, task, "")
    if not changes:
        return ""
    rising = sum(change > 1 for change in changes)
    ends = [float(percent[-1]) for loss, percent in paths.values() if loss[-1] < LEARNED]
    curves = "curves" if task == "flow" else "runs"
    return (
        f"The paper's own {curves}: times {range_text(changes)} as the loss halves, upwards in {rising} of "
        f"{len(changes)}, then {range_text(ends)} %."
    )


def _ahead_of(row: dict) -> str:
    name = re.search(r"run ([\w.-]+)", row["conditions"])
    said = f"{name[1] if name else '?'}: {row['verdict']}"
    if row["lo"]:
        ours, lo, hi = (float(row[key]) for key in ("ours", "lo", "hi"))
        said += f" (times {ours:.2g} [{lo:.2g}, {hi:.2g}] as the loss halves)"
    return said


def _numbers(told: list[dict]) -> list[Part]:
    """``Broken symmetry makes 0.4 % [0.3, 0.5] of the held-out loss of forces, …``"""
    if len(told) > MANY:
        low, high = (end(told, key=lambda r: r["percent"]) for end in (min, max))
        parts = [Part("Broken symmetry makes from "), Part(percent_text(low), low["run"])]
        parts += [Part(f" ({_name(low)}) to "), Part(percent_text(high), high["run"])]
        return [*parts, Part(f" ({_name(high)}) of the held-out loss where it counts, {len(told)} curves.")]
    parts = [Part("Broken symmetry makes ")]
    for k, row in enumerate(told):
        of = " of the held-out loss of " if k == 0 else " of "
        parts += [Part(percent_text(row), row["run"]), Part(f"{of}{_name(row)}")]
        parts.append(Part(", " if k < len(told) - 1 else "."))
    return parts


def _name(row: dict) -> str:
    """The run with its flow time, or with what it is."""
    if row["condition"]:
        return f"{row['run']} at {row['condition']}"
    return f"{row['run']} ({LABEL[row['run']]})" if row["run"] in LABEL else row["run"]


def _names(rows: list[dict]) -> str:
    names = [_name(r) for r in rows]
    if len({r["run"] for r in rows}) == 1 and rows[0]["condition"]:
        names = [f"{rows[0]['run']} at {', '.join(r['condition'] for r in rows)}"]
    return ", ".join(names[:MANY]) + (f" and {len(names) - MANY} more" if len(names) > MANY else "")
