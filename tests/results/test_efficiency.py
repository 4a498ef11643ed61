"""Comparisons at equal training time: curves whose crossings and ratios are known."""

import json
import math
from dataclasses import replace

import pytest

from equidyn.figures import efficiency as efficiency_figure
from equidyn.figures.style import plt
from equidyn.results import efficiency
from equidyn.results.claims.efficiency import c10_compared, compared_tasks, judged
from equidyn.results.claims.table import claims
from equidyn.results.columns import CLAIMS, EFFICIENCY
from equidyn.results.tables import write_table
from equidyn.results.verdicts import FAILS, HOLDS, INCONCLUSIVE, UNTESTABLE

STEPS = (0, 10, 30, 100, 300, 1000)
COMPARISON = {"agnostic": "plain", "equivariant": ["exact"], "between": ["augmented"]}
POINTS = {
    f"{run}-seed-{seed}": {
        "group": run,
        "axes": {"seed": seed},
        "reference": run,
        "reference_axes": {"seed": 0},
    }
    for run in ("plain", "exact", "augmented")
    for seed in (1, 2)
}


def curve(run, scale, power, equivariance=0.0, floor=1e-14, steps=STEPS, condition="", **more):
    """Total losses scale · step^−power, of which ``equivariance`` is a share."""
    rows = []
    for step in steps:
        total = scale * max(step, 1) ** -power
        row = dict(run=run, task="forces", step=step, condition=condition, items="held-out", weights="live")
        row |= dict(rotations="haar", loss="mse", total=total, equivariance=equivariance * total or 1e-14)
        row |= dict(twirled=total - row["equivariance"], percent=100 * row["equivariance"] / total)
        row |= dict(percent_lo=row["percent"], percent_hi=row["percent"], zero_loss=1.0, trivial_loss=1.0)
        row |= dict(
            baseline="zero",
            baseline_loss=1.0,
            baseline_ratio=total,
            baseline_ratio_lo=total,
            baseline_ratio_hi=total,
        )
        row |= dict(floor=floor, augment=0.0, pose_deviation=0.0, n_items=10, n_rotations=4)
        rows.append(row | more)
    return rows


def times(run, step_seconds, item_seconds=0.01, wobble=0.0):
    about = dict(run=run, task="forces", parameters=1000.0, train_flops=1e9 * step_seconds, item_flops=1e6)
    about |= dict(batch_size=8.0, n_train=500.0, threads=1.0, hardware="x")
    return [
        dict(
            about,
            round=float(k),
            step_seconds=step_seconds * (1 + wobble * (k % 2)),
            item_seconds=item_seconds,
        )
        for k in range(4)
    ]


def seeds(run, scale, power, spread=0.02, **more):
    """Three replicates around a curve."""
    names = [run, f"{run}-seed-1", f"{run}-seed-2"]
    factors = (1 - spread, 1.0, 1 + spread)
    return [row for name, f in zip(names, factors) for row in curve(name, scale * f, power, **more)]


def two(plain=(1.0, 0.3), exact=(2.0, 0.5), costs=(0.1, 0.1), **more):
    rows = seeds("plain", *plain, equivariance=0.05, **more) + seeds("exact", *exact)
    timing = times("plain", costs[0]) + times("exact", costs[1])
    return rows, timing


def contenders(rows, timing):
    return efficiency.contenders("toy", COMPARISON, rows, POINTS, timing)


def test_who_takes_part_and_who_has_no_curves():
    found = contenders(*two())
    assert [(c.run, c.role, len(c.curves)) for c in found] == [
        ("plain", "agnostic", 3),
        ("exact", "equivariant", 3),
    ]


def test_losses_between_checkpoints_follow_a_power_law_exactly():
    rows = curve("plain", 1.0, 0.3)
    assert efficiency.loss_at(rows, 57.0) == pytest.approx(57.0**-0.3)
    assert efficiency.step_of(rows, 57.0**-0.3) == pytest.approx(57.0)
    assert math.isnan(efficiency.loss_at(rows, 5.0)) and math.isnan(efficiency.loss_at(rows, 1001.0))
    assert math.isinf(efficiency.step_of(rows, 1e-3))


def test_the_ratio_is_of_losses_at_equal_seconds():
    plain, exact = contenders(*two(costs=(0.1, 0.2)))
    assert efficiency.budget(plain, exact) == pytest.approx(100.0)
    ratio, lo, hi = efficiency.loss_ratio(plain, exact)
    assert ratio == pytest.approx(1000**-0.3 / (2 * 500**-0.5)) and lo < ratio < hi


def test_times_that_vary_from_round_to_round_widen_the_interval():
    rows, _ = two()
    steady = efficiency.loss_ratio(*contenders(rows, times("plain", 0.1) + times("exact", 0.1)))
    shaky = efficiency.loss_ratio(*contenders(rows, times("plain", 0.1) + times("exact", 0.09, wobble=0.3)))
    assert shaky[2] - shaky[1] > steady[2] - steady[1]


def test_times_widen_the_interval_to_both_sides_alike_whichever_network_ends_first():
    """If the shorter training is the other's, times that vary move the agnostic network's end of it."""
    timing = times("plain", 0.1) + times("exact", 0.06, wobble=0.2)
    rows = seeds("plain", 1.0, 0.3, spread=1e-9) + seeds("exact", 2.0, 0.5, spread=1e-9)
    ratio, lo, hi = efficiency.loss_ratio(*contenders(rows, timing))
    assert math.log(hi / ratio) == pytest.approx(math.log(ratio / lo), rel=0.05) and hi > 1.01 * ratio


def test_rounds_in_which_the_machine_is_slow_do_not_widen_the_ratio_of_times():
    """Both networks are slow in them: the ratio is taken within rounds."""
    slow = [r | dict(step_seconds=r["step_seconds"] * (1 + r["round"])) for r in times("plain", 0.1)]
    more = [r | dict(step_seconds=r["step_seconds"] * (1 + r["round"])) for r in times("exact", 0.2)]
    plain, exact = contenders(two()[0], slow + more)
    assert efficiency.step_ratio(exact, plain) == pytest.approx((2.0, 2.0, 2.0))


def test_curves_cross_where_the_power_laws_do():
    plain, exact = contenders(*two())  # s^-0.3 = 2 s^-0.5 at s = 32
    value, lo, hi, n = efficiency.crossing(plain, exact)
    assert value == pytest.approx(3.2, rel=0.02) and n == 3 and lo <= value <= hi
    back, *_, none = efficiency.crossing(exact, plain)
    assert math.isnan(back) and none == 0


def test_a_network_that_is_ahead_from_the_start_never_crosses():
    plain, exact = contenders(*two(exact=(0.5, 0.3)))
    assert math.isnan(efficiency.crossing(plain, exact)[0])
    assert efficiency.crossings(plain, exact) == [0.0] * 3
    assert efficiency.crossings(exact, plain) == [math.inf] * 3


def test_break_even_is_the_ratio_of_steps_to_one_loss():
    plain, exact = contenders(*two(costs=(0.1, 0.7)))
    n = 300.0
    for value, sign in efficiency.break_even(plain, exact, n * 0.1):
        assert not sign and value == pytest.approx(n / (2 * n**0.3) ** 2, rel=0.2)


def test_a_loss_that_the_partner_never_has_bounds_its_break_even():
    plain, exact = contenders(*two(exact=(9.0, 0.1)))
    seconds = 100.0
    n = seconds / plain.cost("step_seconds")
    for value, sign in efficiency.break_even(plain, exact, seconds):
        assert sign == "<" and value == pytest.approx(min(n, plain.steps) / exact.steps)
    (_, row) = efficiency.table([plain, exact], "")
    assert row["n_break_even"] == 0 and math.isnan(row["break_even"])


def test_a_loss_that_the_partner_has_at_once_bounds_its_break_even_from_below():
    plain, exact = contenders(*two(exact=(0.01, 0.1)))
    for value, sign in efficiency.break_even(plain, exact, 100.0):
        assert sign == ">" and value == pytest.approx(1000 / 10)


def test_where_the_agnostic_network_was_not_measured_there_is_no_break_even():
    plain, exact = contenders(*two())
    late = replace(plain, curves=[[r for r in curve if r["step"] > 50] for curve in plain.curves])
    assert all(math.isnan(value) for value, _ in efficiency.break_even(late, exact, 1.0))


def test_a_network_against_itself_ties():
    rows, timing = two(exact=(1.0, 0.3))
    plain, exact = contenders(rows, timing)
    ratio, lo, hi = efficiency.loss_ratio(plain, exact)
    assert lo < 1 < hi and ratio == pytest.approx(1.0)
    assert [v for v, _ in efficiency.break_even(plain, exact, 50.0)] == pytest.approx([1.0] * 3)


@pytest.mark.parametrize(
    "exact, verdict", [((2.0, 0.5), FAILS), ((2.0, 0.3), HOLDS), ((1.0, 0.3), INCONCLUSIVE)]
)
def test_verdicts(exact, verdict):
    rows, timing = two(exact=exact)
    (row,) = c10_compared(rows, POINTS, {"toy": COMPARISON}, timing)
    assert row["verdict"] == verdict and set(row) <= set(CLAIMS)
    assert "plain over exact" in row["statement"]
    scale, power = exact
    twirled = 0.95 * 1000**-0.3 / (scale * 1000**-power)
    assert f"twirled, plain would have {twirled:.3g} x the loss of exact" in row["conditions"]


def test_what_cannot_be_judged_says_why():
    def conditions(rows, timing, points=POINTS):
        (row,) = c10_compared(rows, points, {"toy": COMPARISON}, timing)
        assert row["verdict"] == UNTESTABLE
        return row["conditions"]

    rows, timing = two()
    assert "fewer than 3 seeds" in conditions([r for r in rows if r["run"] in ("plain", "exact")], timing, {})
    assert "not learned" in conditions(*two(baseline_ratio_hi=0.95))
    broken = seeds("plain", 1.0, 0.3, equivariance=0.05) + seeds("exact", 2.0, 0.5, equivariance=0.01)
    assert "not exact" in conditions(broken, timing)
    one = [r | dict(baseline_ratio_hi=0.95) if r["run"] == "plain-seed-1" else r for r in rows]
    assert "not learned" in conditions(one, timing)  # of the three seeds
    once = [r | dict(equivariance=1e-3) if (r["run"], r["step"]) == ("exact", 30) else r for r in rows]
    assert "not exact" in conditions(once, timing)  # at one checkpoint of one seed


def test_intervals_that_are_missing_judge_nothing():
    assert judged(math.nan, math.nan) == UNTESTABLE


def test_compared_tasks_have_no_other_row():
    rows, timing = two()
    assert compared_tasks(rows, {"toy": COMPARISON}) == {"forces"}
    found = claims(rows, [], POINTS, {"timing": timing}, {"toy": COMPARISON})
    assert [r["verdict"] for r in found if r["claim"] == "C10"] == [FAILS]
    assert [r["verdict"] for r in claims(rows, [], POINTS) if r["claim"] == "C10"] == [UNTESTABLE]


def test_sizes_of_the_training_set_and_where_equivariance_stops_paying(tmp_path):
    points, rows, timing = dict(POINTS), *two(exact=(1.6, 0.3))  # ahead with all items
    for run, scale in (("plain", 3.0), ("exact", 1.8)):  # behind with few
        for seed, factor in ((0, 0.98), (1, 1.0), (2, 1.02)):
            name = f"{run}-few-{seed}"
            rows += curve(name, scale * factor, 0.3, equivariance=0.05 if run == "plain" else 0.0)
            points[name] = {
                "group": f"{run}-few",
                "axes": {"training.n_train": 50, "seed": seed},
                "reference": run,
                "reference_axes": {"training.n_train": None, "seed": 0},
            }
    found = efficiency.contenders("toy", COMPARISON, rows, points, timing)
    assert list(efficiency.sizes(found, "plain")) == [50, 500]
    (row,) = c10_compared(rows, points, {"toy": COMPARISON}, timing)
    ratios = {50: 3.0 / 1.8, 500: 1 / 1.6}
    assert f"it is 1 at about {efficiency.pays_until(ratios):.0f}" in row["conditions"]
    assert 50 < efficiency.pays_until(ratios) < 500 and math.isnan(efficiency.pays_until({50: 0.9, 500: 0.8}))
    table = efficiency.table(found, "")
    assert [(r["run"], r["n_train"]) for r in table] == [
        ("plain", 500),
        ("plain", 50),
        ("exact", 500),
        ("exact", 50),
    ]
    write_table(tmp_path / "efficiency.csv", table, list(EFFICIENCY))


def test_where_it_stops_paying_is_linear_in_the_logarithms():
    assert efficiency.pays_until({100: 4.0, 10_000: 0.5}) == pytest.approx(100 * 100 ** (2 / 3))


def test_a_row_of_the_table_says_what_its_columns_say():
    """Two rotations of the agnostic network, each a fourth as dear as the other's prediction."""
    rows = seeds("plain", 1.0, 0.3, equivariance=0.05) + seeds("exact", 0.98, 0.3)
    timing = times("plain", 0.1, item_seconds=0.01) + times("exact", 0.2, item_seconds=0.04)
    _, row = efficiency.table(contenders(rows, timing), "")
    assert (row["rotations"], row["item_ratio"]) == pytest.approx((2, 0.5))
    assert (row["step_seconds"], row["item_seconds"], row["step_ratio"]) == pytest.approx((0.2, 0.04, 2.0))
    assert row["break_even_lo"] < row["break_even"] < row["break_even_hi"]


@pytest.mark.parametrize("task, rotations, n", [("forces", "haar", 3.0), ("voxels", "cube", 2.0)])
def test_rotations_of_the_cube_are_drawn_without_replacement(task, rotations, n):
    """0.95 + 0.05 / 2 is above 0.9745, and below with the factor 22/23 of two out of 24."""
    how = dict(task=task, rotations=rotations)
    rows = seeds("plain", 1.0, 0.3, equivariance=0.05, **how) + seeds("exact", 0.9745, 0.3, **how)
    _, row = efficiency.table(contenders(rows, two()[1]), "")
    assert row["rotations"] == n


def test_rotations_at_equal_loss():
    rows, timing = two(exact=(1.0 * (1 - 0.05 * 0.75), 0.3))  # what a mean over four of the plain one has
    plain, exact = contenders(rows, timing)
    assert efficiency.rotations_needed(plain, exact, None) in (4.0, 5.0)  # spread over seeds is rounded alike
    assert efficiency.rotations_needed(exact, plain, None) == 1.0
    rows, timing = two(exact=(0.5, 0.3))
    assert math.isinf(efficiency.rotations_needed(*contenders(rows, timing), None))


def test_averages_at_test_time_approach_the_twirled_loss():
    plain, _ = contenders(*two())
    found = efficiency.averages(plain)
    losses = [loss for *_, loss in found]
    assert [n for n, *_ in found] == [1, 2, 4, 8, 24] and losses == sorted(losses, reverse=True)
    assert losses[0] / losses[-1] == pytest.approx(1 / (1 - 0.05 * 23 / 24), rel=1e-6)
    assert found[3][1] == pytest.approx(8 * plain.cost("item_seconds"))


@pytest.mark.parametrize("exact", [(9.0, 0.1), (0.01, 0.1), (2.0, 0.5)])
def test_the_figure_is_drawn_whether_or_not_a_partner_ever_ties(exact, tmp_path):
    rows, timing = two(exact=exact)
    write_table(tmp_path / "timing-forces.csv", timing, list(timing[0]))
    asked = json.dumps(dict(comparisons={"toy": COMPARISON}, points=POINTS))
    figure = efficiency_figure.draw(rows, [], [asked, str(tmp_path / "timing-forces.csv")])
    figure.canvas.draw()
    plt.close(figure)
