"""The penalty is an unbiased, differentiable estimate of the equivariance error."""

import pytest
import torch

from equidyn.errors import UnknownNameError
from equidyn.symmetry import groups
from equidyn.symmetry.actions import Vector
from equidyn.symmetry.measure import Batch, measure
from equidyn.symmetry.penalty import equivariance_penalty

N = 400


class Squash(torch.nn.Module):
    """No linear map, and no equivariant one."""

    def forward(self, x):
        return torch.tanh(x * torch.tensor([0.5, 1.0, 2.0]))


def predict(model, inputs):
    return model(inputs["x"])


def data(seed=0):
    return torch.randn(N, 4, 3, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("group", ["haar", "cube"])
def test_its_mean_is_the_equivariance_error(group):
    x, model = data(), Squash().eval()  # isotropic, so that a pose is as good as a drawn one
    drawn, order = groups.draw_per_item(group, 24, N, seed=1)
    batch = Batch(dict(x=x), x, None, torch.arange(N))
    exact = measure(model, predict, [batch], dict(x=Vector()), Vector(), drawn, order).equivariance
    found = [
        equivariance_penalty(
            lambda inputs: predict(model, inputs),
            dict(x=x),
            model(x),
            dict(x=Vector()),
            Vector(),
            groups.draw_per_item(group, 1, N, seed=[2, k])[0][0],
        ).item()
        for k in range(40)
    ]
    mean, error = torch.tensor(found).mean().item(), torch.tensor(found).std().item() / 40**0.5
    assert abs(mean - exact) < 4 * error + 0.02 * exact and error < 0.02 * exact


def test_it_pulls_a_map_towards_equivariance_and_leaves_an_equivariant_one_alone():
    x, rotations = data(), groups.haar(N, 3)
    weight = torch.nn.Parameter(torch.diag(torch.tensor([1.0, 1.0, 1.4])))

    def penalty(matrix):
        def linear(inputs):
            return inputs["x"] @ matrix

        return equivariance_penalty(
            linear, dict(x=x), linear(dict(x=x)), dict(x=Vector()), Vector(), rotations
        )

    before = penalty(weight)
    before.backward()
    with torch.no_grad():
        stepped = weight - 0.1 * weight.grad
    assert penalty(stepped) < before and penalty(2 * torch.eye(3)) < 1e-12


def test_masked_rows_do_not_count_and_undeclared_inputs_are_refused():
    x, rotations = data(), groups.haar(N, 3)
    mask = torch.ones(N, 4, dtype=torch.bool)
    mask[:, 2:] = False
    model = Squash()

    def value(x):
        actions = dict(x=Vector())
        return equivariance_penalty(
            lambda inputs: predict(model, inputs), dict(x=x), model(x), actions, Vector(), rotations, mask
        )

    other = x.clone()
    other[:, 2:] *= 7
    assert torch.equal(value(x), value(other))
    with pytest.raises(UnknownNameError, match="y"):
        equivariance_penalty(lambda inputs: x, dict(y=x), x, dict(x=Vector()), Vector(), rotations)
