"""Gradients, curvature and landscapes against plain autograd, finite differences and closed forms."""

import math

import numpy as np
import pytest
import torch

from equidyn import dynamics, groups
from equidyn.actions import Fixed, Vector
from equidyn.dynamics import Block, Hessians
from equidyn.measure import Batch, measure
from equidyn.models import registry
from equidyn.models.escaip import closed_form, head_deviation, head_gram, head_quadratic, head_variance

ACTIONS, N = dict(x=Vector(), kind=Fixed()), 4


class Toy(torch.nn.Module):
    """Two hidden layers on raw coordinates, not equivariant; a parameter that reaches nothing."""

    def __init__(self, dropout=0.0):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.middle, self.out = torch.nn.Linear(3, 6), torch.nn.Linear(6, 6), torch.nn.Linear(6, 3)
        self.dropout, self.idle = torch.nn.Dropout(dropout), torch.nn.Parameter(torch.ones(2))

    def forward(self, x, kind):
        return self.out(self.dropout(torch.tanh(self.middle(torch.tanh(self.inner(x))))))


def predict(model, inputs):
    return model(**inputs)


def toy(dropout=0.0):
    return Toy(dropout).eval().double()


def batches(sizes=(5, 3)):
    g = torch.Generator().manual_seed(1)
    made = []
    for size in sizes:
        x = torch.randn(size, 4, 3, generator=g)
        target = 0.3 * x + 0.1 * torch.randn(size, 4, 3, generator=g)
        mask = torch.arange(4) < torch.randint(1, 5, (size, 1), generator=g)
        made.append(dynamics.cast(Batch(dict(x=x, kind=torch.zeros(size, dtype=torch.long)), target, mask, torch.arange(size))))
    return made


def drawn(group_order):
    n_items = sum(map(len, batches()))
    return groups.haar_per_item(N, n_items, 0) if group_order is None else groups.subset_per_item(groups.cube(), N, n_items, 0)


def arguments(model, group_order=None, rotations=None):
    return model, predict, batches(), ACTIONS, Vector(), drawn(group_order) if rotations is None else rotations


def summed_terms(model, group_order=None):
    """(P̂, Ê) over both batches, differentiable: the plain way, with every graph alive."""
    total, count, start = [0.0, 0.0], 0, 0
    for batch in batches():
        chunk = drawn(group_order)[:, start : start + len(batch)]
        start += len(batch)
        n = 3 * batch.mask.sum()
        values = dynamics.terms(model, predict, batch, ACTIONS, Vector(), chunk, group_order)
        total, count = [t + n * v for t, v in zip(total, values)], count + n
    return [t / count for t in total]


@pytest.mark.parametrize("order", [None, 24])
def test_terms_are_those_of_the_decomposition(order):
    model = toy()
    expected = measure(*arguments(model, order), group_order=order)
    twirled, equivariance = summed_terms(model, order)
    assert twirled.item() == pytest.approx(expected.twirled, rel=1e-12) and equivariance.item() == pytest.approx(expected.equivariance, rel=1e-12)
    with pytest.raises(RuntimeError, match="train mode"):
        dynamics.terms(toy().train(), predict, batches()[0], ACTIONS, Vector(), drawn(None)[:, :5])
    with pytest.raises(ValueError, match="at least 2"):
        dynamics.terms(model, predict, batches()[0], ACTIONS, Vector(), drawn(None)[:1, :5])


def test_cast_changes_floats_only():
    batch = dynamics.cast(batches()[0], torch.float32)
    assert batch.inputs["x"].dtype == batch.target.dtype == torch.float32 and batch.inputs["kind"].dtype == torch.long and batch.mask.dtype == torch.bool


@pytest.mark.parametrize("order", [None, 24])
def test_two_pass_gradients_equal_plain_autograd(order):
    model = toy()
    *found, measured = dynamics.gradient_vectors(*arguments(model, order), order)
    for term, vector in zip(summed_terms(model, order), found):
        plain = torch.autograd.grad(term, list(model.parameters()), retain_graph=True, materialize_grads=True)
        torch.testing.assert_close(vector, torch.cat([g.reshape(-1) for g in plain]), rtol=1e-10, atol=1e-14)
    g = dynamics.gradients(*arguments(model, order), order)
    p, e = found
    assert g.ratio == pytest.approx((e.norm() / p.norm()).item()) and g.cosine == pytest.approx((e @ p / e.norm() / p.norm()).item())
    assert g.percent == measured.percent == measure(*arguments(model, order), group_order=order).percent and g.n_items == 8 and g.n_rotations == N


def test_gradients_equal_finite_differences():
    model = toy()
    found = dynamics.gradient_vectors(*arguments(model))[:2]
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

    g = dynamics.gradients(*arguments(Scale().eval()))
    assert g.norm_equivariance < 1e-14 < 1e-2 < g.norm_twirled


def test_wrong_numbers_of_rotations_are_refused():
    with pytest.raises(ValueError, match="rotations for 7 items"):
        dynamics.gradients(*arguments(toy(), rotations=groups.haar_per_item(N, 7, 0)))


def dense_hessian(model, term, name):
    w0 = dict(model.named_parameters())[name]

    def value(w):
        return summed_terms(lambda **inputs: torch.func.functional_call(model, {name: w.reshape(w0.shape)}, kwargs=inputs))[term]

    return torch.autograd.functional.hessian(value, w0.detach().reshape(-1))


@pytest.mark.parametrize("name", ["middle.weight", "out.weight"])
def test_curvature_equals_the_dense_hessian(name, monkeypatch):
    model = toy()
    monkeypatch.setattr(dynamics, "_check_eval", lambda model: None)  # the reference passes a function for the model
    for i, (term, found) in enumerate(dynamics.curvature(*arguments(model), name).items()):
        reference = torch.linalg.eigvalsh(dense_hessian(model, i, name)).numpy()
        assert found.method == "dense" and found.trace == pytest.approx(reference.sum(), rel=1e-9) and found.trace_error == 0
        np.testing.assert_allclose(found.eigenvalues, reference, rtol=0, atol=1e-12 * reference[-1])
        above = reference[reference > 1e-6 * reference[-1]]
        assert found.condition_number == pytest.approx(reference[-1] / above[0], rel=1e-6) and found.most_negative == pytest.approx(reference[0], abs=1e-12)
        assert found.residual < 1e-12 and found.threshold == pytest.approx(1e-6 * reference[-1]), term
    assert all(p.requires_grad for p in model.parameters())


def test_lanczos_finds_what_dense_finds():
    model = toy()
    both = [dynamics.curvature(*arguments(model), "(middle|out).weight", dense=dense, probes=400) for dense in (2000, 0)]
    for term in dynamics.TERMS:
        dense, lanczos = (spectra[term] for spectra in both)
        assert (dense.method, lanczos.method, lanczos.eigenvalues) == ("dense", "lanczos", None)
        assert lanczos.largest == pytest.approx(dense.largest, rel=1e-8) and lanczos.most_negative == pytest.approx(dense.most_negative, abs=1e-7 * dense.largest)
        assert lanczos.smallest_positive == pytest.approx(dense.smallest_positive, rel=1e-3) and lanczos.residual < 1e-6
        assert abs(lanczos.trace - dense.trace) < 4 * lanczos.trace_error
        assert abs(lanczos.vectors[:, 0] @ dense.vectors[:, 0]) == pytest.approx(1, abs=1e-6)


def test_spectrum_of_a_known_matrix():
    """An indefinite matrix with null space; the smallest positive eigenvalue is the first one above the threshold."""
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(60, 60)))[0]
    values = np.concatenate([[-0.5, -1e-9, 1e-9], np.zeros(27), np.geomspace(0.01, 10, 30)])
    matrix = q @ np.diag(values) @ q.T
    for dense in (100, 0):
        found = dynamics.spectrum(lambda v: matrix @ v, 60, dense=dense)
        assert (found.largest, found.smallest_positive, found.most_negative) == pytest.approx((10, 0.01, -0.5), rel=1e-6)
        assert found.condition_number == pytest.approx(1000, rel=1e-6) and found.residual < 1e-6
        assert abs(found.effective_rank - values.sum() / 10) < 4 * found.trace_error / 10 + 1e-9 and (found.n_above == 30 or not dense)
    assert dynamics.spectrum(lambda v: matrix @ v, 60, threshold=0.05).smallest_positive > 0.5
    assert math.isnan(dynamics.spectrum(lambda v: 0 * v, 5).condition_number)


def test_blocks():
    model = toy()
    assert len(Block(model, "out.weight")) == 18 and len(Block(model, r".*\.bias")) == 15 and Block(model, "idle").names == ["idle"]
    part = Block(model, "out.weight[1]")
    np.testing.assert_array_equal(part.get(), model.out.weight[1].detach())
    assert part.scatter(np.ones(6))[0].sum(1).tolist() == [0, 6, 0]
    with pytest.raises(KeyError, match="expected a name"):
        Block(model, "nothing")
    with pytest.raises(ValueError, match="float64"):
        Hessians(*arguments(toy().float()), Block(toy().float(), "out.weight"))
    with pytest.raises(KeyError, match="matches no parameter"):
        Block(model, "out.weight[3]")


def test_a_part_of_a_block_has_the_part_of_the_hessian():
    model = toy()
    whole, part = (Hessians(*arguments(model), Block(model, pattern)) for pattern in ("out.weight", "out.weight[1]"))
    for term in dynamics.TERMS:
        rows = np.stack([whole.product(term, v) for v in np.eye(18)])[6:12, 6:12]
        np.testing.assert_allclose(np.stack([part.product(term, v) for v in np.eye(6)]), rows, atol=1e-15)
    both = Hessians(*arguments(model), Block(model, "idle|out.bias"))  # in the order of named_parameters
    assert not both.product("twirled", np.eye(5)[0]).any() and both.product("twirled", np.eye(5)[4]).any()
    with pytest.raises(ValueError, match="do not depend on idle"):
        Hessians(*arguments(model), Block(model, "idle"))


def test_landscape_is_deterministic_centred_on_the_measured_value_and_quadratic_for_a_last_layer():
    model, order = toy(), 24
    directions = np.random.default_rng(0).normal(size=(2, 18))
    before = model.out.weight.detach().clone()
    fresh = lambda k: groups.subset_per_item(groups.cube(), N, 8, 100 + k)  # noqa: E731
    first, second = (dynamics.landscape(*arguments(model, order), "out.weight", directions, 0.3, 5, order, fresh) for _ in range(2))
    expected = measure(*arguments(model, order), group_order=order)
    assert first.twirled[2, 2] == expected.twirled and first.equivariance[2, 2] == expected.equivariance  # to the last bit
    for key in ("twirled", "equivariance", "twirled_fresh", "equivariance_fresh"):
        np.testing.assert_array_equal(getattr(first, key), getattr(second, key))
    assert torch.equal(model.out.weight, before)
    third = np.diff(first.equivariance, n=3, axis=0)  # of a quadratic on a regular grid: zero
    assert np.abs(third).max() < 1e-13 < 1e-5 < np.abs(np.diff(first.equivariance_fresh, n=3, axis=0)).max()
    hessians = Hessians(*arguments(model, order), Block(model, "out.weight"), order)
    for term in dynamics.TERMS:
        step, values = first.a[1] - first.a[0], getattr(first, term)
        second_difference = (values[3, 2] - 2 * values[2, 2] + values[1, 2]) / step**2
        assert second_difference == pytest.approx(directions[0] @ hessians.product(term, directions[0]), rel=1e-8)


def test_landscape_takes_dropout_in_fresh_draws_only_and_leaves_the_model_in_eval_mode():
    model, plain = toy(0.2), toy()
    directions, same = np.eye(2, 18), lambda k: drawn(None)
    noisy = dynamics.landscape(*arguments(model), "out.weight", directions, 0.1, 3, fresh=same, dropout=0.5)
    quiet = dynamics.landscape(*arguments(plain), "out.weight", directions, 0.1, 3, fresh=same)
    np.testing.assert_array_equal(noisy.twirled, quiet.twirled)
    np.testing.assert_array_equal(quiet.twirled_fresh, quiet.twirled)
    assert (noisy.equivariance_fresh > 1.05 * noisy.equivariance).all() and not any(m.training for m in model.modules()) and model.dropout.p == 0.2
    assert dynamics.landscape(*arguments(model), "out.weight", directions, 0.1, 3).twirled_fresh is None


@pytest.mark.parametrize("bad, message", [(dict(n=4), "odd"), (dict(directions=np.eye(2, 7)), "expected \\[2, 18\\]")])
def test_landscape_refuses(bad, message):
    with pytest.raises(ValueError, match=message):
        dynamics.landscape(*arguments(toy()), "out.weight", **{**dict(directions=np.eye(2, 18), span=1.0, n=3), **bad})


@pytest.fixture
def escaip(task):
    model = registry.build("escaip", "tiny", 3).eval().double()
    return task, model, [dynamics.cast(batch) for batch in task.held_out(model)]


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
    other = torch.randn(3, deviation.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for new in (0.1 * deviation, -3 * deviation, other - other.mean(0)):
        with torch.no_grad():
            model.force.weight.copy_(mean + new)
        assert head_quadratic(new, gram) == pytest.approx(exact(), rel=1e-10)
    assert head_quadratic(7 * deviation, gram) == pytest.approx(49 * value, rel=1e-12)


def test_head_variance(escaip):
    model = escaip[1]
    weight = model.force.weight.detach()
    variance, relative = head_variance(model)
    assert variance == pytest.approx(weight.var(0, correction=0).mean().item()) and relative == pytest.approx(variance / weight.square().mean().item())
    assert head_variance(model.equivariant_control())[0] < 1e-30 and head_variance(registry.build("escaip", "tiny", 0, tied=True))[0] == 0


def test_escaip_curvature_of_head_and_of_a_layer_before_attention(escaip):
    """The whole cube group is exact for the head: no curvature of Ê along equal rows, none of P̂ across them."""
    task, model, held_out = escaip
    rotations = groups.cube()[:, None].expand(-1, len(held_out[0]), -1, -1)
    context = model, task.predict, held_out[:1], task.actions, task.output, rotations
    spectra = dynamics.curvature(*context, "force.weight", 24)
    equal_rows = np.ones((3, 1)) * np.random.default_rng(0).normal(size=(1, 16))
    hessians = Hessians(*context, Block(model, "force.weight"), 24)
    assert np.abs(hessians.product("equivariance", equal_rows.ravel())).max() < 1e-12 * spectra["equivariance"].largest
    apart = np.random.default_rng(1).normal(size=(3, 16))
    assert np.abs(hessians.product("twirled", (apart - apart.mean(0)).ravel())).max() < 1e-12 * spectra["twirled"].largest
    gram = head_gram(model, [held_out[0].inputs], task.force_scale)
    np.testing.assert_allclose(spectra["equivariance"].eigenvalues[-2:], 2 * np.linalg.eigvalsh(gram.numpy())[-1], rtol=1e-9)  # two ways to differ
    np.testing.assert_allclose(spectra["twirled"].eigenvalues[-1], spectra["equivariance"].eigenvalues[-1], rtol=1e-9)  # and one to be equal
    few = groups.haar_per_item(2, 3, 0)
    small = [Batch({k: v[:3] for k, v in held_out[0].inputs.items()}, held_out[0].target[:3], held_out[0].mask[:3], torch.arange(3))]
    deep = dynamics.curvature(model, task.predict, small, task.actions, task.output, few, "blocks.0.attention.angle_scale")
    values = []
    for shift in (1e-4, 0, -1e-4):
        with torch.no_grad():
            model.blocks[0].attention.angle_scale.fill_(shift)
        d = measure(model, task.predict, small, task.actions, task.output, few)
        values.append((d.twirled, d.equivariance))
    for found, above, here, below in zip(deep.values(), *values):
        assert found.largest == pytest.approx((above - 2 * here + below) / 1e-8, rel=1e-3)
