"""Batches of a user's own model: padding, noise, clusters and weights of poses count as they should."""

import pytest
import torch

import equidyn
from equidyn.probe import verdicts
from equidyn.symmetry.actions import Scalar, Vector
from equidyn.symmetry.measure import Batch


@pytest.mark.parametrize("quadrature", ["haar", "icosahedron"])
def test_what_a_model_says_of_padding_does_not_matter(quadrature):
    """Neither to its error nor to its floor: noise there is no broken symmetry and does not repeat."""

    def model(x):
        made = 0.5 * x
        made[:, 2:] += torch.randn_like(made[:, 2:])
        return made

    x = torch.randn(20, 4, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(4).expand(20, 4) < 2
    how = dict(rotations=4, quadrature=quadrature)
    found = equidyn.measure(model, [({"x": x}, x, mask)], {"x": Vector()}, Vector(), **how)["output"]
    assert found.verdict == verdicts.AT_FLOOR and found.floor_repeats == 0
    assert found.total == pytest.approx(0.25 * x[:, :2].square().mean().item(), rel=1e-5)


def test_the_floor_of_repeats_is_the_variance_of_the_noise():
    x = torch.randn(200, 4, 3, generator=torch.Generator().manual_seed(0))
    noisy = equidyn.measure(
        lambda x: x + 0.01 * torch.randn_like(x), [({"x": x}, x)], {"x": Vector()}, Vector(), rotations=2
    )["output"]
    assert 0.2e-4 < noisy.floor_repeats < 5e-4


def test_clusters_of_batches_are_those_of_the_interval():
    x = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    batches = [Batch({"x": x[k : k + 6]}, x[k : k + 6], None, torch.arange(6) // 2 + k) for k in (0, 6)]
    model = lambda x: x * torch.tensor([1, 1, 1.1])  # noqa: E731
    found = equidyn.measure(model, batches, {"x": Vector()}, Vector(), rotations=4)["output"]
    assert (found.n_items, found.n_clusters) == (12, 6)


def test_the_spread_of_scalars_is_that_of_their_means_over_weighted_poses():
    """The mean of (R x)_z⁴ is |x|⁴ / 5, which nodes of degree 5 give exactly with their weights."""
    x = torch.randn(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    how = dict(quadrature="lebedev:5")
    found = equidyn.measure(lambda x: x[:, 2] ** 4, [({"x": x}, x[:, 0])], {"x": Vector()}, Scalar(), **how)
    means = x.square().sum(1) ** 2 / 5
    others = (means.sum() - means) / 8
    assert found["output"].spread == pytest.approx((means - others).square().mean().item(), rel=1e-10)
