"""C3 to C6: points of an axis beside each other."""

import math

import numpy as np
import pytest
from common import REPOSITORY
from test_verdicts import BAD, DIP, GOOD, against, row

from equidyn.results import tables
from equidyn.results.claims.axes import ratio_of_points
from equidyn.results.claims.replicates import replicated
from equidyn.results.claims.table import claims
from equidyn.results.columns import CLAIMS
from equidyn.results.verdicts import AtLoss


def points(axis, reference, **values):
    return {
        run: dict(group="g", axes={axis: value}, reference=reference, reference_axes={axis: None})
        for run, value in values.items()
    }


def table(found, paper=(), grid=None, claim="C4"):
    return [r for r in claims(found, list(paper), grid) if r["claim"] == claim]


def named(run, curve):
    return [{**r, "run": run} for r in curve]


def test_an_axis_has_a_row_with_the_reference_and_the_paper_beside_it():
    rows = [r for run in ("default", "few", "fewer") for r in named(run, GOOD)] + named("alone", BAD)
    paper = tables.read_paper(REPOSITORY / "resources/paper_milestones.csv")
    (found,) = table(rows, paper, points("training.n_train", "default", few=500, fewer=100))
    assert list(found) == list(CLAIMS) and found["ours"] == 1
    assert (found["lo"], found["hi"]) == pytest.approx((0.9 / 1.1, 1.1 / 0.9))
    assert found["verdict"] == "not testable at this scale"  # one seed each
    for text in ("n_train all 1 [0.9, 1.1]", "n_train 100 1 [0.9, 1.1]", "all at 0.5 x the zero predictor"):
        assert text in found["conditions"]
    assert "alone" not in found["conditions"] and "n_train all, n_train 500" in found["statement"]
    assert found["paper"] == "0.0485-5.62 % at the end" and "the paper's largest 0.18" in found["conditions"]


def test_what_differs_besides_the_axis_is_told_and_keeps_points_apart():
    rows = [r for run in ("default", "few", "other") for r in named(run, GOOD)]
    grid = points("training.n_train", "default", few=500, other=500)
    grid["few"]["besides"] = {"training.batch_size": [1, 64], "training.clip": [None, 10]}
    (found,) = table(rows, grid=grid)
    told = "n_train 500 (and batch_size 1, not 64; clip default, not 10)"
    assert f"n_train all, {told}, n_train 500" in found["statement"]


def test_runs_of_other_settings_are_no_replicates_of_their_reference():
    """Even where none of the axes tells them from it."""
    rows = [r for run in ("default", "other", "few") for r in named(run, GOOD)]
    grid = points("training.n_train", "default", few=500) | points("seed", "default", other=1)
    grid["other"]["besides"] = {"training.steps": [7, 70]}
    assert {tuple(p.runs): p.own for p in replicated(["default", "other", "few"], grid)} == {
        ("default",): True,
        ("other",): False,
        ("few",): False,
    }
    (found,) = table(rows, grid=grid)
    assert (
        "n_train all, n_train 500" in found["statement"] and not table(rows, grid=grid, claim="C6")[0]["ours"]
    )


def test_points_that_differ_are_no_evidence_for_an_axis_without_effect():
    """Each at most 2 %, and yet three times apart at equal loss; with one seed each that is no verdict."""
    ends, grid = dict(a=0.5, b=0.6, c=1.6), grid_of("abc", (0, 1, 2))
    rows = [
        r
        for run in grid
        for r in named(run, [row(1, 20, 3), row(10, ends[run[0]] * (1 + int(run[-1]) / 100), 0.5)])
    ]
    (found,) = table(rows, grid=grid, claim="C3")
    assert found["verdict"] == "does not hold here" and found["ours"] == pytest.approx(3.2)
    grid = grid_of("abc", (0,))
    (found,) = table([r for r in rows if r["run"] in grid], grid=grid, claim="C3")
    assert found["verdict"] == "not testable at this scale" and found["ours"] == pytest.approx(3.2)


def test_points_are_not_compared_at_different_losses():
    """One learns faster and ends at another percentage; at the other's last loss they agree."""
    slow = [row(1, 20, 3), row(10, 4, 0.5)]
    fast = [row(1, 20, 3), row(5, 4, 0.5), row(10, 1, 0.1)]
    grid = grid_of("abc", (0, 1, 2))
    rows = [r for run in grid for r in named(run, fast if run[0] == "b" else slow)]
    (found,) = table(rows, grid=grid, claim="C3")
    assert found["verdict"] == "holds" and found["ours"] == pytest.approx(1)


@pytest.mark.parametrize(
    "last, spread, expected", [(1.5, 0.1, "holds"), (1.9, 0.3, "inconclusive"), (2.1, 0.1, "inconclusive")]
)
def test_replicates_agree_where_their_intervals_say_so(last, spread, expected):
    """Not by their values alone, which 1.9 would pass and 2.1 fail."""
    ends, grid = {"a-0": 1, "a-1": 1.2, "a-2": last}, grid_of("a", (0, 1, 2))
    rows = [r for run in grid for r in named(run, [row(1, 20, 3), row(10, ends[run], 0.5, spread=spread)])]
    (found,) = table(rows, grid=grid, claim="C6")
    assert found["verdict"] == expected


def test_a_point_that_does_not_count_leaves_an_axis_untested():
    rows = named("a", GOOD) + named("b", GOOD) + named("c", [row(1, 20, 3), row(10, 0.1, 0.95)])
    (found,) = table(rows, grid=points("training.n_train", "a", b=500, c=100))
    assert found["verdict"] == "not testable at this scale" and "does not count" in found["conditions"]


def test_points_are_compared_at_the_lowest_loss_and_not_at_the_last():
    """One that rises again at its end has been at the lower loss."""
    rising = [row(1, 20, 3), row(10, 4, 0.5), row(20, 6, 0.6)]
    rows = named("a", rising) + named("b", rising) + named("c", rising)
    (found,) = table(rows, grid=points("training.n_train", "a", b=500, c=100))
    assert "all at 0.5 x the zero predictor: n_train all 4 [" in found["conditions"]


def test_an_exactly_equivariant_point_is_on_no_axis():
    exact = [{**row(10, 1e-9, 0.5), "floor": 1e-11}]
    rows = named("a", GOOD) + named("b", GOOD) + named("c", exact)
    (found,) = table(rows, grid=points("training.n_train", "a", b=500, c=100))
    assert "n_train all, n_train 500" in found["statement"] and "100" not in found["statement"]


def test_what_the_paper_calls_its_last_is_its_last():
    rows = [r for run in ("a", "b") for r in named(run, GOOD)]
    common = dict(task="forces", run="default-rep1")
    paper = [common | dict(step=10.0, quantity="last", percent=3.0)]
    paper += [common | dict(step=20.0, quantity="percent_published", percent=9.0)]
    (found,) = table(rows, paper, points("training.n_train", "a", b=500))
    assert found["paper"] == "3 % at the end"


def test_flow_times_are_one_row_of_an_axis():
    rows = [
        {**against(r, 1.5), "run": run, "task": "flow", "condition": c}
        for run in "abc"
        for c in ("t=0", "t=0.4", "t=0.4,sc")
        for r in (BAD if (run, c) == ("c", "t=0.4") else GOOD)
    ]
    (found,) = table(rows, grid=points("seed", "a", b=1, c=2), claim="C6")
    assert found["verdict"] == "does not hold here" and "2 of 2 flow times" in found["conditions"]
    assert "t=0.4,sc" not in found["conditions"] and "x linear denoiser" in found["conditions"]


def grid_of(sizes, seeds, reference="a-0"):
    return {
        f"{size}-{seed}": dict(
            group="g",
            axes={"model.size": size, "seed": seed},
            reference=reference,
            reference_axes={"model.size": "a", "seed": 0},
        )
        for size in sizes
        for seed in seeds
    }


def test_seeds_are_replicates_of_a_point():
    """Of sizes times seeds C3 has a point per size with its seeds, C6 the seeds of the reference."""
    grid = grid_of("abc", (0, 1, 2))
    rows = [r for run in grid for r in named(run, GOOD)]
    made = replicated(list(grid), grid)
    assert [point.runs for point in made] == [[f"{size}-{seed}" for seed in (0, 1, 2)] for size in "abc"]
    (size,), (seed,) = table(rows, grid=grid, claim="C3"), table(rows, grid=grid, claim="C6")
    assert size["conditions"].startswith("3 points around run a-0, three seeds each")
    assert seed["conditions"].startswith("3 points around run a-0, one seed each")
    assert "seed 0, seed 1, seed 2" in seed["statement"] and "size b" in size["statement"]
    assert size["verdict"] == seed["verdict"] == "holds"
    rows_of_c2 = table(rows, grid=grid, claim="C2")
    assert len(rows_of_c2) == 3 and all("three seeds: 1 (holds)" in r["conditions"] for r in rows_of_c2)


def test_the_worst_seed_decides_c2():
    grid = grid_of("a", (0, 1, 2))
    rows = named("a-0", GOOD) + named("a-1", DIP) + named("a-2", GOOD)
    (found,) = table(rows, grid=grid, claim="C2")
    assert found["verdict"] == "holds only at the dip" and found["ours"] == 5


def test_width_and_depth_have_rows_of_their_own():
    grid = points("model.options.hidden", "r", w1=32, w2=128) | points(
        "model.options.layers", "r", d1=1, d2=6
    )
    rows = [r for run in ("r", *grid) for r in named(run, GOOD)]
    found = table(rows, grid=grid, claim="C3")
    assert len(found) == 2 and [r["ours"] for r in found] == [1, 1]
    assert ["hidden" in r["statement"] for r in found] != ["layers" in r["statement"] for r in found]


def test_optimizers_and_rates_are_points_of_one_axis():
    grid = points("training.lr", "r", a=0.1) | points("training.optimizer", "r", b="sgd")
    grid["r2"] = dict(group="h", axes={"model.size": "x", "training.lr": 1}, reference="r", reference_axes={})
    rows = [r for run in ("r", *grid) for r in named(run, GOOD)]
    (found,) = table(rows, grid=grid, claim="C5")
    assert found["conditions"].startswith("3 points") and "size x" not in found["conditions"]


def test_the_interval_over_seeds_covers_as_often_as_it_says():
    """Three points of equal percentage, three seeds each, log-normal spread: the ratio of any pair is 1, and
    Tukey's interval of the largest contains it in 95 of 100 draws.
    """
    rng, covered = np.random.default_rng(0), []
    for _ in range(600):
        logs = 0.3 * rng.normal(size=(3, 3))
        found = [[AtLoss(math.exp(x), 0.0, 9.0, True) for x in seeds] for seeds in logs]
        _, lo, hi = ratio_of_points(found)
        covered.append(lo <= 1 <= hi)
    assert 0.92 <= np.mean(covered) <= 0.98


def test_a_ratio_needs_percentages_that_count():
    one, other = AtLoss(1.0, 0.9, 1.1, True), AtLoss(2.0, 1.8, 2.2, False)
    assert all(math.isnan(x) for x in ratio_of_points([[one], [other]]))
    ratio, lo, hi = ratio_of_points([[one], [AtLoss(2.0, 1.8, 2.2, True)]])
    assert (ratio, lo, hi) == pytest.approx((2, 1.8 / 1.1, 2.2 / 0.9))
