"""The chirality gap sees what a model knows of left and right, and nothing where it knows nothing."""

import numpy as np
import pytest
import torch

from equidyn import groups
from equidyn.actions import Fixed, Vector
from equidyn.chirality import gap, mirrored
from equidyn.measure import Batch

ACTIONS = dict(x=Vector(), label=Fixed())


class Oracle:
    """A task whose target is b × c for the first two vectors b, c of an item plus its third: as chiral as can be."""

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
    return [Batch(dict(x=part, label=torch.zeros(len(part))), CrossProduct()(part), None, torch.arange(len(part))) for part in x.split(25)]


def test_the_gap_is_that_of_the_axial_part_and_zero_for_mirror_symmetric_models():
    rotations = groups.haar_per_item(4, 60, 0)
    knows = gap(CrossProduct().eval(), Oracle, batches(), rotations)
    x = torch.cat([b.inputs["x"] for b in batches()]).double()
    expected = (4 * torch.linalg.cross(x[:, 0], x[:, 1]).square().sum(-1) / 3).mean().item()  # (b×c is off by a factor −1 in the mirror)
    assert knows.gap == pytest.approx(expected, rel=1e-4) and knows.lo > 0 and knows.plain < 1e-10 and knows.n_items == 60
    blind = gap(Polar().eval(), Oracle, batches(), rotations)
    assert abs(blind.gap) < 1e-6 < blind.plain


def test_mirroring_turns_vectors_only():
    batch = batches()[0]
    other = mirrored(batch, ACTIONS, Vector())
    assert torch.equal(other.inputs["x"][..., :2], batch.inputs["x"][..., :2]) and torch.equal(other.inputs["x"][..., 2], -batch.inputs["x"][..., 2])
    assert torch.equal(other.inputs["label"], batch.inputs["label"]) and torch.equal(other.target[..., 2], -batch.target[..., 2])
