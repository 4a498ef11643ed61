"""Tables as figures and claims read them."""

from common import REPOSITORY

from equidyn.results import tables


def test_the_papers_curves_run_forward():
    rows = tables.read_paper(REPOSITORY / "resources/paper_milestones.csv")
    curves = {}
    for row in rows:
        curves.setdefault((row["task"], row["run"], row["quantity"]), []).append(row["step"])
    assert len(curves) > 50 and all(steps == sorted(set(steps)) for steps in curves.values())
