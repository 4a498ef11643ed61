"""Quadratures: exact on Wigner matrix elements up to their degree, and on models of half of it."""

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from equidyn.errors import ArgumentError, EquidynError
from equidyn.symmetry import groups, quadrature
from equidyn.symmetry.decomposition import accumulate

NAMES = ("cube", "icosahedron", "lebedev:3", "lebedev:5", "lebedev:7", "lebedev:11")


def wigner(degree: int, rotations: torch.Tensor) -> np.ndarray:
    """D^l of rotations [n, 3, 3], complex [n, 2l + 1, 2l + 1], through the generators of so(3)."""
    m = np.arange(-degree, degree)
    raising = np.diag(np.sqrt(degree * (degree + 1) - m * (m + 1)), -1).astype(complex)
    generators = (
        (raising + raising.T) / 2,
        (raising - raising.T) / 2j,
        np.diag(np.arange(-degree, degree + 1.0)),
    )
    found = []
    for rotation in rotations.numpy():
        angle = np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))
        if angle < 1e-9:
            axis = np.array([0.0, 0, 1])
        elif angle > np.pi - 1e-6:
            symmetric = (rotation + np.eye(3)) / 2
            axis = symmetric[:, np.argmax(np.diag(symmetric))]
        else:
            skew = rotation - rotation.T
            axis = np.array([skew[2, 1], skew[0, 2], skew[1, 0]])
        axis = axis / np.linalg.norm(axis)
        found.append(expm(-1j * angle * sum(a * g for a, g in zip(axis, generators))))
    return np.stack(found)


def test_wigner_matrices_of_the_test_are_a_representation():
    one, two = groups.haar(2, 0)
    for degree in (1, 2, 3):
        product = wigner(degree, (one @ two)[None])[0]
        assert np.allclose(wigner(degree, one[None])[0] @ wigner(degree, two[None])[0], product, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_means_of_wigner_elements_vanish_up_to_the_degree(name):
    found = quadrature.named(name)
    assert float(found.weights.sum()) == pytest.approx(1, abs=1e-13)
    assert (found.rotations @ found.rotations.mT - torch.eye(3)).abs().max() < 1e-14
    assert torch.allclose(torch.linalg.det(found.rotations), torch.ones((), dtype=torch.float64))
    weights = found.weights.numpy()[:, None, None]
    for degree in range(1, found.degree + 1):
        mean = (weights * wigner(degree, found.rotations)).sum(0)
        assert np.abs(mean).max() < 1e-12, degree
    beyond = (weights * wigner(found.degree + 1, found.rotations)).sum(0)
    assert np.abs(beyond).max() > 1e-3  # a degree that is not claimed is not there


def quadratic(rotation: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """A function of degree 2 in R: three numbers."""
    return torch.einsum("kabcd,ab,cd->k", tensor, rotation, rotation)


def test_a_quadratic_model_gets_its_exact_mean_and_variance():
    """Its mean is of degree 2, its mean square of degree 4: the cube is enough for the one, degree 5 for
    both.
    """
    tensor = torch.randn(3, 3, 3, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    pieces = torch.einsum("kaabb->k", tensor.permute(0, 1, 3, 2, 4)) / 3  # E R_ab R_cd = δ_ac δ_bd / 3

    def sums(name):
        rule = quadrature.named(name)
        values = (quadratic(rotation, tensor)[None] for rotation in rule.rotations)
        return quadrature.accumulate_weighted(values, pieces[None], rule.weights)

    exact = sums("lebedev:11")
    for name in ("lebedev:5", "lebedev:7", "icosahedron"):
        found = sums(name)
        assert found.equivariance.item() == pytest.approx(exact.equivariance.item(), rel=1e-12)
        assert (found.total - found.equivariance).abs().item() < 1e-12  # the target is the mean
    coarse = sums("cube")
    assert (coarse.total - coarse.equivariance).abs().item() < 1e-12
    assert coarse.equivariance.item() != pytest.approx(exact.equivariance.item(), rel=1e-3)
    many = torch.stack([quadratic(rotation, tensor) for rotation in groups.haar(20_000, 0)])
    assert many.var(0).sum().item() == pytest.approx(exact.equivariance.item(), rel=0.03)


@pytest.mark.parametrize("degree", quadrature.LEBEDEV)
def test_means_of_squares_are_not_negative(degree):
    """Whatever the model, one far beyond the degree included: weights are not."""
    rule = quadrature.lebedev(degree)
    assert rule.degree == degree and (rule.weights > 0).all()


def test_equal_weights_are_the_whole_group():
    generator = torch.Generator().manual_seed(0)
    stack = torch.randn(24, 5, 4, 3, generator=generator, dtype=torch.float64)
    target = torch.randn(5, 4, 3, generator=generator, dtype=torch.float64)
    mask = torch.rand(5, 4, generator=generator) < 0.7
    weights = torch.full((24,), 1 / 24, dtype=torch.float64)
    found = quadrature.accumulate_weighted(stack, target, weights, mask)
    expected = accumulate(stack, target, mask, group_order=24)
    for name in ("count", "total", "equivariance", "zero", "power", "within"):
        assert torch.allclose(getattr(found, name), getattr(expected, name), rtol=1e-12), name


def test_inversion_doubles_the_nodes():
    both = quadrature.named("cube").with_inversion()
    assert len(both.rotations) == 48 and float(both.weights.sum()) == pytest.approx(1)
    assert torch.linalg.det(both.rotations).sum().abs() < 1e-12 and both.name == "cube-o3"


def test_what_there_is_not_is_refused():
    for name in ("lebedev", "lebedev:x", "sphere", "cube:3", "lebedev:99", "lebedev:0"):
        with pytest.raises(EquidynError, match="expected"):
            quadrature.named(name)
    with pytest.raises(ValueError):
        quadrature.accumulate_weighted([torch.zeros(1)], torch.zeros(1), torch.ones(2))


@pytest.mark.parametrize(
    "shape, target, message",
    [
        ((4,), torch.zeros(4, 1), r"shape \[4\], the target \[4, 1\]"),
        ((4, 1, 3), torch.zeros(4, 5, 3), r"shape \[4, 1, 3\], the target \[4, 5, 3\]"),
        ((4, 3), torch.full((4, 3), torch.nan), "a target is not finite"),
    ],
)
def test_shapes_and_targets_are_checked_as_for_random_rotations(shape, target, message):
    twisted = torch.zeros(2, *shape)
    for sums in (
        lambda: quadrature.accumulate_weighted(twisted, target, torch.ones(2) / 2),
        lambda: accumulate(twisted, target),
    ):
        with pytest.raises(ArgumentError, match=message):
            sums()


def test_what_is_masked_does_not_matter():
    twisted, target, mask = torch.ones(2, 4, 3), torch.zeros(4, 3), torch.tensor([True, False, True, True])
    twisted[:, 1] = target[1] = torch.nan
    found = quadrature.accumulate_weighted(twisted, target, torch.ones(2) / 2, mask)
    assert found.total.tolist() == [3, 0, 3, 3]
