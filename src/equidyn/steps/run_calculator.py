"""A trained run of the task `forces` as an ASE calculator, in eV and Å.

    equidyn measure --calculator equidyn.steps.run_calculator:calculator \\
                    --kwargs '{"run": "results/runs/forces-raw"}' --structures test.extxyz
"""

from pathlib import Path

import numpy as np
import torch

from equidyn.data.padding import Ragged
from equidyn.errors import ConfigError, DataError, optional_packages
from equidyn.geometry.neighbours import neighbour_list
from equidyn.steps.measure_run import load_run
from equidyn.steps.run import Run, checkpoints_in

with optional_packages():
    from ase import Atoms
    from ase.calculators.calculator import Calculator, all_changes


def calculator(run: str, dataset: str | None = None, weights: str = "live", double: bool = False):
    """The last checkpoint of a run.

    Parameters
    ----------
    run : folder such as results/runs/forces
    dataset : its dataset file, from which the units of the network come; by default the one beside ``runs/``
    weights : live or ema
    double : compute in float64

    Raises
    ------
    ConfigError
        a run of another task
    """
    loaded, _ = load_run(Path(run), None if dataset is None else Path(dataset))
    if loaded.settings["task"] != "forces":
        raise ConfigError(f"{run}: task {loaded.settings['task']!r}, expected forces")
    loaded.take(checkpoints_in(Path(run) / "checkpoints", loaded.settings)[-1], weights)
    return RunCalculator(loaded, double)


class RunCalculator(Calculator):
    """Energies and direct forces; the energy has the reference energies of the elements added again."""

    implemented_properties = ["energy", "forces"]

    def __init__(self, run: Run, double: bool):
        super().__init__()
        self.dtype = torch.float64 if double else torch.float32
        self.task, self.model = run.task, run.model.to(self.dtype)
        self.reference = self._reference()

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        """Energy [eV] and forces [eV/Å] of one molecule, as ase asks for them."""
        super().calculate(atoms, properties, system_changes)
        self.results = self.calculate_many([self.atoms])[0]

    def calculate_many(self, frames: list[Atoms], properties=("energy", "forces")) -> list[dict]:
        """Results of several structures from one pass, padded to the largest."""
        device = next(self.model.parameters()).device
        numbers, positions, mask = (part.to(device) for part in self._padded(frames))
        near, near_mask = neighbour_list(positions, mask, self.model.cutoff, self.model.n_neighbours)
        with torch.no_grad():
            energy, forces = self.model(
                numbers=numbers, positions=positions, mask=mask, neighbours=near, neighbour_mask=near_mask
            )
        energy, forces = (energy.double() * self.task.energy_scale).tolist(), forces.double().cpu().numpy()
        return [
            dict(
                energy=energy[k] + float(self.reference[atoms.numbers].sum()),
                forces=forces[k, : len(atoms)] * self.task.force_scale,
            )
            for k, atoms in enumerate(frames)
        ]

    def _padded(self, frames: list[Atoms]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Numbers uint8 [n, a], positions [n, a, 3] and mask [n, a].

        Raises
        ------
        DataError
            a periodic structure
        """
        if any(atoms.pbc.any() for atoms in frames):
            raise DataError(
                "a periodic structure, expected molecules, as the run's neighbours know no cell; of "
                'molecules in a box set atoms.pbc = False (extxyz: pbc="F F F")'
            )
        offsets, items = np.cumsum([0, *map(len, frames)]), torch.arange(len(frames))
        numbers = np.concatenate([atoms.numbers for atoms in frames]).astype(np.uint8)
        positions = np.concatenate([atoms.positions for atoms in frames])
        found = (Ragged(numbers, offsets), Ragged(positions, offsets), Ragged.mask(offsets))
        numbers, positions, mask = (ragged[items] for ragged in found)
        return numbers, positions.to(self.dtype), mask

    def _reference(self) -> np.ndarray:
        """Energy of each element [110]: what the task took off the energies of its training items."""
        task, items = self.task, self.task.train
        counts = torch.zeros(len(items), 110, dtype=torch.float64)
        counts.scatter_add_(1, task.numbers[items].long().cpu(), task.mask[items].double())
        taken = task.energy[items] - task.scaled_energy[items].double() * task.energy_scale
        return torch.linalg.lstsq(counts, taken[:, None], driver="gelsd").solution[:, 0].numpy()
