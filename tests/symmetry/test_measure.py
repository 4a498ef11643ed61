import pytest
import torch

from equidyn.symmetry import groups
from equidyn.symmetry.actions import Vector
from equidyn.symmetry.decomposition import decompose
from equidyn.symmetry.measure import Batch, measure, measure_losses, rotate


class Map(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a = torch.nn.Parameter(
            torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        )
        self.inner = torch.nn.Dropout(0.5)

    def forward(self, x):
        return self.inner(x) @ self.a.T


def predict(model, inputs):
    return model(inputs["x"])


def batches(sizes=(3, 4)):
    g = torch.Generator().manual_seed(1)
    out = []
    for size in sizes:
        x = torch.randn(size, 5, 3, generator=g, dtype=torch.float64)
        out.append(
            Batch({"x": x}, x, torch.ones(size, 5, dtype=torch.bool), torch.arange(size) + 100 * len(out))
        )
    return out


def test_refuses_train_mode_even_deep_inside():
    model = Map().eval()
    model.inner.train()
    with pytest.raises(RuntimeError, match="inner.*train mode"):
        measure(model, predict, batches(), {"x": Vector()}, Vector(), groups.haar_per_item(3, 7, 0))


def test_refuses_a_module_in_train_mode_within_another():
    model = torch.nn.Sequential(torch.nn.Sequential(Map())).eval()
    model[0][0].inner.train()
    with pytest.raises(RuntimeError, match="0.0.inner.*train mode"):
        measure(model, predict, batches(), {"x": Vector()}, Vector(), groups.haar_per_item(3, 7, 0))


@pytest.mark.parametrize("loss", [None, lambda p, y: (p - y).norm(dim=-1)])
def test_batches_keep_clusters_and_the_order_of_the_group(loss):
    """Every number is that of the items in one: also the interval and the components of the variance."""
    model, whole = Map().eval(), batches((7,))[0]
    whole.clusters = torch.tensor([0, 0, 1, 1, 2, 2, 2])
    rotations = groups.subset_per_item(groups.cube(), 6, 7, 0)
    how = {"x": Vector()}, Vector(), rotations, 24, loss
    found = measure(model, predict, [whole[:3], whole[3:]], *how)
    twisted = [Vector().inverse(r, model(Vector().apply(r, whole.target))).detach() for r in rotations]
    expected = decompose(torch.stack(twisted), whole.target, None, 24, whole.clusters, loss)
    assert found.n_clusters == 3
    for one, other in ((found, expected), (found.plugin, expected.plugin)):
        for name, value in vars(other).items() if other else ():
            assert name == "plugin" or vars(one)[name] == pytest.approx(value, rel=1e-9), name


def test_a_baseline_is_what_the_squared_loss_alone_is_compared_with():
    model, rotations = Map().eval(), groups.haar_per_item(3, 7, 0)
    baseline = torch.arange(1.0, 8.0, dtype=torch.float64)
    losses = {"mse": None, "l2": lambda p, y: (p - y).norm(dim=-1)}
    how = {"x": Vector()}, Vector(), rotations, losses, None, baseline
    found = measure_losses(model, predict, batches(), *how)
    assert found["mse"].baseline_loss == pytest.approx(baseline.sum().item() / (7 * 15))
    assert found["mse"].baseline_ratio == pytest.approx(found["mse"].total / found["mse"].baseline_loss)
    assert found["l2"].baseline_loss == found["l2"].zero_loss


def test_batching_changes_nothing_and_agrees_with_the_closed_form():
    model, group = Map().eval(), groups.cube()
    rotations = group[:, None].expand(-1, 7, -1, -1)
    d = measure(model, predict, batches(), {"x": Vector()}, Vector(), rotations, group_order=24)
    a = model.a.detach()
    x = torch.cat([b.inputs["x"] for b in batches()])
    expected = x.square().sum() / 3 * (a.square().sum() - torch.trace(a) ** 2 / 3) / x.numel()
    assert d.equivariance == pytest.approx(expected.item(), rel=1e-12)
    other = measure(model, predict, batches((7,)), {"x": Vector()}, Vector(), groups.haar_per_item(6, 7, 0))
    stacked = torch.stack(
        [
            Vector().inverse(r, model(Vector().apply(r, batches((7,))[0].target)))
            for r in groups.haar_per_item(6, 7, 0)
        ]
    ).detach()
    assert other.percent == pytest.approx(decompose(stacked, batches((7,))[0].target).percent, rel=1e-12)


@pytest.mark.parametrize("at_once", [2, 5, 9])
def test_rotations_at_once_change_nothing(at_once):
    model, rotations = Map().eval(), groups.haar_per_item(5, 7, 0)
    how = {"x": Vector()}, Vector(), rotations, {"mse": None}
    one, many = (measure_losses(model, predict, batches(), *how, at_once=n)["mse"] for n in (1, at_once))
    for name, value in vars(one).items():
        assert name == "plugin" or vars(many)[name] == pytest.approx(value, rel=1e-12)


def test_undeclared_fields_and_wrong_counts_are_refused():
    with pytest.raises(KeyError, match="no action declared"):
        rotate({"x": torch.zeros(1, 3), "cell": torch.zeros(3, 3)}, {"x": Vector()}, groups.cube()[0])
    stretched = groups.haar_per_item(3, 5, 0) * 1.1
    with pytest.raises(ValueError, match="rotations are not orthogonal"):
        measure(Map().eval(), predict, batches((2, 3)), {"x": Vector()}, Vector(), stretched)
    with pytest.raises(ValueError, match="rotations for 6 items"):
        measure(
            Map().eval(), predict, batches((2, 3)), {"x": Vector()}, Vector(), groups.haar_per_item(3, 6, 0)
        )
