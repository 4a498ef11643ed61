"""Bins of distances are those of their boundaries, and every distance has one."""

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


def test_what_is_no_number_is_in_the_last_bin():
    """So that a training that diverges says so, and not that a table has no such row."""
    x = torch.zeros(1, 3, 3)
    x[0, 1], x[0, 2] = torch.nan, torch.inf
    found = pairs.distance_bins(x, 64, 3.0)
    assert found[0, 0].tolist() == [0, 63, 63] and found[0, 2, 2] == 63
