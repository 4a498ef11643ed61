import numpy as np
import pytest
import torch
from voxel_tools import voxelize

from equidyn.data.voxelize import fits, outside, voxelize_batch
from equidyn.symmetry import groups
from equidyn.symmetry.actions import Grid, Vector

BOX = dict(n_channels=3, grid=24, resolution=0.25, radius=0.5)


def molecule(n=12, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(n, 3)) * spread), torch.from_numpy(rng.integers(0, 3, n))


def centres():
    axis = (torch.arange(24, dtype=torch.float64) - 11.5) * 0.25
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)


def untruncated(positions, channels, points):
    empty = torch.ones(3, 24, 24, 24, dtype=torch.float64)
    for position, channel in zip(positions, channels):
        empty[channel] *= 1 - torch.exp(-((points - position) ** 2).sum(-1) / (0.93 * 0.5) ** 2)
    return 1 - empty


@pytest.mark.parametrize("spread", [1.0, 3.0])  # inside the box, and with atoms beyond its faces
def test_a_cube_rotation_of_the_atoms_permutes_the_voxels(spread):
    positions, channels = molecule(spread=spread)
    positions[:3] = torch.tensor(
        [[0, 0, 0], [0.125, -0.125, 0.375], [0.25, 0, 0]]
    )  # centres, faces and edges of voxels
    plain = voxelize(positions, channels, **BOX)
    for rotation in groups.cube():
        turned = voxelize(Vector().apply(rotation, positions), channels, **BOX)
        assert (turned - Grid().apply(rotation, plain)).abs().max() <= 1e-6


def test_values_are_the_formula_up_to_the_cut():
    positions, channels = molecule()
    assert (
        voxelize(positions, channels, **BOX) - untruncated(positions, channels, centres())
    ).abs().max() < 5e-5


def test_torch_path_agrees_and_is_differentiable():
    positions, channels = molecule(spread=2.5)
    plain = voxelize(positions, channels, **BOX)
    moving = positions.clone().requires_grad_(True)
    same = voxelize(moving, channels, **BOX)
    assert (same - plain).abs().max() <= 1e-6
    weight = torch.linspace(0, 1, plain.numel()).reshape(plain.shape)
    (same * weight).sum().backward()
    step = torch.zeros_like(positions)
    step[4, 1] = 1e-3
    numeric = (
        (voxelize(positions + step, channels, **BOX) - voxelize(positions - step, channels, **BOX)) * weight
    ).double().sum() / 2e-3
    assert moving.grad[4, 1].item() == pytest.approx(numeric.item(), rel=1e-2)


def test_batch_equals_one_by_one_and_empty_molecules_are_empty_grids():
    parts = [molecule(n, seed=n) for n in (5, 9)]
    positions, channels = torch.cat([p for p, _ in parts]), torch.cat([c for _, c in parts])
    grids = voxelize_batch(positions, channels, [0, 5, 5, 14], **BOX)
    assert torch.equal(grids[0], voxelize(*parts[0], **BOX)) and torch.equal(
        grids[2], voxelize(*parts[1], **BOX)
    )
    assert not grids[1].any()
    out = torch.full_like(grids, 7.0)
    assert voxelize_batch(positions, channels, [0, 5, 5, 14], **BOX, out=out) is out and torch.equal(
        out, grids
    )


def test_bad_input_is_named():
    positions, channels = molecule()
    for wrong, message in [
        ((positions[:, :2], channels), "positions"),
        ((positions, channels + 1), "channels from"),
        ((positions * np.nan, channels), "not finite"),
        ((positions, channels[:-1]), "channels"),
    ]:
        with pytest.raises(ValueError, match=message):
            voxelize(*wrong, **BOX)


def test_molecules_that_fit_keep_fitting_when_rotated():
    parts = [molecule(6, seed=s, spread=0.5 + 0.3 * (s % 5)) for s in range(40)]
    positions, offsets = np.concatenate([p for p, _ in parts]), np.arange(41) * 6
    whole = fits(positions, offsets, 24, 0.25, 0.5)
    assert whole.any() and not whole.all()
    for rotation in groups.haar(50, 0).numpy():
        assert not outside(positions @ rotation.T, offsets, 24, 0.25)[whole].any()
    wide = BOX | dict(grid=48)  # what lies beyond the box of 24
    for k in np.flatnonzero(whole):
        for rotation in groups.haar(5, int(k)):
            grid = voxelize(Vector().apply(rotation, parts[k][0]), parts[k][1], **wide)
            grid[:, 12:36, 12:36, 12:36] = 0
            assert grid.max() < 0.02  # each atom at most a per cent
    assert (outside(positions, offsets, 24, 0.25)[~whole] > 0).any() and outside(
        positions[:0], np.array([0, 0]), 24, 0.25
    ).tolist() == [0]
