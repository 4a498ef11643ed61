"""The chirality gap sees what a model knows of left and right, and nothing where it knows nothing."""

import numpy as np
import pytest
import torch
from scipy import stats

from equidyn.analysis.chirality import gap, mirrored
from equidyn.data import splits, store
from equidyn.models import registry
from equidyn.symmetry import groups
from equidyn.symmetry.actions import Fixed, Vector
from equidyn.symmetry.measure import Batch, measure
from equidyn.tasks.flow import Flow
from equidyn.training.optimizers import optimizer_for

ACTIONS = dict(x=Vector(), label=Fixed())


class Oracle:
    """A task whose target is b × c for the first two vectors b, c of an item plus its third: as chiral as can
    be.
    """

    actions, output = ACTIONS, Vector()

    @staticmethod
    def predict(model, inputs):
        return model(inputs["x"])


class CrossProduct(torch.nn.Module):
    """Equivariant under rotations, not under mirrors: a vector product is an axial vector."""

    def forward(self, x):
        return torch.linalg.cross(x[:, :1], x[:, 1:2]) + x[:, 2:]


class Polar(torch.nn.Module):
    """Equivariant under mirrors too, and wrong for both hands alike."""

    def forward(self, x):
        return x[:, 2:]


def batches(n=60):
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(n, 3, 3))).float()
    return [
        Batch(dict(x=part, label=torch.zeros(len(part))), CrossProduct()(part), None, torch.arange(len(part)))
        for part in x.split(25)
    ]


def test_the_gap_is_that_of_the_axial_part_and_zero_for_mirror_symmetric_models():
    rotations = groups.haar_per_item(4, 60, 0)
    knows = gap(CrossProduct().eval(), Oracle, batches(), rotations)
    x = torch.cat([b.inputs["x"] for b in batches()]).double()
    expected = (
        (4 * torch.linalg.cross(x[:, 0], x[:, 1]).square().sum(-1) / 3).mean().item()
    )  # (b×c is off by a factor −1 in the mirror)
    assert (
        knows.gap == pytest.approx(expected, rel=1e-4)
        and knows.lo > 0
        and knows.plain < 1e-10
        and knows.n_items == 60
    )
    blind = gap(Polar().eval(), Oracle, batches(), rotations)
    assert abs(blind.gap) < 1e-6 < blind.plain


class Stretched(CrossProduct):
    """Not equivariant either: its twirled loss is less than its loss."""

    def forward(self, x):
        return super().forward(x) * torch.tensor([1.0, 1.0, 1.5])


def test_losses_are_twirled_and_their_difference_has_students_interval():
    rotations = groups.haar_per_item(4, 60, 0)
    found = gap(Stretched().eval(), Oracle, batches(), rotations)
    whole = measure(Stretched().eval(), Oracle.predict, batches(), ACTIONS, Vector(), rotations)
    assert found.plain == pytest.approx(whole.twirled, rel=1e-6) and whole.equivariance > 0.1 * whole.twirled
    knows = gap(CrossProduct().eval(), Oracle, batches(), rotations)
    x = torch.cat([b.inputs["x"] for b in batches()]).double()
    by_item = 4 * torch.linalg.cross(x[:, 0], x[:, 1]).square().sum(-1) / 3
    half = stats.t.ppf(0.975, 59) * by_item.std().item() / 60**0.5
    assert (knows.hi - knows.gap, knows.gap - knows.lo) == pytest.approx((half, half), rel=1e-4)


def test_mirroring_turns_vectors_only():
    batch = batches()[0]
    other = mirrored(batch, ACTIONS, Vector())
    assert torch.equal(other.inputs["x"][..., :2], batch.inputs["x"][..., :2]) and torch.equal(
        other.inputs["x"][..., 2], -batch.inputs["x"][..., 2]
    )
    assert torch.equal(other.inputs["label"], batch.inputs["label"]) and torch.equal(
        other.target[..., 2], -batch.target[..., 2]
    )


def four_points(path, turned=True):
    """600 copies, turned anew or all alike, of a rigid chiral chain of four residues: at t = 0.6 to 0.8 noise
    hides its hand, and knowing it lowers the best loss by a tenth.
    """
    k = np.arange(4)
    chain = np.stack([8 * np.cos(np.radians(100) * k), 8 * np.sin(np.radians(100) * k), 4.8 * k], 1)
    rotations = groups.haar(600, 0) if turned else torch.eye(3, dtype=torch.float64).expand(600, 3, 3)
    positions = chain @ rotations.numpy().transpose(0, 2, 1)
    cluster = np.arange(600)
    arrays = dict(
        offsets=4 * np.arange(601),
        positions=positions.reshape(-1, 3),
        residues=np.full(2400, 255),
        breaks=np.zeros(2400),
        cluster=cluster,
        name=np.full(600, b"chain"),
        split=splits.split_by_cluster(cluster, 200, 0),
    )
    store.write(
        path,
        arrays,
        dict(
            kind="backbones",
            source="test",
            licence="",
            split="chain",
            split_seed=0,
            code="",
            settings="{}",
            poses="as-made",
        ),
    )


class Perceptron(torch.nn.Module):
    """Raw coordinates in, velocity out: what the transformer has beside its pair distances, which cannot tell
    left from right.
    """

    def __init__(self, n: int = 4, width: int = 256):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(3 * n + 1, width),
            torch.nn.GELU(),
            torch.nn.Linear(width, width),
            torch.nn.GELU(),
            torch.nn.Linear(width, 3 * n),
        )

    def forward(self, x_t, t, mask, index, breaks, x_sc):
        y = self.layers(torch.cat([x_t.flatten(1), t[:, None]], 1)).view_as(x_t)  # (b, 4, 3)
        return y - y.mean(1, keepdim=True)


def gaps(task, model, seed, batch_size):
    """Gap at t = 0.6 before training and after 1,500 steps of it."""
    rotations = groups.haar_per_item(6, 200, 1)
    before = gap(model.eval(), task, task.held_out(model, "t=0.6"), rotations)
    optimizer = optimizer_for(model.train(), dict(optimizer="adamw", lr=3e-3, weight_decay=0.0))
    for step in range(1500):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1.0, (step + 1) / 100)
        items = torch.from_numpy(np.random.default_rng([seed, step]).integers(task.n_train, size=batch_size))
        loss, _ = task.training_loss(model, items, step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return before, gap(model.eval(), task, task.held_out(model, "t=0.6"), rotations)


@pytest.mark.parametrize("seed", range(3))
def test_training_teaches_the_hand(tmp_path, seed):
    """A network of raw coordinates, every chain turned at random."""
    four_points(tmp_path / "chains.h5")
    task = Flow(
        str(tmp_path / "chains.h5"),
        dict(
            training=dict(augment=1.0, self_conditioning=0.0),
            measure=dict(n_items=200, batch_size=200, times=[0.6]),
        ),
    )
    torch.manual_seed(seed)
    before, after = gaps(task, Perceptron(), seed, 128)
    assert before.lo < 0 < before.hi  # a network that has seen nothing prefers no hand
    assert after.lo > 0.2 * after.plain and after.plain < 0.85 * task.trivial_loss("t=0.6"), after


def test_training_teaches_the_transformer_the_hand(tmp_path):
    """Chains that come in one pose and are turned half the time; where all are turned, the transformer sits
    on a plateau of a length that is chance (docs/log.md).
    """
    four_points(tmp_path / "chains.h5", turned=False)
    task = Flow(
        str(tmp_path / "chains.h5"),
        dict(
            training=dict(augment=0.5, self_conditioning=0.0),
            measure=dict(n_items=200, batch_size=200, times=[0.6]),
        ),
    )
    before, after = gaps(task, registry.build("proteina", "tiny", 0), 0, 256)
    assert before.lo < 0 < before.hi
    assert after.lo > 0 and after.plain < 0.9 * task.trivial_loss("t=0.6"), after
