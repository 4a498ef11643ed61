import copy

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from equidyn.analysis import sampling
from equidyn.data import splits, store
from equidyn.errors import DataError
from equidyn.geometry.pairs import DISTOGRAM_BINS
from equidyn.models.proteina import SIZES, Proteina
from equidyn.symmetry import groups
from equidyn.symmetry.actions import Vector
from equidyn.symmetry.measure import measure, rotate
from equidyn.tasks.flow import Flow, distogram_loss, draw_times

N_CHAINS, N_HELD_OUT = 60, 12
SETTINGS = dict(training=dict(augment=1.0, batch_size=8), measure=dict(n_items=10, batch_size=4))


def random_walks(path, shift=0.0):
    """Chains of 20–32 residues, two to a cluster: directions that persist, so that there is something to
    learn.
    """
    rng = np.random.default_rng(0)
    lengths = rng.integers(20, 33, N_CHAINS)
    chains = []
    for n in lengths:
        bonds = rng.normal(size=(n, 3))
        for i in range(1, n):
            bonds[i] += 0.6 * bonds[i - 1]
        chains.append(
            3.8 * (bonds / np.linalg.norm(bonds, axis=1, keepdims=True)).cumsum(0)
            + rng.normal(size=3)
            + shift
        )
    cluster = np.arange(N_CHAINS) // 2
    rows = int(lengths.sum())
    breaks = (rng.random(rows) < 0.03).astype(np.uint8)
    arrays = dict(
        offsets=np.cumsum([0, *lengths]),
        positions=np.concatenate(chains),
        residues=np.full(rows, 255),
        breaks=breaks,
        cluster=cluster,
        name=np.array([f"walk {i}" for i in range(N_CHAINS)], dtype="S40"),
        split=splits.split_by_cluster(cluster, N_HELD_OUT, 0),
    )
    store.write(
        path,
        arrays,
        dict(
            kind="backbones",
            source="random walks",
            licence="",
            split="cluster",
            split_seed=0,
            code="",
            settings="{}",
            poses="as-made",
        ),
    )
    return str(path)


@pytest.fixture(scope="module")
def walks(tmp_path_factory):
    return random_walks(tmp_path_factory.mktemp("flow") / "walks.h5")


@pytest.fixture
def task(walks):
    return Flow(walks, copy.deepcopy(SETTINGS))


def network(seed=0, **options):
    torch.manual_seed(seed)
    return Proteina(**{**SIZES["tiny"], **options}).eval()


class Linear(torch.nn.Module):
    """v = A x_t."""

    distances = None

    def __init__(self, matrix):
        super().__init__()
        self.matrix = torch.nn.Parameter(torch.as_tensor(matrix, dtype=torch.float32))
        self.eval()

    def forward(self, x_t, t, mask, index, breaks, x_sc):
        return x_t @ self.matrix.T * mask[..., None]


def haar(task, n=10):
    return groups.haar_per_item(n, len(task.test), 0)


def test_linear_map_has_the_closed_form(task):
    """E‖…‖² = ‖x‖²/3 (‖A‖_F² − (tr A)²/3), exactly on the cube group and within sampling error for Haar
    draws.
    """
    matrix = np.random.default_rng(1).normal(size=(3, 3))
    model, batches = Linear(matrix), task.held_out(None, "t=0.6")
    power = sum(b.inputs["x_t"].double().square().sum().item() for b in batches) / (
        3 * sum(b.mask.sum().item() for b in batches)
    )
    exact = power / 3 * ((matrix**2).sum() - np.trace(matrix) ** 2 / 3)
    n = len(task.test)
    cube = measure(
        model,
        task.predict,
        batches,
        task.actions,
        task.output,
        groups.cube()[:, None].expand(-1, n, -1, -1),
        24,
    )
    assert cube.equivariance == pytest.approx(exact, rel=1e-5)
    draws = [
        measure(
            model, task.predict, batches, task.actions, task.output, groups.haar_per_item(40, n, seed)
        ).equivariance
        for seed in range(64)
    ]
    error = np.std(draws, ddof=1) / np.sqrt(len(draws))
    assert abs(np.mean(draws) - exact) < 4 * error and error < 0.01 * exact
    isotropic = measure(Linear(0.7 * np.eye(3)), task.predict, batches, task.actions, task.output, haar(task))
    assert isotropic.relative_equivariance < 1e-12


@pytest.mark.parametrize("condition", ["t=0", "t=0.6", "t=0.95"])
def test_trivial_loss_is_the_best_rescaling(task, condition):
    t = task.times[condition]
    fitted = [
        task._noised(items, t, 20_252_003)[:2] for items in task.train.split(7)
    ]  # other batches, other padding
    x, v = (torch.cat([pair[k].reshape(-1, 3) for pair in fitted]).double() for k in (0, 1))
    slope = torch.linalg.lstsq(x.reshape(-1, 1), v.reshape(-1, 1)).solution.item()
    measured = measure(
        Linear(slope * np.eye(3)),
        task.predict,
        task.held_out(None, condition),
        task.actions,
        task.output,
        haar(task, 2),
    )
    assert task.trivial_loss(condition) == pytest.approx(measured.total, rel=1e-5)
    assert (
        condition == "t=0.6" or task.trivial_loss(condition) < measured.zero_loss
    )  # at 0.6 the best rescaling of these walks is hardly any
    assert task.trivial_loss(condition + ",sc") == task.trivial_loss(condition)


def test_times_follow_the_mixture():
    t = draw_times(20_000, np.random.default_rng(0)).numpy()
    assert kstest(t, lambda x: 0.02 * x + 0.98 * x**1.9).pvalue > 1e-3
    assert 0 <= t.min() and t.max() <= 1


def test_held_out_items_are_fixed_centred_and_never_trained_on(task):
    batches = {c: task.held_out(None, c) for c in ("", "t=0", "t=0.8")}
    assert all(
        torch.equal(a.target, b.target) for a, b in zip(batches[""], batches["t=0.8"])
    )  # the same noise at all times
    assert all(torch.equal(a.inputs["x_t"], b.inputs["x_t"]) for a, b in zip(batches[""], batches["t=0"]))
    clusters = torch.cat([b.clusters for b in batches[""]])
    assert len(clusters.unique()) == len(clusters) == 10
    assert not set(clusters.tolist()) & set(task.cluster[task.train].tolist())
    for b in batches["t=0.8"]:
        assert b.inputs["x_t"].sum(1).abs().max() < 1e-4 and (b.inputs["x_t"][~b.mask] == 0).all()
        assert b.mask.any(0).all()  # padded to the longest of the batch, no further
        x_1 = b.inputs["x_t"] + (1 - b.inputs["t"])[:, None, None] * b.target
        bonds = (x_1[:, 1:] - x_1[:, :-1]).norm(dim=-1)[b.mask[:, 1:]]
        assert torch.allclose(bonds, torch.tensor(0.38), atol=1e-4)  # nm
    lengths = torch.cat([b.mask.sum(1) for b in batches[""]])
    assert (lengths.diff() >= 0).all()
    assert task.conditions[:3] == ("t=0", "t=0.2", "t=0.4") and task.conditions_sc[-1] == "t=0.99,sc"
    with pytest.raises(KeyError, match="t=0.95"):
        task.held_out(None, "t=0.5")


def test_translated_chains_are_the_same_chains(tmp_path, task):
    moved = Flow(random_walks(tmp_path / "moved.h5", shift=40.0), copy.deepcopy(SETTINGS))
    model = network()
    for a, b in zip(task.held_out(model, "t=0.8"), moved.held_out(model, "t=0.8")):
        assert torch.allclose(a.inputs["x_t"], b.inputs["x_t"], atol=2e-6) and torch.allclose(
            a.target, b.target, atol=2e-6
        )
    assert task.training_loss(model, torch.arange(8), 5)[0].item() == pytest.approx(
        moved.training_loss(model, torch.arange(8), 5)[0].item(), rel=1e-3
    )


def test_self_conditioning_turns_with_the_input(task):
    model = network()
    plain, batch = task.held_out(model, "t=0.4")[0], task.held_out(model, "t=0.4,sc")[0]
    assert torch.equal(batch.inputs["x_t"], plain.inputs["x_t"]) and (plain.inputs["x_sc"] == 0).all()
    expected = plain.inputs["x_t"] + 0.6 * model(**plain.inputs)
    assert torch.allclose(batch.inputs["x_sc"], expected, atol=1e-6)
    rotation = groups.haar(len(batch), 3)
    turned = rotate(batch.inputs, task.actions, rotation)
    for name in ("x_t", "x_sc"):
        assert torch.equal(turned[name], Vector().apply(rotation, batch.inputs[name]))
    control = model.equivariant_control()
    sc = task.held_out(control, "t=0.4,sc")
    assert (
        measure(control, task.predict, sc, task.actions, task.output, haar(task, 4)).relative_equivariance
        < 1e-9
    )
    other = network(seed=1)
    assert not torch.equal(task.held_out(other, "t=0.4,sc")[0].inputs["x_sc"], batch.inputs["x_sc"])


def test_augmentation_and_seeds(task):
    model = network()
    losses = {}
    for augment in (0.0, 1.0):
        task.settings["training"]["augment"] = augment
        losses[augment] = task.training_loss(model, torch.arange(8), 5)[0].item()
    assert losses[0.0] != losses[1.0]
    assert (
        losses[1.0] == task.training_loss(model, torch.arange(8), 5)[0].item()
    )  # all randomness from step_seed
    assert losses[1.0] != task.training_loss(model, torch.arange(8), 6)[0].item()


def test_training_loss_is_the_velocity_error(task, monkeypatch):
    """By hand for v = 0: ‖x_1 − x_0‖² up to the 1e-5 in the weight; self-conditioning runs the model
    twice.
    """
    task.settings["training"] |= dict(augment=0.0, self_conditioning=0.0)
    monkeypatch.setattr("equidyn.tasks.flow.draw_times", lambda n, rng: torch.zeros(n))
    items = torch.arange(8)
    x_1, mask, _ = task._chains(task.train[items])
    x_0 = torch.from_numpy(np.random.default_rng([5, 2]).normal(size=x_1.shape)).float()
    x_0 = torch.stack([x - x[m].mean(0) for x, m in zip(x_0, mask)])
    expected = torch.stack([(a - b)[m].square().mean() for a, b, m in zip(x_1, x_0, mask)]).mean()
    model = Linear(np.zeros((3, 3)))
    assert task.training_loss(model, items, 5)[0].item() == pytest.approx(expected.item(), rel=1e-4)
    calls = []
    model.register_forward_hook(lambda module, args, output: calls.append(1))
    for probability, passes in ((0.0, 10), (1.0, 20)):
        task.settings["training"]["self_conditioning"], calls[:] = probability, []
        for step in range(10):
            task.training_loss(model, items, step)
        assert len(calls) == passes


def test_late_times_have_the_weight_of_their_noise(task, monkeypatch):
    """For v = 0: (1 − t)² ‖x_1 − x_0‖² over (1 − t)² + 1e-5, at t = 0.6 nearly what it is at t = 0."""
    task.settings["training"] |= dict(augment=0.0, self_conditioning=0.0)
    losses = {}
    for t in (0.0, 0.6):
        monkeypatch.setattr("equidyn.tasks.flow.draw_times", lambda n, rng, t=t: torch.full((n,), t))
        losses[t] = task.training_loss(Linear(np.zeros((3, 3))), torch.arange(8), 5)[0].item()
    assert losses[0.6] == pytest.approx(losses[0.0], rel=1e-3)


def test_every_held_out_chain_has_noise_of_its_own(task):
    noise = task._noise(torch.tensor([3, 4]), torch.ones(2, 20, dtype=torch.bool), 7)
    assert (noise[0] - noise[1]).abs().max() > 1
    again = task._noise(torch.tensor([4]), torch.ones(1, 25, dtype=torch.bool), 7)  # in another batch
    raw = again[0, :20] - again[0, :20].mean(0)
    assert torch.allclose(raw, noise[1], atol=1e-6)


def test_measured_training_chains_are_training_chains_one_per_cluster(task):
    seen = torch.cat([batch.clusters for batch in task.seen(None, "t=0.4")])
    assert len(set(seen.tolist())) == len(seen) == len(task.test)
    assert set(seen.tolist()) <= set(task.cluster[task.train].tolist())


def test_training_loss_falls(task):
    model = network().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def loss_of_fixed_draws():
        with torch.no_grad():
            return np.mean(
                [task.training_loss(model, torch.arange(32), 1000 + k)[0].item() for k in range(2)]
            )

    before = loss_of_fixed_draws()
    for step in range(30):
        loss, log = task.training_loss(model, torch.arange(8) + 8 * (step % 4), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss_of_fixed_draws() < 0.9 * before
    assert log["distogram_loss"] == 0


def test_distogram_loss_counts_late_times_of_models_with_pair_updates(task, monkeypatch):
    x_1, mask, _ = task._chains(task.train[:4])
    logits = torch.zeros(*mask.shape, mask.shape[1], DISTOGRAM_BINS)
    loss = distogram_loss(logits, x_1, mask, torch.tensor([0.1, 0.3, 0.31, 0.9]))
    assert loss[:2].tolist() == [0, 0] and torch.allclose(loss[2:], torch.tensor(float(np.log(64))))
    model = network(update_every=1)
    for late, t in ((False, 0.2), (True, 0.5)):
        monkeypatch.setattr("equidyn.tasks.flow.draw_times", lambda n, rng, t=t: torch.full((n,), t))
        total, log = task.training_loss(model, torch.arange(4), 0)
        assert (log["distogram_loss"] > 0) == late
        assert total.item() == pytest.approx((log["flow_loss"] + log["distogram_loss"]).item(), rel=1e-5)


@pytest.mark.parametrize("section, key, value", [("training", "n_train", 37), ("measure", "n_items", 13)])
def test_too_few_chains(walks, section, key, value):
    settings = copy.deepcopy(SETTINGS)
    settings[section][key] = value
    with pytest.raises(DataError, match=f"{value}, but only {value - 1}"):
        Flow(walks, settings)


def test_samples_depend_on_the_seed_alone_and_are_written(tmp_path):
    import gemmi

    model = network()
    chains = sampling.sample(model, [20, 12, 16], steps=4, seed=1)
    assert [len(c) for c in chains] == [20, 12, 16]
    again = sampling.sample(model, [20, 12], steps=4, seed=1, batch_size=1)
    assert all(np.allclose(a, b, atol=1e-3) for a, b in zip(chains, again))
    assert not np.allclose(chains[0], sampling.sample(model, [20], steps=4, seed=2)[0])
    assert not np.allclose(
        chains[0], sampling.sample(model, [20], steps=4, seed=1, self_conditioning=False)[0]
    )
    sampling.write_pdb(tmp_path / "a.pdb", chains[0], "synthetic traces")
    structure = gemmi.read_structure(str(tmp_path / "a.pdb"))
    assert structure.info["_struct.title"].lower() == "synthetic traces"
    atoms = [(r.seqid.num, a.name, a.pos.tolist()) for r in structure[0]["A"] for a in r]
    assert [(n, name) for n, name, _ in atoms] == [(i, "CA") for i in range(1, 21)]
    assert np.allclose([p for _, _, p in atoms], chains[0], atol=2e-3)
    with pytest.raises(ValueError, match="finite"):
        sampling.write_pdb(tmp_path / "b.pdb", np.full((3, 3), np.nan))


def test_integrating_an_exact_field_arrives_at_the_chain(task):
    """The velocity that leads every x_t straight to one chain: Euler steps end on it."""
    goal, estimates = task.positions[0][task.mask[0]], []

    class Straight(Linear):
        def forward(self, x_t, t, x_sc, **rest):
            estimates.append(x_sc)
            return (goal - x_t) / (1 - t)[:, None, None]

    chain = sampling.sample(Straight(np.eye(3)), [len(goal)], steps=10)[0]
    assert np.allclose(chain, 10 * goal.numpy(), atol=1e-3)
    assert len(estimates) == 10 and not estimates[0].any()
    for estimate in estimates[1:]:  # what self-conditioning hands on is where the field leads
        assert torch.allclose(estimate[0], goal, atol=1e-5)
    statistics = sampling.statistics([chain, chain])
    assert (
        statistics["bond_mean"] == pytest.approx(3.8, abs=1e-3)
        and statistics["bonds_within"] == 1
        and statistics["n_chains"] == 2
    )


def test_statistics_of_an_ideal_helix_and_of_a_folded_strand():
    """Every quadruplet of a helix is helical, nothing clashes; a strand folded back onto itself clashes."""
    angle = np.radians(100) * np.arange(24)
    helix = np.stack([2.3 * np.cos(angle), 2.3 * np.sin(angle), 1.5 * np.arange(24)], 1)
    found = sampling.statistics([helix])
    assert (found["helix_share"], found["right_share"], found["clashes"]) == (1.0, 1.0, 0.0)
    gyration = np.sqrt(((helix - helix.mean(0)) ** 2).sum(1).mean())
    assert found["radius_of_gyration"] == pytest.approx(gyration)
    assert found["radius_over_power"] == pytest.approx(gyration / 24**0.4)
    assert sampling.statistics([helix * [1, 1, -1]])["right_share"] == 0.0
    strand = np.stack([3.8 * np.arange(10.0), np.zeros(10), np.zeros(10)], 1)
    back = strand[::-1] + [0, 2.0, 0]  # ten pairs 2 Å apart; those at the turn are neighbours along the chain
    found = sampling.statistics([np.concatenate([strand, back])])
    assert (found["helix_share"], found["clashes"]) == (0.0, 9 / 20)
