import pytest
import torch

from equidyn.symmetry import groups
from equidyn.symmetry.actions import Fixed, Grid, Scalar, Tensor2, Vector

CUBE = groups.cube()


@pytest.mark.parametrize(
    "action, shape",
    [(Vector(), (5, 3)), (Tensor2(), (5, 3, 3)), (Scalar(), (5,)), (Fixed(), (5, 2)), (Grid(), (2, 4, 4, 4))],
)
def test_is_a_group_action(action, shape):
    x = torch.randn(*shape, dtype=torch.float64)
    for a, b in zip(CUBE, CUBE.flip(0)):
        assert torch.allclose(action.apply(a, action.apply(b, x)), action.apply(a @ b, x), atol=1e-12)
        assert torch.allclose(action.inverse(a, action.apply(a, x)), x, atol=1e-12)


def test_vectors_are_rows_and_per_item_rotations_match_a_loop():
    r, x = groups.haar(4, 0), torch.randn(4, 6, 3, dtype=torch.float64)
    assert torch.allclose(Vector().apply(r[0], x), x @ r[0].T)
    assert torch.allclose(Vector().apply(r, x), torch.stack([xi @ ri.T for xi, ri in zip(x, r)]))


@pytest.mark.parametrize("n", [4, 5])
def test_grid_moves_values_as_positions(n):
    """A field of positions: the value at p after rotation is that at R⁻¹ p before, for all 24 elements."""
    axis = torch.arange(n, dtype=torch.float64) - (n - 1) / 2
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)
    weights = torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64)
    for r in CUBE:
        assert torch.allclose(Grid().apply(r, points @ weights), (points @ r) @ weights)


@pytest.mark.parametrize("action, shape", [(Vector(), (200, 3)), (Tensor2(), (200, 3, 3))])
def test_turning_float32_adds_the_rounding_of_its_result_alone(action, shape):
    """Arithmetic is in float64: what is turned in float32 is the turned float64, rounded once."""
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    for rotation in groups.haar(5, 0):
        assert torch.equal(action.apply(rotation, x), action.apply(rotation, x.double()).float())


def test_a_grid_refuses_what_is_nearly_a_rotation_of_the_cube_and_a_mirror_image():
    """A thousandth of a turn would be left out, and an inversion is no rotation."""
    nearly = CUBE[5] @ groups.about_axis(torch.tensor(1e-3, dtype=torch.float64), 2)
    for rotation in (nearly, -CUBE[5]):
        with pytest.raises(ValueError, match="not one of the 24"):
            Grid().apply(rotation, torch.zeros(2, 4, 4, 4))


def test_errors_name_what_was_found():
    with pytest.raises(ValueError, match="not one of the 24"):
        Grid().apply(groups.haar(1, 0)[0], torch.zeros(2, 4, 4, 4))
    with pytest.raises(ValueError, match="trailing axes"):
        Vector().apply(CUBE[0], torch.zeros(5, 4))
    with pytest.raises(ValueError, match="one per entry"):
        Vector().apply(CUBE[:3], torch.zeros(5, 2, 3))
