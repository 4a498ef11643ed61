"""C7 to C9: curvature, gradients and the force head over training."""

import math

import numpy as np
import pytest
from scipy import stats
from test_verdicts import row

from equidyn.results.claims import curvature as of_curvature
from equidyn.results.claims.gradients import tracks
from equidyn.results.claims.head import replicates
from equidyn.results.claims.statistics import correlation, correlation_of_seeds, effective_number
from equidyn.results.claims.table import claims


def curvature(intervals, run="r", block="head"):
    """Rows of curvature.csv at these steps, whose ratios speak for the claim with these intervals."""
    common = dict(
        run=run,
        task="forces",
        condition="",
        block=block,
        smallest_positive=1e-3,
        most_negative=-1e-4,
        threshold=1e-6,
        trace=1.0,
        n_parameters=96.0,
        method="lanczos",
        residual=1e-9,
        n_items=8.0,
        n_rotations=24.0,
        seconds=1.0,
    )
    rows = []
    for step, (lo, hi) in intervals.items():
        middle = (lo + hi) / 2
        ratios = dict(largest_ratio=middle, largest_ratio_lo=lo, largest_ratio_hi=hi)
        ratios |= dict(trace_ratio=1.0, trace_ratio_lo=0.5, trace_ratio_hi=2.0)
        ratios |= dict(
            effective_rank_ratio=1 / middle, effective_rank_ratio_lo=1 / hi, effective_rank_ratio_hi=1 / lo
        )
        for term in ("twirled", "equivariance"):
            rows.append(
                {**common, **ratios, "step": step, "term": term, "largest": 2.0, "condition_number": 10.0}
            )
    return rows


CURVE = [row(1, 20, 3), row(10, 1, 0.5), row(100, 3, 0.2)]


def test_each_block_has_verdicts_of_its_own():
    """What holds over one block says nothing of another, whatever the steps either was taken at."""
    table = curvature({10: (1.1, 2), 100: (1.2, 3)}) + curvature({100: (0.5, 0.9)}, block="body")
    found = [r for r in claims(CURVE, [], more={"curvature": table}) if r["claim"] == "C7"]
    assert [r["verdict"] for r in found] == ["holds", "holds", "does not hold here", "does not hold here"]
    assert ["block body" in r["conditions"] for r in found] == [False, False, True, True]


@pytest.mark.parametrize(
    "intervals, expected",
    [
        ({1: (0.1, 0.2), 10: (1.1, 2), 100: (1.2, 3)}, "holds"),  # the first does not count
        ({10: (1.1, 2), 100: (0.5, 3)}, "holds only at the dip"),
        ({10: (0.5, 2), 100: (1.1, 3)}, "inconclusive"),
        ({10: (0.5, 0.9), 100: (0.5, 0.9)}, "does not hold here"),
        ({10: (0.99, 1.02)}, "inconclusive"),
        ({10: (1 - 1e-12, 1 + 1e-12)}, "not testable at this scale"),  # equal whatever the molecules
        ({10: (1.701, 1.702), 100: (1.8, 1.801)}, "not testable at this scale"),  # that of weights alone
        ({10: (1.701, 1.702), 100: (1.7, 1.9)}, "holds"),
        ({1: (2, 3)}, "not testable at this scale"),
    ],
)
def test_curvature_is_judged_by_intervals_over_molecules(intervals, expected):
    """Both rows: effective ranks, equivariance over twirled, and largest eigenvalues, the other way round."""
    table = curvature(intervals)
    ranks, largest = [r for r in claims(CURVE, [], more={"curvature": table}) if r["claim"] == "C7"]
    assert ranks["verdict"] == largest["verdict"] == expected
    if expected == "not testable at this scale" and 1 in intervals:  # nothing counts
        assert ranks["ours"] == largest["ours"] == ""
        return
    lo, hi = intervals[max(intervals)]
    for found in (ranks, largest):
        assert (found["ours"], found["lo"], found["hi"]) == pytest.approx(((lo + hi) / 2, lo, hi))
    assert "largest eigenvalue lower" in largest["statement"] and "traces" in largest["conditions"]


@pytest.mark.parametrize(
    "change, why",
    [
        (dict(residual=1e-3), "not resolved"),
        (dict(most_negative=-0.1), "negative eigenvalues"),
        (dict(condition_number=1.9e6, smallest_positive=1.05e-6, most_negative=0.0), "1 / threshold"),
        (dict(smallest_positive=math.nan), "not resolved"),
    ],
)
def test_condition_numbers_that_say_nothing_are_not_told(change, why):
    table = [{**r, **change} for r in curvature({10: (1.1, 2), 100: (1.1, 2)})]
    found = [r for r in claims(CURVE, [], more={"curvature": table}) if r["claim"] == "C7"][0]
    assert why in found["conditions"] and found["verdict"] == "holds"  # ranks do not need them


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
        (lambda s, p: p / 5, WOBBLE, 0.5, "does not hold here"),  # nor is it everywhere
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


def test_pearsons_correlation_is_of_logarithms_and_beside_the_papers():
    rows = [row(s, p, 0.5) for s, p in enumerate(WOBBLE, 1)]
    common = dict(task="forces", run="x", step=1.0)
    paper = [dict(common, quantity="pearson_gradient_ratio_percent", percent=0.5)]
    more = {"gradients": gradients(lambda s, p: 0.01 * p**2, WOBBLE)}
    pearson, spearman = [r for r in claims(rows, paper, more=more) if r["claim"] == "C8"]
    assert pearson["ours"] == pytest.approx(1) and spearman["ours"] == pytest.approx(1)
    assert "2 x the paper's" in pearson["conditions"] and "paper" not in spearman["conditions"]


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
    r, lo, hi = correlation(x, x + noise, "spearman")  # with Bonett and Wright's variance
    width = 2 * 1.96 * math.sqrt((1 + r**2 / 2) / (n - 3))
    assert math.atanh(hi) - math.atanh(lo) == pytest.approx(width)
    _, lo, hi = correlation([1, 4, 2, 6, 3, 5], [1, 4, 2, 6, 3, 5], "spearman")
    assert lo < 0.9 < hi <= 1  # six points in the same order are no certainty


def test_seeds_are_units_of_a_correlation():
    """Independent runs narrow the interval of one; runs that contradict each other widen it."""
    rng = np.random.default_rng(0)

    def series(rho, n=40):
        x, noise = rng.normal(size=(2, n))
        return x, rho * x + math.sqrt(1 - rho**2) * noise

    alike = [series(0.8) for _ in range(8)]
    one, more = correlation_of_seeds(alike[:1]), correlation_of_seeds(alike)
    assert more[2] - more[1] < 0.8 * (one[2] - one[1]) and more[1] < 0.8 < more[2]
    apart = [series(rho) for rho in (0.45, 0.86, 0.67)]
    z = np.arctanh([correlation(x, y)[0] for x, y in apart])
    _, lo, hi, _ = correlation_of_seeds(apart)
    half = (math.atanh(hi) - math.atanh(lo)) / 2
    assert half == pytest.approx(stats.t.ppf(0.975, 2) * z.std(ddof=1) / 3**0.5, rel=0.3)  # not 1.96
    r, lo, hi, told = correlation_of_seeds([series(0.9), series(-0.9), series(0.0)])
    assert lo < -0.5 and hi > 0.5 and "worth" in told
    line = np.arange(8.0)
    assert correlation_of_seeds([(line, line)] * 3)[1:3] == (-1, 1)  # hardly one independent point in each


@pytest.mark.parametrize("kind", ["pearson", "spearman"])
def test_seeds_that_agree_are_as_many_points_as_all_of_them(kind):
    x, noise = np.random.default_rng(0).normal(size=(2, 28))
    r, *_ = correlation(x, x + noise, kind)
    found, lo, hi, _ = correlation_of_seeds([(x, x + noise)] * 3, kind)
    variance = (1 + (r**2 / 2 if kind == "spearman" else 0)) / (3 * (effective_number(x, x + noise) - 3))
    assert found == pytest.approx(r)
    assert math.atanh(hi) - math.atanh(lo) == pytest.approx(2 * 1.96 * math.sqrt(variance))


def test_a_seed_that_is_worth_nothing_is_no_degree_of_freedom():
    rng, line = np.random.default_rng(0), np.arange(8.0)
    x, noise = rng.normal(size=(2, 60))
    two = [(x, x + 0.2 * noise), (x, x + 3 * noise)]
    with_it, without = (correlation_of_seeds(series) for series in ([*two, (line, line)], two))
    assert with_it[:3] == pytest.approx(without[:3]) and without[1] < 0 < without[2]


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
    if n > 4:
        fit = stats.linregress(*np.log([[r["head_variance"], r["equivariance"]] for r in head]).T)
        half = stats.t.ppf(0.975, n - 2) * fit.stderr
        ends = fit.slope, fit.slope - half, fit.slope + half
        assert (found[0]["ours"], found[0]["lo"], found[0]["hi"]) == pytest.approx(ends)
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


def test_a_closed_form_must_hold_at_every_checkpoint():
    common = dict(run="r", head_variance=1.0, head_variance_relative=1.0, features_part=math.nan)
    head = [dict(common, step=s, quadratic_form=1.0, equivariance=1.0 + (s == 2) * 1e-6) for s in (1, 2, 3)]
    rows = [row(s, 3, 0.5) for s in (1, 2, 3)]
    _, exact = [r for r in claims(rows, SLOPE, more={"head": head}) if r["claim"] == "C9"]
    assert exact["verdict"] == "does not hold here" and exact["ours"] == pytest.approx(1e-6)


def test_a_head_of_equal_rows_has_no_closed_form_to_compare():
    head = dict(
        run="r", head_variance=0.0, head_variance_relative=0.0, equivariance=1e-29, quadratic_form=0.0
    )
    table = [dict(head, step=s, features_part=math.nan) for s in (1, 2)]
    found = [
        r for r in claims([row(s, 3, 0.5) for s in (1, 2)], SLOPE, more={"head": table}) if r["claim"] == "C9"
    ]
    assert [r["verdict"] for r in found] == ["not testable at this scale"] * 2


def test_a_ratio_that_is_not_positive_has_no_inverse():
    """An effective rank of nothing, as of a Hessian that is zero: no number, no verdict, no crash."""
    row = dict(effective_rank_ratio=0.0, effective_rank_ratio_lo=0.0, effective_rank_ratio_hi=0.0)
    value, lo, hi = of_curvature._ratio(row, "effective_rank", of_curvature.CONDITIONED)
    assert math.isnan(value) and math.isnan(lo) and hi == math.inf
    assert of_curvature.better([(value, lo, hi)], (value, lo, hi)) == "inconclusive"


@pytest.mark.parametrize(
    "lo, hi, largest, expected",
    [
        (0.001, 0.3, 0.1, "holds"),
        (-0.001, 0.3, 0.1, "inconclusive"),  # next to nothing between them
        (-0.5, -0.1, 0.1, "does not hold here"),
        (0.2, 0.5, 1.5, "does not hold here"),
        (-0.2, 0.5, 1.5, "does not hold here"),
    ],
)
def test_the_verdict_on_gradients_turns_on_one_bound_of_the_correlation(lo, hi, largest, expected):
    assert tracks(lo, hi, largest) == expected
