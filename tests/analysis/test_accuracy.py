"""Atoms at the peaks of a grid, and errors of forces, against what is known beforehand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from common import TRAINING
from voxel_tools import voxelize

from equidyn import tasks
from equidyn.analysis import accuracy
from equidyn.models import registry
from equidyn.symmetry.measure import Batch


def grid_of(positions, resolution=0.4, grid=24):
    channels = np.zeros(len(positions), int)
    box = dict(n_channels=1, grid=grid, resolution=resolution, radius=0.5)
    return voxelize(positions.astype(np.float32), channels, **box)[0].numpy()


@pytest.mark.parametrize("seed", range(3))
def test_atoms_of_a_clean_grid_are_found_where_they_are(seed):
    rng = np.random.default_rng(seed)
    corners = np.stack(np.meshgrid(*[[-3.0, -1.0, 1.0, 3.0]] * 3, indexing="ij"), -1).reshape(-1, 3)
    atoms = corners[rng.permutation(64)[:20]] + rng.uniform(-0.3, 0.3, (20, 3))
    found = accuracy.peaks(grid_of(atoms)) * 0.4
    distance = np.linalg.norm(found[:, None] - atoms[None], axis=-1)
    assert len(found) == 20 and distance.min(0).max() < 0.2
    assert accuracy.matched(found, atoms) == 20


def test_noise_has_peaks_and_few_of_them_are_atoms():
    rng = np.random.default_rng(0)
    atoms = np.array([[-2.0, 0, 0], [2.0, 0, 0]])
    found = accuracy.peaks(grid_of(atoms) + 0.6 * rng.standard_normal((24, 24, 24))) * 0.4
    assert len(found) > 50 and accuracy.matched(found, atoms) <= 2
    assert len(accuracy.peaks(np.zeros((8, 8, 8)))) == 0


def test_every_point_is_in_one_pair_at_most():
    true = np.array([[0.0, 0, 0], [0.6, 0, 0]])
    assert accuracy.matched(np.array([[0.3, 0, 0]]), true) == 1  # near both
    assert (
        accuracy.matched(np.array([[0.3, 0, 0], [0.1, 0, 0]]), true) == 2
    )  # the nearest first would give one
    assert accuracy.matched(true, np.zeros((0, 3))) == 0


def test_force_errors_are_those_of_the_batches(dataset):
    settings = dict(training=TRAINING, measure=dict(n_items=8, n_rotations=3, batch_size=3))
    task = tasks.build("forces", dataset, settings, "cpu", None)
    model = registry.build("escaip", "tiny", 0).eval()
    found = {v.quantity: v for v in accuracy.of_forces(model, task)}
    squares = count = 0
    for batch in task.held_out(model):
        with torch.no_grad():
            error = (task.predict(model, batch.inputs) - batch.target)[batch.mask].double()
        squares, count = squares + error.square().sum().item(), count + error.numel()
    assert found["force RMSE"].value == pytest.approx(1000 * (squares / count) ** 0.5, rel=1e-6)
    assert found["force RMSE"].n == count and -1 <= found["force cosine"].value <= 1


def test_atoms_of_every_element_are_looked_for_in_its_channel():
    """Two of three carbons and the one oxygen are found, among four peaks of carbon; a clean grid has all."""
    carbons = np.array([[-2.07, 0.03, 0.05], [0.05, 2.07, 0.03], [2.03, -2.05, 1.07]])
    oxygen, others = np.array([[0.03, 0.05, -2.47]]), np.array([[3.07, 3.05, 3.03], [-3.07, -3.05, -3.03]])
    clean = np.stack([grid_of(carbons), grid_of(oxygen), 0 * grid_of(oxygen)])
    predicted = np.stack([grid_of(np.concatenate([carbons[:2], others])), grid_of(oxygen), clean[2]])
    first, second = (torch.from_numpy(np.stack([one, one])) for one in (clean, predicted))
    atoms = np.concatenate([carbons, oxygen]), np.array([0, 0, 0, 1])
    moved = -carbons[:1], np.array([0])  # of the second molecule, which has another atom
    task = SimpleNamespace(
        elements=["C", "O", "N"],
        shape=dict(resolution=0.4),
        held_out=lambda model: [Batch(dict(noisy=second), first, None, torch.arange(2))],
        predict=lambda model, inputs: inputs["noisy"],
        atoms=lambda row: (atoms, moved)[row],
    )

    def found(model):
        return {(v.quantity.split()[0], v.element): (v.value, v.n) for v in accuracy.of_voxels(model, task)}

    assert found(torch.nn.Identity()) == {
        ("recall", "C"): (pytest.approx(2 / 4), 4),  # of three and one
        ("precision", "C"): (pytest.approx(2 / 8), 8),
        ("recall", "O"): (1.0, 1),
        ("precision", "O"): (0.5, 2),
    }
    assert found(None)["recall", "C"] == (pytest.approx(3 / 4), 4)


@pytest.mark.parametrize("off", [0.0, 0.1])
def test_a_model_that_knows_the_answer_has_no_error(dataset, off):
    """One that is off by 0.1 eV/Å in every component and 0.1 eV an atom has errors of 100 thousandths."""
    settings = dict(training=TRAINING, measure=dict(n_items=8, n_rotations=3, batch_size=3))
    task = tasks.build("forces", dataset, settings, "cpu", None)

    class Oracle(torch.nn.Module):
        cutoff, n_neighbours = 5.0, 20

        def forward(self, numbers, positions, mask, **_):
            energy, forces = torch.zeros(len(positions)), torch.zeros_like(positions)
            for row, own in enumerate(mask.sum(1).tolist()):
                for item in task.test.tolist():  # found by its positions
                    if torch.equal(task.positions[item][task.mask[item]], positions[row, :own]):
                        forces[row, :own] = (task.forces[item][:own] + off) / task.force_scale
                        energy[row] = task.scaled_energy[item] + own * off / task.energy_scale
            return energy, forces

    found = {v.quantity: v.value for v in accuracy.of_forces(Oracle(), task)}
    for name in ("force MAE", "force RMSE", "energy MAE per atom"):
        assert found[name] == pytest.approx(1000 * off, rel=1e-3, abs=1e-3), name
    true = torch.cat([task.forces[item] for item in task.test.tolist()])
    cosine = torch.nn.functional.cosine_similarity(true + off, true).mean().item()
    assert found["force cosine"] == pytest.approx(cosine, rel=1e-5)
