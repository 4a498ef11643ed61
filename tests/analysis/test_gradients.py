"""Gradients against plain autograd and finite differences; the exact quadratic form of EScAIP's head."""

import numpy as np
import pytest
import torch
from toy import ACTIONS, N, arguments, batches, drawn, predict, summed_terms, toy

from equidyn.analysis import gradients
from equidyn.analysis.curvature import Block
from equidyn.analysis.force_head import closed_form, head_deviation, head_gram, head_quadratic, head_variance
from equidyn.models import registry
from equidyn.symmetry import groups
from equidyn.symmetry.actions import Vector
from equidyn.symmetry.measure import measure


@pytest.mark.parametrize("order", [None, 24])
def test_terms_are_those_of_the_decomposition(order):
    model = toy()
    expected = measure(*arguments(model, order), group_order=order)
    twirled, equivariance = summed_terms(model, order)
    assert twirled.item() == pytest.approx(
        expected.twirled, rel=1e-12
    ) and equivariance.item() == pytest.approx(expected.equivariance, rel=1e-12)
    with pytest.raises(RuntimeError, match="train mode"):
        gradients.sums_of_terms(
            toy().train(), predict, batches()[0], ACTIONS, Vector(), drawn(None)[:, :5], None
        )
    with pytest.raises(ValueError, match="at least 2"):
        gradients.sums_of_terms(model, predict, batches()[0], ACTIONS, Vector(), drawn(None)[:1, :5], None)


def test_cast_changes_floats_only():
    batch = gradients.cast(batches()[0], torch.float32)
    assert (
        batch.inputs["x"].dtype == batch.target.dtype == torch.float32
        and batch.inputs["kind"].dtype == torch.long
        and batch.mask.dtype == torch.bool
    )


@pytest.mark.parametrize("order", [None, 24])
def test_two_pass_gradients_equal_plain_autograd(order):
    model = toy()
    *found, measured = gradients.gradient_vectors(*arguments(model, order), order)
    for term, vector in zip(summed_terms(model, order), found):
        plain = torch.autograd.grad(term, list(model.parameters()), retain_graph=True, materialize_grads=True)
        torch.testing.assert_close(vector, torch.cat([g.reshape(-1) for g in plain]), rtol=1e-10, atol=1e-14)
    g = gradients.gradients(*arguments(model, order), order)
    p, e = found
    assert g.ratio == pytest.approx((e.norm() / p.norm()).item()) and g.cosine == pytest.approx(
        (e @ p / e.norm() / p.norm()).item()
    )
    assert (
        g.percent == measured.percent == measure(*arguments(model, order), group_order=order).percent
        and g.n_items == 8
        and g.n_rotations == N
    )


def test_gradients_equal_finite_differences():
    model = toy()
    found = gradients.gradient_vectors(*arguments(model))[:2]
    block, generator, step = Block(model, ".*"), np.random.default_rng(0), 1e-5
    along = generator.normal(size=len(block))
    values = []
    for sign in (1, -1):
        shifted = toy()
        with torch.no_grad():
            for p, d in zip(shifted.parameters(), block.scatter(along)):
                p += sign * step * d
        d = measure(*arguments(shifted))
        values.append((d.twirled, d.equivariance))
    for vector, above, below in zip(found, *values):
        assert (vector.numpy() @ along) == pytest.approx((above - below) / (2 * step), rel=1e-6)


def test_an_equivariant_model_has_no_gradient_of_the_equivariance_term():
    class Scale(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = torch.nn.Parameter(torch.tensor(0.7, dtype=torch.float64))

        def forward(self, x, kind):
            return self.a * x

    g = gradients.gradients(*arguments(Scale().eval()))
    assert g.norm_equivariance < 1e-14 < 1e-2 < g.norm_twirled


def test_wrong_numbers_of_rotations_are_refused():
    with pytest.raises(ValueError, match="rotations for 7 items"):
        gradients.gradients(*arguments(toy(), rotations=groups.haar_per_item(N, 7, 0)))


def test_the_head_error_is_an_exact_quadratic_form(escaip):
    task, model, held_out = escaip
    gram = head_gram(model, [b.inputs for b in held_out], task.force_scale)

    def exact():
        error = sum(closed_form(model, b.inputs)[1].sum() for b in held_out)
        return (task.force_scale**2 * error / sum(3 * b.mask.sum() for b in held_out)).item()

    value = head_quadratic(head_deviation(model), gram)
    assert value == pytest.approx(exact(), rel=1e-10)
    rotations = groups.cube()[:, None].expand(-1, 8, -1, -1)  # exact for a linear head
    measured = measure(model, task.predict, held_out, task.actions, task.output, rotations, group_order=24)
    assert value == pytest.approx(measured.equivariance, rel=1e-10)
    mean, deviation = model.force.weight.detach().mean(0, keepdim=True), head_deviation(model)
    other = torch.randn(
        3, deviation.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    for new in (0.1 * deviation, -3 * deviation, other - other.mean(0)):
        with torch.no_grad():
            model.force.weight.copy_(mean + new)
        assert head_quadratic(new, gram) == pytest.approx(exact(), rel=1e-10)
    assert head_quadratic(7 * deviation, gram) == pytest.approx(49 * value, rel=1e-12)


def test_head_variance(escaip):
    model = escaip[1]
    weight = model.force.weight.detach()
    variance, relative = head_variance(model)
    assert variance == pytest.approx(weight.var(0, correction=0).mean().item()) and relative == pytest.approx(
        variance / weight.square().mean().item()
    )
    assert (
        head_variance(model.equivariant_control())[0] < 1e-30
        and head_variance(registry.build("escaip", "tiny", 0, tied=True))[0] == 0
    )
