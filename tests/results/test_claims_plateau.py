"""C11: whether the percentage falls with the loss, on hand-made tables."""

import math

import numpy as np
import pytest
from scipy import stats
from test_verdicts import row

from equidyn.results.claims import plateau, replicates
from equidyn.results.claims.plateau import (
    alike,
    below,
    change,
    item_error,
    learned,
    learned_interval,
    lift,
    published_changes,
)
from equidyn.results.claims.table import claims
from equidyn.results.verdicts import UNTESTABLE

LOSSES = (0.6, 0.4, 0.3, 0.2)


def path(percent, run="r", losses=LOSSES):
    """A curve whose percentage is a function of total over zero predictor."""
    return [row(10 * (k + 1), percent(x), x, run) for k, x in enumerate(losses)]


def runs(percent, seeds=(0, 1, 2), group="g", axes=None, training=1.0):
    """Rows of live and EMA weights and of training items, and the points of a group with these seeds."""
    rows, points = [], {}
    for seed in seeds:
        run = f"{group}-{seed}"
        curve = path(lambda x, seed=seed: percent(x, seed), run)
        seen = {**curve[-1], "items": "training"}
        seen["equivariance"] *= training
        rows += curve + [{**r, "weights": "ema"} for r in curve] + [seen]
        own = {"axes": {**(axes or {}), "seed": seed}, "group": group, "reference": "g-0"}
        points[run] = {**own, "reference_axes": {"seed": 0, **dict.fromkeys(axes or {})}}
    return rows, points


def found(rows, points, word):
    return [r for r in claims(rows, [], points) if r["claim"] == "C11" and word in r["place"]]


@pytest.mark.parametrize("exponent, fold", [(1.0, 0.5), (0.0, 1.0), (-0.5, 2**0.5)])
def test_the_change_is_that_of_a_power_law(exponent, fold):
    curves = [path(lambda x, k=k: (3 + k) * x**exponent) for k in range(3)]
    assert change(curves) == pytest.approx((fold, fold, fold))
    one = change(curves[:1])
    assert one[0] == pytest.approx(fold) and math.isnan(one[1]) and below(*one[1:], 1).startswith("not test")


@pytest.mark.parametrize(
    "percent, expected",
    [
        (lambda x, seed: 9 * x ** (1 + 0.05 * seed), "holds"),
        (lambda x, seed: 9 * x ** (0.05 * seed), "does not hold here"),
        (lambda x, seed: 9 * x**seed, "inconclusive"),
    ],
)
def test_verdict_over_seeds(percent, expected):
    made = found(*runs(percent), "percent against loss")
    assert [r["verdict"] for r in made] == [expected] * 2 and {r["place"][-4:] for r in made} == {
        "live",
        " ema",
    }
    assert made[0]["lo"] <= made[0]["ours"] <= made[0]["hi"]


def test_averaged_weights_have_a_verdict_of_their_own():
    """Live weights keep their percentage, averaged ones lose it."""
    rows, points = runs(lambda x, seed: 9 * x ** (0.05 * seed))
    averaged, _ = runs(lambda x, seed: 9 * x ** (1 + 0.05 * seed))
    rows = [r for r in rows if r["weights"] == "live"] + [r for r in averaged if r["weights"] == "ema"]
    live, ema = found(rows, points, "percent against loss")
    assert (live["verdict"], ema["verdict"]) == ("does not hold here", "holds")


def test_steps_at_the_floor_are_on_no_path():
    curve = path(lambda x: 9 * x)
    floor = [{**row(5, 1e-6, 0.7), "floor": 1e-8}]
    assert change([floor + curve]) == pytest.approx(change([curve]), nan_ok=True)


def test_short_paths_are_not_judged():
    for losses in ((0.6, 0.3), (0.3, 0.29, 0.28), (0.95, 0.93, 0.91)):  # few steps, small range, none counts
        assert math.isnan(change([path(lambda x: 9 * x, losses=losses)])[0])
    made = found([r for r in path(lambda x: 9 * x, losses=(0.6, 0.3))], {}, "percent against loss")
    assert [(r["verdict"], r["ours"]) for r in made] == [("not testable at this scale", "")]


@pytest.mark.parametrize(
    "factor, expected", [(0.5, "holds"), (2.0, "does not hold here"), (1.0, "inconclusive")]
)
def test_what_lifts(factor, expected):
    rows, points = runs(lambda x, seed: 9 + 0.1 * seed)
    more, others = runs(
        lambda x, seed: factor * (9 + 0.1 * seed), group="wide", axes={"model.options.hidden": 128}
    )
    more = [r | dict(percent=r["percent"] * 2**2) if r["weights"] == "ema" else r for r in more]
    (made,) = found(rows + more, points | others, "what lifts")
    assert made["verdict"] == expected and made["ours"] == pytest.approx(factor)
    assert f"EMA weights: ratio {4 * factor:.3g} [" in made["conditions"]
    assert "hidden 128" in made["statement"]


def test_a_lift_is_welchs_interval_of_the_ratio_over_three_seeds():
    a, b = ([row(9, p, 0.2) for p in values] for values in ((2, 3, 4), (8, 9, 10)))
    ratio, lo, hi = lift(a, b)
    assert lo < ratio < hi < 1 and below(lo, hi, 1) == "holds"
    assert ratio == pytest.approx((24 / 720) ** (1 / 3))
    assert math.isnan(lift(a, b[:2])[0])
    logs = [np.log([r["percent"] for r in group]) for group in (a, b)]
    parts = [x.var(ddof=1) / 3 for x in logs]  # of unequal spread: Welch and Satterthwaite
    freedom = sum(parts) ** 2 / sum(part**2 / 2 for part in parts)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(sum(parts))
    assert math.log(hi / ratio) == pytest.approx(half) == math.log(ratio / lo)


@pytest.mark.parametrize("training, expected", [(1.0, "holds"), (0.3, "does not hold here")])
def test_training_items(training, expected):
    rows, points = runs(lambda x, seed: 9 + 0.1 * seed, training=training)
    (made,) = found(rows, points, "training items")
    assert made["verdict"] == expected and made["ours"] == pytest.approx(training)
    early = {**rows[0], "items": "training", "equivariance": 0.1}  # of a checkpoint before
    ((seen, held),) = learned([early, *rows], ["g-0"], "")
    assert seen["equivariance"] == pytest.approx(training * held["equivariance"])


def test_items_that_all_seeds_share_widen_the_interval_of_training_items():
    """Seeds that agree to a per cent, on items whose mean is known to a fifth."""
    rows, points = runs(lambda x, seed: 9 + 0.1 * seed, training=0.6)
    (narrow,) = found(rows, points, "training items")
    rows = [r | dict(variance_items=r["n_items"] * (0.2 * r["total"]) ** 2) for r in rows]
    (wide,) = found(rows, points, "training items")
    assert narrow["verdict"] == "does not hold here" and wide["verdict"] == "inconclusive"
    assert wide["lo"] < 0.6 * math.exp(-1.96 * 0.2 * math.sqrt(2)) < 0.6 < wide["hi"]


def test_the_error_over_items_is_that_of_the_percentage_and_of_the_total():
    """The one by its interval, the other by both components of the variance."""
    one = row(9, 5.0, 0.5, spread=0.2) | dict(total=2.0, n_items=25, n_rotations=4)
    assert item_error(one) == pytest.approx(0.2 / 1.96)
    one |= dict(variance_items=3.0, variance_rotations=4.0)  # of the mean total: (3 + 4 / 4) / 25
    assert item_error(one) == pytest.approx(0.2 / 1.96 + 0.4 / 2)


def test_items_without_scatter_leave_the_interval_over_seeds():
    held = row(9, 5.0, 0.5, spread=0.0)
    pairs = [({**held, "equivariance": factor * held["equivariance"]}, held) for factor in (0.5, 0.6, 0.9)]
    ends = np.exp(stats.ttest_1samp(np.log([0.5, 0.6, 0.9]), 0.0).confidence_interval(0.95))
    assert learned_interval(pairs)[1:] == pytest.approx(tuple(ends))


def test_training_items_of_runs_that_do_not_count_are_not_judged():
    rows, points = runs(lambda x, seed: 9 + 0.1 * seed, training=1.0)
    (made,) = found([r | dict(baseline_ratio_hi=0.95) for r in rows], points, "training items")
    assert made["verdict"] == "not testable at this scale"


def test_published_paths_have_the_same_slope_where_their_loss_counts():
    totals = (30.0, 2.0, 1.0, 0.5, 0.25)  # the second far below the first, and above the zero predictor's
    zero = dict(task="forces", run="x", quantity="zero_predictor_estimate", step=0, percent=1.21)
    paper = [zero]
    for step, total in enumerate(totals):
        percent = 20.0 if total > 1.2 else 4 * total**2
        for quantity, value in (("path_total", total), ("path_percent", percent)):
            paper.append(dict(task="forces", run="default", quantity=quantity, step=step, percent=value))
    assert published_changes(paper, "forces", "") == [pytest.approx(0.25)]
    assert published_changes(paper, "voxels", "") == []


def test_rule():
    assert below(0.4, 0.8, 0.8) == "holds" and below(0.81, 1.2, 0.8) == "does not hold here"
    assert below(0.7, 1.4, 1) == "inconclusive" and below(math.nan, math.nan, 1).startswith("not testable")
    assert alike(0.8, 1.2) == "holds" and alike(0.5, 0.7) == "does not hold here"
    assert alike(0.7, 1.0) == "inconclusive"


def test_a_lift_of_what_does_not_count_has_a_number_and_no_verdict():
    rows, points = runs(lambda x, seed: 9 + 0.1 * seed)
    more, others = runs(lambda x, seed: 4 + 0.1 * seed, group="wide", axes={"training.copies": 4})
    for r in more:
        r["baseline_ratio_hi"] = 1.0
    (made,) = found(rows + more, points | others, "what lifts")
    assert made["verdict"].startswith("not testable") and made["hi"] < 1
    assert "3 of 6 count at the end" in made["conditions"]


def test_flow_times_of_which_some_have_no_slope_are_one_row():
    """Paths too short for a slope have no number; that of the others is the largest."""
    common = dict(claim="C11", statement="s", paper="", place="p", conditions="c", lo="", hi="")
    short, long = ({**common, "verdict": UNTESTABLE, "ours": ours} for ours in ("", 0.8))
    undefined = {**common, "verdict": UNTESTABLE, "ours": math.nan}
    assert replicates.of_times([short, long, undefined])["ours"] == 0.8
    assert replicates.of_times([short, undefined])["verdict"] == UNTESTABLE


def test_how_many_count_at_one_loss_is_said_as_it_is():
    good, late = path(lambda x: 5.0), path(lambda x: 5.1)
    assert "ratio" in plateau._equal_text([good, late], [late, good])
    uncounted = [{**r, "baseline_ratio_hi": 1.0} for r in late]
    assert "only 2 of 3 count" in plateau._equal_text([good, uncounted], [good])
    assert "none counts" in plateau._equal_text([uncounted], [uncounted])


def test_the_number_of_comparisons_with_one_reference_is_said():
    rows, points = runs(lambda x, seed: 5.0 + 0.1 * seed)
    for name, share in (("a", 0.5), ("b", 0.6)):
        more, others = runs(
            lambda x, seed, share=share: share * (5.0 + 0.1 * seed), group=name, axes={"model.size": name}
        )
        rows, points = rows + more, points | others
    lifts = found(rows, points, "what lifts it")
    assert len(lifts) == 2 and all("one of 2 comparisons" in r["conditions"] for r in lifts)
