"""Poses: what is isotropic is called so, what is aligned is not; turning keeps everything but the pose."""

import json

import numpy as np
import pytest
from common import SETTINGS
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from equidyn.data import poses, store
from equidyn.data.build import build
from equidyn.errors import DataError


def structures(n, rng, rotations=None):
    """Positions [8 n, 3] of structures longest along x, shortest along z, and their lengths; turned."""
    x = rng.normal(size=(n, 8, 3)) * (3.0, 1.5, 0.5)
    x = x if rotations is None else np.einsum("nij,nkj->nki", rotations, x)
    return x.reshape(-1, 3), np.full(n, 8)


def test_isotropic_poses_are_within_chance_and_aligned_ones_are_not():
    rng, n = np.random.default_rng(0), 2000
    isotropic = poses.anisotropy([structures(n, rng, poses.draw("haar", n, 1))])
    assert isotropic.n == n and not isotropic.aligned and isotropic.deviation < 4
    assert sum(isotropic.gyration) == pytest.approx(1) and sum(isotropic.longest) == pytest.approx(1)
    aligned = poses.anisotropy([structures(n, rng)])
    assert aligned.aligned and aligned.gyration[0] > 0.6 and aligned.longest[0] > 0.8 and aligned.fourth > 0.8
    assert "isotropic 0.333" in aligned.text() and poses.Anisotropy.from_json(aligned.to_json()) == aligned


def test_the_stated_scatter_is_that_of_isotropic_poses():
    """Over many small sets the statistics spread by what is stated."""
    found = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        found.append(poses.anisotropy([structures(20, rng, poses.draw("haar", 20, seed))]))
    for values, spread in (
        ([f.gyration[0] for f in found], found[0].gyration_spread),
        ([f.longest[1] for f in found], found[0].longest_spread),
        ([f.fourth for f in found], found[0].fourth_spread),
    ):
        assert np.std(values) == pytest.approx(spread, rel=0.12)
    assert np.mean([f.fourth for f in found]) == pytest.approx(poses.ISOTROPIC_FOURTH, abs=0.006)


def test_permuted_axes_are_seen_by_the_fourth_moment_alone():
    rng, n = np.random.default_rng(1), 3000
    cyclic = np.array([np.roll(np.eye(3), k, axis=0) for k in range(3)])
    found = poses.anisotropy([structures(n, rng, cyclic[np.arange(n) % 3])])
    assert max(abs(g - 1 / 3) for g in found.gyration) < 0.02 and found.fourth > 0.8 and found.aligned


@examples(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(0, 1000))
def test_blocks_give_what_the_whole_gives(lengths, seed):
    rng, lengths = np.random.default_rng(seed), np.array(lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    x, wanted = rng.normal(size=(offsets[-1], 3)), rng.random(len(lengths)) < 0.7
    whole = poses.anisotropy(poses.blocks_of(x, offsets, wanted))
    before, poses.BLOCK = poses.BLOCK, 3
    try:
        parts = poses.anisotropy(poses.blocks_of(x, offsets, wanted))
    finally:
        poses.BLOCK = before
    if whole is None:
        assert parts is None
    else:
        assert parts.n == whole.n and np.allclose(parts.gyration, whole.gyration)
        assert np.isclose(parts.fourth, whole.fourth)


def test_turning_back_is_the_identity_and_unknown_poses_are_refused():
    rng = np.random.default_rng(2)
    x, lengths = structures(50, rng)
    rotations = poses.draw("haar", 50, 7)
    back = poses.turn(poses.turn(x, lengths, rotations), lengths, rotations.transpose(0, 2, 1))
    assert np.allclose(back, x) and poses.turn(x, lengths, None) is x
    assert np.allclose(np.linalg.det(rotations), 1) and poses.draw("as-made", 50, 7) is None
    with pytest.raises(DataError, match="poses: 'random', expected one of as-made, haar"):
        poses.draw("random", 3, 0)


def test_a_dataset_in_other_poses_has_the_same_labels_and_split(tmp_path, monkeypatch):
    """Energies, shapes, angles between positions and forces stay; xTB is not run again."""
    from equidyn.data.generate import conformers

    made = {**SETTINGS, "n_conformers": 20, "n_molecules": 20}
    build(made, str(tmp_path / "haar.h5"))
    monkeypatch.setattr(conformers, "build", lambda *_, **__: pytest.fail("labelled again"))
    for name, how in (("aligned", "as-made"), ("again", "haar")):
        build({"source": "turned", "of": "haar", "poses": how, "seed": 5}, str(tmp_path / f"{name}.h5"))
    (a, of_a), (b, of_b), (c, _) = (store.read(tmp_path / f"{n}.h5") for n in ("haar", "aligned", "again"))
    for name in ("numbers", "energy", "cluster", "split", "offsets"):
        assert np.array_equal(a[name], b[name]) and np.array_equal(a[name], c[name])
    for other in (b, c):
        assert np.allclose(
            (a["positions"] * a["forces"]).sum(1), (other["positions"] * other["forces"]).sum(1), atol=1e-4
        )
        assert np.allclose(
            np.linalg.norm(a["forces"], axis=1), np.linalg.norm(other["forces"], axis=1), atol=1e-4
        )
    assert not np.allclose(a["positions"], b["positions"]) and not np.allclose(a["positions"], c["positions"])
    assert (of_a["poses"], of_b["poses"]) == ("haar", "as-made")
    share = lambda name: store.poses_of(tmp_path / f"{name}.h5")[1].longest[0]  # noqa: E731
    assert share("aligned") > 0.8 > share("haar")
    assert json.loads(of_b["settings"])["n_molecules"] == 20
    assert (tmp_path / "haar/split.csv").read_bytes() == (tmp_path / "aligned/split.csv").read_bytes()
    part = {"source": "turned", "of": "haar", "poses": "haar", "seed": 5, "share": 0.0}
    build(part, str(tmp_path / "part.h5"))  # none of the structures is turned from the poses as made
    none = store.read(tmp_path / "part.h5")[0]
    assert np.allclose(none["positions"], b["positions"], atol=1e-5)
    with pytest.raises(DataError, match="of 'none', but there is no .*none.h5"):
        build({"source": "turned", "of": "none", "poses": "haar", "seed": 0}, str(tmp_path / "x.h5"))


def test_part_of_a_turn_lies_between_none_and_all():
    """Shares are nested, cones grow about the same axes, and both ends are what they are called."""
    n = 4000
    few, more = (poses.draw_part(n, 3, share=share) for share in (0.25, 0.75))
    turned_few, turned_more = (~np.isclose(r, np.eye(3)).all((1, 2)) for r in (few, more))
    assert abs(turned_few.mean() - 0.25) < 0.03 and abs(turned_more.mean() - 0.75) < 0.03
    assert (turned_few <= turned_more).all() and np.array_equal(few[turned_few], more[turned_few])
    narrow, wide = (poses.draw_part(n, 3, cone=cone) for cone in (30.0, 180.0))
    angles = np.rad2deg(np.arccos(np.clip((np.trace(narrow, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    assert angles.max() <= 30 + 1e-4 and angles.mean() > 20  # most of the measure is at the rim
    assert np.allclose(np.linalg.det(wide), 1) and np.abs(wide.mean(0)).max() < 0.04  # E[R] = 0 under Haar
    assert np.abs(np.einsum("nij,nkl->ijkl", wide, wide) / n - _second_moment()).max() < 0.05
    assert np.array_equal(poses.draw_part(5, 3, share=0.0), np.broadcast_to(np.eye(3), (5, 3, 3)))


def _second_moment():
    """E[R_ij R_kl] = δ_ik δ_jl / 3 under the Haar measure."""
    return np.einsum("ik,jl->ijkl", np.eye(3), np.eye(3)) / 3


def test_a_share_moves_the_moments_of_poses_in_proportion():
    rng, n = np.random.default_rng(4), 6000
    x, lengths = structures(n, rng)
    made, half, all_of_it = (
        poses.anisotropy([(poses.turn(x, lengths, poses.draw_part(n, 5, share=share)), lengths)])
        for share in (0.0, 0.5, 1.0)
    )
    assert half.gyration[0] == pytest.approx((made.gyration[0] + all_of_it.gyration[0]) / 2, abs=0.02)
    assert half.fourth == pytest.approx((made.fourth + all_of_it.fourth) / 2, abs=0.02)
    assert not all_of_it.aligned
