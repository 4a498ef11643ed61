"""Correlations of neighbouring checkpoints, with intervals for as many points as they are worth."""

import math

import numpy as np
from scipy import stats


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
