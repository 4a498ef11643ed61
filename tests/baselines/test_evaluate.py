import pytest
import torch

from equidyn.baselines.evaluate import sums_of_losses
from equidyn.errors import ArgumentError
from equidyn.symmetry.measure import Batch


class Same:
    """Predicts its input."""

    def predict(self, inputs):
        return inputs["x"]


def batch(x, target, mask=None):
    x, target = torch.tensor(x), torch.tensor(target)
    return Batch(dict(x=x), target, None if mask is None else torch.tensor(mask), torch.arange(len(x)))


def test_sums_are_over_valid_elements_and_in_order():
    nan = torch.nan
    plain = batch([[[1.0, 2], [3, 4]]], [[[0.0, 0], [0, 0]]])
    masked = batch([[[1.0, 2], [9, nan]], [[5, 5], [0, 0]]], [[[0.0, 0], [nan, 9]], [[5, 6], [1, 1]]])
    masked.mask = torch.tensor([[True, False], [True, True]])
    assert sums_of_losses(Same(), [plain, masked]).tolist() == [30, 5, 3]
    assert sums_of_losses(Same(), iter([masked, plain])).tolist() == [5, 3, 30]
    found = sums_of_losses(Same(), [])
    assert found.shape == (0,) and found.dtype == torch.float64


def test_sums_are_in_float64():
    """1 + 1e-8 is 1 in float32."""
    x = torch.ones(1, 2)
    x[0, 1] = 1e-4
    found = sums_of_losses(Same(), [Batch(dict(x=x), torch.zeros(1, 2), None, torch.arange(1))])
    assert found.dtype == torch.float64 and found.item() == pytest.approx(1 + 1e-8, abs=1e-12)


def test_scalars_per_item():
    assert sums_of_losses(Same(), [batch([1.0, 2.0], [0.0, 0.0], [False, True])]).tolist() == [0, 4]


@pytest.mark.parametrize(
    "x, target, message",
    [
        ([[1.0, 2]], [[1.0]], r"\[1, 2\], expected that of the target, \[1, 1\]"),
        ([[torch.nan]], [[1.0]], "NaN"),
    ],
)
def test_errors_say_what_was_found_and_expected(x, target, message):
    with pytest.raises(ArgumentError, match=message):
        sums_of_losses(Same(), [batch(x, target)])
