"""The least-squares head at fixed features, and what a change of the error is due to."""

import math

import pytest
import torch

from benchmarks.linear_head import doubled
from equidyn.analysis.force_head import head_deviation, least_squares_head, parts_of_change
from equidyn.models import registry


def batches(task, model):
    """All training items in one batch, with the forces that the model itself predicts, unscaled."""
    inputs, _ = task.inputs_of(model, task.train)
    with torch.no_grad():
        yield inputs, model(**inputs)[1]


def double(task, **options):
    task.positions, task.forces = doubled(task.positions), doubled(task.forces)
    return registry.build("escaip", "tiny", 0, **options).double().eval()


def test_forces_that_a_head_made_are_its_own_again(task):
    model = double(task)
    assert head_deviation(model).abs().max() > 0.01  # rows of its own
    found = least_squares_head(model, batches(task, model), ridge=1e-12)
    assert torch.allclose(found, model.force.weight, atol=1e-5)


def test_a_law_that_the_features_hold_needs_no_isotropic_poses(task):
    """Equivariant forces from the model's own features: rows come out alike, whatever the poses."""
    tied = double(task, tied=True)
    found = least_squares_head(tied, batches(task, tied), ridge=1e-12)
    assert torch.allclose(found, found.mean(0, keepdim=True).expand_as(found), atol=1e-5)
    assert torch.allclose(found[:1], tied.force.weight, atol=1e-5)


def test_a_change_is_that_of_the_features_and_that_of_the_head():
    """Each alone where the other stays, and the mean over both orders where neither does."""
    g = torch.Generator().manual_seed(0)
    w, v = (torch.randn(3, 5, generator=g, dtype=torch.float64) for _ in range(2))
    root, other = (torch.randn(5, 5, generator=g, dtype=torch.float64) for _ in range(2))
    gram, gram2 = root @ root.T, other @ other.T
    found = parts_of_change((w, gram), (w, 4 * gram))
    assert (found["features_part"], found["head_part"]) == pytest.approx((math.log(4), 0.0))
    found = parts_of_change((w, gram), (3 * w, gram))
    assert (found["features_part"], found["head_part"]) == pytest.approx((0.0, math.log(9)))
    found, back = parts_of_change((w, gram), (v, gram2)), parts_of_change((v, gram2), (w, gram))
    assert found["features_part"] + found["head_part"] == pytest.approx(found["change"])
    assert all(back[name] == pytest.approx(-value) for name, value in found.items())
    assert all(map(math.isnan, parts_of_change(None, (w, gram)).values()))
