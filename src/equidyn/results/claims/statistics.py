"""Ratios of means over seeds, and correlations of neighbouring checkpoints, with intervals for as many points
as they are worth.
"""

import math

import numpy as np
from scipy import stats


def ratio_of_means(ours: list[float], reference: list[float]) -> tuple[float, float, float]:
    """Ratio of geometric means of positive numbers with Welch's 95 % interval; at least two of each."""
    a, b = np.log(ours), np.log(reference)
    ends = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    return math.exp(a.mean() - b.mean()), math.exp(ends.low), math.exp(ends.high)


def correlation(x: np.ndarray, y: np.ndarray, kind: str = "pearson") -> tuple[float, float, float]:
    """Correlation of two series with its 95 % interval by Fisher's z (Spearman with Bonett and Wright's
    variance), for ``effective_number`` points.

    The interval is (−1, 1) where that is three or less.
    """
    r = float((stats.pearsonr if kind == "pearson" else stats.spearmanr)(x, y)[0])
    n = effective_number(x, y)
    if n <= 3:
        return r, -1.0, 1.0
    half = 1.96 * math.sqrt((1 + (r * r / 2 if kind == "spearman" else 0)) / (n - 3))
    most = 1 - 6 / (
        len(x) ** 3 - len(x)
    )  # half a step of Spearman's below 1: equal ranks of a few points do not make an interval without width
    z = math.atanh(min(max(r, -most), most))
    return r, math.tanh(z - half), math.tanh(z + half)


def effective_number(x: np.ndarray, y: np.ndarray) -> float:
    """Number of independent points that two series of n neighbours are worth: n (1 − ρ_x ρ_y) / (1 + ρ_x
    ρ_y), at most n.

    ρ are the correlations of neighbours (Bretherton et al., J. Climate 12, 1990 (1999), eq. 31). Successive
    checkpoints resemble each other.
    """
    rho = [float(np.corrcoef(series[:-1], series[1:])[0, 1]) for series in (np.asarray(x), np.asarray(y))]
    product = max(0.0, rho[0] * rho[1]) if np.isfinite(rho).all() else 0.0
    return len(x) * (1 - product) / (1 + product)


def correlation_of_seeds(
    series: list[tuple[np.ndarray, np.ndarray]], kind: str = "pearson"
) -> tuple[float, float, float, str]:
    """Correlation of the same two series in independent runs, with its 95 % interval and how it was made.

    Fisher's z of every run, weighted by how many independent points it is worth (less 3). The interval is the
    wider of that which these numbers allow and Student's by the spread of the runs, √(χ² / degrees of
    freedom): few runs tell little of how much others would differ. A run worth three points or less adds
    nothing; (−1, 1) where none is worth more.

    Parameters
    ----------
    series : (x, y) of each run
    """
    found = [correlation(x, y, kind)[0] for x, y in series]
    sizes = [effective_number(x, y) for x, y in series]
    told = f"r = {', '.join(f'{r:.2f}' for r in found)}; neighbouring checkpoints resemble each other: "
    told += f"worth {', '.join(f'{n:.1f}' for n in sizes)} independent ones"
    if len(series) == 1:
        return *correlation(*series[0], kind), told
    spread = 1.0 if kind == "pearson" else 1 + np.mean(np.square(found)) / 2  # Bonett and Wright
    weights = np.array([max(n - 3, 0.0) for n in sizes]) / spread
    if weights.sum() <= 0:
        return float(np.mean(found)), -1.0, 1.0, told
    most = 1 - 6 / (max(len(x) for x, _ in series) ** 3)
    z = np.arctanh(np.clip(found, -most, most))
    mean = float(weights @ z / weights.sum())
    used = int((weights > 0).sum())
    chi_square = float(weights @ (z - mean) ** 2)
    half = 1.96
    if used > 1:
        half = max(half, stats.t.ppf(0.975, used - 1) * math.sqrt(chi_square / (used - 1)))
    half /= math.sqrt(weights.sum())
    return math.tanh(mean), math.tanh(mean - half), math.tanh(mean + half), told
