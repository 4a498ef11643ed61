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
from dataclasses import dataclass

import torch
from scipy.stats import t as student_t

from equidyn.errors import ArgumentError
from equidyn.symmetry.convex import accumulate_convex
from equidyn.symmetry.sums import ItemSums, check_rotations, finite, finite_factor, moments, per_item, valid


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


def accumulate(
    twisted: Iterable[torch.Tensor],
    target: torch.Tensor,
    mask: torch.Tensor | None = None,
    group_order: int | None = None,
) -> ItemSums:
    """Squared-loss sums of a batch of items in one pass over rotations, see ``sums.moments``.

    Parameters are those of ``decompose``.
    """
    weight = valid(mask, target)
    target = finite(target, weight)
    found = moments(((prediction, 1.0) for prediction in twisted), target, weight > 0)
    n, factor = len(found.losses), finite_factor(group_order)
    check_rotations(n, group_order)
    return ItemSums(
        count=per_item(weight),
        total=found.losses.mean(0),
        equivariance=factor * per_item(found.spread) / (n - 1),
        zero=per_item(target**2),
        power=found.power / n,
        within=factor * found.losses.var(0),
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
