"""Optimizers: which parameters each moves, by what."""

import pytest
import torch
from common import TRAINING

from equidyn.models import registry
from equidyn.training import optimizers


def test_eps_zero_is_adamw_and_leaves_entries_alone_whose_second_moment_is_zero():
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Linear(5, 4, bias=False) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    settings = {**TRAINING, "optimizer": "adamw", "lr": 1e-2, "weight_decay": 0.1, "betas": (0.99, 0.999)}
    made = [
        optimizers.optimizer_for(layer, {**settings, "eps": eps})
        for layer, eps in ((ours, 0.0), (theirs, 1e-30))
    ]
    for _ in range(20):
        gradient = torch.randn(4, 5)
        for layer, optimizer in zip((ours, theirs), made):
            layer.weight.grad = gradient.clone()
            optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight)
    fresh = torch.nn.Linear(3, 1, bias=False)
    before = fresh.weight.detach().clone()
    fresh.weight.grad = torch.tensor([[0.0, 1e-23, 1.0]])  # the square of the second underflows
    optimizers.optimizer_for(fresh, {**settings, "eps": 0.0, "weight_decay": 0.0}).step()
    assert torch.equal(fresh.weight[0, :2], before[0, :2]) and fresh.weight[0, 2].item() == pytest.approx(
        before[0, 2].item() - 1e-2
    )


def test_muon_takes_each_parameter_once_and_no_embedding():
    model = registry.build("escaip", "tiny", 0)
    together = optimizers.optimizer_for(model, {**TRAINING, "optimizer": "muon"})
    held = [[id(p) for group in part.param_groups for p in group["params"]] for part in together.parts]
    assert sorted(held[0] + held[1]) == sorted(id(p) for p in model.parameters())
    assert not set(held[0]) & {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    for group in together.param_groups:
        group["lr"] = 0.5
    assert {group["lr"] for part in together.parts for group in part.param_groups} == {0.5}


@pytest.mark.parametrize("architecture", ["escaip", "rawdir"])
def test_muon_leaves_inputs_and_heads_of_three_coordinates_alone(architecture):
    """It makes the rows of a matrix orthogonal; those of a symmetric head are alike."""
    model = registry.build(architecture, "tiny", 0)
    together = optimizers.optimizer_for(model, {**TRAINING, "optimizer": "muon"})
    names = {id(p): name for name, p in model.named_parameters()}
    taken = [
        {names[id(p)] for group in part.param_groups for p in group["params"]} for part in together.parts
    ]
    assert "force.weight" in taken[1] and len(taken[0]) > 5
    assert all(min(dict(model.named_parameters())[name].shape) > 3 for name in taken[0])


CHANGES = [dict(optimizer="adamw"), dict(optimizer="adamw", eps=0.0), dict(optimizer="sgd")]
CHANGES += [dict(optimizer="muon")]


@pytest.mark.parametrize("change", CHANGES)
def test_weights_alone_decay(change):
    """Without a gradient matrices and kernels shrink by lr · weight_decay, vectors and embeddings stay."""
    model = torch.nn.Sequential(torch.nn.Embedding(4, 3), torch.nn.Linear(3, 5), torch.nn.Conv1d(5, 2, 3))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizers.optimizer_for(model, {**TRAINING, "lr": 0.1, "weight_decay": 0.5, **change}).step()
    for name, p in model.named_parameters():
        factor = 0.95 if p.ndim > 1 and not name.startswith("0.") else 1.0
        torch.testing.assert_close(p.detach(), factor * before[name])


@pytest.mark.parametrize("eps", [1e-8, 0.0])
def test_adamw_takes_the_betas_that_it_is_given(eps):
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Linear(5, 4, bias=False) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    settings = {**TRAINING, "lr": 1e-2, "weight_decay": 0.1, "betas": [0.5, 0.6], "eps": eps}
    mine = optimizers.optimizer_for(ours, settings)
    other = torch.optim.AdamW(theirs.parameters(), 1e-2, (0.5, 0.6), eps or 1e-30, 0.1)
    for _ in range(6):
        ours.weight.grad = torch.randn(4, 5)
        theirs.weight.grad = ours.weight.grad.clone()
        mine.step(), other.step()
    torch.testing.assert_close(ours.weight, theirs.weight)


def test_sgd_has_momentum():
    """A constant gradient moves by 1 and then by 1.9 times the rate."""
    layer, moved = torch.nn.Linear(3, 1, bias=False), []
    settings = {**TRAINING, "optimizer": "sgd", "lr": 0.1, "weight_decay": 0.0}
    optimizer = optimizers.optimizer_for(layer, settings)
    for _ in range(2):
        before = layer.weight.detach().clone()
        layer.weight.grad = torch.ones(1, 3)
        optimizer.step()
        moved.append((before - layer.weight.detach())[0, 0].item())
    assert moved == pytest.approx([0.1, 0.19])
