"""Does a model know left from right? Its twirled loss on held-out items against that on their mirror images.

Distances cannot tell a molecule from its mirror image; only raw coordinates can. A positive gap means that
the hand was learned.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from scipy.stats import t as student_t

from equidyn.symmetry.actions import Action, Vector
from equidyn.symmetry.decomposition import accumulate
from equidyn.symmetry.measure import Batch, check_eval, chunks, twisted_by
from equidyn.symmetry.sums import ItemSums


@dataclass(frozen=True)
class Gap:
    """Mean over items of (twirled loss of the mirrored item − that of the item), with its paired 95 %
    interval; losses as in the task.
    """

    gap: float
    lo: float
    hi: float
    plain: float
    mirrored: float
    n_items: int


def mirrored(batch: Batch, actions: dict[str, Action], output: Action) -> Batch:
    """The batch with the third component of every vector, inputs and target, reversed."""
    flip = torch.tensor([1.0, 1.0, -1.0])
    inputs = {
        name: x * flip.to(x) if isinstance(actions[name], Vector) else x for name, x in batch.inputs.items()
    }
    target = batch.target * flip.to(batch.target) if isinstance(output, Vector) else batch.target
    return replace(batch, inputs=inputs, target=target)


@torch.no_grad()
def gap(model: torch.nn.Module, task: Any, batches: list[Batch], rotations: torch.Tensor) -> Gap:
    """Chirality gap of a model; rotations [n_rotations, n_items, 3, 3] are the same for an item and its
    mirror image.
    """
    check_eval(model)

    def twirled(batches: list[Batch]) -> torch.Tensor:
        """Loss of the twirled prediction of each item: [n_items]."""
        sums = ItemSums.join(
            [
                accumulate(twisted_by(task, model, batch, chunk), batch.target, batch.mask)
                for batch, chunk in chunks(batches, rotations)
            ]
        )
        return (sums.total - sums.equivariance) / sums.count

    plain = twirled(batches)
    other = twirled([mirrored(batch, task.actions, task.output) for batch in batches])
    difference = other - plain
    half = float(student_t.ppf(0.975, len(difference) - 1)) * difference.std().item() / len(difference) ** 0.5
    mean = difference.mean().item()
    return Gap(mean, mean - half, mean + half, plain.mean().item(), other.mean().item(), len(difference))
