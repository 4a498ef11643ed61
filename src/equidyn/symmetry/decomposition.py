"""The idea in one screen: how much of a loss is due to imperfect rotational symmetry?

For a rotation R the *twisted* prediction is f_R(x) = ρ(R)⁻¹ f(R x); an equivariant model has f_R = f. Its
average over rotations is the *twirled* prediction T = E_R f_R, the closest equivariant function to f. For
squared loss

    E_R ‖f_R − y‖²  =  ‖T − y‖²  +  E_R ‖f_R − T‖²
    total loss      =  twirled prediction error  +  equivariance error

From n rotations of one item, f̄ their mean, the unbiased estimators that add exactly are

    Ê = Σ_r ‖f_r − f̄‖² / (n − 1),     L̂ = Σ_r ‖f_r − y‖² / n,     P̂ = L̂ − Ê

and for n draws without replacement from a group of order |G|, Ê is multiplied by (|G| − 1) / |G|. P̂ of one
item may be negative; it is never clipped. Percentages are ratios of means over items, with a jackknife
interval over clusters.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from scipy.stats import t as student_t

from equidyn.errors import ArgumentError


@dataclass(frozen=True)
class Decomposition:
    """Loss terms in the unit of the loss, percentages in percent of the total loss, intervals at 95 %.

    ``variance_items`` and ``variance_rotations`` are the components of the variance of the total loss of one
    evaluation: between items, and within an item over rotations. They tell how to split a budget of n_items ×
    n_rotations. ``relative_equivariance`` is the equivariance error over the size of the prediction in the
    same loss, E ℓ(f_R, 0). ``baseline_loss`` is the loss of a predictor that has learned nothing, the zero
    predictor where none is given, and ``baseline_ratio`` the total over it, with a paired interval.
    ``plugin`` holds, for losses other than the squared one, the same quantities without the jackknife over
    rotations.
    """

    total: float
    twirled: float
    equivariance: float
    percent: float
    percent_lo: float
    percent_hi: float
    zero_loss: float
    baseline_loss: float
    baseline_ratio: float
    baseline_ratio_lo: float
    baseline_ratio_hi: float
    relative_equivariance: float
    variance_items: float
    variance_rotations: float
    n_items: int
    n_clusters: int
    n_rotations: int
    plugin: "Decomposition | None" = None


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


def accumulate(
    twisted: Iterable[torch.Tensor],
    target: torch.Tensor,
    mask: torch.Tensor | None = None,
    group_order: int | None = None,
) -> ItemSums:
    """Squared-loss sums of a batch of items in one pass over rotations (Welford, float64): memory of two
    predictions.

    Parameters are those of ``decompose``.
    """
    weight = valid(mask, target)
    target, counts = finite(target, weight), weight > 0
    axes = tuple(range(1, target.ndim))
    per_item = (lambda x: x.sum(axes)) if axes else (lambda x: x)
    mean, spread = torch.zeros_like(target), torch.zeros_like(target)
    losses, power, n = [], 0.0, 0
    for prediction in twisted:
        prediction = counted(prediction, target, counts)
        n += 1
        step = prediction - mean
        mean = mean + step / n
        spread = spread + step * (prediction - mean)
        losses.append(per_item(weight * (prediction - target) ** 2))
        power = power + per_item(weight * prediction**2)
    _check_rotations(n, group_order)
    factor = finite_factor(group_order)
    losses = torch.stack(losses)  # (n, n_items)
    require_finite(losses)
    return ItemSums(
        count=per_item(weight),
        total=losses.mean(0),
        equivariance=factor * per_item(weight * spread) / (n - 1),
        zero=per_item(weight * target**2),
        power=power / n,
        within=factor * losses.var(0),
        n_rotations=n,
        group_order=group_order,
    )


def summarise(
    sums: ItemSums, clusters: torch.Tensor | None = None, baseline: torch.Tensor | None = None
) -> Decomposition:
    """Means over all valid elements, and the jackknife over clusters of items on the ratio of means.

    Parameters
    ----------
    baseline : float64 [n_items], loss of another predictor summed over the same valid elements of the same
        items; None for the zero predictor

    Raises
    ------
    ArgumentError
        if there are no valid elements, or clusters or baseline do not have one entry per item
    """
    n_items, count = len(sums.count), sums.count.sum()
    if n_items == 0 or count == 0:
        raise ArgumentError(
            "decomposition: no valid element to average over (no items, or everything is masked)"
        )
    if clusters is None:
        clusters = torch.arange(n_items)
    if len(clusters) != n_items:
        raise ArgumentError(f"decomposition: clusters has {len(clusters)} entries for {n_items} items")
    if baseline is not None and len(baseline) != n_items:
        raise ArgumentError(f"decomposition: baseline has {len(baseline)} entries for {n_items} items")
    total, equivariance = (sums.total.sum() / count).item(), (sums.equivariance.sum() / count).item()
    percent, low, high, n_clusters = ratio_interval(sums.equivariance, sums.total, clusters)
    baseline = sums.zero if baseline is None else baseline
    ratio, ratio_low, ratio_high, _ = ratio_interval(sums.total, baseline, clusters)
    scale = sums.count.clamp(min=1)
    rotations = (sums.within / scale**2).mean().item()
    n, order = sums.n_rotations, sums.group_order
    of_mean = (
        rotations / n if order is None else rotations * (order - n) / (n * (order - 1))
    )  # nothing when the whole group was drawn
    items = (sums.total / scale).var().item() - of_mean if n_items > 1 else float("nan")
    power = (sums.power.sum() / count).item()
    return Decomposition(
        total=total,
        twirled=total - equivariance,
        equivariance=equivariance,
        percent=percent,
        percent_lo=low,
        percent_hi=high,
        zero_loss=(sums.zero.sum() / count).item(),
        baseline_loss=(baseline.sum() / count).item(),
        baseline_ratio=ratio / 100,
        baseline_ratio_lo=ratio_low / 100,
        baseline_ratio_hi=ratio_high / 100,
        relative_equivariance=equivariance / power if power > 0 else 0.0,
        variance_items=items,
        variance_rotations=rotations,
        n_items=n_items,
        n_clusters=n_clusters,
        n_rotations=sums.n_rotations,
    )


def decompose(
    twisted: torch.Tensor | Iterable[torch.Tensor],
    target: torch.Tensor,
    mask: torch.Tensor | None = None,
    group_order: int | None = None,
    clusters: torch.Tensor | None = None,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
) -> Decomposition:
    """Split a loss into twirled prediction error and equivariance error.

    Parameters
    ----------
    twisted : [n_rotations, n_items, ...] or an iterable over rotations of [n_items, ...]; at least two
        rotations; this and the others tensors, or what torch.as_tensor makes one of
    target : [n_items, ...], in the same unit and frame as the untwisted input
    mask : [n_items] or the leading dimensions of target; true where an element counts; what stands in the
        target and the predictions elsewhere does not matter
    group_order : order of the finite group when rotations were drawn from it without replacement; None for
        Haar draws
    clusters : [n_items] integers, items that are not independent share one (conformers of a molecule)
    loss : a loss convex in the prediction, ``loss(prediction, target)`` → [n_items, ...] (fewer trailing axes
        allowed);
        None is the squared loss. For another loss the terms are the Jensen gap E_R ℓ(f_R, y) − ℓ(T, y), with
        the O(1/n) bias of f̄ for T removed by a jackknife over rotations; the plain plug-in values are in
        ``plugin``. The jackknife needs all predictions, so an iterable is then held in memory.

    Returns
    -------
    Decomposition, losses as means over all valid elements

    Raises
    ------
    ArgumentError
        shapes that do not match, fewer than two rotations, more draws than group elements, targets or
        predictions that are not finite where they count

    Examples
    --------
    Two rotations of two items whose predictions scatter by ± 1 about the truth: all of it is broken symmetry.

    >>> import torch
    >>> target = torch.tensor([3.0, 5.0])
    >>> found = decompose(torch.stack([target + 1, target - 1]), target)
    >>> found.total, found.equivariance, found.twirled
    (1.0, 2.0, -1.0)

    Ê is unbiased, so that of so few draws P̂ can be negative. With the whole of a group of two it is exact:

    >>> found = decompose(torch.stack([target + 1, target - 1]), target, group_order=2)
    >>> found.total, found.equivariance, found.percent
    (1.0, 1.0, 100.0)
    """
    if not isinstance(twisted, torch.Tensor):
        twisted = map(torch.as_tensor, twisted)
    target = torch.as_tensor(target)
    mask, clusters = (None if given is None else torch.as_tensor(given) for given in (mask, clusters))
    if loss is None:
        return summarise(accumulate(twisted, target, mask, group_order), clusters)
    exact, plugin = accumulate_convex(twisted, target, mask, group_order, loss)
    return with_plugin(exact, plugin, clusters)


def with_plugin(exact: ItemSums, plugin: ItemSums, clusters: torch.Tensor | None) -> Decomposition:
    """The jackknifed decomposition of a convex loss, with the plug-in one attached."""
    return Decomposition(**{**summarise(exact, clusters).__dict__, "plugin": summarise(plugin, clusters)})


def accumulate_convex(
    twisted: Iterable[torch.Tensor],
    target: torch.Tensor,
    mask: torch.Tensor | None,
    group_order: int | None,
    loss: Callable,
) -> tuple[ItemSums, ItemSums]:
    """Sums of a convex loss, (jackknifed, plug-in); parameters as in ``decompose``.

    Holds all predictions of the batch.
    """
    counts = valid(mask, target)
    target, counts = finite(target, counts), counts > 0
    stack = torch.stack([counted(prediction, target, counts) for prediction in twisted])
    require_finite(stack)
    n = len(stack)
    _check_rotations(n, group_order)
    weight = valid(mask, loss(target, target))
    axes = tuple(range(1, weight.ndim))

    def per_item(prediction, to=target):
        values = torch.where(weight > 0, loss(prediction, to), 0.0)
        return values.sum(axes) if axes else values

    nothing = torch.zeros_like(target)
    losses = torch.stack([per_item(prediction) for prediction in stack])
    mean = stack.mean(0)
    plain = per_item(mean)
    left_out = torch.stack([per_item((n * mean - prediction) / (n - 1)) for prediction in stack]).mean(0)
    # Finite population: the variance of f̄ is S²/n (1 − n/|G|), and that of a mean of n − 1 exceeds it by
    # S²/(n(n − 1)) whatever |G|.
    shrink = 1.0 if group_order is None else (group_order - n) / group_order
    corrected = plain + shrink * (n - 1) * (plain - left_out)
    common = dict(
        count=weight.sum(axes) if axes else weight,
        total=losses.mean(0),
        zero=per_item(nothing),
        n_rotations=n,
        group_order=group_order,
        power=torch.stack([per_item(prediction, nothing) for prediction in stack]).mean(0),
        within=finite_factor(group_order) * losses.var(0),
    )
    return tuple(ItemSums(equivariance=losses.mean(0) - value, **common) for value in (corrected, plain))


def ratio_interval(
    numerator: torch.Tensor, denominator: torch.Tensor, clusters: torch.Tensor
) -> tuple[float, float, float, int]:
    """100 · Σ numerator / Σ denominator, the ends of its 95 % delete-one-cluster jackknife interval
    (Student t; nan with a single cluster), and the number of clusters; all arguments [n_items].
    """
    _, index = torch.unique(clusters, return_inverse=True)
    n = int(index.max()) + 1
    top, bottom = (
        torch.zeros(n, dtype=torch.float64).index_add_(0, index, x.cpu()) for x in (numerator, denominator)
    )
    percent = (100 * top.sum() / bottom.sum()).item() if bottom.sum() > 0 else 0.0
    if n < 2 or bottom.sum() <= 0:
        return percent, float("nan"), float("nan"), n
    deleted = 100 * (top.sum() - top) / (bottom.sum() - bottom)
    error = ((n - 1) / n * ((deleted - deleted.mean()) ** 2).sum()).sqrt().item()
    half = float(student_t.ppf(0.975, n - 1)) * error
    return percent, percent - half, percent + half, n


def finite_factor(group_order: int | None) -> float:
    """Variance over a group as a multiple of the sample variance of draws without replacement from it: (|G| −
    1)/|G|; 1 for Haar draws (None).
    """
    return 1.0 if group_order is None else (group_order - 1) / group_order


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


def _check_rotations(n: int, group_order: int | None) -> None:
    if n < 2:
        raise ArgumentError(f"decomposition: {n} rotation(s), expected at least 2")
    if group_order is not None and n > group_order:
        raise ArgumentError(
            f"decomposition: {n} rotations without replacement from a group of order {group_order}"
        )
