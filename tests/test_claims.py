import pytest

from equidyn.claims import claims, first_step, verdict


def row(step, percent, ratio, run="r"):
    total = 2.0 * ratio
    return dict(
        run=run, task="forces", condition="", step=step, percent=percent, percent_lo=0.9 * percent, percent_hi=1.1 * percent, total=total, equivariance=total * percent / 100,
        twirled=total - total * percent / 100, zero_loss=2.0, trivial_loss=2.0, loss="mse", rotations="haar", weights="live", n_items=10, n_rotations=10, floor=1e-12,
    )  # fmt: skip


@pytest.mark.parametrize(
    "curve, expected",
    [
        ([row(1, 20, 3), row(10, 1, 0.5)], "holds"),
        ([row(1, 20, 3), row(10, 1, 0.5), row(100, 5, 0.2)], "holds only at the dip"),
        ([row(1, 20, 3), row(10, 1, 1.0), row(100, 5, 0.2)], "does not hold here"),  # the dip is a constant output
        ([row(1, 1, 1.2)], "does not hold here"),
    ],
)
def test_verdicts_guard_against_the_zero_predictor(curve, expected):
    assert verdict(curve) == expected


def test_first_step_needs_both():
    curve = [row(1, 1, 1.1), row(10, 1, 0.5), row(100, 1, 0.1)]
    assert first_step(curve, 2) == 10 and first_step(curve, 2, 0.15) == 100 and first_step(curve, 0.5) is None


def test_table_has_all_ten_claims_and_sees_a_broken_sum():
    rows = [row(1, 20, 3), row(10, 1, 0.5)]
    table = {r["claim"]: r for r in claims(rows, [])}
    assert set(table) == {f"C{i}" for i in range(1, 11)} and table["C1"]["verdict"] == "holds"
    rows[0]["twirled"] *= 1.01
    assert claims(rows, [])[0]["verdict"] == "does not hold here"


def test_an_exactly_equivariant_control_is_no_evidence():
    control = [{**row(1, 1e-9, 0.5, "control"), "floor": 1e-11}]
    assert not [r for r in claims([row(1, 1, 0.5), *control], []) if r["claim"] == "C2" and "control" in r["conditions"]]
