import numpy as np
import pytest
import torch

from equidyn.baselines.chain_denoiser import ChainDenoiser
from equidyn.baselines.evaluate import sums_of_losses
from equidyn.errors import ArgumentError
from equidyn.geometry.pairs import centred
from equidyn.symmetry import groups
from equidyn.symmetry.actions import Fixed, Scalar, Vector
from equidyn.symmetry.measure import Batch, measure

STEP, N = 0.22, 16  # of a Gaussian walk: nm per component, residues
ACTIONS = dict(x_t=Vector(), t=Scalar(), mask=Fixed(), index=Fixed(), breaks=Fixed(), x_sc=Vector())


def walks(lengths, seed, memory=0.0):
    """Centred, padded Gaussian walks: x [items, n, 3] float64 and mask; steps persist with ``memory``."""
    rng = np.random.default_rng(seed)
    mask = torch.from_numpy(np.arange(max(lengths)) < np.asarray(lengths)[:, None])
    steps = STEP * rng.normal(size=(*mask.shape, 3))
    for i in range(1, steps.shape[1]):
        steps[:, i] += memory * steps[:, i - 1]
    return centred(torch.from_numpy(steps).cumsum(1), mask), mask


def noised(x_1, mask, t, seed=5):
    x_0 = centred(torch.from_numpy(np.random.default_rng(seed).normal(size=x_1.shape)), mask)
    index = torch.arange(mask.shape[1]).expand(mask.shape)
    x_t, times = (1 - t) * x_0 + t * x_1, torch.full((len(x_1),), t, dtype=x_1.dtype)
    fixed = dict(mask=mask, index=index, breaks=torch.zeros_like(mask), x_sc=torch.zeros_like(x_1))
    return Batch(dict(x_t=x_t, t=times, **fixed), x_1 - x_0, mask, torch.arange(len(x_1)))


def exact(lengths):
    """The denoiser whose distances are those of the walks, D²(s) = 3 STEP² s, with no sampling error."""
    profiles = 3 * STEP**2 * torch.arange(max(lengths)).double().expand(len(lengths), -1)
    return ChainDenoiser(torch.tensor(lengths), torch.ones(len(lengths), dtype=torch.long), profiles, 1)


def covariance(n):
    """C of a component of a centred walk, from its steps and not from its distances."""
    centring = torch.eye(n, dtype=torch.float64) - 1 / n
    ones = torch.ones(n, n, dtype=torch.float64).tril()
    return STEP**2 * centring @ ones @ ones.T @ centring, centring


@pytest.mark.parametrize("t", [0.0, 0.3, 0.9, 0.999, 1.0])
def test_matrix_is_that_of_the_formula(t):
    c, centring = covariance(N)
    expected = t * c @ torch.linalg.pinv(t**2 * c + (1 - t) ** 2 * centring, rtol=1e-12)
    found = exact([N]).denoiser(N, t)
    assert torch.allclose(found, expected, atol=1e-9) and torch.allclose(found, found.T, atol=1e-12)
    if t < 1:
        x_1, mask = walks([N] * 3, 0)
        batch = noised(x_1, mask, t)
        x_t = batch.inputs["x_t"]
        assert torch.allclose(exact([N]).predict(batch.inputs), (found @ x_t - x_t) / (1 - t), atol=1e-9)


@pytest.mark.parametrize("t", [0.0, 0.4, 0.8, 0.95])
def test_loss_on_gaussian_walks_is_the_least_there_is(t):
    """tr C (t² C + (1 − t)² J)⁺ / n, which is E ‖x_1 − x̂_1‖² / (1 − t)², and below any rescaling of x_t."""
    c, centring = covariance(N)
    least = (c @ torch.linalg.pinv(t**2 * c + (1 - t) ** 2 * centring, rtol=1e-12)).trace().item() / N
    fitted = ChainDenoiser.fit(*walks([N] * 3000, 1))
    batch = noised(*walks([N] * 3000, 2), t)
    losses = sums_of_losses(fitted, [batch]) / (3 * N)
    assert abs(losses.mean().item() - least) < 4 * losses.std().item() / len(losses) ** 0.5
    x_t = batch.inputs["x_t"]
    slope = (x_t * batch.target).sum() / x_t.square().sum()
    more = (slope * x_t - batch.target).square().mean((1, 2)) - losses
    error = more.std().item() / len(more) ** 0.5
    if t:
        assert more.mean().item() > 4 * error
    else:  # x_t is x_0, and both know that
        assert abs(more.mean().item()) < 4 * error


def test_equivariance_error_is_rounding():
    fitted = ChainDenoiser.fit(*walks([12, 15, 15, 20] * 10, 3), window=10)
    parts = walks([12, 14, 20], 4), walks([9, 15], 5)
    batches = [noised(x_1, mask, t) for (x_1, mask), t in zip(parts, (0.4, 0.9))]
    model = torch.nn.Identity().eval()
    found = measure(
        model,
        lambda _, inputs: fitted.predict(inputs),
        batches,
        ACTIONS,
        Vector(),
        groups.haar_per_item(5, 5, 0),
    )
    assert found.equivariance < 1e-26 * found.total and found.total > 0.1


def test_velocity_is_centred_zero_on_padding_and_knows_nothing_of_the_batch():
    fitted = ChainDenoiser.fit(*walks([10, 12, 17] * 20, 6))
    x_1, mask = walks([10, 17, 1, 12, 8], 7)
    batch = noised(x_1, mask, 0.7)
    batch.inputs["t"] = torch.tensor([0.7, 0.2, 0.5, 0.0, 0.1], dtype=torch.float64)  # one time per item
    mask[4] = False  # an item without residues
    batch.inputs["x_t"][~mask] = torch.nan  # what stands on padding does not matter
    v = fitted.predict(batch.inputs)
    assert v.sum(1).abs().max() < 1e-13 and (v[~mask] == 0).all() and (v[2] == 0).all()
    assert torch.allclose(v[3, :12], -batch.inputs["x_t"][3, :12], atol=1e-13)
    for row, n in ((0, 10), (1, 17)):
        alone = {
            name: x[row : row + 1] if name == "t" else x[row : row + 1, :n]
            for name, x in batch.inputs.items()
        }
        assert torch.allclose(fitted.predict(alone)[0], v[row, :n], atol=1e-13)
    single = {name: x.float() if x.is_floating_point() else x for name, x in batch.inputs.items()}
    assert fitted.predict(single).dtype == torch.float32
    assert torch.allclose(fitted.predict(single).double(), v, atol=1e-5)


def test_late_times_do_not_blow_up_where_distances_are_of_no_chain():
    """Three stiff chains of several lengths: C has eigenvalues below zero; clipped at zero, losses would grow
    without bound. As t goes to 1, x_t becomes x_1, and all that is missing is x_0.
    """
    fitted = ChainDenoiser.fit(*walks([30, 33, 37], 9, memory=0.8))
    x_1, mask = walks([35] * 50, 10, memory=0.8)
    i, (_, centring) = torch.arange(35), covariance(35)
    c = -centring @ fitted.square_distances(35)[(i[:, None] - i).abs()] @ centring / 6
    assert torch.linalg.eigvalsh(c)[0] < -1e-3 * torch.linalg.eigvalsh(c)[-1]
    for t in (0.5, 0.9, 0.99):
        batch = noised(x_1, mask, t)
        assert sums_of_losses(fitted, [batch]).sum() < batch.target.square().sum()
    last, noise = noised(x_1, mask, 1 - 1e-6), x_1 - noised(x_1, mask, 1.0).target
    assert sums_of_losses(fitted, [last]).sum().item() == pytest.approx(noise.square().sum().item(), rel=1e-3)
    assert torch.isfinite(fitted.predict(noised(x_1, mask, 1.0).inputs)).all()


def test_a_straight_rod_moves_along_itself_alone():
    """All modes but one are empty: nothing to blow up, nothing that is not a number at t = 1."""
    rod = torch.zeros(1, 6, 3, dtype=torch.float64)
    rod[0, :, 0] = torch.arange(6) - 2.5
    mask = torch.ones(1, 6, dtype=torch.bool)
    fitted = ChainDenoiser.fit(rod, mask)
    assert torch.allclose(fitted.denoiser(6, 1.0) @ rod, rod, atol=1e-6)
    assert torch.isfinite(fitted.predict(noised(rod, mask, 1.0).inputs)).all()


def test_lengths_between_those_of_the_fit():
    """D² of walks is linear in the separation, and so it is halfway between two lengths."""
    line = 3 * STEP**2 * torch.arange(22).double()
    assert torch.allclose(exact([20, 24]).square_distances(22), line, atol=1e-12)
    profiles = torch.stack([line.new_ones(24), line.new_full((24,), 2.0)])
    uneven = ChainDenoiser(torch.tensor([20, 24]), torch.tensor([1, 3]), profiles, 4)
    assert torch.allclose(
        uneven.square_distances(22), line.new_full((22,), 7 / 4)
    )  # every chain counts alike
    fitted = ChainDenoiser.fit(*walks([20, 24] * 2000, 11), window=4000)
    assert torch.allclose(fitted.square_distances(22), line, rtol=0.06)
    for n in (2, 5, 60):
        assert torch.isfinite(fitted.denoiser(n, 0.9)).all()


def test_a_wider_window_takes_more_chains():
    lengths = [20] * 5 + [21] * 5 + [30] * 5
    x, mask = walks(lengths, 12)
    x[mask.sum(1) == 30] *= 3
    near, far = (ChainDenoiser.fit(x, mask, window).square_distances(20)[1] for window in (10, 15))
    own = ChainDenoiser.fit(x[:5], mask[:5]).square_distances(20)[1]
    assert near != own and near < 1.5 * own and far > near  # the 30 are nine times as far apart


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(window=0), "window = 0, expected"),
        (dict(positions=torch.zeros(2, 5, 2)), r"positions \[2, 5, 2\]"),
        (dict(mask=torch.ones(2, 4, dtype=torch.bool)), r"mask \[2, 4\], expected"),
        (dict(mask=torch.zeros(2, 5, dtype=torch.bool)), r"2 chains of \[0\] or more residues, expected"),
        (dict(mask=torch.tensor([[False] + [True] * 4] * 2)), "padding before residues, expected"),
        (dict(positions=torch.full((2, 5, 3), torch.nan)), "all finite"),
        (dict(positions=torch.zeros(0, 5, 3), mask=torch.zeros(0, 5, dtype=torch.bool)), "0 chains"),
    ],
)
def test_errors_say_what_was_found_and_expected(change, message):
    good = dict(positions=torch.zeros(2, 5, 3), mask=torch.ones(2, 5, dtype=torch.bool), window=3)
    with pytest.raises(ArgumentError, match=message):
        ChainDenoiser.fit(**{**good, **change})
