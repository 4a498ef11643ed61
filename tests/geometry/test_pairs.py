"""Bins of distances are those of their boundaries."""

import torch

from equidyn.geometry import pairs


def test_bins_are_those_of_their_boundaries():
    """But for distances within rounding of a boundary."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 60, 3, generator=generator)
    distance = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    for bins, farthest in ((64, 3.0), (128, 3.0), (64, 1.0)):
        boundaries = torch.linspace(pairs.NEAREST, farthest, bins - 1)
        apart = (distance[..., None] - boundaries).abs().amin(-1) > 1e-6
        found = pairs.distance_bins(x, bins, farthest)
        assert torch.equal(found[apart], torch.bucketize(distance, boundaries)[apart])
        assert apart.float().mean() > 0.99 and found.amin() == 0 and found.amax() == bins - 1
