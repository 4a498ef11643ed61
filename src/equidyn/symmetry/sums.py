"""Per-item sums over rotations, which elements of predictions and targets count, and what is refused."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch

from equidyn.errors import ArgumentError


@dataclass
class ItemSums:
    """Per-item sums over the valid elements, each [n_items] float64; batches of items are joined with
    ``join``.
    """

    count: torch.Tensor  # number of valid elements
    total: torch.Tensor  # Σ L̂
    equivariance: torch.Tensor  # Σ Ê
    zero: torch.Tensor  # Σ ℓ(0, y)
    power: torch.Tensor  # Σ mean_r ℓ(f_r, 0), of the squared loss Σ mean_r f_r²
    within: torch.Tensor  # variance over the group of the item's summed loss
    n_rotations: int
    group_order: int | None = None  # of a finite group that was drawn from without replacement

    def on_cpu(self) -> "ItemSums":
        """The same, on the CPU."""
        tensors = {name: value.cpu() for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        return replace(self, **tensors)

    @staticmethod
    def join(parts: "list[ItemSums]") -> "ItemSums":
        """One ItemSums from the ItemSums of consecutive batches."""
        names = ("count", "total", "equivariance", "zero", "power", "within")
        return ItemSums(
            *(torch.cat([getattr(part, name) for part in parts]) for name in names),
            parts[0].n_rotations,
            parts[0].group_order,
        )


@dataclass
class Moments:
    """Of twisted predictions over rotations: ``losses`` [n_rotations, n_items], squared, summed over elements
    that count; ``spread`` [n_items, ...] and ``power`` [n_items], weighted sums of (f − f̄)² and f².
    """

    losses: torch.Tensor
    spread: torch.Tensor
    power: torch.Tensor


def moments(
    weighted: Iterable[tuple[torch.Tensor, float]], target: torch.Tensor, counts: torch.Tensor
) -> Moments:
    """One pass over (prediction, weight) of every rotation (Welford, float64): memory of two predictions.

    Parameters
    ----------
    target, counts : [n_items, ...], see ``finite``; true where an element counts

    Raises
    ------
    ArgumentError
        shapes that do not match, predictions that are not finite where they count
    """
    mean, spread = torch.zeros_like(target), torch.zeros_like(target)
    losses, power, passed = [], 0.0, 0.0
    for prediction, weight in weighted:
        prediction = counted(prediction, target, counts)
        passed += weight
        step = prediction - mean
        mean = mean + step / (passed / weight)  # the first is its own mean, exactly
        spread = spread + weight * step * (prediction - mean)
        losses.append(per_item((prediction - target) ** 2))
        power = power + weight * per_item(prediction**2)
    if not losses:
        raise ArgumentError("decomposition: 0 rotation(s), expected at least 2")
    stacked = torch.stack(losses)
    require_finite(stacked)
    return Moments(stacked, spread, power)


def per_item(values: torch.Tensor) -> torch.Tensor:
    """Sums over all but the first axis: [n_items]."""
    return values.sum(tuple(range(1, values.ndim))) if values.ndim > 1 else values


def finite_factor(group_order: int | None) -> float:
    """Variance over a group as a multiple of the sample variance of draws without replacement from it: (|G| −
    1)/|G|; 1 for Haar draws (None).
    """
    return 1.0 if group_order is None else (group_order - 1) / group_order


def check_rotations(n: int, group_order: int | None) -> None:
    """ArgumentError for fewer than two rotations, or more than a group has that they are drawn from."""
    if n < 2:
        raise ArgumentError(f"decomposition: {n} rotation(s), expected at least 2")
    if group_order is not None and n > group_order:
        raise ArgumentError(
            f"decomposition: {n} rotations without replacement from a group of order {group_order}"
        )


def valid(mask: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
    """1 where an element counts, else 0, in the shape of ``like``, float64; ``mask`` may lack
    trailing axes.
    """
    if mask is None:
        return torch.ones_like(like, dtype=torch.float64)
    if (
        mask.ndim > like.ndim
        or any(m not in (1, s) for m, s in zip(mask.shape, like.shape))
        or len(mask) != len(like)
    ):
        raise ArgumentError(
            f"decomposition: mask has shape {list(mask.shape)}, expected the leading dimensions of "
            f"{list(like.shape)}"
        )
    mask = mask.reshape(*mask.shape, *[1] * (like.ndim - mask.ndim))
    return mask.to(device=like.device, dtype=torch.float64).expand(like.shape)


def finite(target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The target in float64, zero where it does not count, so that what stands there does not matter.

    Raises
    ------
    ArgumentError
        NaN or infinity where it counts
    """
    target = torch.where(weight > 0, target.to(torch.float64), 0.0)
    if not (good := torch.isfinite(target)).all():
        raise ArgumentError(
            f"decomposition: a target is not finite (NaN or infinity) where it counts, item {_first(~good)}"
        )
    return target


def counted(prediction: torch.Tensor, target: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """A prediction in float64, zero where it does not count (``counts`` of the shape of the target is false).

    Raises
    ------
    ArgumentError
        another shape than the target's
    """
    if prediction.shape != target.shape:
        raise ArgumentError(
            f"decomposition: a twisted prediction has shape {list(prediction.shape)}, the target "
            f"{list(target.shape)}"
        )
    return torch.where(counts, prediction.to(torch.float64), 0.0)


def require_finite(predicted: torch.Tensor) -> None:
    """Predictions, or their losses, [n_rotations, n_items, ...], asked once for all rotations, because the
    answer has to be waited for.

    Raises
    ------
    ArgumentError
        NaN or infinity
    """
    if not (good := torch.isfinite(predicted)).all():
        rotation, item = (~good).nonzero()[0, :2].tolist()
        raise ArgumentError(
            f"decomposition: a prediction is not finite (NaN or infinity) where it counts, item {item} in "
            f"rotation {rotation}"
        )


def _first(bad: torch.Tensor) -> int:
    """Number of the first item, counted from 0, with a bad element."""
    return int(bad.reshape(len(bad), -1).any(1).nonzero()[0])
