import math

import pytest
from scipy import stats
from test_verdicts import BAD, GOOD, TRAP, against, row

from equidyn.results.claims.curves import break_even, c1
from equidyn.results.claims.replicates import mean_over_seeds, of_seeds, worst_of
from equidyn.results.claims.table import claims
from equidyn.results.verdicts import DIP, FAILS, INCONCLUSIVE, UNTESTABLE, VERDICTS


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


def named(run, curve, **more):
    return [{**r, "run": run, **more} for r in curve]


def of_claim(claim, rows, paper=(), points=None):
    (found,) = [r for r in claims(rows, list(paper), points) if r["claim"] == claim]
    return found


def test_the_most_that_equivariance_could_gain_is_that_of_no_point_of_an_axis():
    rows = named("a", GOOD) + named("b", BAD) + named("c", [row(10, 20, 0.5)])
    points = {"c": dict(group="g", axes={"model.size": "x"}, reference="a", reference_axes={})}
    found = of_claim("C10", rows, points=points)
    assert (found["ours"], found["lo"], found["hi"]) == pytest.approx((8, 7.2, 8.8))
    assert "the largest of 2" in found["conditions"] and "run b" in found["conditions"]


def test_an_exact_run_is_beside_what_was_trained_for_as_many_steps():
    control = [{**row(step, 1e-9, ratio), "floor": 1e-11} for step, ratio in ((5, 0.3), (10, 0.25))]
    found = of_claim("C10", named("a", GOOD) + named("control", control))
    assert "control, exactly equivariant, ends at 0.5 x its loss" in found["conditions"]
    found = of_claim("C10", named("a", GOOD) + named("control", control[:1]))
    assert "no equivariant model was trained for as many steps" in found["conditions"]
    elsewhere = named("control", control, zero_loss=0.02)
    found = of_claim("C10", named("a", GOOD) + elsewhere)
    assert "no equivariant model was trained for as many steps on these data" in found["conditions"]


def test_where_all_runs_are_points_their_references_are_asked():
    rows = named("a", GOOD) + named("b", BAD)
    points = {
        run: dict(group="g", axes={"model.size": run}, reference="a", reference_axes={}) for run in ("a", "b")
    }
    control = [{**row(10, 1e-9, 0.3, "control"), "floor": 1e-11}]
    for more in ([], control):
        found = of_claim("C10", rows + more, points=points)
        assert found["ours"] == 1 and "the largest of 1" in found["conditions"]


def test_a_row_of_c2_has_the_last_percentage_with_its_interval():
    found = of_claim("C2", GOOD)
    assert (found["ours"], found["lo"], found["hi"]) == pytest.approx((1, 0.9, 1.1))


def test_voxel_runs_are_compared_with_the_papers_lowest_and_last():
    rows = named("v", GOOD, task="voxels", rotations="cube")
    common = dict(task="voxels", run="model-111M", quantity="percent_published")
    paper = [dict(common, step=step, percent=percent) for step, percent in ((1, 3.0), (2, 0.25), (3, 0.5))]
    found = of_claim("C2", rows, paper)
    assert "last / the paper's last 2" in found["conditions"]
    assert found["paper"].startswith("0.25 % at the lowest, 0.5 % at the end")


@pytest.mark.parametrize("values", [(1.0, 2.0, 4.0), (0.3, 0.31, 0.29, 0.3, 0.5)])
def test_the_interval_over_seeds_is_that_of_students_test(values):
    found, ends = mean_over_seeds(list(values)), stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert found == pytest.approx((sum(values) / len(values), ends.low, ends.high))


def test_what_is_inconclusive_is_worse_than_what_holds_at_the_dip():
    rows = [dict(verdict=v, ours=1.0, statement="s", conditions="c") for v in (DIP, INCONCLUSIVE)]
    assert worst_of(rows)["verdict"] == INCONCLUSIVE


@pytest.mark.parametrize("share", [0.1, 0.6])
@pytest.mark.parametrize("slope", [0.5, 1.0, 2.0])
def test_break_even_of_a_power_law(slope, share):
    curve = [
        row(step, 100 * share, 0.9 * step**-slope) for step in (1, 3, 10, 30, 100)
    ]  # twirled is (1 - share) x total, hence ahead by a factor (1 - share) ** (1 / slope) in steps
    assert break_even(curve) == pytest.approx(100 * (1 - share) ** (1 / slope))
    assert break_even([row(step, 10, 2 * step**-0.1) for step in (1, 3, 10)]) is None


@pytest.mark.parametrize("percent", [100, 101])
def test_a_twirled_error_that_is_estimated_as_nothing_breaks_no_table(percent):
    """Estimates from few items may be negative."""
    assert break_even([row(1, 20, 3), row(3, percent, 0.6), row(10, 60, 0.5)]) is None


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
    assert ("2 %: 10, 2 x the paper's" in found["conditions"]) == (task == "forces")
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
