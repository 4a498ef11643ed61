"""The paper's claims, and a question of ours (C11): a row per run or axis, with verdicts computed from tables
by the rules of ``verdicts`` and of each function's docstring.
"""

from equidyn.results import tables
from equidyn.results.claims.axes import c3_to_c6
from equidyn.results.claims.curvature import c7
from equidyn.results.claims.curves import c1, c2, c10
from equidyn.results.claims.efficiency import c10_compared, compared_tasks
from equidyn.results.claims.gradients import c8
from equidyn.results.claims.head import c9
from equidyn.results.claims.plateau import c11
from equidyn.results.claims.poses import c2_poses
from equidyn.results.claims.replicates import of_seeds, of_times, replicated
from equidyn.results.claims.rows import STATEMENTS, claim_row
from equidyn.results.verdicts import NOT_RUN


def claims(
    rows: list[dict],
    paper: list[dict],
    points: dict | None = None,
    more: dict[str, list[dict]] | None = None,
    comparisons: dict | None = None,
) -> list[dict]:
    """Rows of ``columns.CLAIMS`` for the claims C1 to C11, in this order; a claim without data has one row,
    `not run`.

    Parameters
    ----------
    rows : decomposition tables
    paper : the paper's numbers
    points : what the runs of the matrix stand for, as of ``config.expand``
    more : rows of the tables ``gradients``, ``curvature``, ``head`` and ``timing`` of all runs that have them
    comparisons : those of the config
    """
    points, more, comparisons = points or {}, more or {}, comparisons or {}
    result = [c1(rows)]
    for point in replicated(tables.runs(rows), points):
        found = [row for run in point.runs for row in _c2_of_run(rows, run, paper, len(point.runs))]
        result += [of_seeds(found)] if found else []
    result += c2_poses(rows, points)
    result += c3_to_c6(rows, paper, points)
    result += c7(rows, paper, more.get("curvature", []))
    result += c8(rows, paper, more.get("gradients", []), points)
    result += c9(rows, paper, more.get("head", []), points)
    result += c10_compared(rows, points, comparisons, more.get("timing", []))
    alone = {row["task"] for row in rows} - compared_tasks(rows, comparisons)
    result += c10([row for row in rows if row["task"] in alone], points)
    result += c11(rows, paper, points)
    missing = set(STATEMENTS) - {r["claim"] for r in result}
    result += [claim_row(claim, NOT_RUN, "needs runs that this config does not declare") for claim in missing]
    return sorted(result, key=lambda r: int(r["claim"][1:]))


def _c2_of_run(rows: list[dict], run: str, paper: list[dict], n_seeds: int) -> list[dict]:
    """The one C2 row of a run; none for a control."""
    # self-conditioning on is a second look at the same model
    times = tables.main_conditions(rows, run)
    found = [row for c in times for row in c2(tables.curve(rows, run, condition=c), paper, n_seeds)]
    return [of_times(found)] if found else []
