"""A row of a result, and how it is made from sums per item: interval, baseline, floor, verdict."""

import math
from dataclasses import dataclass, fields

import numpy as np
import torch

from equidyn.probe.defaults import LIMIT_PERCENT
from equidyn.probe.verdicts import last_digits, rounding_limit, verdict
from equidyn.symmetry.decomposition import ratio_interval, summarise
from equidyn.symmetry.limits import EXACT
from equidyn.symmetry.sums import ItemSums

NAN = float("nan")


@dataclass(frozen=True)
class Row:
    """One quantity under one set of rotations; names that ``decomposition.csv`` of a run has, too, mean the
    same there.

    ``equivariance`` and its interval, ``total``, ``twirled``, ``zero_loss``, ``size`` (mean square of the
    prediction), ``spread`` (what the relative error is relative to: of scalars the variance, else the size)
    and the floors are in the square of ``unit``, ``rms`` in ``unit``; without labels ``total`` and all that
    is relative to it is nan. ``step`` is that of a training run. ``floor`` is the largest of the ``floor_*``
    that are rounding.
    """

    run: str
    quantity: str
    unit: str
    rotations: str
    step: int | None
    loss: str
    total: float
    twirled: float
    equivariance: float
    equivariance_lo: float
    equivariance_hi: float
    rms: float
    percent: float
    percent_lo: float
    percent_hi: float
    zero_loss: float
    baseline: str
    baseline_loss: float
    baseline_ratio: float
    baseline_ratio_lo: float
    baseline_ratio_hi: float
    size: float
    spread: float
    relative_equivariance: float
    floor: float
    floor_repeats: float
    floor_translations: float
    floor_permutations: float
    floor_rounding: float
    n_items: int
    n_clusters: int
    n_rotations: int
    seconds: float
    variance_items: float
    variance_rotations: float
    verdict: str

    def __str__(self) -> str:
        share = f"r.m.s. equivariance error {number(self.rms)} {self.unit}".rstrip()
        if self.relative_equivariance == self.relative_equivariance:
            share += f", {number(100 * math.sqrt(max(self.relative_equivariance, 0.0)))} % of the prediction"
        floor = f"floor {number(math.sqrt(self.floor))}"
        if not math.isnan(self.percent) and self.equivariance > EXACT * self.floor:
            interval = f" [{number(self.percent_lo)}, {number(self.percent_hi)}]"
            if math.isnan(self.percent_hi):
                interval = ""
            share = f"{number(self.percent)} %{interval} of the loss; {share}"
        what = self.quantity if self.step is None else f"{self.quantity}, step {self.step}"
        return f"{what}: {self.verdict}. {share}; {floor}"


def number(value: float) -> str:
    """Three digits, without an exponent where that is short."""
    return f"{value:.3g}"


COLUMNS = [column.name for column in fields(Row)]
FLOORS = ("repeats", "translations", "permutations", "rounding")
TWINS = 100.0  # × the floor of small turns, of squares
DOUBLE = 2.0**-52  # eps of float64


@dataclass(frozen=True)
class About:
    """What a row says beside its numbers; ``limit`` in percent, ``baseline`` the name of a given one."""

    run: str
    quantity: str
    unit: str
    rotations: str
    seconds: float = NAN
    limit: float = LIMIT_PERCENT
    meant_equivariant: bool = False
    step: int | None = None
    baseline: str = "composition"


def row_of(
    about: About,
    sums: ItemSums,
    clusters: torch.Tensor,
    labelled: bool,
    floors: dict[str, float],
    baseline: torch.Tensor | None = None,
    spread: torch.Tensor | None = None,
) -> Row:
    """A row of the result.

    Parameters
    ----------
    sums, clusters : as in ``summarise``
    labelled : False where the target of the sums was zero for want of labels
    floors : kind → mean squared spread of evaluations that should agree, as a share of the mean square of
        those predictions
    baseline : [n_items], squared loss, summed over elements, of a predictor that has learned nothing; None
        for the zero predictor
    spread : [n_items], what the relative error is relative to, and which rounding is small beside; None for
        the squares of the predictions
    """
    found = summarise(sums, clusters, baseline if labelled else None)
    size = (sums.power.sum() / sums.count.sum()).item()
    _, low, high, _ = ratio_interval(sums.equivariance, 100 * sums.count, clusters)
    values = {name: getattr(found, name) for name in TAKEN} if labelled else dict.fromkeys(TAKEN, NAN)
    whole = sums.power if spread is None else spread
    values |= {f"floor_{kind}": floors.get(kind, NAN) * size for kind in FLOORS}
    values |= dict(size=size, spread=(whole.sum() / sums.count.sum()).item())
    values |= dict(
        equivariance=found.equivariance,
        equivariance_lo=low,
        equivariance_hi=high,
        rms=math.sqrt(max(found.equivariance, 0.0)),
        relative_equivariance=_share(sums.equivariance, whole),
        floor=_floor(values),
        baseline=("zero" if baseline is None else about.baseline) if labelled else "",
        n_items=found.n_items,
        n_clusters=found.n_clusters,
        n_rotations=found.n_rotations,
        seconds=about.seconds,
        loss="mse",
        run=about.run,
        quantity=about.quantity,
        unit=about.unit,
        rotations=about.rotations,
        step=about.step,
    )
    return Row(**values, verdict=verdict(values, about.limit, about.meant_equivariant))


TAKEN = ["total", "twirled", "percent", "percent_lo", "percent_hi", "zero_loss", "baseline_loss"]
TAKEN += ["baseline_ratio", "baseline_ratio_lo", "baseline_ratio_hi", "variance_items", "variance_rotations"]


def _floor(values: dict) -> float:
    """The largest ``floor_*`` that is rounding; at least that of float64. A structure that is moved or put
    in another order may round otherwise than one that is turned, but by ``TWINS`` at most: more is a broken
    symmetry.
    """
    limit, found = rounding_limit(values), {kind: values[f"floor_{kind}"] for kind in FLOORS}
    least = DOUBLE**2 * values["size"]
    same = max([least, *(found[kind] for kind in ("repeats", "rounding") if found[kind] <= limit)])
    # a few float32 sums may happen to be equal
    limit = min(limit, TWINS * same if same > least else last_digits(values["size"]))
    moved = [found[kind] for kind in ("translations", "permutations") if found[kind] <= limit]
    return max([same, *moved])


def scale_of(row: Row) -> float:
    """What changes are a share of: the spread; the size where there is none, as of a single structure."""
    return row.spread if row.spread > last_digits(row.size) else row.size


def broken_at_the_identity(row: Row) -> list[str]:
    """Sentences on repeats, translations and permutations that change a prediction by more than rounding."""
    notes, limit = [], rounding_limit(vars(row))
    for kind in FLOORS:
        change = getattr(row, f"floor_{kind}")
        if change > limit:
            share = 100 * math.sqrt(change / scale_of(row))
            notes.append(f"{row.quantity}: {kind} at the identity change it by {share:.2g} %")
    return notes


def _share(part: torch.Tensor, whole: torch.Tensor) -> float:
    whole = whole.sum().item()
    if math.isnan(whole):
        return NAN
    return part.sum().item() / whole if whole > 0 else 0.0


def beside_composition(fractions: np.ndarray, energies: np.ndarray) -> np.ndarray:
    """Squared deviations of energies per atom from the best sum over atoms, each structure left out in turn.

    That sum is invariant and has learned nothing of geometry. A structure that alone decides the term of one
    of its elements is compared with the mean of the others instead.

    Parameters
    ----------
    fractions : [n, n_elements], share of each element
    energies : [n], per atom

    Returns
    -------
    float64 [n]; nan for a single structure
    """
    n = len(energies)
    if n < 2:
        return np.full(n, NAN)
    hat = fractions @ np.linalg.pinv(fractions)
    free = 1 - np.diag(hat)
    fitted = (energies - hat @ energies) / np.where(free > 1e-6, free, 1.0)
    plain = (energies - energies.mean()) * n / (n - 1)
    return np.where(free > 1e-6, fitted, plain) ** 2


def beside_the_mean(values: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Squared deviations of items from the mean of the others, column by column, summed over columns.

    A column that one item alone has is compared with zero.

    Parameters
    ----------
    values, counts : float64 [n_items, n]; the second 0 where an element does not count, else its weight

    Returns
    -------
    float64 [n_items]
    """
    values = torch.where(counts > 0, values, 0.0)
    centre = (counts * values).sum(0) / counts.sum(0).clamp(min=1)
    moved, others = values - centre, counts.sum(0) - counts
    mean = ((counts * moved).sum(0) - counts * moved) / others.clamp(min=1)
    return (counts * (moved - torch.where(others > 0, mean, -centre)) ** 2).sum(1)
