import numpy as np
import pytest
import torch

from equidyn.symmetry import groups


def test_haar_moments():
    r = groups.haar(200_000, seed=1)
    assert r.dtype == torch.float64 and r.shape == (200_000, 3, 3)
    assert r.mean(0).abs().max() < 5 * (1 / 3 / 200_000) ** 0.5
    assert (r.square().mean(0) - 1 / 3).abs().max() < 5 * (4 / 45 / 200_000) ** 0.5
    mixed = (r[:, 0, 0] * r[:, 1, 1] * r[:, 2, 2]).mean()  # E[R11 R22 R33] = 1/6 from det = 1
    assert abs(mixed - 1 / 6) < 0.004
    assert (torch.linalg.det(r) - 1).abs().max() < 1e-12
    assert torch.equal(r, groups.haar(200_000, seed=1))


@pytest.mark.parametrize("group, order", [(groups.cube(), 24), (groups.icosahedron(), 60)])
def test_finite_groups_are_groups(group, order):
    assert group.shape == (order, 3, 3) and torch.allclose(group[0], torch.eye(3, dtype=torch.float64))
    assert (group @ group.transpose(1, 2) - torch.eye(3)).abs().max() < 1e-12
    assert (torch.linalg.det(group) - 1).abs().max() < 1e-12
    distance = torch.cdist(group.reshape(order, 9), group.reshape(order, 9))
    assert (distance + 9 * torch.eye(order)).min() > 0.1  # all distinct
    products = torch.einsum("aij,bjk->abik", group, group).reshape(-1, 9)
    assert torch.cdist(products, group.reshape(order, 9)).min(1).values.max() < 1e-7  # closed
    assert group.mean(0).abs().max() < 1e-12
    second = torch.einsum("nij,nkl->ijkl", group, group) / order
    expected = torch.einsum("ik,jl->ijkl", torch.eye(3), torch.eye(3)).double() / 3
    assert (second - expected).abs().max() < 1e-12  # a 2-design, hence exact for the linear head


def test_per_item_draws():
    a, b = groups.haar_per_item(4, 3, 7), groups.haar_per_item(4, 5, 7)
    assert torch.equal(a, b[:, :3])  # adding items leaves earlier ones as they were
    picks = groups.subset_per_item(groups.cube(), 24, 6, 0)
    assert all(len({tuple(r.flatten().tolist()) for r in picks[:, i]}) == 24 for i in range(6))
    with pytest.raises(ValueError, match="expected 1 to 24"):
        groups.subset_per_item(groups.cube(), 25, 1, 0)


def test_augmentation_turns_so_many_and_leaves_the_others():
    """Those that are turned are turned as without the others, whatever the chance."""
    every, some, none = (
        groups.sometimes(2000, 3, chance, np.random.default_rng(5)) for chance in (1.0, 0.3, 0.0)
    )
    one = torch.eye(3, dtype=torch.float64).expand(2000, 3, 3)
    left = (some == one).flatten(1).all(1)
    assert torch.equal(every, groups.haar(2000, 3)) and torch.equal(none, one)
    assert torch.equal(some[~left], every[~left]) and 0.25 < 1 - left.double().mean() < 0.35


def test_euler_angles_are_not_haar():
    r = groups.euler_uniform(100_000, 0)
    assert abs(r[:, 2, 0].square().mean() - 1 / 2) < 0.01
    assert r.mean(0).abs().max() < 0.01  # angles of whole turns, not of half ones


def test_small_turns_tell_rounding_from_what_is_smooth():
    turns = groups.small(50, 0)
    assert torch.allclose(torch.linalg.det(turns), torch.ones(50, dtype=torch.float64), atol=1e-15)
    angle = (turns - torch.eye(3)).flatten(1).norm(dim=1) / 2**0.5
    assert torch.allclose(angle, torch.full_like(angle, groups.SMALL), rtol=1e-6)
    axes = torch.stack([turns[:, 2, 1], turns[:, 0, 2], turns[:, 1, 0]], 1) / groups.SMALL
    assert axes.mean(0).abs().max() < 0.35 and axes.std(0).min() > 0.4


def test_detours_end_where_small_turns_do():
    for (first, second), turn in zip(groups.detours(5, 3), groups.small(5, 3)):
        assert torch.allclose(second @ first, turn, atol=1e-15)
        assert (first - torch.eye(3)).abs().max() > 0.1
