"""Content by degree and irrep: sums to the error where it should, and lies where it belongs."""

import numpy as np
import pytest
import torch

from equidyn.symmetry import content, groups, quadrature

STRETCH = torch.diag(torch.tensor([1.0, 1.0, 1.05], dtype=torch.float64))
ERROR = ((2 + 1.05**2) - (3.05) ** 2 / 3) / 3  # of the stretch, on a unit vector (decomposition.md)
X = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)


def stretched(rotations):
    """Twisted predictions of a linear map: all of the error is of degree 2."""
    return torch.stack([R.T @ STRETCH @ R @ X for R in rotations])


def twisting(rotations):
    """R ↦ R x: all of the error is of degree 1."""
    return torch.stack([R @ X for R in rotations])


def test_characters_are_orthonormal():
    rule = quadrature.named("lebedev:11")
    values = torch.stack([content.character(degree, rule.rotations) for degree in range(6)])
    gram = (values * rule.weights) @ values.T
    assert torch.allclose(gram, torch.eye(6, dtype=torch.float64), atol=1e-12)


def test_irreps_of_the_cube_sum_to_the_error():
    generator = torch.Generator().manual_seed(0)
    stack = torch.randn(24, 7, 3, generator=generator, dtype=torch.float64)
    order = torch.randperm(24, generator=generator)
    found = content.by_irrep(stack[order], groups.cube()[order])
    error = (stack - stack.mean(0)).square().sum((1, 2)).mean().item()
    assert sum(found.values()) == pytest.approx(error, rel=1e-12)
    assert all(value > 0 for value in found.values())
    assert sum(d * d for d, _ in content.IRREPS.values()) + 1 == 24


def test_degrees_are_in_their_irreps():
    cube = groups.cube()
    of_two = content.by_irrep(stretched(cube), cube)
    assert of_two["E"] + of_two["T2"] == pytest.approx(ERROR, rel=1e-12)
    assert abs(of_two["A2"]) + abs(of_two["T1"]) < 1e-16
    of_one = content.by_irrep(twisting(cube), cube)
    assert of_one["T1"] == pytest.approx(1.0) and sum(map(abs, of_one.values())) == pytest.approx(1.0)


def test_the_icosahedron_gives_degree_two_exactly_and_aliases_beyond():
    rule = quadrature.named("icosahedron")
    found = content.by_quadrature(stretched(rule.rotations), rule.rotations, rule.weights, 4)
    assert found["2"] == pytest.approx(ERROR, rel=1e-10) and abs(found["1"]) < 1e-15
    assert found["4"] > 0.1 * ERROR  # there is nothing of degree 4: 4 + 2 is more than 5


@pytest.mark.parametrize("name", ["lebedev:5", "lebedev:7", "icosahedron"])
def test_degrees_of_a_quadratic_model_sum_to_its_error_whatever_the_weights(name):
    """Nodes of unequal weight count as such on both sides of a pair."""
    rule = quadrature.named(name)
    generator = torch.Generator().manual_seed(0)
    tensor = torch.randn(4, 3, 3, 3, 3, dtype=torch.float64, generator=generator)
    stack = torch.einsum("kabcd,nab,ncd->nk", tensor, rule.rotations, rule.rotations)
    mean = (rule.weights[:, None] * stack).sum(0)
    error = (rule.weights[:, None] * (stack - mean) ** 2).sum().item()
    found = content.by_quadrature(stack, rule.rotations, rule.weights, 2)
    assert sum(found.values()) == pytest.approx(error, rel=1e-10)


def test_pairs_of_random_poses_are_unbiased():
    values = {"1": [], "2": [], "3": [], "4": []}
    for seed in range(400):
        rotations = groups.haar(8, seed)
        for degree, value in content.by_degree(stretched(rotations), rotations).items():
            values[degree].append(value)
    for degree, expected in {"1": 0, "2": ERROR, "3": 0, "4": 0}.items():
        error = np.std(values[degree]) / np.sqrt(400)
        assert abs(np.mean(values[degree]) - expected) < 4 * error + 1e-15, degree
    assert np.std(values["2"]) / np.sqrt(400) < 0.1 * ERROR


def test_parity_is_told_apart_in_o3():
    """A model that sees handedness: the same for both images but for a sign."""
    found = []
    for seed in range(200):
        rotations = groups.mirrored(groups.haar(8, seed)[:, None], seed)[:, 0]
        stack = torch.linalg.det(rotations)[:, None] * torch.tensor([1.0, 2.0], dtype=torch.float64)
        found.append(content.by_degree(stack, rotations, highest=2, parities=True))
    means = {name: np.mean([one[name] for one in found]) for name in found[0]}
    assert set(means) == {"0-", "1+", "1-", "2+", "2-"}
    assert means["0-"] == pytest.approx(5.0, rel=0.05)
    assert all(abs(means[name]) < 1.0 for name in means if name != "0-")


def test_differences_by_angle_grow_from_nothing():
    rotations = groups.haar(60, 0)
    sums, pairs = content.by_angle(twisting(rotations), rotations)
    assert sum(pairs) == 60 * 59 // 2
    means = [value / n for value, n in zip(sums, pairs)]
    assert means == sorted(means) and means[0] < 0.1 < means[-1]
