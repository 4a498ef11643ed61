"""Measured averages of a run: those of P + E/n."""

import pytest
import torch
from steps.stub_runs import Cloud, points, voxels
from steps.test_symmetries import convolution

from equidyn.results.columns import TWIRLS
from equidyn.steps.twirl_run import line, twirl_rows
from equidyn.symmetry.averaging import losses_of_means


def test_the_measured_losses_are_those_expected():
    rows = twirl_rows(points(Cloud("rotation"), n=60), "")
    assert [row["n"] for row in rows] == [1, 2, 4, 8, 24]
    for row in rows:
        assert row["total"] == pytest.approx(row["expected"], rel=0.05)
        assert row["total_lo"] < row["expected"] < row["total_hi"]
    assert rows[0]["total"] == pytest.approx(rows[0]["twirled"] + rows[0]["equivariance"])
    assert {*rows[0], "run", "task", "step"} == set(TWIRLS)
    assert rows[4]["seconds"] == pytest.approx(24 * rows[0]["seconds"])
    assert "stub, mean over 1: loss" in line(rows[0] | dict(run="stub"))


def test_all_of_the_cube_leaves_the_twirled_error():
    rows = twirl_rows(voxels(convolution(symmetric=False, circular=False)), "")
    assert rows[-1]["total"] == pytest.approx(rows[-1]["twirled"], rel=1e-9)
    assert rows[-1]["expected"] == rows[-1]["twirled"] and rows[0]["excess"] > 0.01


def test_what_is_masked_does_not_count():
    random = torch.Generator().manual_seed(0)
    stack = torch.randn(8, 3, 4, 2, generator=random).double()
    target, mask = torch.randn(3, 4, 2, generator=random), torch.rand(3, 4, generator=random) > 0.4
    found = losses_of_means(stack, target, mask)
    assert list(found) == [1, 2, 4, 8]
    other = torch.where(mask[..., None], stack, float("nan"))
    assert all(torch.equal(found[n], losses_of_means(other, target, mask)[n]) for n in found)
    by_hand = ((stack.mean(0) - target)[1][mask[1]] ** 2).sum()
    assert found[8][1].item() == pytest.approx(by_hand.item())
