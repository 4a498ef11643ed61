import pytest
import torch
from small_tasks import doubled

from equidyn.models import registry


def test_augmentation_rotates_target_with_input(task):
    """An equivariant model cannot tell: its training loss is the same with and without augmentation."""
    model = registry.build("escaip", "tiny", 0, tied=True).double()
    task.positions, task.forces, task.scaled_energy = (
        doubled(task.positions),
        doubled(task.forces),
        task.scaled_energy.double(),
    )
    items = torch.arange(6)
    task.settings["training"]["augment"] = 0.0
    plain = task.training_loss(model, items, 3)[0]
    task.settings["training"]["augment"] = 1.0
    assert torch.isclose(task.training_loss(model, items, 3)[0], plain, rtol=1e-9)
    free = registry.build("rawdir", "tiny", 0).double()
    a = task.training_loss(free, items, 3)[0]
    assert not torch.isclose(task.training_loss(free, items, 4)[0], a, rtol=1e-6)


def test_held_out_items_are_fixed_and_never_trained_on(task):
    model = registry.build("escaip", "tiny")
    first, second = task.held_out(model), task.held_out(model)
    assert all(torch.equal(a.target, b.target) for a, b in zip(first, second))
    clusters = torch.cat([b.clusters for b in first])
    assert len(clusters.unique()) == len(clusters) == 8
    assert not set(clusters.tolist()) & set(task.cluster[task.train].tolist())


def test_penalty_is_the_equivariance_error_in_units_of_the_zero_predictor(task):
    """None for the control; the loss grows by the weight times what is logged."""
    task.settings["training"]["augment"] = 1.0
    items = torch.arange(6)
    for name, options in (("rawdir", {}), ("escaip", {"tied": True})):
        model = registry.build(name, "tiny", 0, **options)
        task.settings["training"].pop("equivariance_penalty", None)
        plain, log = task.training_loss(model, items, 3)
        task.settings["training"]["equivariance_penalty"] = 3.0
        loss, more = task.training_loss(model, items, 3)
        assert "equivariance" not in log and more.items() > log.items()
        assert loss.item() == pytest.approx(plain.item() + 3.0 * more["equivariance"].item(), rel=1e-6)
        assert (more["equivariance"] < 1e-10) == (name == "escaip")


def test_the_loss_of_an_average_is_that_of_the_averaged_network(task):
    """No other loss for an exactly equivariant network; less of it for one that is not, by the equivariance
    error that averaging takes away.
    """
    task.settings["training"] |= {"loss": "mse", "energy_weight": 0.0}
    items = torch.arange(6)
    tied, free = registry.build("escaip", "tiny", 0, tied=True), registry.build("rawdir", "tiny", 0)

    def loss(model, average):
        task.settings["training"]["average"] = average
        return task.training_loss(model, items, 3)[0].item()

    assert loss(tied, 4) == pytest.approx(loss(tied, 1), rel=1e-5)
    assert loss(free, 16) < loss(free, 2) < loss(free, 1)
