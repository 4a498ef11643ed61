"""Task `forces`: positions [Å] and atomic numbers to forces [eV/Å]; the energy is an auxiliary target.

Targets are scaled: forces by their r.m.s. over the training set, energies by the residual's spread after a
linear per-element reference is taken off. Predictions and every reported loss are in eV/Å and (eV/Å)².
"""

import numpy as np
import torch

from equidyn.data import store
from equidyn.data.padding import Ragged
from equidyn.data.select import held_out_items, one_per_cluster, subset, training_items
from equidyn.geometry.neighbours import neighbour_list
from equidyn.symmetry import groups
from equidyn.symmetry.actions import Fixed, Scalar, Vector
from equidyn.symmetry.measure import Batch
from equidyn.tasks.protocol import penalised, predicted

TASK = {
    "name": "forces",
    "class": "Forces",
    "title": "Forces of molecules",
    "unit": "(eV/Å)²",
    "kind": "forces",
    "sources": ["conformers", "extxyz", "npz", "spice"],
    "rotations": "haar",
    "tables": ["accuracy.csv", "molecule.csv"],
    "picture": "percent",
    "note": "Cube rows use all 24 rotations of the cube: exact for a linear force head, the cube-subgroup "
    "value for other models. Rows l2 are the mean length of the force "
    "error, with the jackknife over rotations; l2-plugin is the same without it.",
}


AT_ONCE = 1 << 16  # items that are counted


def l2_norm(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Length of the force error of each atom: [n_items, n_atoms] (the L2-MAE loss, convex in the
    prediction).
    """
    return (prediction - target).norm(dim=-1)


def _counts(numbers: Ragged) -> torch.Tensor:
    """Atoms of each item by element, of those that there are: float64 [n_items, n_elements]."""
    elements = torch.bincount(numbers.values).nonzero()[:, 0]
    place = torch.zeros(int(elements[-1]) + 1, dtype=torch.long)
    place[elements] = torch.arange(len(elements))
    counts, lengths = torch.zeros(len(numbers), len(elements), dtype=torch.float64), numbers.offsets.diff()
    for items in torch.arange(len(numbers)).split(AT_ONCE):
        rows = numbers.rows(items)
        item, element = items.repeat_interleave(lengths[items]), place[numbers.values[rows].long()]
        counts.index_put_((item, element), counts.new_ones(()), accumulate=True)
    return counts


class Forces:
    """See the module; ``settings`` are the keys ``training`` and, for measuring, ``measure`` of a run's
    config.
    """

    name = "forces"
    actions = dict(
        numbers=Scalar(), positions=Vector(), mask=Fixed(), neighbours=Fixed(), neighbour_mask=Fixed()
    )
    output = Vector()
    losses = {"l2": l2_norm}  # measured beside the squared loss
    group = "haar"
    conditions = ("",)

    def __init__(self, dataset: str, settings: dict, device: str = "cpu"):
        arrays, _ = store.read(dataset)
        self.settings, self.device = settings, device
        self._items(arrays)
        training = training_items(arrays, dataset, settings["training"].get("n_train"))
        self.train, self.n_train = torch.from_numpy(training), len(training)
        self.test = torch.from_numpy(
            held_out_items(arrays, dataset, settings.get("measure", {}).get("n_items"))
        )
        seen = subset(one_per_cluster(arrays, training), len(self.test))
        self.seen_items = torch.from_numpy(seen)
        own = torch.zeros(len(self.mask), dtype=torch.bool)
        own[self.train] = True
        own = own.repeat_interleave(self.mask.offsets.diff())  # (rows)
        self.force_scale = self.forces.values[own].square().mean().sqrt().item()
        self._reference_energies()

    def _items(self, arrays: dict[str, np.ndarray]) -> None:
        offsets = arrays["offsets"]
        self.mask = Ragged.mask(offsets)  # [items]: (n, a)
        self.numbers = Ragged(arrays["numbers"], offsets)  # (n, a)
        self.positions = Ragged(arrays["positions"], offsets)  # (n, a, 3)
        self.forces = Ragged(arrays["forces"], offsets)  # (n, a, 3)
        self.energy = torch.from_numpy(arrays["energy"])
        self.cluster = torch.from_numpy(arrays["cluster"])

    def _reference_energies(self) -> None:
        """Fit Σ_z n_z e_z to the training energies; keep the residual in units of its spread."""
        counts = _counts(self.numbers)
        counts = counts[:, (counts[self.train] > 0).any(0)]  # of the elements that training shows
        reference = torch.linalg.lstsq(
            counts[self.train], self.energy[self.train][:, None], driver="gelsd"
        ).solution
        residual = self.energy - (counts @ reference).squeeze(1)
        self.energy_scale = max(residual[self.train].std(correction=0).item(), 1e-6)
        self.scaled_energy = (residual / self.energy_scale).float()

    def _inputs(
        self, model, items: torch.Tensor, rotation: torch.Tensor | None = None
    ) -> tuple[dict, torch.Tensor]:
        mask, numbers, positions, forces = (
            of[items].to(self.device) for of in (self.mask, self.numbers, self.positions, self.forces)
        )
        if rotation is not None:
            positions, forces = Vector().apply(rotation, positions), Vector().apply(rotation, forces)
        neighbours, neighbour_mask = neighbour_list(positions, mask, model.cutoff, model.n_neighbours)
        return dict(
            numbers=numbers,
            positions=positions,
            mask=mask,
            neighbours=neighbours,
            neighbour_mask=neighbour_mask,
        ), forces

    def training_loss(
        self, model: torch.nn.Module, items: torch.Tensor, step_seed: int
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """energy_weight · MAE(energy) + force_weight · force loss, both scaled; ``augment`` is the
        probability of a Haar rotation.
        """
        training = self.settings["training"]
        rotation = None
        if training["augment"] > 0:
            rotation = groups.haar(len(items), step_seed)
            keep = np.random.default_rng([step_seed, 1]).random(len(items)) >= training["augment"]
            rotation[torch.from_numpy(keep)] = torch.eye(3, dtype=torch.float64)
        items = self.train[items]
        inputs, target = self._inputs(model, items, rotation)
        energy, forces = predicted(self, lambda x: model(**x), inputs, (Scalar(), Vector()), step_seed)
        error = (forces - target / self.force_scale)[inputs["mask"]]  # (n, 3)
        force_loss = error.norm(dim=-1).mean() if training["loss"] == "l2" else error.square().mean()
        energy_loss = (energy - self.scaled_energy[items].to(energy.device)).abs().mean()
        loss = training["energy_weight"] * energy_loss + training["force_weight"] * force_loss
        log = {"force_loss": force_loss.item(), "energy_mae": energy_loss.item() * self.energy_scale}

        def predict(turned):
            return model(**turned)[1]

        return penalised(loss, log, self, predict, inputs, forces, inputs["mask"], step_seed)

    def held_out(self, model: torch.nn.Module, condition: str = "") -> list[Batch]:
        """Neighbour lists are built once and frozen: a flip of the last neighbour must not count as broken
        symmetry.
        """
        return self._batches(model, self.test)

    def seen(self, model: torch.nn.Module, condition: str = "") -> list[Batch]:
        """Training molecules."""
        return self._batches(model, self.seen_items)

    def by_size(self, items: torch.Tensor) -> torch.Tensor:
        """The items in the order of batches: by number of atoms."""
        return items[self.mask[items].sum(1).argsort(stable=True)]

    def _batches(self, model, chosen: torch.Tensor) -> list[Batch]:
        batches = []
        for items in self.by_size(chosen).split(self.settings["measure"]["batch_size"]):
            inputs, target = self._inputs(model, items)
            batches.append(Batch(inputs, target, inputs["mask"], self.cluster[items]))
        return batches

    def predict(self, model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Forces [n_items, n_atoms, 3] in eV/Å."""
        return model(**inputs)[1] * self.force_scale

    def trivial_loss(self, condition: str = "") -> float | None:
        """None: the best rescaling of a molecule's positions that is translation invariant and local is no
        force at all.
        """
        return None
