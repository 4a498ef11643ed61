"""Curvature against dense Hessians, closed forms and finite differences."""

import math

import numpy as np
import pytest
import torch
from toy import arguments, summed_terms, toy

from equidyn.analysis import curvature, gradients, spectrum
from equidyn.analysis.curvature import Block, Hessians
from equidyn.analysis.force_head import head_gram
from equidyn.symmetry import groups
from equidyn.symmetry.measure import Batch, measure


def dense_hessian(model, term, name):
    w0 = dict(model.named_parameters())[name]

    def value(w):
        return summed_terms(
            lambda **inputs: torch.func.functional_call(model, {name: w.reshape(w0.shape)}, kwargs=inputs)
        )[term]

    return torch.autograd.functional.hessian(value, w0.detach().reshape(-1))


@pytest.mark.parametrize("name", ["middle.weight", "out.weight"])
def test_curvature_equals_the_dense_hessian(name, monkeypatch):
    model = toy()
    monkeypatch.setattr(
        gradients, "check_eval", lambda model: None
    )  # the reference passes a function for the model
    for i, (term, found) in enumerate(curvature.curvature(*arguments(model), name).items()):
        reference = torch.linalg.eigvalsh(dense_hessian(model, i, name)).numpy()
        assert (
            found.method == "dense"
            and found.trace == pytest.approx(reference.sum(), rel=1e-9)
            and found.trace_error == 0
        )
        np.testing.assert_allclose(found.eigenvalues, reference, rtol=0, atol=1e-12 * reference[-1])
        above = reference[reference > 1e-6 * reference[-1]]
        assert found.condition_number == pytest.approx(
            reference[-1] / above[0], rel=1e-6
        ) and found.most_negative == pytest.approx(reference[0], abs=1e-12)
        assert found.residual < 1e-12 and found.threshold == pytest.approx(1e-6 * reference[-1]), term
    assert all(p.requires_grad for p in model.parameters())


def test_lanczos_finds_what_dense_finds():
    model = toy()
    both = [
        curvature.curvature(*arguments(model), "(middle|out).weight", dense=dense, probes=400)
        for dense in (2000, 0)
    ]
    for term in gradients.TERMS:
        dense, lanczos = (spectra[term] for spectra in both)
        assert (dense.method, lanczos.method, lanczos.eigenvalues) == ("dense", "lanczos", None)
        assert lanczos.largest == pytest.approx(
            dense.largest, rel=1e-8
        ) and lanczos.most_negative == pytest.approx(dense.most_negative, abs=1e-7 * dense.largest)
        assert (
            lanczos.smallest_positive == pytest.approx(dense.smallest_positive, rel=1e-3)
            and lanczos.residual < 1e-6
        )
        assert abs(lanczos.trace - dense.trace) < 4 * lanczos.trace_error
        assert abs(lanczos.vectors[:, 0] @ dense.vectors[:, 0]) == pytest.approx(1, abs=1e-6)


def test_spectrum_of_a_known_matrix():
    """An indefinite matrix with null space; the smallest positive eigenvalue is the first one above the
    threshold.
    """
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(60, 60)))[0]
    values = np.concatenate([[-0.5, -1e-9, 1e-9], np.zeros(27), np.geomspace(0.01, 10, 30)])
    matrix = q @ np.diag(values) @ q.T
    for dense in (100, 0):
        found = spectrum.spectrum(lambda v: matrix @ v, 60, dense=dense)
        assert (found.largest, found.smallest_positive, found.most_negative) == pytest.approx(
            (10, 0.01, -0.5), rel=1e-6
        )
        assert found.condition_number == pytest.approx(1000, rel=1e-6) and found.residual < 1e-6
        assert abs(found.effective_rank - values.sum() / 10) < 4 * found.trace_error / 10 + 1e-9 and (
            found.n_above == 30 or not dense
        )
    assert spectrum.spectrum(lambda v: matrix @ v, 60, threshold=0.05).smallest_positive > 0.5
    assert math.isnan(spectrum.spectrum(lambda v: 0 * v, 5).condition_number)


def test_blocks():
    model = toy()
    assert (
        len(Block(model, "out.weight")) == 18
        and len(Block(model, r".*\.bias")) == 15
        and Block(model, "idle").names == ["idle"]
    )
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
    whole, part = (
        Hessians(*arguments(model), Block(model, pattern)) for pattern in ("out.weight", "out.weight[1]")
    )
    for term in gradients.TERMS:
        rows = np.stack([whole.product(term, v) for v in np.eye(18)])[6:12, 6:12]
        np.testing.assert_allclose(np.stack([part.product(term, v) for v in np.eye(6)]), rows, atol=1e-15)
    both = Hessians(*arguments(model), Block(model, "idle|out.bias"))  # in the order of named_parameters
    assert not both.product("twirled", np.eye(5)[0]).any() and both.product("twirled", np.eye(5)[4]).any()
    with pytest.raises(ValueError, match="do not depend on idle"):
        Hessians(*arguments(model), Block(model, "idle"))


def test_escaip_curvature_of_head_and_of_a_layer_before_attention(escaip):
    """The whole cube group is exact for the head: no curvature of Ê along equal rows, none of P̂
    across them.
    """
    task, model, held_out = escaip
    rotations = groups.cube()[:, None].expand(-1, len(held_out[0]), -1, -1)
    context = model, task.predict, held_out[:1], task.actions, task.output, rotations
    spectra = curvature.curvature(*context, "force.weight", 24)
    equal_rows = np.ones((3, 1)) * np.random.default_rng(0).normal(size=(1, 16))
    hessians = Hessians(*context, Block(model, "force.weight"), 24)
    assert (
        np.abs(hessians.product("equivariance", equal_rows.ravel())).max()
        < 1e-12 * spectra["equivariance"].largest
    )
    apart = np.random.default_rng(1).normal(size=(3, 16))
    assert (
        np.abs(hessians.product("twirled", (apart - apart.mean(0)).ravel())).max()
        < 1e-12 * spectra["twirled"].largest
    )
    gram = head_gram(model, [held_out[0].inputs], task.force_scale)
    np.testing.assert_allclose(
        spectra["equivariance"].eigenvalues[-2:], 2 * np.linalg.eigvalsh(gram.numpy())[-1], rtol=1e-9
    )  # two ways to differ
    np.testing.assert_allclose(
        spectra["twirled"].eigenvalues[-1], spectra["equivariance"].eigenvalues[-1], rtol=1e-9
    )  # and one to be equal
    few = groups.haar_per_item(2, 3, 0)
    small = [
        Batch(
            {k: v[:3] for k, v in held_out[0].inputs.items()},
            held_out[0].target[:3],
            held_out[0].mask[:3],
            torch.arange(3),
        )
    ]
    deep = curvature.curvature(
        model, task.predict, small, task.actions, task.output, few, "blocks.0.attention.angle_scale"
    )
    values = []
    for shift in (1e-4, 0, -1e-4):
        with torch.no_grad():
            model.blocks[0].attention.angle_scale.fill_(shift)
        d = measure(model, task.predict, small, task.actions, task.output, few)
        values.append((d.twirled, d.equivariance))
    for found, above, here, below in zip(deep.values(), *values):
        assert found.largest == pytest.approx((above - 2 * here + below) / 1e-8, rel=1e-3)
