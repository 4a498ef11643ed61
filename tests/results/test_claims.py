import math

import numpy as np
import pytest
from common import REPOSITORY
from test_verdicts import BAD, GOOD, TRAP, against, row

from equidyn.results import tables
from equidyn.results.claims.curves import break_even
from equidyn.results.claims.dynamics import replicates
from equidyn.results.claims.statistics import correlation, effective_number
from equidyn.results.claims.table import claims
from equidyn.results.columns import CLAIMS
from equidyn.results.verdicts import VERDICTS


def test_table_has_all_ten_claims_and_sees_a_broken_sum():
    rows = [row(1, 20, 3), row(10, 1, 0.5)]
    table = {r["claim"]: r for r in claims(rows, [])}
    assert set(table) == {f"C{i}" for i in range(1, 11)} and table["C1"]["verdict"] == "holds"
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


def points(axis, reference, **values):
    return {
        run: dict(group="g", axes={axis: value}, reference=reference, reference_axes={axis: None})
        for run, value in values.items()
    }


def test_an_axis_has_a_row_with_the_reference_and_the_paper_beside_it():
    rows = [{**r, "run": run} for run in ("default", "few", "fewer") for r in GOOD] + [
        {**r, "run": "alone"} for r in BAD
    ]
    rows[-3]["percent_hi"] = 1.7
    paper = tables.read_paper(REPOSITORY / "resources/paper_milestones.csv")
    (found,) = [
        r
        for r in claims(rows, paper, points("training.n_train", "default", few=500, fewer=100))
        if r["claim"] == "C4"
    ]
    assert (
        list(found) == list(CLAIMS)
        and found["verdict"] == "holds"
        and (found["ours"], found["lo"], found["hi"]) == (1, 0.9, 1.7)
    )
    assert (
        "n_train all: 1 %" in found["conditions"]
        and "n_train 100" in found["conditions"]
        and "alone" not in found["conditions"]
    )
    assert found["paper"] == "0.0485-5.62 % at the end" and "the paper's largest 0.18" in found["conditions"]


def test_axes_of_flow_are_judged_per_time():
    rows = [
        {**against(r, 1.5), "run": run, "task": "flow", "condition": c}
        for run in "abc"
        for c in ("t=0", "t=0.4", "t=0.4,sc")
        for r in (BAD if (run, c) == ("c", "t=0.4") else GOOD)
    ]
    found = {
        r["conditions"].split(": ")[0]: r
        for r in claims(rows, [], points("seed", "a", b=1, c=2) | points("model.size", "a"))
        if r["claim"] == "C6"
    }
    assert [r["verdict"] for r in found.values()] == ["holds", "does not hold here"]
    assert all("x linear denoiser" in r["conditions"] for r in found.values())


def test_replicates_are_runs_that_differ_in_nothing_but_the_seed():
    """Of a product of sizes and seeds, each claim takes the runs beside the reference along its own axis."""
    rows = [{**r, "run": run} for run in ("a", "a2", "b", "b2") for r in (BAD if run[0] == "b" else GOOD)]
    grid = {
        run: dict(
            group="g",
            axes={"model.size": run[0], "seed": int(run[1:] or 1)},
            reference="a",
            reference_axes={"model.size": "a", "seed": 1},
        )
        for run in ("a", "a2", "b", "b2")
    }
    found = {r["claim"]: r["conditions"] for r in claims(rows, [], grid) if r["claim"] in ("C3", "C6")}
    assert found["C6"].startswith("2 points") and "b" not in found["C6"].split("2 points around run a: ")[
        1
    ].split("largest")[0].replace("holds only at the dip", "")
    assert found["C3"].startswith("2 points") and "size b" in found["C3"]


def curvature(ratios, run="r"):
    common = dict(
        run=run,
        task="forces",
        condition="",
        block="head",
        smallest_positive=1e-3,
        most_negative=-1e-4,
        threshold=1e-6,
        trace=1.0,
        n_parameters=96.0,
        method="lanczos",
        residual=1e-9,
        seconds=1.0,
    )
    return [
        {
            **common,
            "step": step,
            "term": term,
            "largest": 2.0,
            "condition_number": 10.0 * (ratio if term == "twirled" else 1),
        }
        for step, ratio in ratios.items()
        for term in ("twirled", "equivariance")
    ]


CURVE = [row(1, 20, 3), row(10, 1, 0.5), row(100, 3, 0.2)]


@pytest.mark.parametrize(
    "ratios, expected, ours",
    [
        ({1: 0.1, 10: 50, 100: 20}, "holds", 20),  # the first is above the zero-predictor loss
        ({10: 50, 100: 0.5}, "holds only at the dip", 0.5),
        ({10: 0.5, 100: 50}, "does not hold here", 50),
        ({10: 1 + 1e-12, 100: 1 + 1e-12}, "does not hold here", 1),  # equal but for rounding
        ({1: 50}, "not testable at this scale", ""),
        ({10: math.inf}, "not testable at this scale", ""),
    ],
)
def test_curvature(ratios, expected, ours):
    found, smooth = [
        r for r in claims(CURVE, [], more={"curvature": curvature(ratios)}) if r["claim"] == "C7"
    ]
    assert found["verdict"] == expected and found["ours"] == (ours if ours == "" else pytest.approx(ours))
    assert "largest eigenvalue" in smooth["statement"] and smooth["verdict"] == (
        "not testable at this scale" if 1 in ratios and len(ratios) == 1 else "does not hold here"
    )


@pytest.mark.parametrize(
    "change, why",
    [
        (dict(residual=1e-3), "not resolved"),
        (dict(most_negative=-0.1), "negative eigenvalues"),
        (dict(condition_number=1.9e6, smallest_positive=1.05e-6, most_negative=0.0), "1 / threshold"),
        (dict(smallest_positive=math.nan), "not resolved"),
    ],
)
def test_condition_numbers_that_say_nothing_are_no_evidence(change, why):
    table = [{**r, **change} for r in curvature({10: 50, 100: 20})]
    found = [r for r in claims(CURVE, [], more={"curvature": table}) if r["claim"] == "C7"][0]
    assert found["verdict"] == "not testable at this scale" and why in found["conditions"]


WOBBLE = [1, 4, 2, 8, 1, 6, 3, 9, 2, 5, 1, 7]  # neighbours unlike: as many independent points as there are


def gradients(ratio_of, percents):
    return [
        dict(
            run="r",
            task="forces",
            step=s,
            condition="",
            ratio=ratio_of(s, p),
            percent=p,
            cosine=0.0,
            n_items=8,
            n_rotations=4,
            seconds=1.0,
        )
        for s, p in enumerate(percents, 1)
    ]


@pytest.mark.parametrize(
    "ratio_of, percents, total, expected",
    [
        (lambda s, p: p / 10, WOBBLE, 0.5, "holds"),
        (lambda s, p: p, WOBBLE, 0.5, "does not hold here"),  # tracks, but is not small
        (lambda s, p: 0.5 / p, WOBBLE, 0.5, "does not hold here"),
        (lambda s, p: 0.1 + 0.01 * (s % 5), WOBBLE[:6], 0.5, "inconclusive"),
        (lambda s, p: p / 10, WOBBLE[:4], 0.5, "not testable at this scale"),  # four points
        (lambda s, p: p / 10, WOBBLE, 0.95, "not testable at this scale"),  # none counts
        (
            lambda s, p: 0.1 / s,
            [10 / s for s in range(1, 9)],
            0.5,
            "inconclusive",
        ),  # both fall steadily: hardly two independent points
    ],
)
def test_gradients(ratio_of, percents, total, expected):
    rows = [row(s, p, total) for s, p in enumerate(percents, 1)]
    found = [
        r for r in claims(rows, [], more={"gradients": gradients(ratio_of, percents)}) if r["claim"] == "C8"
    ]
    assert [r["verdict"] for r in found] == [expected] * 2


def test_series_whose_neighbours_resemble_each_other_are_worth_fewer_points():
    rng = np.random.default_rng(0)
    white, slow = rng.normal(size=400), np.cumsum(rng.normal(size=400))
    assert (
        effective_number(white, rng.normal(size=400)) > 390
        and effective_number(slow, np.cumsum(rng.normal(size=400))) < 20
    )
    series = []
    for _ in range(4000):  # autoregressive series: the variance of their correlation is 1 / effective number
        x = np.zeros((2, 60))
        for k, noise in enumerate(rng.normal(size=(60, 2))):
            x[:, k] = 0.7 * x[:, k - 1] + noise
        series.append(np.corrcoef(x)[0, 1])
    assert effective_number(*autoregressive(0.7, 20_000)) / 20_000 * 60 == pytest.approx(
        1 / np.var(series), rel=0.15
    )


def autoregressive(rho, n):
    rng, x = np.random.default_rng(1), np.zeros((2, n))
    for k, noise in enumerate(rng.normal(size=(n, 2))):
        x[:, k] = rho * x[:, k - 1] + noise
    return x


def test_correlation_interval_by_fishers_z():
    x, noise = np.random.default_rng(0).normal(size=(2, 28))
    r, lo, hi = correlation(x, x + noise)
    n = effective_number(x, x + noise)
    assert (
        r == pytest.approx(np.corrcoef(x, x + noise)[0, 1])
        and math.atanh(hi) - math.atanh(lo) == pytest.approx(2 * 1.96 / math.sqrt(n - 3))
        and lo < r < hi
    )
    assert correlation(x, x**3, "spearman")[0] == pytest.approx(1)
    _, lo, hi = correlation([1, 4, 2, 6, 3, 5], [1, 4, 2, 6, 3, 5], "spearman")
    assert lo < 0.9 < hi <= 1  # six points in the same order are no certainty


SLOPE = [dict(task="forces", run="x", quantity="slope_head_variance_equivariance", step=1.0, percent=10.5)]


@pytest.mark.parametrize(
    "lo, hi, expected",
    [
        (8, 12, "holds"),
        (0.9, 1.1, "does not hold here"),
        (30, 40, "does not hold here"),
        (4, 12, "inconclusive"),
    ],
)
def test_a_slope_replicates_within_a_factor_of_two(lo, hi, expected):
    assert replicates(lo, hi, 10.5) == expected


@pytest.mark.parametrize(
    "power, n, gap, expected",
    [
        (10, 8, 0.0, ("holds", "holds")),  # the paper's own points have slope 10.5
        (1, 8, 0.1, ("does not hold here", "does not hold here")),
        (10, 4, 0.5, ("not testable at this scale", "does not hold here")),
    ],
)
def test_head(power, n, gap, expected):
    rng = np.random.default_rng(0)
    head = [
        dict(
            run="r",
            step=s,
            head_variance=v,
            head_variance_relative=v,
            equivariance=(1 + gap) * e,
            quadratic_form=e,
            features_part=math.nan if s == 1 else -0.1,
        )
        for s in range(1, n + 1)
        for v, e in [(1 / s, math.exp(0.01 * rng.normal()) / s**power)]
    ]
    found = [
        r
        for r in claims([row(s, 3, 0.5) for s in range(1, n + 1)], SLOPE, more={"head": head})
        if r["claim"] == "C9"
    ]
    assert (
        tuple(r["verdict"] for r in found) == expected
        and f"the features' part is {-0.1 * (n - 1):.2f}" in found[1]["conditions"]
    )
    above = [
        r
        for r in claims([row(s, 3, 1.5) for s in range(1, n + 1)], SLOPE, more={"head": head})
        if r["claim"] == "C9"
    ]
    assert above[0]["verdict"] == "not testable at this scale"


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
    assert "a dip to 0.02 % at step 1 does not count: total 1.010 x the zero predictor" in found["conditions"]


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
        (row,) = [r for r in claims(rows, []) if r["claim"] == "C2"]
        return row

    linear = [against(r, r["total"]) for r in GOOD]
    row = found(a=linear, b=GOOD)
    assert row["verdict"] == "holds" and row["conditions"].startswith("1 of 2 flow times can be judged")
    assert found(a=linear, b=linear)["verdict"] == "not testable at this scale"
    assert found(a=GOOD, b=BAD, c=GOOD)["verdict"] == "does not hold here"
    assert found(a=GOOD, b=BAD)["ours"] == BAD[-1]["percent"]
