"""The distance basis is the Gaussians that it says."""

import torch

from equidyn.geometry.neighbours import gaussian_basis


def test_gaussians_of_distances_and_nothing_else():
    """Where they are nothing beside 1, they may be anything as small."""
    distance = torch.linspace(0, 7, 300, dtype=torch.float64).view(2, 150)
    found = gaussian_basis(distance, 64, 6.0)
    centres, width = torch.linspace(0, 6, 64, dtype=torch.float64), 12 / 63
    exact = torch.exp(-0.5 * ((distance[..., None] - centres) / width) ** 2)
    torch.testing.assert_close(found, exact, rtol=1e-12, atol=1e-30)
    assert found.shape == (2, 150, 64) and exact.min() < 1e-200 < 1e-35 < found.min()
