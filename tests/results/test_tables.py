"""Tables as figures and claims read them."""

from common import REPOSITORY
from test_verdicts import row

from equidyn.results import tables


def test_the_papers_curves_run_forward():
    rows = tables.read_paper(REPOSITORY / "resources/paper_milestones.csv")
    curves = {}
    for found in rows:
        curves.setdefault((found["task"], found["run"], found["quantity"]), []).append(found["step"])
    assert len(curves) > 50 and all(steps == sorted(set(steps)) for steps in curves.values())


def test_conditions_are_those_of_every_checkpoint():
    """A task of one's own may call them as it likes; its rotations off a grid stand under none."""
    mine = [{**row(1, 5, 0.5), "task": "mine", "condition": c} for c in ("gas", "disc", "gas,sc")]
    off = [{**row(1, 5, 0.5), "task": "mine", "rotations": "haar-off", "condition": ""}]
    assert tables.main_conditions(mine + off, "r") == ["gas", "disc"]
