"""How the curvatures of the two terms compare, with intervals over molecules.

The Hessian of either term is a mean over molecules. A bootstrap draws molecules with replacement, the same
for both terms, and takes traces and largest eigenvalues anew. Its interval is widened about the value (in
the logarithm where it has one) to Student's of as many molecules: resampling a few of them spreads too
little. The largest eigenvalue of a resampled Hessian is found among the leading eigenvectors of the whole
one, where it is a lower bound, close while the resampled one leads into the same few directions.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from equidyn.analysis.curvature import Hessians
from equidyn.analysis.gradients import TERMS
from equidyn.analysis.spectrum import Spectrum
from equidyn.symmetry.measure import Batch

N_PROBES, N_SAMPLES = 30, 1000


@dataclass(frozen=True)
class Ratio:
    """Twirled over equivariance, with its 95 % interval over molecules."""

    value: float
    lo: float
    hi: float


def single_items(batches: list[Batch]) -> Iterator[Batch]:
    """The items of batches as batches of one."""
    for batch in batches:
        for i in range(len(batch)):
            one = slice(i, i + 1)
            mask = None if batch.mask is None else batch.mask[one]
            inputs = {name: x[one] for name, x in batch.inputs.items()}
            yield replace(
                batch, inputs=inputs, target=batch.target[one], mask=mask, clusters=batch.clusters[one]
            )


def curvature_ratios(hessians: Hessians, spectra: dict[str, Spectrum]) -> dict[str, Ratio]:
    """Ratios of the largest eigenvalues, the traces and the effective ranks (trace over largest).

    Parameters
    ----------
    hessians : of batches of one item each, see ``single_items``
    spectra : of the same items, by term
    """
    rng = np.random.default_rng(0)  # of Rademacher vectors and bootstrap
    n_items = len(hessians.counts)
    drawn = rng.multinomial(n_items, np.full(n_items, 1 / n_items), size=N_SAMPLES)
    weights = np.vstack([np.ones(n_items, dtype=int), drawn])  # (1 + samples, items); the first is all, once
    n, dense = len(hessians.block), spectra[TERMS[0]].method == "dense"
    # Σ_z zᵀ H z is the trace: exactly over unit vectors, in the mean over random signs (Hutchinson)
    probes = np.eye(n) if dense else rng.choice((-1.0, 1.0), size=(N_PROBES, n)) / N_PROBES**0.5
    found = {
        term: _largest_and_trace(hessians, term, spectra[term].leading, probes, weights) for term in TERMS
    }
    (largest, trace), (other_largest, other_trace) = (found[term] for term in TERMS)
    return {
        "largest": _ratio(largest / other_largest, n_items),
        "trace": _ratio(trace / other_trace, n_items),
        "effective_rank": _ratio((trace / largest) / (other_trace / other_largest), n_items),
    }


def _largest_and_trace(hessians, term, leading, probes, weights) -> tuple[np.ndarray, np.ndarray]:
    """Largest eigenvalue and trace, [1 + samples] each, of the term's Hessian with these weights of items."""
    # (items, k, k): what each item adds to the Hessian among the leading eigenvectors
    forms = np.stack([hessians.products(term, v) @ leading for v in leading.T], -1)
    # the trace is exact among them; the probes find that of all other directions
    rest = probes - probes @ leading @ leading.T
    traces = np.trace(forms, axis1=1, axis2=2)
    traces = traces + np.sum([hessians.products(term, z) @ z for z in rest], 0)  # (items,)
    count = weights @ np.array(hessians.counts)
    resampled = np.einsum("si,ikl->skl", weights, forms) / count[:, None, None]
    return np.linalg.eigvalsh(resampled)[:, -1], weights @ traces / count


def _ratio(values: np.ndarray, n_items: int) -> Ratio:
    value, ends = values[0], np.percentile(values[1:], [2.5, 97.5])
    if value > 0 and ends[0] > 0:
        lo, hi = value * (ends / value) ** widening(n_items)
    else:  # a trace of the twirled term may be negative
        lo, hi = value + (ends - value) * widening(n_items)
    return Ratio(float(value), float(lo), float(hi))


def widening(n_items: int) -> float:
    """Student's interval of a mean of n over the one that a bootstrap of them makes: 1.96 standard deviations
    with n in their denominator for n − 1.
    """
    return float(stats.t.ppf(0.975, n_items - 1) / 1.96 * np.sqrt(n_items / (n_items - 1)))
