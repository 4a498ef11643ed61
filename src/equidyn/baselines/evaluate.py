"""Losses of a predictor item by item, so that two predictors can be compared on the same items."""

from collections.abc import Iterable
from typing import Protocol

import torch

from equidyn.errors import ArgumentError
from equidyn.symmetry.measure import Batch
from equidyn.symmetry.sums import valid


class Predictor(Protocol):
    """What every module of this room has."""

    def predict(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Prediction in the unit of the task's target, from the inputs of one of its batches."""


@torch.no_grad()
def sums_of_losses(predictor: Predictor, batches: Iterable[Batch]) -> torch.Tensor:
    """Squared error of every item, summed over its valid elements.

    Parameters
    ----------
    batches : held-out items; what stands where their masks are false does not matter

    Returns
    -------
    float64 [n_items of all batches], in the order of the batches, in the squared unit of the target

    Raises
    ------
    ArgumentError
        a prediction that has not the shape of the target, or that is not finite where it counts
    """
    sums = [torch.zeros(0, dtype=torch.float64)]
    for batch in batches:
        prediction, target = predictor.predict(batch.inputs), batch.target
        if prediction.shape != target.shape:
            raise ArgumentError(
                f"sums_of_losses: a prediction of shape {list(prediction.shape)}, expected that of the "
                f"target, {list(target.shape)}"
            )
        error = torch.where(valid(batch.mask, target) > 0, prediction.double() - target.double(), 0.0)
        if not torch.isfinite(error).all():
            raise ArgumentError("sums_of_losses: NaN or infinity where it counts, expected finite numbers")
        sums.append(error.square().reshape(len(error), -1).sum(1).cpu())
    return torch.cat(sums)
