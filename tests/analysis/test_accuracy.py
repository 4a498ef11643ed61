"""Atoms at the peaks of a grid, and errors of forces, against what is known beforehand."""

import numpy as np
import pytest
import torch
from common import TRAINING
from voxel_tools import voxelize

from equidyn import tasks
from equidyn.analysis import accuracy
from equidyn.models import registry


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


def test_a_model_that_knows_the_answer_has_no_error(dataset):
    settings = dict(training=TRAINING, measure=dict(n_items=8, n_rotations=3, batch_size=3))
    task = tasks.build("forces", dataset, settings, "cpu", None)

    class Oracle(torch.nn.Module):
        cutoff, n_neighbours = 5.0, 20

        def forward(self, numbers, positions, mask, **_):
            energy, forces = torch.zeros(len(positions)), torch.zeros_like(positions)
            for row, own in enumerate(mask.sum(1).tolist()):
                for item in task.test.tolist():  # found by its positions
                    if torch.equal(task.positions[item][task.mask[item]], positions[row, :own]):
                        forces[row, :own] = task.forces[item][:own] / task.force_scale
                        energy[row] = task.scaled_energy[item]
            return energy, forces

    found = {v.quantity: v.value for v in accuracy.of_forces(Oracle(), task)}
    assert found["force MAE"] < 1e-3 and found["energy MAE per atom"] < 1e-3
    assert found["force cosine"] == pytest.approx(1)
