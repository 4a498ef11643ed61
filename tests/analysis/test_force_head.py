"""The least-squares head at fixed features."""

import torch
from small_tasks import doubled

from equidyn.analysis.force_head import head_deviation, least_squares_head
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
