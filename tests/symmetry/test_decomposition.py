import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from equidyn.errors import ArgumentError
from equidyn.symmetry import groups
from equidyn.symmetry.decomposition import accumulate, decompose, ratio_interval, summarise


def linear_map(x, a, rotations):
    """Twisted predictions Rᵀ A R x of f(x) = A x; x [n_items, 3], rotations [n, n_items, 3, 3] or [n, 1, 3,
    3].
    """
    return torch.einsum(
        "rnji,jk,rnkl,nl->rni", rotations, a, rotations.expand(len(rotations), len(x), 3, 3), x
    )


def closed_form(x, a):
    return (
        x.square().sum(-1) / 3 * (a.square().sum() - torch.trace(a) ** 2 / 3)
    )  # per item, summed over components


@pytest.fixture
def case():
    g = torch.Generator().manual_seed(3)
    return torch.randn(40, 3, generator=g, dtype=torch.float64), torch.randn(
        3, 3, generator=g, dtype=torch.float64
    )


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(2, 9),
    items=st.integers(2, 6),
    atoms=st.integers(1, 4),
    spread=st.floats(1e-6, 1e3),
)
def test_terms_add_and_one_pass_equals_stack(seed, n, items, atoms, spread):
    g = torch.Generator().manual_seed(seed)
    f, y = (spread * torch.randn(n, items, atoms, 3, generator=g) for _ in range(2))
    mask = torch.rand(items, atoms, generator=g) < 0.7
    mask[0, 0] = True
    d = decompose(f, y[0], mask)
    streamed = decompose(iter(f), y[0], mask)
    assert math.isclose(d.total, d.twirled + d.equivariance, rel_tol=1e-12)
    assert str(d) == str(streamed)  # as text: an interval of nan equals itself
    valid = mask[..., None].expand(items, atoms, 3)
    direct = ((f.double() - y[0].double()) ** 2).mean(0)[valid].mean().item()
    pairs = torch.einsum("rnac,snac->rsnac", f.double() - y[0].double(), f.double() - y[0].double())
    off = (pairs.sum((0, 1)) - torch.einsum("rrnac->nac", pairs)) / (n * (n - 1))
    assert math.isclose(d.total, direct, rel_tol=1e-9)
    assert math.isclose(d.twirled, off[valid].mean().item(), rel_tol=1e-6, abs_tol=1e-9 * d.total)


@pytest.mark.parametrize("group", [groups.cube(), groups.icosahedron()])
def test_whole_group_is_exact_for_a_linear_map(case, group):
    x, a = case
    d = decompose(linear_map(x, a, group[:, None]), 2 * x, group_order=len(group))
    assert math.isclose(d.equivariance, closed_form(x, a).mean().item() / 3, rel_tol=1e-12)
    twirl = torch.trace(a) / 3 * x
    assert math.isclose(d.twirled, (twirl - 2 * x).square().mean().item(), rel_tol=1e-12)


@pytest.mark.parametrize("n, finite", [(2, False), (5, False), (2, True), (4, True), (23, True)])
def test_unbiased_against_the_closed_form(case, n, finite):
    x, a = case
    estimates = []
    for seed in range(300):
        rotations = (
            groups.subset_per_item(groups.cube(), n, len(x), seed)
            if finite
            else groups.haar_per_item(n, len(x), seed)
        )
        estimates.append(
            decompose(linear_map(x, a, rotations), x, group_order=24 if finite else None).equivariance
        )
    estimates = torch.tensor(estimates)
    error = estimates.std() / len(estimates) ** 0.5
    assert abs(estimates.mean() - closed_form(x, a).mean() / 3) < 4 * error


def test_interval_covers_between_93_and_97_percent():
    """Items from a population, rotations per item as `measure` draws them; the truth by closed form."""
    g = torch.Generator().manual_seed(0)
    a = torch.eye(3, dtype=torch.float64) + 0.3 * torch.randn(3, 3, generator=g, dtype=torch.float64)
    # x ~ N(0, 1), y = x + 0.5 noise: E‖x‖² = 3, total = equivariance + ‖(tr A/3 − 1) x‖² + noise
    equivariance = (a.square().sum() - torch.trace(a) ** 2 / 3) / 3
    truth = 100 * equivariance / (equivariance + (torch.trace(a) / 3 - 1) ** 2 + 0.25)
    hits, trials = 0, 1500
    for seed in range(trials):
        g.manual_seed(seed)
        x = torch.randn(128, 3, generator=g, dtype=torch.float64)
        y = x + 0.5 * torch.randn(128, 3, generator=g, dtype=torch.float64)
        d = decompose(linear_map(x, a, groups.haar_per_item(10, 128, seed)), y)
        hits += d.percent_lo <= truth <= d.percent_hi
    assert 0.93 <= hits / trials <= 0.97


@pytest.mark.parametrize("n", [2, 3, 8])
def test_the_interval_of_a_few_clusters_is_students(n):
    """With denominators that are alike the ratio is a mean, and so is its interval: t, not 1.96."""
    x = torch.randn(n, generator=torch.Generator().manual_seed(n), dtype=torch.float64) + 3
    percent, low, high, found = ratio_interval(x, torch.full_like(x, 100), torch.arange(n))
    half = stats.t.ppf(0.975, n - 1) * x.std().item() / n**0.5
    assert found == n and percent == pytest.approx(x.mean().item())
    assert (percent - low, high - percent) == pytest.approx((half, half))


def test_clusters_widen_the_interval(case):
    x, a = case
    repeated = x.repeat_interleave(5, 0)
    rotations = groups.haar_per_item(10, len(repeated), 0)
    twisted, clusters = linear_map(repeated, a, rotations), torch.arange(40).repeat_interleave(5)
    target = repeated + 3 * torch.randn(
        40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    ).repeat_interleave(5, 0)
    alone, grouped = decompose(twisted, target), decompose(twisted, target, clusters=clusters)
    assert grouped.n_clusters == 40 and grouped.percent == pytest.approx(alone.percent, rel=1e-12)
    assert grouped.percent_hi - grouped.percent_lo > 1.3 * (alone.percent_hi - alone.percent_lo)


def test_jackknife_removes_the_bias_of_a_convex_loss(case):
    """L2 norm: the plug-in gap is low by O(1/n); against many rotations the jackknife is several times
    closer.
    """
    x, a = case
    norm = lambda p, y: (p - y).norm(dim=-1)  # noqa: E731
    y = 2 * x
    truth = decompose(linear_map(x, a, groups.haar(20_000, 1)[:, None]), y, loss=norm).equivariance
    runs = [
        decompose(linear_map(x, a, groups.haar_per_item(4, len(x), seed)), y, loss=norm)
        for seed in range(200)
    ]
    jackknife = sum(r.equivariance for r in runs) / len(runs)
    plugin = sum(r.plugin.equivariance for r in runs) / len(runs)
    assert plugin < 0.95 * truth
    assert abs(jackknife - truth) < 0.35 * abs(plugin - truth)


@pytest.mark.parametrize("n", [2, 5, 12, 24])
def test_the_squared_loss_given_as_a_loss_is_the_squared_loss(case, n):
    """The jackknife over rotations is exact where the loss is quadratic, also for draws without
    replacement.
    """
    x, a = case
    twisted = linear_map(x, a, groups.subset_per_item(groups.cube(), n, len(x), 0))
    exact, convex = (
        decompose(twisted, 2 * x, group_order=24, loss=loss) for loss in (None, lambda p, y: (p - y) ** 2)
    )
    for name in (
        "total",
        "equivariance",
        "percent_lo",
        "baseline_ratio_hi",
        "relative_equivariance",
        "variance_items",
        "variance_rotations",
    ):
        assert getattr(convex, name) == pytest.approx(getattr(exact, name), rel=1e-9), name


@pytest.mark.parametrize("order", [None, 24])
def test_components_of_the_variance(order):
    """Items that differ in their rotations alone have no variance between them; that of one evaluation is the
    group's.
    """
    g = torch.Generator().manual_seed(0)
    a = torch.randn(3, 3, generator=g, dtype=torch.float64)
    x = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64).expand(
        3000, 3
    )  # the same item, thousands of times
    whole = (
        linear_map(x[:1], a, groups.cube()[:, None] if order else groups.haar(20_000, 1)[:, None]) - 2 * x[:1]
    ).square().sum(-1).var(correction=0).item() / 9
    for n in (2, 6, 24):
        rotations = (
            groups.subset_per_item(groups.cube(), n, len(x), 0)
            if order
            else groups.haar_per_item(n, len(x), 0)
        )
        d = decompose(linear_map(x, a, rotations), 2 * x, group_order=order)
        assert (
            d.variance_rotations == pytest.approx(whole, rel=0.05) and abs(d.variance_items) < 0.1 * whole / n
        )


def test_the_relative_error_has_no_unit():
    g = torch.Generator().manual_seed(0)
    twisted, y = (
        torch.randn(5, 8, 3, generator=g, dtype=torch.float64),
        torch.randn(8, 3, generator=g, dtype=torch.float64),
    )
    norm = lambda p, y: (p - y).norm(dim=-1)  # noqa: E731
    for loss in (None, norm):
        small, large = (
            decompose(scale * twisted, scale * y, loss=loss).relative_equivariance for scale in (1, 1000)
        )
        assert large == pytest.approx(small, rel=1e-9)
    found = decompose(twisted, y)  # over the size of the predictions, not of labels or errors
    assert found.relative_equivariance == pytest.approx(found.equivariance / twisted.square().mean().item())


@pytest.mark.parametrize("loss", [None, lambda p, y: (p - y).norm(dim=-1)])
def test_what_is_masked_does_not_matter_and_what_counts_must_be_finite(loss):
    g = torch.Generator().manual_seed(0)
    twisted, y, mask = (
        torch.randn(4, 5, 2, 3, generator=g),
        torch.randn(5, 2, 3, generator=g),
        torch.tensor([[True, False]] * 5),
    )
    expected = decompose(twisted, y, mask, loss=loss)
    y[:, 1] = twisted[:, :, 1] = math.nan
    assert str(decompose(twisted, y, mask, loss=loss)) == str(expected)
    twisted[3, 2, 0] = math.inf
    with pytest.raises(ValueError, match="prediction is not finite .* item 2 in rotation 3"):
        decompose(twisted, y, mask, loss=loss)
    y[2, 0, 1] = math.nan
    with pytest.raises(ValueError, match="a target is not finite .* item 2"):
        decompose(twisted, y, mask, loss=loss)


def test_what_becomes_a_tensor_is_taken():
    twisted, y = torch.rand(3, 4, 2), torch.rand(4, 2)
    expected = decompose(twisted, y, torch.tensor([True, True, False, True]), clusters=torch.arange(4) // 2)
    given = dict(mask=[True, True, False, True], clusters=[0, 0, 1, 1])
    assert str(decompose([one.numpy() for one in twisted], y.numpy(), **given)) == str(expected)


def test_equivariant_predictions_have_no_error_and_zero_has_zero_loss_total():
    y = torch.randn(6, 4, 3)
    assert decompose(torch.stack([y + 1] * 5), y).equivariance == 0
    d = decompose(torch.zeros(3, 6, 4, 3), y)
    assert d.total == pytest.approx(d.zero_loss, rel=1e-12) and d.relative_equivariance == 0


@pytest.mark.parametrize(
    "twisted, mask, order, message",
    [
        (torch.zeros(1, 4, 3), None, None, "at least 2"),
        (torch.zeros(3, 4, 2), None, None, "shape"),
        (torch.full((3, 4, 3), float("nan")), None, None, "not finite"),
        (torch.zeros(3, 4, 3), torch.ones(5), None, "mask"),
        (torch.zeros(3, 4, 3), None, 2, "group of order 2"),
        (torch.zeros(3, 4, 3), torch.zeros(4), None, "no valid element"),
    ],
)
def test_bad_input_is_named(twisted, mask, order, message):
    with pytest.raises(ValueError, match=message):
        decompose(twisted, torch.zeros(4, 3), mask, order)


def test_the_ratio_to_a_baseline_is_paired():
    """Items differ a hundredfold in loss, and the total is half the baseline on each: no interval is left."""
    g = torch.Generator().manual_seed(0)
    scale = 10 ** torch.rand(200, generator=g, dtype=torch.float64)
    sums = accumulate(list(torch.stack([scale, -scale])[:, :, None]), torch.zeros(200, 1))
    found = summarise(sums, baseline=2 * scale**2)
    assert found.baseline_loss == pytest.approx(2 * found.total)
    assert found.baseline_ratio == pytest.approx(0.5)
    assert found.baseline_ratio_hi - found.baseline_ratio_lo < 1e-9
    other = 2 * scale[torch.randperm(200, generator=g)] ** 2
    loose = summarise(sums, baseline=other)
    assert loose.baseline_ratio == pytest.approx(0.5) and loose.baseline_ratio_hi > 0.55


def test_without_a_baseline_it_is_the_zero_predictor():
    found = decompose(torch.tensor([[1.0, 2], [2, 1]]), torch.tensor([3.0, 3.0]))
    assert found.baseline_loss == found.zero_loss == 9
    assert found.baseline_ratio == pytest.approx(found.total / 9)
    with pytest.raises(ArgumentError, match="baseline has 3 entries for 2 items"):
        summarise(accumulate([torch.ones(2, 1)] * 2, torch.ones(2, 1)), baseline=torch.ones(3))
