import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equidyn.data.generate import backbones
from equidyn.errors import DataError
from equidyn.geometry import chains


def curve(radius, degrees, rise, n=30):
    turn = np.radians(degrees) * np.arange(n)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn), rise * np.arange(n)], axis=1)


HELIX, MIRRORED = (
    curve(2.3, 100, 1.5),
    curve(2.3, -100, 1.5),
)  # the alpha helix of textbooks: 3.6 residues and 5.4 angstrom a turn
STRAND = curve(0.9, -170, 3.3)


@pytest.fixture(scope="module")
def built():
    return backbones.build(48, 50, 90, 3)


def test_geometry_of_known_curves():
    assert np.allclose(chains.dihedrals(HELIX), 50, atol=1.5) and np.allclose(
        chains.dihedrals(MIRRORED), -chains.dihedrals(HELIX)
    )
    assert np.allclose(chains.bond_lengths(HELIX), 3.8, atol=0.05) and len(chains.dihedrals(HELIX)) == 27
    assert (
        chains.helix_handedness(HELIX) == (27, 0)
        and chains.helix_handedness(MIRRORED) == (0, 27)
        and chains.helix_handedness(STRAND) == (0, 0)
    )
    assert np.allclose(np.abs(chains.dihedrals(STRAND)), 170, atol=3)
    assert chains.radius_of_gyration(np.array([[3.0, 4, 0], [-3, -4, 0]])) == pytest.approx(5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_geometry_under_rotation_and_reflection(seed):
    rng = np.random.default_rng(seed)
    x, rotation = rng.normal(size=(8, 3)), np.linalg.qr(rng.normal(size=(3, 3)))[0]
    sign, moved = np.sign(np.linalg.det(rotation)), x @ rotation.T + rng.normal(size=3)
    assert np.abs((chains.dihedrals(moved) - sign * chains.dihedrals(x) + 180) % 360 - 180).max() < 1e-6
    assert np.allclose(chains.bond_lengths(moved), chains.bond_lengths(x)) and np.isclose(
        chains.radius_of_gyration(moved), chains.radius_of_gyration(x)
    )


def test_ideal_geometry_of_every_residue():
    phi, psi = np.random.default_rng(0).uniform(-np.pi, np.pi, (2, 40))
    n, ca, c = (backbones._grow(phi, psi)[k::3] for k in range(3))
    norm = np.linalg.norm
    for found, length in (
        (norm(ca - n, axis=1), 1.458),
        (norm(c - ca, axis=1), 1.525),
        (norm(n[1:] - c[:-1], axis=1), 1.329),
    ):
        assert np.allclose(found, length)
    for first, middle, last, degrees in (
        (n, ca, c, 111.0),
        (ca[:-1], c[:-1], n[1:], 117.2),
        (c[:-1], n[1:], ca[1:], 121.7),
    ):
        a, b = first - middle, last - middle
        assert np.allclose(np.degrees(np.arccos((a * b).sum(1) / norm(a, axis=1) / norm(b, axis=1))), degrees)

    def torsions(*atoms):
        return np.array([chains.dihedrals(np.stack(four))[0] for four in zip(*atoms)])

    assert np.allclose(torsions(c[:-1], n[1:], ca[1:], c[1:]), np.degrees(phi[1:])) and np.allclose(
        torsions(n[:-1], ca[:-1], c[:-1], n[1:]), np.degrees(psi[:-1])
    )
    assert np.allclose(np.abs(torsions(ca[:-1], c[:-1], n[1:], ca[1:])), 180)
    helix = backbones._grow(*np.radians([[-63.0] * 20, [-42.0] * 20]))[1::3]
    assert np.allclose(chains.dihedrals(helix), 50, atol=6) and chains.helix_handedness(helix) == (17, 0)


def test_a_turn_about_the_c_alpha_is_a_change_of_its_torsions():
    phi, psi = np.random.default_rng(1).uniform(-np.pi, np.pi, (2, 12))
    before, i = backbones._grow(phi, psi), 5
    first = backbones._rotation(before[3 * i + 1] - before[3 * i], 0.7)
    turn = first @ backbones._rotation(before[3 * i + 2] - before[3 * i + 1], -1.1)
    phi[i], psi[i] = phi[i] + 0.7, psi[i] - 1.1
    found = before.copy()
    backbones._turn(found[3 * i + 2 : 3 * i + 3], before[3 * i + 1], first, found[3 * i + 2 : 3 * i + 3])
    backbones._turn(found[3 * i + 3 :], before[3 * i + 1], turn, found[3 * i + 3 :])
    assert np.allclose(found, backbones._grow(phi, psi), atol=1e-9)


def test_chains_are_protein_like(built):
    made, rejected = built
    assert (
        len(made) == 48 and sum(rejected.values()) < 48 and set(rejected) <= {"overlap", "radius of gyration"}
    )
    helical, right, left = [], 0, 0
    for x in made:
        assert (
            x.dtype == np.float32
            and x.shape[1] == 3
            and 50 <= len(x) <= 90
            and np.abs(x.mean(0)).max() < 1e-4
        )
        assert np.abs(chains.bond_lengths(x) - 3.8).max() < 0.1
        i, j = np.triu_indices(len(x), 3)
        assert np.linalg.norm(x[i] - x[j], axis=1).min() > 3.99
        assert 0.85 < chains.radius_of_gyration(x) / (2.2 * len(x) ** 0.38) < 1.15
        more = chains.helix_handedness(x)
        right, left = right + more[0], left + more[1]
        helical.append(sum(more) / len(x))
    assert right > 500 and left < 0.03 * right
    assert min(helical) < 0.1 and max(helical) > 0.5 and len({len(x) for x in made}) > 20
    angles = np.concatenate([chains.dihedrals(x) for x in made])
    shares = np.histogram(angles, [-180, -130, -40, 30, 70, 160, 180])[0] / len(angles)
    assert (
        shares[3] > 0.3 and shares[0] + shares[5] > 0.15 and shares[2] < 0.1
    )  # helices, strands, and the gap between them


def test_compositions_are_kept_apart():
    generator = np.random.default_rng(0)
    for helices, present in ((1.0, {0, 2}), (0.0, {1, 2}), (0.5, {0, 1, 2})):
        segments = np.concatenate([backbones._segments(100, helices, generator) for _ in range(20)])
        assert set(segments) == present


def test_the_seed_decides_and_workers_do_not(built):
    again = backbones.build(12, 50, 90, 3, workers=3)[0]
    other = backbones.build(12, 50, 90, 4)[0]
    assert all(np.array_equal(a, b) for a, b in zip(again, built[0]))
    assert not any(a.shape == b.shape and np.allclose(a, b) for a, b in zip(other, again))


def test_chains_that_cannot_be_built(monkeypatch):
    for arguments in ((0, 50, 60), (1, 10, 60), (1, 60, 50)):
        with pytest.raises(DataError, match="expected at least 1 chain and 20 <= min <= max"):
            backbones.build(*arguments, seed=0)
    monkeypatch.setattr(backbones, "RG_TARGET", (0.3, 0.3))
    monkeypatch.setattr(backbones, "ATTEMPTS", 2)
    with pytest.raises(DataError, match="chain 0 of 50 residues did not fold in 2 attempts"):
        backbones.build(1, 50, 50, 0)
