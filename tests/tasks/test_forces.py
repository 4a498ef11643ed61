import numpy as np
import pytest
import torch

from benchmarks.linear_head import doubled
from equidyn.models import registry
from equidyn.tasks.forces import l2_norm


class Constant(torch.nn.Module):
    """The same energy of every item, the same force on every atom, and on padding."""

    cutoff, n_neighbours, energy, force = 5.0, 20, 0.7, 0.5

    def forward(self, numbers, positions, **_):
        return torch.full((len(positions),), self.energy), torch.full_like(positions, self.force)


@pytest.mark.parametrize("loss", ["l2", "mse"])
def test_the_training_loss_is_what_its_settings_say(task, loss):
    """By hand: weights of its parts, lengths or squares of the errors of atoms, scaled targets."""
    task.settings["training"] |= dict(loss=loss, energy_weight=0.3, force_weight=2.0, augment=0.0)
    items = torch.arange(6)
    chosen = task.train[items].tolist()
    error = torch.cat([0.5 - task.forces[item] / task.force_scale for item in chosen])
    force = error.norm(dim=-1).mean() if loss == "l2" else error.square().mean()
    energy = (0.7 - task.scaled_energy[chosen]).abs().mean()
    found, log = task.training_loss(Constant(), items, 3)
    assert found.item() == pytest.approx((0.3 * energy + 2.0 * force).item(), rel=1e-5)
    assert log["force_loss"].item() == pytest.approx(force.item(), rel=1e-5)
    assert log["energy_mae"].item() == pytest.approx(energy.item() * task.energy_scale, rel=1e-5)


def test_scales_and_reference_energies_are_those_of_the_training_items(task):
    """What is held out decides nothing; the energy that remains is in units of its spread."""
    train = task.train.tolist()
    forces = torch.cat([task.forces[item] for item in train]).double()
    assert task.force_scale == pytest.approx(forces.square().mean().sqrt().item(), rel=1e-5)
    elements = sorted({z for item in train for z in task.numbers[item].tolist()})
    counts = np.array([[(task.numbers[item] == z).sum().item() for z in elements] for item in train])
    energy = task.energy[train].numpy()
    rest = energy - counts @ np.linalg.lstsq(counts.astype(float), energy, rcond=None)[0]
    assert task.energy_scale == pytest.approx(rest.std(), rel=1e-6)
    scaled = task.scaled_energy[train].numpy()
    assert np.allclose(scaled, rest / rest.std(), atol=1e-4) and scaled.std() == pytest.approx(1)


def test_the_other_loss_is_the_length_of_the_error_of_an_atom():
    assert l2_norm(torch.tensor([[[3.0, 4, 0]]]), torch.zeros(1, 1, 3)).tolist() == [[5]]


def test_a_rotation_comes_as_often_as_it_should(task):
    """With ``augment`` as probability: a quarter of the items, not the rest of them."""
    task.settings["training"]["augment"] = 0.25
    drawn = [task.draw(torch.arange(40), seed)["rotation"] for seed in range(20)]
    turned = (torch.cat(drawn) - torch.eye(3)).abs().amax((1, 2)) > 1e-6
    assert 0.18 < turned.double().mean() < 0.32


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
