import math

import pytest

from equidyn.results.verdicts import (
    VERDICTS,
    alike,
    at_loss,
    counted,
    dip,
    first_step,
    lowest_ratio,
    verdict,
    within,
)


def row(step, percent, ratio, run="r", spread=0.1):
    """A row of a decomposition table: percent ± spread of it, total = ratio × zero-predictor loss."""
    total = 2.0 * ratio
    return dict(
        run=run,
        task="forces",
        condition="",
        step=step,
        percent=percent,
        percent_lo=(1 - spread) * percent,
        percent_hi=(1 + spread) * percent,
        total=total,
        equivariance=total * percent / 100,
        twirled=total - total * percent / 100,
        zero_loss=2.0,
        trivial_loss=1.5,  # neither the zero predictor's nor the baseline's
        baseline="zero",
        baseline_ratio=ratio,
        baseline_ratio_lo=ratio,
        augment=0.0,
        pose_deviation=1.0,
        baseline_loss=2.0,
        baseline_ratio_hi=ratio,
        loss="mse",
        rotations="haar",
        weights="live",
        items="held-out",
        n_items=10,
        n_rotations=10,
        variance_items=0.0,
        variance_rotations=0.0,
        floor=1e-12,
    )


def against(row, loss, name="linear denoiser"):
    """The row with another baseline."""
    ratio = row["total"] / loss
    ends = dict(baseline_ratio=ratio, baseline_ratio_lo=ratio, baseline_ratio_hi=ratio)
    return {**row, "baseline": name, "baseline_loss": loss, **ends}


@pytest.mark.parametrize(
    "curve, expected",
    [
        ([row(1, 20, 3), row(10, 1, 0.5)], "holds"),
        ([row(1, 20, 3), row(10, 1, 0.5), row(100, 5, 0.2)], "holds only at the dip"),
        (
            [row(1, 20, 3), row(10, 1, 1.0), row(100, 5, 0.2)],
            "does not hold here",
        ),  # the dip is a constant output
        ([row(1, 20, 3), row(10, 1, 0.995), row(100, 5, 0.2)], "does not hold here"),  # and so is this one
        ([row(1, 1, 1.2)], "not testable at this scale"),  # nothing was learned
        ([row(1, 1, 0.95)], "not testable at this scale"),
        ([row(10, 1.95, 0.5)], "inconclusive"),  # the interval includes 2 %
        ([row(10, 2.05, 0.5)], "inconclusive"),
        ([row(10, 1, 0.5), row(100, 1.95, 0.2)], "holds only at the dip"),
        ([row(10, 5, 0.5), row(100, 2.05, 0.2)], "inconclusive"),
        ([row(10, 2.05, 0.5), row(100, 5, 0.2)], "inconclusive"),  # not shown at every step
        ([row(10, 1, 0.5, spread=math.nan)], "inconclusive"),  # one cluster: no interval
    ],
)
def test_verdicts_guard_against_the_zero_predictor_and_mind_the_interval(curve, expected):
    assert verdict(curve) == expected and expected in VERDICTS


def test_what_is_below_for_some_items_alone_does_not_count():
    assert counted({**row(10, 1, 0.89), "baseline_ratio_hi": 0.899}) and not counted(
        {**row(10, 1, 0.89), "baseline_ratio_hi": 0.901}
    )
    assert not counted({**row(10, 1, 0.5), "baseline_ratio_hi": math.nan})  # one cluster: no interval


def test_a_rescaled_input_is_the_baseline_where_it_is_better():
    low = against(row(10, 1, 0.5), 0.9, "rescaled input")  # 1.0 against 0.9
    assert counted(row(10, 1, 0.5)) and not counted(low) and verdict([low]) == "not testable at this scale"
    assert counted(against(low, 1.2, "rescaled input"))


def test_a_network_that_is_its_linear_denoiser_has_learned_nothing_that_counts():
    """However far it lies below the zero predictor and the rescaled input."""
    curve = [against(row(step, 1.0, ratio), 2.0 * 0.3) for step, ratio in ((1, 0.9), (10, 0.31), (100, 0.29))]
    assert not any(map(counted, curve)) and verdict(curve) == "not testable at this scale"
    assert first_step(curve, 2) is None and dip(curve) is None
    assert counted(against(row(1000, 1.0, 0.26), 2.0 * 0.3))


def test_first_step_needs_both():
    curve = [row(1, 1, 1.1), row(5, 1, 0.95), row(10, 1, 0.5), row(100, 1, 0.1)]
    assert first_step(curve, 2) == 10 and first_step(curve, 2, 0.15) == 100 and first_step(curve, 0.5) is None
    assert dip(curve)["step"] == 10 and dip(curve[:2]) is None
    assert first_step([against(row(10, 1, 0.3), 0.9)], 2, 0.4) == 10  # of the zero predictor's loss


GOOD = [row(1, 20, 3), row(10, 1, 0.5)]
DIP = [row(1, 20, 3), row(10, 1, 0.5), row(100, 5, 0.2)]
BAD = [row(1, 20, 3), row(10, 8, 0.5)]
OPEN = [row(10, 2, 0.5)]
TRAP = [
    row(1, 0.1, 1.01),
    row(10, 0.01, 0.99),
]  # predicts next to zero: nothing learned, and no symmetry error to see


@pytest.mark.parametrize(
    "curve, expected",
    [
        (GOOD, "holds"),
        (DIP, "holds only at the dip"),
        (TRAP, "not testable at this scale"),
        (BAD, "inconclusive"),  # ends at step 10, and the window at 10,000
        ([*BAD, row(9_000, 8, 0.4)], "inconclusive"),
        ([*BAD, row(10_000, 8, 0.4)], "does not hold here"),
        ([*BAD, row(10_000, 8, 0.4), row(20_000, 1, 0.3)], "does not hold here"),  # too late
        ([*BAD, row(10_000, 1, 0.3)], "holds"),  # the window's last step is in it
        ([*BAD, row(20_000, 2.05, 0.3)], "inconclusive"),  # its interval reaches down to 2 %
        ([*BAD, row(20_000, 8, 0.3)], "does not hold here"),  # nor after it
        ([*BAD, row(20_000, 0.5, 0.3)], "inconclusive"),  # nothing measured where the window ends
        ([*BAD, row(10_000, 8, 0.95)], "inconclusive"),  # does not count there
        ([*GOOD, row(20_000, 1, 0.3)], "holds"),
        ([*GOOD, row(20_000, 8, 0.3)], "holds only at the dip"),  # rises after the window
    ],
)
def test_a_window_of_steps(curve, expected):
    assert within(curve) == expected


def test_curves_are_compared_where_their_losses_are_equal():
    """Halfway in the logarithm of the loss the percentage is halfway, and the first crossing counts."""
    curve = [row(1, 20, 3), row(10, 8, 0.8), row(100, 2, 0.2), row(200, 5, 0.4), row(300, 1, 0.1)]
    found = at_loss(curve, 0.4)
    assert found.percent == pytest.approx(5) and found.lo == pytest.approx(4.5) and found.counts
    assert at_loss(curve, 0.2).percent == 2 and at_loss(curve, 3).percent == 20
    assert not at_loss(curve, 3).counts
    fast = [row(1, 4, 1.0), row(10, 2, 0.5)]
    assert at_loss(fast, 0.5).counts and not at_loss(fast, 0.97).counts  # though the next step does
    assert lowest_ratio(curve) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="0.05"):
        at_loss(curve, 0.05)


@pytest.mark.parametrize(
    "n, lo, hi, expected",
    [
        (1, 1, 1, "not run"),
        (2, 1, 1.5, "not testable at this scale"),
        (3, 1, 1.9, "holds"),
        (3, 1.5, 2.5, "inconclusive"),
        (3, 2.1, 4.0, "does not hold here"),
        (3, math.nan, math.nan, "not testable at this scale"),
    ],
)
def test_points_of_an_axis(n, lo, hi, expected):
    assert alike(n, lo, hi) == expected
