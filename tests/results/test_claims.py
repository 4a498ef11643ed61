import math

import pytest
from test_verdicts import BAD, GOOD, TRAP, against, row

from equidyn.results.claims.curves import break_even, c1
from equidyn.results.claims.replicates import of_seeds, worst_of
from equidyn.results.claims.table import claims
from equidyn.results.verdicts import FAILS, UNTESTABLE, VERDICTS


def test_table_has_all_claims_and_sees_a_broken_sum():
    rows = [row(1, 20, 3), row(10, 1, 0.5)]
    table = {r["claim"]: r for r in claims(rows, [])}
    assert set(table) == {f"C{i}" for i in range(1, 12)} and table["C1"]["verdict"] == "holds"
    broken = [{**rows[0], "twirled": 1.01 * rows[0]["twirled"]}, rows[1]]
    assert claims(broken, [])[0]["verdict"] == "does not hold here"
    assert (
        claims([{**rows[0], "percent": math.nan}, rows[1]], [])[0]["verdict"] == "does not hold here"
    )  # not measurable at every checkpoint


def test_an_exactly_equivariant_control_is_no_evidence():
    control = [{**row(1, 1e-9, 0.5, "control"), "floor": 1e-11}]
    assert not [
        r
        for r in claims([row(1, 1, 0.5), *control], [])
        if r["claim"] == "C2" and "control" in r["conditions"]
    ]


def test_what_exact_equivariance_could_gain():
    (found,) = [r for r in claims(GOOD, []) if r["claim"] == "C10"]
    assert found["verdict"] == "not testable at this scale" and found["ours"] == 1
    (found,) = [r for r in claims(TRAP, []) if r["claim"] == "C10"]
    assert found["verdict"] == "not run" and found["ours"] == ""


@pytest.mark.parametrize("slope", [0.5, 1.0, 2.0])
def test_break_even_of_a_power_law(slope):
    curve = [
        row(step, 10, 0.9 * step**-slope) for step in (1, 3, 10, 30, 100)
    ]  # twirled is 0.9 x total, hence ahead by a factor 0.9 ** (1 / slope) in steps
    assert break_even(curve) == pytest.approx(100 * 0.9 ** (1 / slope))
    assert break_even([row(step, 10, 2 * step**-0.1) for step in (1, 3, 10)]) is None


def test_every_verdict_is_one_of_five_words_and_a_dip_above_zero_is_named():
    table = claims([row(1, 0.02, 1.01), row(10, 3, 0.5)], [])
    assert {r["verdict"] for r in table} <= set(VERDICTS) and [
        r["verdict"] for r in table if r["claim"] in ("C3", "C4", "C5", "C6", "C7", "C8", "C9")
    ] == ["not run"] * 7
    (found,) = [r for r in table if r["claim"] == "C2"]
    assert (
        "the lowest, 0.02 % at step 1, does not count: total 1.010 x the zero predictor"
        in found["conditions"]
    )


@pytest.mark.parametrize("task, condition", [("forces", ""), ("flow", "t=0.4")])
def test_steps_are_not_compared_with_rows_of_a_log(task, condition):
    """The paper's flow curves count rows of a log: no ratio of steps, and said so."""
    rows = [{**r, "task": task, "condition": condition, "run": "r"} for r in GOOD]
    paper = [
        dict(task=task, run=f"default-rep1 {condition}".strip(), step=5.0, percent=2.0)
        | dict(quantity=f"first_step_le_{percent}_percent")
        for percent in (10, 5, 2, 1)
    ]
    (found,) = [r for r in claims(rows, paper) if r["claim"] == "C2"]
    assert ("x the paper's" in found["conditions"]) == (task == "forces")
    assert ("row of its log" in found["paper"]) == (task == "flow")


def test_flow_times_of_a_run_are_one_row():
    """Judged by those that can be: a time that is its linear denoiser neither helps nor harms."""

    def found(**curves):
        rows = [
            {**r, "task": "flow", "run": "flow", "condition": f"t={name}"}
            for name, curve in curves.items()
            for r in curve
        ]
        (only,) = [r for r in claims(rows, []) if r["claim"] == "C2"]
        return only

    linear = [against(r, r["total"]) for r in GOOD]
    judged = found(a=linear, b=GOOD)
    assert judged["verdict"] == "holds" and judged["conditions"].startswith("1 of 2 flow times can be judged")
    assert found(a=linear, b=linear)["verdict"] == "not testable at this scale"
    long = [*BAD, row(10_000, 8, 0.4)]
    assert found(a=GOOD, b=long, c=GOOD)["verdict"] == "does not hold here"
    assert found(a=GOOD, b=BAD)["ours"] == BAD[-1]["percent"]


def test_the_worst_verdict_brings_its_own_number():
    """Not the largest number of another row."""
    rows = [
        dict(verdict=v, ours=x, statement="s", conditions="c") for v, x in (("holds", 1.05), (FAILS, 0.6))
    ]
    assert worst_of(rows) == rows[1]
    one = of_seeds([*rows, dict(verdict=UNTESTABLE, ours=9.0, statement="s", conditions="c")])
    assert one["ours"] == 0.6 and one["statement"] == "s (2 of 3 seeds, the others cannot be judged)"


def test_a_model_without_any_error_has_terms_that_add_up():
    exact = [r | dict(total=0.0, twirled=0.0, equivariance=0.0, percent=0.0) for r in GOOD]
    assert c1(exact)["verdict"] == "holds"


def test_runs_measured_at_other_flow_times_are_not_compared():
    rows = [
        {**r, "run": run, "task": "flow", "condition": c}
        for r in GOOD
        for run, c in zip("ab", ("t=1", "t=2"))
    ]
    (found,) = [r for r in claims(rows, []) if r["claim"] == "C10"]
    assert "no equivariant model was trained" in found["conditions"]
