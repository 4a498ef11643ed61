"""Ratios of curvatures against dense Hessians of single molecules, and their bootstrap."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from toy import arguments, toy

from equidyn.analysis import curvature_intervals
from equidyn.analysis.curvature import Block, Hessians, curvature
from equidyn.analysis.curvature_intervals import curvature_ratios, single_items, widening
from equidyn.analysis.gradients import TERMS

QUANTITIES = ("largest", "trace", "effective_rank")


def by_items(name="out.weight"):
    """Hessians of the toy's items one by one, and spectra of all of them together."""
    model, predict, batches, *symmetry, rotations = arguments(toy())
    single = list(single_items(batches))
    block = Block(model, name)
    hessians = Hessians(model, predict, single, *symmetry, rotations, block)
    return hessians, curvature(model, predict, batches, *symmetry, rotations, block)


def test_single_items_are_the_batch():
    batches = arguments(toy())[2]
    single = list(single_items(batches))
    assert len(single) == sum(len(batch) for batch in batches)
    for name in batches[0].inputs:
        whole = torch.cat([batch.inputs[name] for batch in batches])
        assert torch.equal(torch.cat([one.inputs[name] for one in single]), whole)
    assert torch.equal(torch.cat([one.target for one in single]), torch.cat([b.target for b in batches]))


@pytest.mark.parametrize("name", ["middle.weight", "out.weight"])
def test_ratios_are_those_of_the_spectra(name):
    """The toy's blocks have more directions than are kept."""
    hessians, spectra = by_items(name)
    twirled, equivariance = (spectra[term] for term in TERMS)
    found = curvature_ratios(hessians, spectra)
    assert found["largest"].value == pytest.approx(twirled.largest / equivariance.largest, rel=1e-9)
    assert found["trace"].value == pytest.approx(twirled.trace / equivariance.trace, rel=1e-9)
    product = found["effective_rank"].value * found["largest"].value
    assert product == pytest.approx(found["trace"].value, rel=1e-12)


def test_a_trace_by_probes():
    """Without the whole spectrum thirty probes find the trace beside the leading directions."""
    hessians, spectra = by_items()
    few = {t: replace(s, method="lanczos", leading=s.leading[:, -3:]) for t, s in spectra.items()}
    exact, found = curvature_ratios(hessians, spectra)["trace"], curvature_ratios(hessians, few)["trace"]
    assert found.value != exact.value and found.value == pytest.approx(exact.value, rel=0.2)


def test_the_interval_is_that_of_resampled_dense_hessians():
    hessians, spectra = by_items()
    n, counts = len(hessians.block), np.array(hessians.counts)
    found = curvature_ratios(hessians, spectra)
    rng = np.random.default_rng(5)
    dense = {t: np.stack([hessians.products(t, v) for v in np.eye(n)], -1) for t in TERMS}  # (items, n, n)
    ratios = []
    for weights in rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=400):
        twirled, equivariance = (np.einsum("i,ikl->kl", weights, dense[t]) for t in TERMS)
        ratios.append(np.linalg.eigvalsh(twirled)[-1] / np.linalg.eigvalsh(equivariance)[-1])
    value = found["largest"].value
    lo, hi = value * (np.percentile(ratios, [2.5, 97.5]) / value) ** widening(len(counts))
    width = hi - lo
    assert abs(found["largest"].lo - lo) < 0.2 * width and abs(found["largest"].hi - hi) < 0.2 * width
    for name in QUANTITIES:
        assert found[name].lo < found[name].value < found[name].hi


@pytest.mark.parametrize("n", [4, 20])
def test_the_interval_of_a_bootstrap_is_that_of_95_in_100_and_students(n):
    """Of normal samples: 1.96 standard deviations, made t times √(n / (n − 1))."""
    samples = 10 + 0.01 * stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    found = curvature_intervals._ratio(np.concatenate([[10.0], samples]), n)
    half = 0.01 * stats.t.ppf(0.975, n - 1) * np.sqrt(n / (n - 1))
    assert (found.hi - 10, 10 - found.lo) == pytest.approx((half, half), rel=0.01)


def test_the_interval_of_a_few_items_is_as_wide_as_students():
    """A bootstrap of four numbers covers their mean too seldom."""
    rng, hits = np.random.default_rng(0), {False: 0, True: 0}
    for _ in range(400):
        x = rng.normal(size=4)
        ends = np.percentile(x[rng.integers(0, 4, size=(300, 4))].mean(1), [2.5, 97.5]) - x.mean()
        for wide in hits:
            lo, hi = x.mean() + ends * (widening(4) if wide else 1)
            hits[wide] += lo <= 0 <= hi
    assert hits[False] < 0.86 * 400 and 0.9 * 400 < hits[True] < 0.99 * 400
