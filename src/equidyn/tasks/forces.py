"""Task `forces`: positions [Å] and atomic numbers to forces [eV/Å]; the energy is an auxiliary target.

Targets are scaled: forces by their r.m.s. over the training set, energies by the residual's spread after a
linear per-element reference is taken off. Predictions and every reported loss are in eV/Å and (eV/Å)².
"""

import numpy as np
import torch

from equidyn.data import store
from equidyn.data.padding import Ragged, gathered, have_room, looked_up
from equidyn.data.select import held_out_items, one_per_cluster, subset, training_items
from equidyn.device import on_device
from equidyn.geometry.neighbours import neighbour_list, places_of
from equidyn.symmetry import groups
from equidyn.symmetry.actions import Fixed, Scalar, Vector
from equidyn.symmetry.measure import Batch
from equidyn.tasks.protocol import TrainsInParts, draws_of_symmetry, penalised, predicted, takes

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
PLACES, ATOMS = 4, 64  # atoms of an item, and of a batch, are rounded up to these where few shapes may occur


def l2_norm(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Length of the force error of each atom: [n_items, n_atoms] (the L2-MAE loss, convex in the
    prediction).
    """
    return (prediction - target).norm(dim=-1)


def filled_up(atoms: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Places of atoms [n], and of padding until their number is a multiple of ``ATOMS``; as they are where
    nothing is padded.
    """
    spare = -len(atoms) % ATOMS
    if spare == 0 or bool(mask.all()):
        return atoms
    padding = mask.flatten().logical_not().nonzero()[0]
    return torch.cat([atoms, padding.expand(spare)])


def _mean(values: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
    """Mean of values [n, ...], of those of weight 1 [n] where some are padding."""
    if weight is None:
        return values.mean()
    per_atom = values.flatten(1).mean(1) if values.ndim > 1 else values
    return (per_atom * weight).sum() / weight.sum()


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


class Forces(TrainsInParts):
    """See the module; ``settings`` are the keys ``training`` and, for measuring, ``measure`` of a run's
    config.
    """

    name = "forces"
    actions = dict(
        numbers=Scalar(),
        positions=Vector(),
        mask=Fixed(),
        neighbours=Fixed(),
        neighbour_mask=Fixed(),
        atoms=Fixed(),
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
        if have_room(device, self._arrays.values()):
            self.numbers, self.positions, self.forces = (a.to(device) for a in self._arrays.values())

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

    @property
    def _arrays(self) -> dict[str, Ragged]:
        return dict(numbers=self.numbers, positions=self.positions, forces=self.forces)

    def _inputs(
        self, model, rows: dict[str, torch.Tensor], rotation: torch.Tensor | None = None
    ) -> tuple[dict, torch.Tensor]:
        """Inputs and forces of items that were looked up."""
        arrays = gathered(self._arrays, rows)
        positions, forces = arrays["positions"], arrays["forces"]
        if rotation is not None:
            positions, forces = Vector().apply(rotation, positions), Vector().apply(rotation, forces)
        near = neighbour_list(positions, arrays["mask"], model.cutoff, model.n_neighbours)
        named = dict(numbers=arrays["numbers"], positions=positions, mask=arrays["mask"])
        return named | dict(zip(("neighbours", "neighbour_mask"), near)), forces

    def inputs_of(self, model: torch.nn.Module, items: torch.Tensor) -> tuple[dict, torch.Tensor]:
        """Inputs of items of the dataset as they lie, and their forces [n_items, n_atoms, 3] in eV/Å."""
        return self._inputs(model, on_device(looked_up(self._arrays, items, self.device), self.device))

    def draw(self, items: torch.Tensor, step_seed: int, few_shapes: bool = False) -> dict:
        """Where the rows of the items are, which of the padded places are atoms, and the rotations; with
        ``augment`` as the probability of a Haar rotation.
        """
        training, chosen = self.settings["training"], self.train[items]
        drawn = looked_up(self._arrays, chosen, self.device, PLACES if few_shapes else 1)
        atoms = places_of(drawn["mask"])
        if few_shapes:
            atoms = filled_up(atoms, drawn["mask"])
            drawn |= dict(weight=drawn["mask"].flatten()[atoms].float())
        drawn |= dict(atoms=atoms, scaled_energy=self.scaled_energy[chosen])
        if training["augment"] > 0:
            chance = np.random.default_rng([step_seed, 1])
            rotation = groups.sometimes(len(items), step_seed, training["augment"], chance)
            drawn |= dict(rotation=rotation)
        return drawn | draws_of_symmetry(self, len(items), step_seed)

    def make(self, model: torch.nn.Module, drawn: dict) -> dict:
        """Inputs and targets of a batch; forces and energies scaled."""
        inputs, forces = self._inputs(model, drawn, drawn.get("rotation"))
        if takes(model, "atoms"):
            inputs |= dict(atoms=drawn["atoms"])
        kept = {
            name: drawn[name] for name in ("atoms", "weight", "scaled_energy", "symmetry") if name in drawn
        }
        return dict(inputs=inputs, forces=forces / self.force_scale) | kept

    def loss(self, model: torch.nn.Module, batch: dict) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """energy_weight · MAE(energy) + force_weight · force loss, both scaled."""
        training, inputs = self.settings["training"], batch["inputs"]
        energy, forces = predicted(self, lambda x: model(**x), inputs, (Scalar(), Vector()), batch)
        error = (forces - batch["forces"]).flatten(0, 1)[batch["atoms"]]  # (n, 3)
        each = error.norm(dim=-1) if training["loss"] == "l2" else error.square()  # (n,) or (n, 3)
        force_loss = _mean(each, batch.get("weight"))
        energy_loss = (energy - batch["scaled_energy"]).abs().mean()
        loss = training["energy_weight"] * energy_loss + training["force_weight"] * force_loss
        log = {
            "force_loss": force_loss.detach(),
            "energy_mae": energy_loss.detach().double() * self.energy_scale,
        }

        def predict(turned):
            return model(**turned)[1]

        return penalised(loss, log, self, predict, inputs, forces, inputs["mask"], batch)

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
            inputs, target = self.inputs_of(model, items)
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
