"""C2's condition: the percentage against how alike training poses are, on hand-made tables."""

import math

import numpy as np
import pytest
from test_verdicts import row

from equidyn.results.claims.poses import groups, judged, points_of, slope
from equidyn.results.claims.table import claims

DEGREES = {"haar": 0.333, "share-50": 0.48, "as-made": 0.62}


def tables_of(percent, seeds=(0, 1, 2), ratio=0.2):
    """Rows of runs of one group, and its points; ``percent`` of (second moment, seed)."""
    rows, points = [], {}
    for dataset, second in DEGREES.items():
        for seed in seeds:
            run = f"g-{dataset}-{seed}"
            moments = dict(pose_second=second, pose_fourth=0.6 + second - 0.333)
            curve = [row(1, 30, 1.0, run), row(100, percent(second, seed), ratio, run)]
            rows += [{**r, **moments} for r in curve]
            axes = {"dataset": dataset, "seed": seed}
            points[run] = dict(group="g", axes=axes, reference="g-haar-0", reference_axes={})
    return rows, points


def condition(rows, points):
    found = [r for r in claims(rows, [], points) if r["claim"] == "C2" and "poses" in r["place"]]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(
    "percent, expected",
    [
        (lambda x, seed: math.exp(3 * x + 0.05 * seed), "holds"),
        (lambda x, seed: math.exp(-3 * x + 0.05 * seed), "does not hold here"),
        (lambda x, seed: 1 + 0.3 * seed, "inconclusive"),
    ],
)
def test_the_verdict_is_that_of_the_slope(percent, expected):
    found = condition(*tables_of(percent))
    assert found["verdict"] == expected and found["lo"] < found["ours"] < found["hi"]
    assert "share-50 (0.480, 0.747)" in found["conditions"]


def test_ours_is_what_the_slope_says_between_the_ends():
    found = condition(*tables_of(lambda x, seed: math.exp(3 * x + 0.01 * (seed - 1))))
    assert found["ours"] == pytest.approx(math.exp(3 * (0.62 - 0.333)), rel=1e-6)


def test_the_interval_of_a_slope_covers_as_often_as_it_says():
    rng, x, covered = np.random.default_rng(0), [0.333, 0.48, 0.62] * 3, []
    for noise in 0.2 * rng.normal(size=(600, 9)):
        found = [dict(second=a, percent=math.exp(3 * a + b)) for a, b in zip(x, noise)]
        _, lo, hi = slope(found)
        covered.append(lo <= 3 <= hi)
    assert 0.92 <= np.mean(covered) <= 0.98


def test_runs_are_compared_at_equal_loss():
    rows, points = tables_of(lambda x, seed: 2.0)
    low = [r for r in rows if r["run"] == "g-haar-0"][-1]
    low.update(total=0.2, twirled=0.196, equivariance=0.004)  # this one learned more, 0.1 against 0.2
    level, found = points_of(rows, groups(rows, points)["g"])
    assert level == pytest.approx(0.2) and len(found) == 9


def test_what_does_not_count_has_a_slope_and_no_verdict():
    found = condition(*tables_of(lambda x, seed: math.exp(3 * x + 0.05 * seed), ratio=0.95))
    assert found["verdict"] == "not testable at this scale" and 1 < found["lo"] < found["ours"]
    assert "0 of 9 count at that loss" in found["conditions"]


def test_two_degrees_are_no_slope():
    rows, points = tables_of(lambda x, seed: 2.0 + x)
    for r in rows:
        r["pose_second"] = min(r["pose_second"], 0.48)
    found = condition(rows, points)
    assert (found["verdict"], found["ours"]) == ("not testable at this scale", "")


def test_groups_of_other_axes_are_left_out():
    rows, points = tables_of(lambda x, seed: 2.0)
    for point in points.values():
        point["axes"]["training.n_train"] = 100
    assert groups(rows, points) == {} and not [r for r in claims(rows, [], points) if "poses" in r["place"]]


def test_rule():
    assert judged((1.0, 0.1, 2.0)) == "holds" and judged((-1.0, -2.0, -0.1)) == "does not hold here"
    assert judged((0.1, -1.0, 1.0)) == "inconclusive"
    assert math.isnan(slope([dict(second=0.3, counts=True, percent=1.0)])[0])


def test_augmented_runs_say_nothing_of_training_without():
    rows, points = tables_of(lambda x, seed: math.exp(3 * x + 0.05 * seed))
    assert groups([r | dict(augment=1.0) for r in rows], points) == {}


def test_flow_times_are_compared_each_with_itself():
    rows, points = tables_of(lambda x, seed: math.exp(3 * x + 0.05 * seed))
    rows = [r | dict(condition=c, task="flow") for r in rows for c in ("t=0.8", "t=0.9")]
    found = condition(rows, points)
    assert found["verdict"] == "holds" and "2 of 2 flow times" in found["conditions"]
