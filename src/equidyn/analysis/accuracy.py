"""What a loss means to a chemist: errors of forces and energies, atoms found in denoised grids.

All of the held-out items as they lie, without rotations.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import maximum_filter
from scipy.optimize import linear_sum_assignment

THRESHOLD = 0.3  # occupancy of a peak; an atom midway between voxels of 0.4 Å has 0.57 in the nearest ones
WITHIN = 0.5  # Å between a peak and its atom: less than half the shortest bond


@dataclass(frozen=True)
class Value:
    """A quantity, with the element that it is about ("" for all), its unit and what it is a mean over."""

    quantity: str
    element: str
    value: float
    unit: str
    n: int


@torch.no_grad()
def of_forces(model: torch.nn.Module, task) -> Iterator[Value]:
    """Errors of a model of the task ``forces``, in eval mode.

    MAE and RMSE over components of forces, mean cosine of predicted and true force over atoms, and MAE of the
    energy per atom, of what a linear reference by element leaves of it.
    """
    errors, cosines, energies = [], [], []
    items = task.by_size(task.test).split(task.settings["measure"]["batch_size"])
    for rows, batch in zip(items, task.held_out(model)):
        energy, forces = model(**batch.inputs)
        predicted, true = (
            x[batch.mask].double() for x in (forces * task.force_scale, batch.target)
        )  # (n_atoms, 3)
        errors.append((predicted - true).flatten())
        cosines.append(torch.nn.functional.cosine_similarity(predicted, true))
        difference = (energy.double().cpu() - task.scaled_energy[rows].double()) * task.energy_scale
        energies.append(difference.abs() / batch.mask.sum(1).cpu())
    errors, cosines, energies = (torch.cat(x).cpu() for x in (errors, cosines, energies))
    n = len(errors)
    yield Value("force MAE", "", 1000 * errors.abs().mean().item(), "meV/Å", n)
    yield Value("force RMSE", "", 1000 * errors.square().mean().sqrt().item(), "meV/Å", n)
    yield Value("force cosine", "", cosines.mean().item(), "1", len(cosines))
    yield Value("energy MAE per atom", "", 1000 * energies.mean().item(), "meV", len(energies))


@torch.no_grad()
def of_voxels(model: torch.nn.Module | None, task) -> Iterator[Value]:
    """Recall and precision (nan without peaks) of atoms at the peaks of denoised grids, by element.

    Without a model, of the clean grids: as much as peaks can tell.
    """
    counts = {element: np.zeros(3, int) for element in task.elements}  # hits, atoms, peaks
    start = 0
    for batch in task.held_out(model):
        grids = batch.target if model is None else task.predict(model, batch.inputs).float()
        for grid in grids.cpu().numpy():
            atoms, channels = task.atoms(start)
            start += 1
            for channel, element in enumerate(task.elements):
                found = peaks(grid[channel]) * task.shape["resolution"]
                true = atoms[channels == channel]
                counts[element] += (matched(found, true), len(true), len(found))
    for element, (hits, atoms, found) in counts.items():
        if atoms:
            yield Value("recall of atoms", element, hits / atoms, "1", int(atoms))
            yield Value("precision of atoms", element, hits / found if found else math.nan, "1", int(found))


def peaks(grid: np.ndarray) -> np.ndarray:
    """Local maxima of a grid [g, g, g] above ``THRESHOLD``, each at the centroid of its 27 voxels: [n, 3], in
    voxels from the centre.
    """
    top = (grid == maximum_filter(grid, 3, mode="constant")) & (grid > THRESHOLD)
    padded = np.pad(grid.clip(min=0), 1)
    offsets = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), -1)  # (3, 3, 3, 3)
    centred = []
    for i, j, k in np.argwhere(top):
        weight = padded[i : i + 3, j : j + 3, k : k + 3]
        centred.append((i, j, k) + (weight[..., None] * offsets).sum((0, 1, 2)) / weight.sum())
    return np.array(centred).reshape(-1, 3) - (len(grid) - 1) / 2


def matched(found: np.ndarray, true: np.ndarray) -> int:
    """Most pairs of points [n, 3] and [m, 3] that are no farther apart than ``WITHIN``, each point in one."""
    distance = np.linalg.norm(found[:, None] - true[None], axis=-1)
    near = distance <= WITHIN
    return int(near[linear_sum_assignment(near, maximize=True)].sum())
