"""Baselines of a run's task, fitted to its training items: what its loss is held against."""

from dataclasses import dataclass

import torch

from equidyn.baselines.chain_denoiser import ChainDenoiser
from equidyn.baselines.evaluate import Predictor, sums_of_losses
from equidyn.baselines.mean_density import MeanDensity, WienerFilter
from equidyn.baselines.pair_potential import PairPotential
from equidyn.baselines.rescaled_input import RescaledInput
from equidyn.data.select import subset
from equidyn.symmetry.measure import Batch
from equidyn.symmetry.sums import valid
from equidyn.tasks.protocol import Task

N_FIT = 5000  # training items that a baseline is fitted to, at most: its few numbers are known by then
AT_ONCE = 64


@dataclass(frozen=True)
class Reference:
    """The best of a task's baselines on some items: its name and its summed loss of every item, [n_items]."""

    name: str
    sums: torch.Tensor


class References:
    """Predictors that are exactly equivariant and have learned next to nothing, and the best of them.

    The best is chosen on the items that the model is measured on, which makes it the harder to beat.
    """

    def __init__(self, task: Task):
        fit = FITTED.get(task.name, _of_others)
        self.predictors: dict[str, Predictor] = fit(task)
        self._best: dict[tuple[str, str], Reference] = {}

    def best(self, condition: str, items: str, batches: list[Batch]) -> Reference:
        """The baseline of the least loss; batches are told apart by condition and kind of items alone."""
        key = condition, items
        if key not in self._best:
            found = {"zero": _zero(batches)}
            found |= {name: sums_of_losses(p, batches) for name, p in self.predictors.items()}
            name = min(found, key=lambda name: found[name].sum())
            self._best[key] = Reference(name, found[name])
        return self._best[key]


def _zero(batches: list[Batch]) -> torch.Tensor:
    return torch.cat(
        [(valid(b.mask, b.target) * b.target.double() ** 2).flatten(1).sum(1).cpu() for b in batches]
    )


def _of_forces(task) -> dict[str, Predictor]:
    names = ("numbers", "positions", "mask", "forces")

    def batches():
        for items in _some(task.train).split(AT_ONCE):
            arrays = (getattr(task, name)[items].to(task.device) for name in names)
            *inputs, forces = arrays
            yield dict(zip(names, inputs)), forces

    return {"pair forces": PairPotential.fit(batches())}


def _of_voxels(task) -> dict[str, Predictor]:
    def clean():
        return (task.clean(items.numpy()) for items in _some(torch.from_numpy(task.train)).split(AT_ONCE))

    mean = MeanDensity.fit(clean)
    wiener = WienerFilter.fit(clean, task.sigma, mean)
    rescaled = RescaledInput("noisy", task.rescaling)
    return {"rescaled input": rescaled, "mean density": mean, "Wiener filter": wiener}


def _of_flow(task) -> dict[str, Predictor]:
    items = _some(task.train)
    rescaled = RescaledInput("x_t", task.rescaling, by="t")
    denoiser = ChainDenoiser.fit(task.positions[items].cpu(), task.mask[items])
    return {"rescaled input": rescaled, "linear denoiser": denoiser}


def _of_others(task) -> dict[str, Predictor]:
    """Of a task from outside the package: its own, if any."""
    return task.predictors() if hasattr(task, "predictors") else {}


def _some(items: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(subset(items.numpy(), N_FIT))


FITTED = {"forces": _of_forces, "voxels": _of_voxels, "flow": _of_flow}
