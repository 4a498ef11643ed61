"""The rescaled input: equivariant by our own measure, and the best multiple where it is fitted so."""

import pytest
import torch

from equidyn.baselines.evaluate import sums_of_losses
from equidyn.baselines.rescaled_input import RescaledInput
from equidyn.errors import ArgumentError
from equidyn.symmetry import groups
from equidyn.symmetry.actions import Scalar, Vector
from equidyn.symmetry.measure import Batch, measure

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(60, 5, 3, generator=GENERATOR, dtype=torch.float64)
T = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64).repeat(20)
Y = T[:, None, None] * X + 0.1 * torch.randn(60, 5, 3, generator=GENERATOR, dtype=torch.float64)


def best(t):
    x, y = X[T == t], Y[T == t]
    return ((x * y).sum() / (x * x).sum()).item()


def losses(predictor):
    return sums_of_losses(predictor, [Batch(dict(x=X, t=T), Y, None, torch.arange(60))])


def test_it_is_exactly_equivariant():
    net, batch = RescaledInput("x", best, by="t"), Batch(dict(x=X, t=T), Y, None, torch.arange(60))
    drawn = groups.haar_per_item(4, 60, 0)
    actions = dict(x=Vector(), t=Scalar())
    found = measure(
        torch.nn.Identity().eval(), lambda _, x: net.predict(x), [batch], actions, Vector(), drawn
    )
    assert found.equivariance < 1e-28 < found.total


def test_the_best_factor_of_each_time_beats_any_one_factor():
    of_time = losses(RescaledInput("x", best, by="t")).sum()
    assert all(of_time < losses(RescaledInput("x", factor)).sum() for factor in (0.3, 0.5, 0.7))
    for change in (0.99, 1.01):
        assert of_time < losses(RescaledInput("x", lambda t, c=change: c * best(t), by="t")).sum()


def test_a_time_in_single_precision_is_that_time():
    asked = []
    net = RescaledInput("x", lambda t: asked.append(t) or 2.0, by="t")
    assert torch.equal(net.predict(dict(x=X.float(), t=torch.full((60,), 0.9))), 2 * X.float())
    assert asked == [0.9]


def test_a_missing_input_is_named():
    with pytest.raises(ArgumentError, match="inputs .'x'., expected .'t'. among them"):
        RescaledInput("x", best, by="t").predict(dict(x=X))
