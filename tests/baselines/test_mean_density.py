import pytest
import torch

from equidyn.baselines.evaluate import sums_of_losses
from equidyn.baselines.mean_density import MeanDensity, WienerFilter
from equidyn.errors import ArgumentError
from equidyn.symmetry import groups
from equidyn.symmetry.actions import Grid
from equidyn.symmetry.measure import Batch, measure

SIGMA = 0.5
SIZES = [6, 7]  # the centre lies between voxels, and on one


def drawn(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def spectrum(g):
    """Power [g, g, g] of a stationary field without a direction of its own, between 0.02 and 4."""
    cosine = torch.cos(2 * torch.pi * torch.arange(g, dtype=torch.float64) / g)
    smooth = (3 + cosine[:, None, None] + cosine[:, None] + cosine) / 6  # 1 at frequency zero
    return 4 * smooth**4 + 0.02


def fields(n, g, seed):
    """n grids of two channels: a mean that is one of no direction, and a field of ``spectrum`` about it."""
    axis = torch.arange(g, dtype=torch.float64) - (g - 1) / 2
    bump = torch.exp(-(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2) / 4)
    noise = torch.fft.fftn(drawn(n, 2, g, g, g, seed=seed), dim=(2, 3, 4)) * spectrum(g).sqrt()
    scale = torch.tensor([1.0, 0.3], dtype=torch.float64)[:, None, None, None]
    return scale * (3 * bump + torch.fft.ifftn(noise, dim=(2, 3, 4)).real), scale


def held_out(clean, sigma=SIGMA, seed=9):
    noisy = clean + sigma * drawn(*clean.shape, seed=seed)
    return [
        Batch(dict(noisy=x), y, None, torch.arange(len(x))) for x, y in zip(noisy.split(50), clean.split(50))
    ]


def both(clean, sigma=SIGMA):
    mean = MeanDensity.fit(clean.split(30))
    return mean, WienerFilter.fit(clean.split(30), sigma, mean)


@pytest.mark.parametrize("g", SIZES)
def test_mean_is_that_over_grids_and_orientations(g):
    clean = drawn(10, 2, g, g, g, seed=0)
    expected = torch.stack([Grid().apply(r, clean) for r in groups.cube()]).mean((0, 1))
    for batches in (clean.split(3), lambda: iter(clean.split(4))):
        mean = MeanDensity.fit(batches)
        assert torch.allclose(mean.mean, expected, atol=1e-14)
    noisy = torch.zeros(5, 2, g, g, g)
    found = mean.predict(dict(noisy=noisy))
    assert found.dtype == torch.float32 and all(torch.equal(x, expected.float()) for x in found)


@pytest.mark.parametrize("g", SIZES)
def test_spectrum_is_that_over_grids_and_orientations(g):
    """Spectra of the grids turned one by one; the fit turns frequencies alone."""
    clean = drawn(10, 2, g, g, g, seed=1) + drawn(2, g, g, g, seed=2)  # all alike, and lopsided
    mean, wiener = both(clean)
    turned = torch.cat([Grid().apply(r, clean) for r in groups.cube()]) - mean.mean
    power = torch.fft.rfftn(turned, dim=(2, 3, 4), norm="ortho").abs().square().mean(0)
    assert torch.allclose(wiener.gains, power / (power + SIGMA**2), atol=1e-12)


@pytest.mark.parametrize("g", SIZES)
def test_equivariance_error_of_the_whole_group_is_rounding(g):
    """The half voxel between the centre of an even grid and frequency zero breaks nothing."""
    clean = drawn(12, 2, g, g, g, seed=3)
    clean[:, :, : g // 2] += 1  # lopsided
    batches = held_out(clean[:4])
    rotations, order = groups.draw_per_item("cube", 24, 4, 0)
    model = torch.nn.Identity().eval()
    for predictor in both(clean):
        found = measure(
            model,
            lambda _, inputs, predictor=predictor: predictor.predict(inputs),
            batches,
            dict(noisy=Grid()),
            Grid(),
            rotations,
            order,
        )
        assert found.equivariance < 1e-28 * found.total and found.total > 0.01


@pytest.mark.parametrize("g", SIZES)
def test_loss_on_a_stationary_field_is_the_least_there_is(g):
    """Per channel the mean over frequencies of S σ²/(S + σ²)."""
    clean, scale = fields(400, g, 4)
    mean, wiener = both(clean)
    batches = held_out(fields(300, g, 5)[0])
    power = scale**2 * spectrum(g)
    least = (power * SIGMA**2 / (power + SIGMA**2)).mean().item()
    losses = sums_of_losses(wiener, batches) / (2 * g**3)
    assert abs(losses.mean().item() - least) < 4 * losses.std().item() / len(losses) ** 0.5
    of_mean = sums_of_losses(mean, batches).mean().item() / (2 * g**3)
    assert losses.mean().item() < 0.8 * of_mean
    assert of_mean == pytest.approx(power.mean().item(), rel=0.05)


def test_filter_keeps_everything_without_noise_and_nothing_with_too_much():
    clean, _ = fields(60, 6, 6)
    noisy = held_out(clean)[0].inputs
    mean, silent = both(clean, 1e-6)
    assert torch.allclose(silent.predict(noisy), noisy["noisy"], atol=1e-6)
    assert torch.allclose(both(clean, 1e6)[1].predict(noisy), mean.predict(noisy), atol=1e-6)
    single = dict(noisy=noisy["noisy"].float())
    found = both(clean)[1]
    assert found.predict(single).dtype == torch.float32
    assert torch.allclose(found.predict(single).double(), found.predict(noisy), atol=1e-5)


def test_a_field_that_never_varies_has_no_gain():
    """Frequencies without power divide nothing by nothing."""
    clean = torch.zeros(3, 1, 4, 4, 4)
    mean, wiener = both(clean)
    assert (wiener.predict(dict(noisy=torch.ones(2, 1, 4, 4, 4))) == 0).all()


def test_errors_say_what_was_found_and_expected():
    grids = torch.zeros(2, 1, 4, 4, 4)
    mean = MeanDensity.fit([grids])
    used = iter([grids])
    MeanDensity.fit(used)
    for call, message in (
        (lambda: MeanDensity.fit(used), "no grids to fit to, expected at least one"),
        (lambda: MeanDensity.fit([grids[:0]]), "no grids"),
        (
            lambda: MeanDensity.fit([grids, torch.zeros(2, 2, 4, 4, 4)]),
            r"\[2, 2, 4, 4, 4\], expected \[b, c, g",
        ),
        (lambda: MeanDensity.fit([torch.zeros(2, 1, 4, 4, 5)]), r"\[2, 1, 4, 4, 5\]"),
        (lambda: WienerFilter.fit([grids], 0.0, mean), "sigma = 0.0, expected a positive"),
        (lambda: WienerFilter.fit([torch.zeros(2, 1, 5, 5, 5)], 1.0, mean), r"\[2, 1, 5, 5, 5\], expected"),
        (lambda: mean.predict(dict(noisy=torch.zeros(2, 3, 4, 4, 4))), r"expected \[b, \*\[1, 4, 4, 4\]\]"),
    ):
        with pytest.raises(ArgumentError, match=message):
            call()
