import contextlib

import numpy as np
import pytest
import torch
from common import REPOSITORY
from voxel_tools import Symmetrized

from equidyn import tasks
from equidyn.analysis import voxel_fields
from equidyn.data import grids
from equidyn.data.build import build
from equidyn.errors import DataError
from equidyn.models import registry
from equidyn.symmetry import groups
from equidyn.symmetry.actions import Grid
from equidyn.symmetry.decomposition import decompose
from equidyn.symmetry.measure import measure, twisted_predictions
from equidyn.tasks.voxels import resample

TRAINING = dict(
    optimizer="adamw",
    lr=2e-3,
    weight_decay=0.01,
    warmup=5,
    final_lr_fraction=0.1,
    steps=30,
    batch_size=8,
    clip=10.0,
    ema=0.99,
    n_checkpoints=4,
    log_every=1,
    augment=1.0,
    shift=0.5,
    sampler="haar",
    sigma=0.3,
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("voxels")
    box = dict(elements=["C", "H", "O", "N", "F", "S", "Cl", "Br"], grid=16, resolution=0.5, radius=0.5)
    settings = dict(
        source="conformers",
        molecules=str(REPOSITORY / "resources/molecules.csv"),
        n_molecules=40,
        n_conformers=80,
        temperature=200,
        max_atoms=10,
        n_held_out=12,
        seed=0,
        labels=False,
        voxels=box,
    )
    build(settings, str(folder / "m.h5"))
    grids.build(str(folder / "m.h5"), str(folder / "g.h5"))
    return folder


def make(files, **training):
    return tasks.build(
        "voxels",
        str(files / "m.h5"),
        dict(
            training={**TRAINING, **training},
            measure=dict(n_items=6, batch_size=4),
        ),
        grids=files / "g.h5",
    )


@pytest.fixture(scope="module")
def trained(files):
    task, model = make(files), registry.build("voxmol", "tiny")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(30):
        loss, _ = task.training_loss(model, torch.arange(8) + 8 * (step % 5), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def test_held_out_grids_fit_are_frozen_and_one_per_molecule(files):
    task = make(files)
    data = task._frozen()
    assert len(set(data["cluster"].tolist())) == 6
    again = make(files)
    assert all(
        torch.equal(a.inputs["noisy"], b.inputs["noisy"])
        for a, b in zip(task.held_out(None), again.held_out(None))
    )
    noise = torch.cat([b.inputs["noisy"] - b.target for b in task.held_out(None)]) / 0.3
    assert noise.std().item() == pytest.approx(1, abs=0.01)
    assert np.abs(np.corrcoef(noise.flatten(1)) - np.eye(6)).max() < 0.05  # of every molecule its own
    clean = task.clean(data["item"].numpy())
    assert (clean - data["grid"]).abs().max() < 1e-6
    there = len(grids.read(files / "g.h5")["item"])
    for few, wanted in ((False, there), (True, there + 1)):  # before training, which needs no grids
        refused = pytest.raises(DataError, match=f"measure.n_items = {wanted}, but only {there} of its")
        with refused if few else contextlib.nullcontext():
            tasks.build(
                "voxels",
                str(files / "m.h5"),
                dict(training=TRAINING, measure=dict(n_items=wanted, batch_size=4)),
            )
    with pytest.raises(DataError, match="rule `grids`"):
        tasks.build(
            "voxels", str(files / "m.h5"), dict(training=TRAINING, measure=dict(n_items=5, batch_size=4))
        ).held_out(None)


def test_training_is_replayed_by_its_seed_and_learns(files, trained):
    task, model = make(files), registry.build("voxmol", "tiny").eval()
    losses = [task.training_loss(model, torch.arange(8), seed)[0].item() for seed in (3, 3, 4)]
    assert losses[0] == losses[1] != losses[2]
    assert task.training_loss(trained, torch.arange(8), 3)[0].item() < 0.5 * losses[0]


def test_augmentation_settings_change_what_they_say(files):
    plain, items = make(files, augment=0.0, shift=0.0), np.arange(4)
    seen = {}

    class Spy(torch.nn.Module):
        def forward(self, noisy):
            seen["x"] = noisy
            return noisy

    plain.training_loss(Spy(), torch.arange(4), 7)
    generator = torch.Generator().manual_seed(7)
    clean = plain.clean(plain.train[items])
    assert torch.allclose(seen["x"], clean + 0.3 * torch.randn(clean.shape, generator=generator))
    for change in (
        dict(augment=1.0, shift=0.0),
        dict(augment=0.0, shift=0.5),
        dict(augment=1.0, shift=0.0, sampler="euler"),
    ):
        other = make(files, **change)
        other.training_loss(Spy(), torch.arange(4), 7)
        assert not torch.allclose(
            seen["x"],
            clean + 0.3 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(7)),
            atol=0.1,
        )


def test_the_training_loss_is_in_units_of_the_zero_predictors(files):
    task = make(files)

    class Zero(torch.nn.Module):
        def forward(self, noisy):
            return torch.zeros_like(noisy)

    drawn = task.draw(torch.arange(8), 3)
    clean = task.make(None, drawn)["clean"]
    expected = (clean.square().mean() / task.power).item()
    assert task.training_loss(Zero(), torch.arange(8), 3)[0].item() == pytest.approx(expected, rel=1e-5)
    assert 0.5 < expected < 2
    shifts = torch.cat([task.draw(torch.arange(40), seed)["shift"] for seed in range(5)])
    assert 0.45 < shifts.max() <= 0.5 and -0.5 <= shifts.min() < -0.45  # Å, either way


def test_measured_training_grids_are_whole_and_as_noisy_as_held_out_ones(files):
    task = make(files)
    batches = task.seen(None)
    items = task.seen_items
    assert len(items) == 6 == len(set(task.cluster[items].tolist())) and set(items) <= set(task.train)
    noise = torch.cat([b.inputs["noisy"] - b.target for b in batches]) / 0.3
    assert noise.std().item() == pytest.approx(1, abs=0.01)
    assert torch.equal(torch.cat([b.target for b in batches]), task.clean(items))
    box = task.shape["grid"] * task.shape["resolution"] / 2
    for item in items.tolist():
        rows = slice(task.offsets[item], task.offsets[item + 1])
        assert (task.positions[rows].norm(dim=1) + 2 * task.shape["radius"] <= box).all()


def test_fields_of_a_picture_are_those_of_the_whole_group(files, trained):
    task = make(files)
    batch = task.held_out(trained)[0]
    found = voxel_fields.fields(trained, task, batch)
    rotations = groups.cube()[:, None].expand(-1, len(batch), -1, -1)
    whole = measure(trained, task.predict, [batch], task.actions, task.output, rotations, 24)
    assert found["per_rotation"].mean().item() == pytest.approx(whole.equivariance, rel=1e-6)
    with torch.no_grad():
        plain = trained(batch.inputs["noisy"])[0]
        twirled = Symmetrized(trained)(batch.inputs["noisy"])[0]
    assert torch.allclose(found["denoised"].float(), plain, atol=1e-5)
    assert torch.allclose(found["twirled"].float(), twirled, atol=1e-5)


def test_the_whole_group_gives_the_exact_twirl(files, trained):
    """P̂ from all 24 elements is ‖T − y‖² computed directly."""
    task = make(files)
    cube, batches = groups.cube(), task.held_out(trained)
    whole = measure(
        trained, task.predict, batches, task.actions, task.output, cube[:, None].expand(-1, 6, -1, -1), 24
    )
    exact = (
        torch.cat(
            [
                (Symmetrized(trained)(b.inputs["noisy"]).double() - b.target).square().flatten(1).mean(1)
                for b in batches
            ]
        )
        .mean()
        .item()
    )
    assert whole.twirled == pytest.approx(exact, rel=1e-5)
    symmetric = Symmetrized(trained).eval()
    r = measure(
        symmetric, task.predict, batches, task.actions, task.output, groups.subset_per_item(cube, 4, 6, 0), 24
    )
    control = measure(
        trained.equivariant_control(),
        task.predict,
        batches,
        task.actions,
        task.output,
        groups.subset_per_item(cube, 4, 6, 0),
        24,
    )
    assert (
        r.equivariance <= max(10 * control.equivariance, 1e-14) and r.equivariance < 1e-8 * whole.equivariance
    )


@pytest.mark.parametrize("n", [4, 8])
def test_subsamples_agree_with_the_whole_group(files, trained, n):
    """Items fixed: the rotation-only interval of n draws without replacement covers the P̂ and Ê of all 24 in
    93-98 % of 500 draws, without bias.

    Draws are evaluated through the 24 losses and the 24 × 24 squared distances D of an item: L̂ is a mean of
    losses, Ê = (23/24) Σ_{r<s} D_rs / (n (n−1)), P̂ = L̂ − Ê, which is first checked to be what ``decompose``
    returns. The interval is 1.96 standard deviations of the mean over items, from another stream of draws.
    """
    task = make(files)
    batch = task.held_out(trained)[0]
    with torch.no_grad():
        twisted = torch.stack(
            list(
                twisted_predictions(
                    lambda x: task.predict(trained, x), batch, task.actions, task.output, groups.cube()
                )
            )
        )  # (24, n_items, ...)
    whole = decompose(twisted, batch.target, group_order=24)
    flat = twisted.flatten(2).transpose(0, 1)  # (n_items, 24, voxels)
    distance = (
        torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist") ** 2 / flat.shape[-1]
    ).numpy()
    loss = (flat - batch.target.double().flatten(1)[:, None]).square().mean(-1).numpy()  # (n_items, 24)

    def estimates(seed, n_draws):  # P̂ and Ê, each (n_draws, n_items)
        rng, item = np.random.default_rng(seed), np.arange(len(batch))
        chosen = rng.permuted(np.tile(np.arange(24), (n_draws, len(batch), 1)), axis=2)[:, :, :n]
        pairs = (
            distance[item[None, :, None, None], chosen[..., :, None], chosen[..., None, :]].sum((2, 3)) / 2
        )
        equivariance = 23 / 24 * pairs / (n * (n - 1))
        return dict(
            twirled=loss[item[None, :, None], chosen].mean(2) - equivariance, equivariance=equivariance
        ), chosen

    values, chosen = estimates(0, 500)
    drawn = torch.stack([twisted[torch.from_numpy(chosen[0, i]), i] for i in range(len(batch))], 1)
    others, _ = estimates(99, 20_000)
    for term in ("twirled", "equivariance"):
        exact = getattr(whole, term)
        assert getattr(decompose(drawn, batch.target, group_order=24), term) == pytest.approx(
            values[term][0].mean(), rel=1e-9
        )
        error = np.sqrt(others[term].var(0, ddof=1).sum()) / len(batch)
        assert abs(others[term].mean() - exact) < 4 * error / np.sqrt(
            20_000
        )  # a factor 24/23 would be off by dozens of these
        assert 0.93 <= (np.abs(values[term].mean(1) - exact) <= 1.96 * error).mean() <= 0.98, term


def test_trivial_loss_is_that_of_the_best_rescaling(files):
    task = make(files, sigma=0.1)
    clean = torch.cat([b.target for b in task.held_out(None)]).double()
    noisy = torch.cat([b.inputs["noisy"] for b in task.held_out(None)]).double()
    best = (
        ((noisy * clean).sum() / noisy.square().sum() * noisy - clean).square().mean().item()
    )  # least squares on the held-out grids; the task's is fitted elsewhere
    assert (
        best * (1 - 1e-6) <= task.trivial_loss() <= 1.02 * best
        and task.trivial_loss() < clean.square().mean().item()
    )


def test_resampling_is_the_grid_action_on_the_cube_and_keeps_noise_white():
    x = torch.randn(2, 3, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    for rotation in groups.cube():
        turned, spread = resample(x, rotation.expand(2, 3, 3))
        assert (turned - Grid().apply(rotation, x)).abs().max() < 1e-4 and (spread - 1).abs().max() < 1e-4
    noise = torch.randn(2000, 1, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    turned, spread = resample(noise, groups.haar(1, 0).expand(2000, 3, 3))
    assert ((turned / spread).std(0)[0, 2:6, 2:6, 2:6] - 1).abs().max() < 0.08


def test_off_grid_measurement_has_a_floor_of_interpolation(files, trained):
    """A perfect denoiser's, whatever the noise: a blur lets interpolated noise through, which is no floor."""
    task, noisier = make(files), make(files)
    noisier.sigma = 3 * task.sigma
    floor, model = task.off_grid_floor(4, 0), task.off_grid(trained, 4, 0)
    assert 0 < floor.equivariance < floor.total and 0 < model.equivariance < model.total
    assert model.n_rotations == floor.n_rotations == 4 and model.n_items == 6
    assert noisier.off_grid_floor(4, 0).equivariance == floor.equivariance
    blur = trained.equivariant_control()
    assert noisier.off_grid(blur, 4, 0).equivariance > 4 * task.off_grid(blur, 4, 0).equivariance
    assert floor.equivariance < task.off_grid(blur, 4, 0).equivariance


class Watching(torch.nn.Module):
    """Gives its input back, but for the corners of the box; keeps what it has seen."""

    def __init__(self, corner=0.0):
        super().__init__()
        self.corner, self.seen = corner, []

    def forward(self, noisy):
        self.seen.append(noisy)
        made = noisy.clone()
        made[..., :1, :1, :1] += self.corner
        return made


def test_atoms_turn_off_the_grid_and_predictions_turn_back(files):
    """Without noise the clean grid comes back, but for interpolation; what lies in corners does not count."""
    task = make(files)
    task.sigma = 0.0
    found = task.off_grid(Watching().eval(), 3, 0)
    assert found.total < 0.1 * found.zero_loss
    assert task.off_grid(Watching(corner=1e3).eval(), 3, 0).total == found.total


def test_turned_noise_is_white_in_the_whole_box(files):
    """Interpolated, scaled to unit variance, drawn anew where it would come from outside."""
    task, model = make(files), Watching().eval()
    task.off_grid(model, 3, 0)
    items = task._frozen()["item"]
    rotations = groups.haar_per_item(3, len(items), 0)
    parts = zip(items.split(4), rotations.split(4, 1))
    clean = [task.clean(some.numpy(), one) for some, chunk in parts for one in chunk]
    noise = torch.cat([(a - b) / task.sigma for a, b in zip(model.seen, clean, strict=True)])
    assert noise.std().item() == pytest.approx(1, abs=0.03)
    assert noise[..., :4, :4, :4].std().item() == pytest.approx(1, abs=0.05)  # a corner
    assert noise[..., 6:10, 6:10, 6:10].std().item() == pytest.approx(1, abs=0.05)  # the middle
