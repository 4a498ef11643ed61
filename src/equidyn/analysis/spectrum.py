"""Spectra of symmetric matrices known by their products with vectors: eigh where small, else eigsh and
Lanczos.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh_tridiagonal
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

DENSE = 500  # blocks up to this many parameters get their whole Hessian
LEADING = 12  # eigenvectors that are kept


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of a Hessian.

    ``smallest_positive`` is the smallest eigenvalue above ``threshold`` (absolute), ``condition_number``
    largest / smallest_positive, ``most_negative`` the lowest eigenvalue (not negative where there is no
    negative curvature). ``trace`` ± ``trace_error`` is exact where dense, Hutchinson's otherwise.
    ``residual`` is the largest ‖Hv − λv‖ of the three reported pairs over the largest eigenvalue: an
    eigenvalue lies that close to each. With ``lanczos`` smallest_positive is the smallest Ritz value above
    the threshold, so that the condition number grows with the number of steps and is a lower bound unless the
    residual is well below the threshold. ``vectors`` [n, 2] belong to largest and smallest_positive;
    ``eigenvalues`` [n], ascending, where dense. ``leading`` [n, ≤ 12] are the eigenvectors (Ritz vectors) of
    the largest, orthonormal.

    Where eigenvalues fall off without a gap, smallest_positive sits just above any threshold and the
    condition number is about its inverse, whatever the landscape. ``n_above``, how many lie above the
    threshold (nan with lanczos), and ``effective_rank``, trace / largest, tell.
    """

    largest: float
    smallest_positive: float
    most_negative: float
    condition_number: float
    threshold: float
    trace: float
    trace_error: float
    effective_rank: float
    n_above: float
    n_parameters: int
    n_products: int
    method: str
    residual: float
    vectors: np.ndarray
    leading: np.ndarray
    eigenvalues: np.ndarray | None


class _Counted:
    """A product with a matrix that counts how often it was asked for."""

    def __init__(self, product: Callable[[np.ndarray], np.ndarray]):
        self.product, self.n = product, 0

    def __call__(self, vector: np.ndarray) -> np.ndarray:
        self.n += 1
        return self.product(np.asarray(vector, dtype=np.float64).reshape(-1))


@dataclass(frozen=True)
class _Found:
    """What either way gives: eigenpairs of the largest, smallest positive and lowest eigenvalue, leading
    eigenvectors, trace, all eigenvalues.
    """

    method: str
    pairs: list[tuple[float, np.ndarray]]
    leading: np.ndarray
    trace: float
    trace_error: float
    eigenvalues: np.ndarray | None


def spectrum(
    product: Callable[[np.ndarray], np.ndarray],
    n: int,
    dense: int = DENSE,
    threshold: float = 1e-6,
    steps: int = 120,
    probes: int = 30,
    tol: float = 1e-8,
    seed: int = 0,
) -> Spectrum:
    """Spectrum of a symmetric matrix known by its products with vectors.

    Parameters
    ----------
    product : [n] → [n];  n : its size;  dense : up to this size all columns are made
    threshold : eigenvalues below threshold × largest count as zero
    steps : Lanczos steps for the smallest positive eigenvalue;  probes : Rademacher vectors for the trace
    tol : of eigsh, relative to the largest eigenvalue;  seed : of start vector and probes
    """
    times = _Counted(product)
    if n <= dense or n < 4:
        found = _by_columns(times, n, threshold)
    else:
        found = _by_products(times, n, threshold, steps, probes, tol, np.random.default_rng(seed))
    residual = max(float(np.linalg.norm(times(v) - value * v)) for value, v in found.pairs)
    top, small, low = (float(value) for value, _ in found.pairs)
    values, positive = found.eigenvalues, top > 0
    return Spectrum(
        largest=top,
        smallest_positive=small if positive else math.nan,
        most_negative=low,
        condition_number=top / small if positive else math.nan,
        threshold=threshold * top,
        trace=found.trace,
        trace_error=found.trace_error,
        effective_rank=found.trace / top if positive else math.nan,
        n_above=math.nan if values is None else float((values > threshold * top).sum()),
        n_parameters=n,
        n_products=times.n,
        method=found.method,
        residual=residual / abs(top) if top else residual,
        vectors=np.stack([found.pairs[0][1], found.pairs[1][1]], 1),
        leading=found.leading,
        eigenvalues=values,
    )


def _by_columns(times: _Counted, n: int, threshold: float) -> _Found:
    """All columns, then eigh."""
    matrix = np.stack([times(row) for row in np.eye(n)])
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    wanted = (n - 1, _smallest_above(values, threshold * values[-1]), 0)
    pairs = [(values[i], vectors[:, i]) for i in wanted]
    return _Found("dense", pairs, vectors[:, -LEADING:], float(np.trace(matrix)), 0.0, values)


def _by_products(
    times: _Counted, n: int, threshold: float, steps: int, probes: int, tol: float, rng: np.random.Generator
) -> _Found:
    """eigsh for the two ends, Lanczos for the smallest positive eigenvalue, Hutchinson for the trace."""
    start = rng.normal(size=n)
    largest = _extreme(times, n, start, tol)
    # shifted, because eigsh's tolerance is relative to the eigenvalue and the lowest is often almost zero
    lowest, lowest_vector = _extreme(lambda v: v * largest[0] - times(v), n, start, tol)
    ritz, basis = _lanczos(times, start, min(n, steps))
    i = _smallest_above(ritz[0], threshold * largest[0])
    pairs = [largest, (ritz[0][i], basis @ ritz[1][:, i]), (largest[0] - lowest, lowest_vector)]
    draws = rng.choice((-1.0, 1.0), size=(probes, n))
    # the largest eigenvalue is known: leaving it to chance would be most of the variance
    draws -= np.outer(draws @ largest[1], largest[1])
    samples = [z @ times(z) for z in draws]
    trace, error = float(largest[0] + np.mean(samples)), float(np.std(samples, ddof=1) / math.sqrt(probes))
    return _Found("lanczos", pairs, basis @ ritz[1][:, -LEADING:], trace, error, None)


def _smallest_above(values: np.ndarray, threshold: float) -> int:
    """Index of the smallest entry above the threshold; of the largest where there is none."""
    above = np.flatnonzero(values > max(threshold, 0.0))
    return int(above[np.argmin(values[above])]) if len(above) else int(np.argmax(values))


def _extreme(times, n, start, tol):
    """Largest eigenvalue and its vector; what has been found so far where eigsh does not converge (the
    residual tells).
    """
    try:
        values, vectors = eigsh(
            LinearOperator((n, n), matvec=times, dtype=np.float64),
            k=1,
            which="LA",
            v0=start,
            tol=tol,
            maxiter=100,
        )
    except ArpackNoConvergence:
        (values, vectors), basis = _lanczos(times, start, min(n, 200))
        return values[-1], basis @ vectors[:, -1]
    return values[0], vectors[:, 0]


def _lanczos(times, start, steps):
    """Ritz values (ascending) and vectors in the Lanczos basis, and that basis [n, m ≤ steps]; fully
    reorthogonalised.
    """
    basis, alpha, beta = [start / np.linalg.norm(start)], [], []
    while True:
        w = times(basis[-1])
        alpha.append(basis[-1] @ w)
        q = np.stack(basis, 1)
        for _ in range(2):  # twice is enough
            w = w - q @ (q.T @ w)
        norm = np.linalg.norm(w)
        if len(alpha) == steps or norm <= 1e-12 * np.abs(alpha).max():
            return eigh_tridiagonal(np.array(alpha), np.array(beta)), q
        beta.append(norm)
        basis.append(w / norm)
