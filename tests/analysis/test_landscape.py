"""Landscapes: deterministic, centred on the measured value, and quadratic where they must be."""

import numpy as np
import pytest
import torch
from toy import N, arguments, drawn, toy

from equidyn.analysis.curvature import Block, Hessians
from equidyn.analysis.gradients import TERMS
from equidyn.analysis.landscape import landscape
from equidyn.symmetry import groups
from equidyn.symmetry.measure import measure


def test_landscape_is_deterministic_centred_on_the_measured_value_and_quadratic_for_a_last_layer():
    model, order = toy(), 24
    directions = np.random.default_rng(0).normal(size=(2, 18))
    before = model.out.weight.detach().clone()
    fresh = lambda k: groups.subset_per_item(groups.cube(), N, 8, 100 + k)  # noqa: E731
    first, second = (
        landscape(*arguments(model, order), "out.weight", directions, 0.3, 5, order, fresh) for _ in range(2)
    )
    expected = measure(*arguments(model, order), group_order=order)
    assert (
        first.twirled[2, 2] == expected.twirled and first.equivariance[2, 2] == expected.equivariance
    )  # to the last bit
    for key in ("twirled", "equivariance", "twirled_fresh", "equivariance_fresh"):
        np.testing.assert_array_equal(getattr(first, key), getattr(second, key))
    assert torch.equal(model.out.weight, before)
    third = np.diff(first.equivariance, n=3, axis=0)  # of a quadratic on a regular grid: zero
    assert np.abs(third).max() < 1e-13 < 1e-5 < np.abs(np.diff(first.equivariance_fresh, n=3, axis=0)).max()
    hessians = Hessians(*arguments(model, order), Block(model, "out.weight"), order)
    for term in TERMS:
        step, values = first.a[1] - first.a[0], getattr(first, term)
        second_difference = (values[3, 2] - 2 * values[2, 2] + values[1, 2]) / step**2
        assert second_difference == pytest.approx(
            directions[0] @ hessians.product(term, directions[0]), rel=1e-8
        )


def test_landscape_takes_dropout_in_fresh_draws_only_and_leaves_the_model_in_eval_mode():
    model, plain = toy(0.2), toy()
    directions, same = np.eye(2, 18), lambda k: drawn(None)
    noisy = landscape(*arguments(model), "out.weight", directions, 0.1, 3, fresh=same, dropout=0.5)
    quiet = landscape(*arguments(plain), "out.weight", directions, 0.1, 3, fresh=same)
    np.testing.assert_array_equal(noisy.twirled, quiet.twirled)
    np.testing.assert_array_equal(quiet.twirled_fresh, quiet.twirled)
    assert (
        (noisy.equivariance_fresh > 1.05 * noisy.equivariance).all()
        and not any(m.training for m in model.modules())
        and model.dropout.p == 0.2
    )
    assert landscape(*arguments(model), "out.weight", directions, 0.1, 3).twirled_fresh is None


@pytest.mark.parametrize(
    "bad, message", [(dict(n=4), "odd"), (dict(directions=np.eye(2, 7)), "expected \\[2, 18\\]")]
)
def test_landscape_refuses(bad, message):
    with pytest.raises(ValueError, match=message):
        landscape(*arguments(toy()), "out.weight", **{**dict(directions=np.eye(2, 18), span=1.0, n=3), **bad})
