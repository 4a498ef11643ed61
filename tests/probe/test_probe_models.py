"""Torch models and training loops: measured without a trace, and as the instrument itself would."""

import argparse
import csv
import dataclasses
import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from probe import my_net
from probe.test_command import rows, run

import equidyn
from equidyn.errors import ArgumentError, EquidynError, MissingPackageError
from equidyn.probe import defaults, measurement, models, options, poses, verdicts
from equidyn.probe.models import undisturbed
from equidyn.probe.networks import checkpoints_of
from equidyn.symmetry import groups
from equidyn.symmetry.actions import Fixed, Scalar, Vector

NET = Path(__file__).with_name("my_net.py")
HAS_LIGHTNING = any(importlib.util.find_spec(name) for name in ("lightning", "pytorch_lightning"))


def by_hand(model, n_rotations=4, seed=0):
    """The same with ``decompose`` alone."""
    parts = [my_net.items(30, 1), my_net.items(20, 2)]
    x, kind = (torch.cat([inputs[name] for inputs, _ in parts]) for name in ("x", "kind"))
    target = torch.cat([target for _, target in parts])
    rotations, _ = groups.draw_per_item("haar", n_rotations, 50, seed)
    model.eval()
    with torch.no_grad():
        twisted = [
            Vector().inverse(rotation, model(Vector().apply(rotation, x), kind).double())
            for rotation in rotations
        ]
    return equidyn.decompose(torch.stack(twisted), target)


def test_a_loop_by_hand_agrees_to_the_last_digit():
    model = my_net.train()
    found = equidyn.measure(model, my_net.heldout(), rotations=4)["output"]
    expected = by_hand(model)
    for name in ("total", "equivariance", "percent", "percent_lo", "percent_hi", "relative_equivariance"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-6), name


def test_one_batch_by_hand_agrees_bit_for_bit():
    model, (inputs, target) = my_net.train().eval(), my_net.items(30, 1)
    actions = dict(x=Vector(), kind=Fixed())
    found = equidyn.measure(model, [(inputs, target)], actions, Vector(), rotations=4)["output"]
    rotations, _ = groups.draw_per_item("haar", 4, 30, 0)
    with torch.no_grad():
        twisted = [
            Vector().inverse(r, model(Vector().apply(r, inputs["x"]), inputs["kind"]).double())
            for r in rotations
        ]
    expected = equidyn.decompose(torch.stack(twisted), target)
    for name in ("total", "equivariance", "percent", "percent_lo", "percent_hi", "relative_equivariance"):
        assert getattr(found, name) == getattr(expected, name), name


def test_without_targets_there_is_an_error_and_no_share():
    model, (inputs, target) = my_net.train().eval(), my_net.items(30, 1)
    actions = dict(x=Vector(), kind=Fixed())
    plain = equidyn.measure(model, [(inputs, None)], actions, Vector(), rotations=4)["output"]
    known = equidyn.measure(model, [(inputs, target)], actions, Vector(), rotations=4)["output"]
    assert plain.verdict == verdicts.UNLABELLED and math.isnan(plain.total) and math.isnan(plain.percent)
    for name in ("equivariance", "rms", "relative_equivariance", "size", "floor"):
        assert getattr(plain, name) == getattr(known, name), name
    with pytest.raises(ArgumentError, match="some with a target and some without"):
        equidyn.HeldOut([(inputs, None), (inputs, target)], actions, Vector())


def test_the_probe_changes_nothing_in_a_run():
    probe = equidyn.Probe(my_net.heldout(), rotations=3, every=7)
    watched, plain = my_net.train(probe), my_net.train()
    states = watched.state_dict(), plain.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert [row.step for row in probe.history] == list(range(0, 61, 7))
    assert probe.history[-1].total < probe.history[0].total
    assert watched.training


def test_a_probe_sees_the_same_poses_every_time(tmp_path):
    probe, model = equidyn.Probe(my_net.heldout(), rotations=3, every=1), my_net.load()
    one, two = probe.step(model, 1), probe.step(model, 2)
    assert one.equivariance == two.equivariance and (one.step, two.step) == (1, 2)
    assert equidyn.Probe(my_net.heldout(), rotations=3, every=2).step(model, 1) is None
    probe.to_csv(tmp_path / "history.csv")
    read = list(csv.DictReader(open(tmp_path / "history.csv")))
    assert [float(row["percent"]) for row in read] == [one.percent, two.percent]


def test_a_probe_costs_what_it_says():
    class Counting(torch.nn.Module):
        calls = 0

        def forward(self, x, kind):
            Counting.calls += 1
            return x

    probe = equidyn.Probe(my_net.heldout(), rotations=3, every=1)
    probe.step(Counting(), 0)
    assert Counting.calls == probe.forward_passes


def test_random_states_modes_and_buffers_come_back():
    model = my_net.load()
    model.dropout.eval()
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    with undisturbed(model):
        assert not any(module.training for module in model.modules())
        torch.rand(5), np.random.rand(5)
        model.norm.running_mean += 1
    assert torch.equal(torch.rand(1), expected) and (np.random.get_state()[1] == before).all()
    assert model.training and not model.dropout.training and model.norm.running_mean.abs().max() == 0


def test_verdicts_of_models():
    class Pull(torch.nn.Module):  # equivariant, float32
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(-0.37))

        def forward(self, x, kind):
            apart = x[:, :, None] - x[:, None]
            return self.scale * (apart * torch.exp(-apart.square().sum(-1, keepdim=True))).sum(2)

    for in_double in (True, False):
        found = equidyn.measure(Pull(), my_net.heldout(), rotations=4, in_double=in_double)["output"]
        assert found.verdict == verdicts.AT_FLOOR and 0 < found.floor < 1e-10
    noisy = equidyn.measure(lambda x, kind: x + 0.1 * torch.randn_like(x), my_net.heldout(), rotations=4)
    assert noisy["output"].verdict == verdicts.STOCHASTIC
    fresh = equidyn.measure(my_net.load(), my_net.heldout(), rotations=4)["output"]
    assert fresh.verdict == verdicts.UNLEARNED


def energies(n: int = 40, offset: float = -1000.0):
    """Points, and an invariant of each item far from zero."""
    x = torch.randn(n, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x, offset + x.square().sum((1, 2)) / 10


def of_energies(model, n: int = 40, mask=None):
    x, target = energies(n)
    return equidyn.measure(model, [({"x": x}, target, mask)], {"x": Vector()}, Scalar(), rotations=4)[
        "output"
    ]


def test_scalars_are_judged_beside_their_mean():
    """A model that knows only the mean has learned nothing, and no offset makes noise small."""
    mean = of_energies(lambda x: torch.full((len(x),), -1000.5, dtype=x.dtype) + 0.3 * x[:, 0, 2])
    assert mean.verdict == verdicts.UNLEARNED and mean.baseline == "mean" and mean.baseline_ratio > 0.9
    target = energies()[1]
    others = (target.sum() - target) / (len(target) - 1)
    assert mean.baseline_loss == pytest.approx((target - others).square().mean().item(), rel=1e-9)
    invariant = lambda x: -1000 + x.square().sum((1, 2)) / 10  # noqa: E731
    assert of_energies(lambda x: invariant(x) + 0.2 * x[:, 0, 2]).verdict == "above 2 %"
    random = torch.Generator().manual_seed(0)
    noise = lambda x: 0.2 * torch.randn(len(x), generator=random)  # noqa: E731
    assert of_energies(lambda x: invariant(x) + noise(x)).verdict == verdicts.STOCHASTIC
    exact = of_energies(invariant)
    assert exact.verdict == verdicts.NO_LOSS and exact.spread == pytest.approx(exact.baseline_loss, rel=1e-9)


def test_batches_of_scalars_may_differ_in_width_and_be_masked():
    """Each column is compared with its own mean; what only one item has with zero."""
    values = torch.tensor([[1.0, 5, 9], [3, 7, 0], [5, 0, 0]], dtype=torch.float64)
    mask = values > 0
    batches = [({"q": values[:2]}, values[:2], mask[:2]), ({"q": values[2:, :1]}, values[2:, :1], None)]
    found = equidyn.measure(lambda q: q, batches, {"q": Scalar()}, Scalar(), rotations=2)["output"]
    by_hand = [3.0**2, 0, 3.0**2, 2.0**2, 2.0**2, 9.0**2]  # 1, 3, 5; 5, 7; 9
    assert found.baseline_loss == pytest.approx(sum(by_hand) / 6) == found.spread


def test_what_is_missing_is_said():
    batch = my_net.items(4, 0)
    with pytest.raises(ArgumentError, match="how each field turns"):
        equidyn.measure(my_net.load(), [batch])
    with pytest.raises(EquidynError, match=r"no action declared for \['kind'\]"):
        equidyn.measure(my_net.load(), [batch], dict(x=Vector()), Vector())
    with pytest.raises(ArgumentError, match="inputs of other lengths"):
        equidyn.measure(my_net.load(), [(batch[0], batch[1][:3])], dict(x=Vector()), Vector())
    with pytest.raises(ArgumentError, match="no items"):
        equidyn.measure(my_net.load(), [], dict(x=Vector()), Vector())
    with pytest.raises(ArgumentError, match="every: 0"):
        equidyn.Probe(my_net.heldout(), every=0)


def test_the_command_measures_checkpoints(tmp_path, capsys):
    (tmp_path / "run").mkdir()

    def save(step, model):
        if step in (0, 20, 100):
            torch.save(model.state_dict(), tmp_path / f"run/step_{step}.pt")

    model = my_net.train(steps=100, save=save)
    asked = ("--model", f"{NET}:load", "--data", f"{NET}:heldout", "--rotations", 4)
    assert run(*asked, "--checkpoints", tmp_path / "run/*.pt", "--out", tmp_path / "out") == 0
    read = list(csv.DictReader(open(tmp_path / "out/decomposition.csv")))
    assert [row["step"] for row in read] == ["0", "20", "100"]
    assert (tmp_path / "out/report.html").exists() and (tmp_path / "out/equivariance.png").exists()
    assert float(read[0]["total"]) > float(read[-1]["total"])
    assert run(*asked, "--out", tmp_path / "one") == 0
    expected = equidyn.measure(my_net.load(), my_net.heldout(), rotations=4)["output"].percent
    assert float(rows(tmp_path / "one")["output"]["percent"]) == expected
    assert run(*asked, "--checkpoints", tmp_path / "none/*.pt", "--out", tmp_path / "out") == 2
    assert "no such file, expected at least one" in capsys.readouterr().err
    assert model.training


def test_steps_of_checkpoints_are_in_their_names(tmp_path):
    for name in ("step_10.pt", "step_9.pt", "v2-step_100.pt"):
        (tmp_path / name).touch()
    assert [step for step, _ in checkpoints_of(str(tmp_path / "*.pt"))] == [9, 10, 100]


@pytest.mark.parametrize(
    "names, steps",
    [
        (["epoch=01-val_loss=0.812", "epoch=02-val_loss=0.095", "last"], [1, 2, 3]),
        (["epoch=1-step=500", "epoch=2-step=1000", "last"], [500, 1000, 1001]),
        (["model_7", "model_30"], [7, 30]),
        (["best", "last"], [0, 1]),
        (["v2_7", "v2_30"], None),
        (["epoch=1", "v2_30"], None),
        (["epoch=1", "step=30"], None),
    ],
)
def test_steps_are_what_a_name_calls_so(tmp_path, names, steps):
    for name in names:
        (tmp_path / f"{name}.ckpt").touch()
    if steps is None:
        with pytest.raises(ArgumentError, match=f"which number is the step of .*{names[1]}.ckpt"):
            checkpoints_of(str(tmp_path / "*"))
    else:
        found = checkpoints_of(str(tmp_path / "*"))
        assert found == [(step, str(tmp_path / f"{name}.ckpt")) for step, name in zip(steps, names)]


@pytest.mark.skipif(HAS_LIGHTNING, reason="Lightning is installed")
def test_without_lightning_one_sentence_says_so():
    with pytest.raises(MissingPackageError, match="lightning is not installed"):
        equidyn.lightning.Equivariance(equidyn.Probe(my_net.heldout()))


@pytest.mark.skipif(not HAS_LIGHTNING, reason="Lightning is not installed")
def test_lightning_logs_the_share(tmp_path):
    from equidyn.lightning import _callback_class

    lightning = importlib.import_module(_callback_class().__module__.split(".callbacks")[0])

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = my_net.load()

        def training_step(self, batch, index):
            return (self.net(batch[0], batch[1]) - batch[2]).square().mean()

        def validation_step(self, batch, index):
            self.log("val/loss", self.training_step(batch, index))

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=1e-2)

    def fit(callbacks):
        torch.manual_seed(0)
        module = Module()
        inputs, target = my_net.items(64, 5)
        data = torch.utils.data.TensorDataset(inputs["x"], inputs["kind"], target)
        loaders = (torch.utils.data.DataLoader(data, batch_size=16) for _ in range(2))
        quiet = dict(logger=False, enable_progress_bar=False, enable_model_summary=False)
        trainer = lightning.Trainer(
            max_epochs=2, accelerator="cpu", callbacks=callbacks, default_root_dir=tmp_path,
            enable_checkpointing=False, **quiet,
        )  # fmt: skip
        trainer.fit(module, *loaders)
        return module, trainer.callback_metrics

    heldout = my_net.heldout()
    heldout.predict = lambda module, inputs: module.net(**inputs)
    probe = equidyn.Probe(heldout, rotations=3)
    watched, logged = fit([equidyn.lightning.Equivariance(probe)])
    plain, _ = fit([])
    assert math.isclose(float(logged["val/equivariance_percent"]), probe.history[-1].percent, rel_tol=1e-5)
    assert [row.step for row in probe.history] == [4, 8]
    for one, two in zip(watched.state_dict().values(), plain.state_dict().values()):
        assert torch.equal(one, two)


def test_a_model_of_grids_is_turned_by_the_cube():
    """Whose floor comes from a float64 copy, or, as a grid has no small turns, from last digits of it."""
    from equidyn.symmetry.actions import Grid

    torch.manual_seed(0)
    blur = torch.nn.Conv3d(1, 1, 3, padding=1, bias=False)
    x = torch.randn(6, 1, 5, 5, 5)
    asked = dict(inputs={"input": Grid()}, output=Grid(), group="cube", rotations=24)
    crooked = equidyn.measure(blur, [({"input": x}, x)], **asked)["output"]
    assert crooked.equivariance > 1e-4
    torch.nn.init.constant_(blur.weight, 1 / 27)
    even = equidyn.measure(blur, [({"input": x}, x)], **asked)["output"]
    assert even.verdict == verdicts.AT_FLOOR and 0 < even.floor < 1e-12
    plain = equidyn.measure(blur, [({"input": x}, x)], in_double=False, **asked)["output"]
    assert plain.verdict == verdicts.AT_FLOOR and 0.01 < plain.floor / even.floor < 100
    blur, x = blur.double(), x.double()
    how = dict(meant_equivariant=True, **asked)
    assert equidyn.measure(blur, [({"input": x}, x)], **how)["output"].verdict == verdicts.AT_FLOOR
    with pytest.raises(ArgumentError, match="not one of the 24 rotations.*--group cube"):
        equidyn.measure(blur, [({"input": x}, x)], {"input": Grid()}, Grid())


def test_a_model_may_take_batches_of_one_size_alone():
    def fixed(x):
        assert len(x) == 20
        return x * torch.tensor([1, 1, 1.1])

    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    found = equidyn.measure(fixed, [({"x": x}, x)], {"x": Vector()}, Vector(), rotations=4)["output"]
    assert found.verdict == "above 2 %" and 0 < found.floor < 1e-10


@pytest.mark.parametrize("actions", [{"x": Vector(), "kind": Fixed()}, {"x": Vector(), "kind": Scalar()}])
def test_a_model_may_change_its_inputs(actions):
    """In place: neither the user's data nor a later measurement change with it."""

    class Greedy(torch.nn.Module):
        def forward(self, x, kind):
            kind *= 0.5
            x *= torch.tensor([1, 1, 1.3])
            return x * (1 + kind[..., None])

    inputs, target = my_net.items(20, 1)
    inputs["kind"] = inputs["kind"].clone()
    before = {name: value.clone() for name, value in inputs.items()}
    one, two = (
        equidyn.measure(Greedy(), [(inputs, target)], actions, Vector(), rotations=3)["output"]
        for _ in range(2)
    )
    assert one.percent == two.percent and all(torch.equal(before[name], inputs[name]) for name in inputs)


@pytest.mark.parametrize("module", [measurement, models])
def test_typed_keyword_arguments_are_the_settings(module):
    fields = {f.name: f.type for f in dataclasses.fields(module.Settings) if f.name != "keys"}
    assert module.Options.__annotations__ == fields


def test_defaults_of_the_command_are_those_of_the_settings():
    parser = argparse.ArgumentParser()
    options.add(parser)
    asked, settings = vars(parser.parse_args([])), dataclasses.asdict(measurement.Settings())
    both = asked.keys() & settings.keys()
    assert {"rotations", "group", "quadrature", "seed", "batch_size"} <= both
    assert {key: asked[key] for key in both} == {key: settings[key] for key in both}
    assert defaults.QUADRATURE == poses.RANDOM
    for described in (measurement.measure_calculator, equidyn.measure):
        assert f"``rotations`` ({defaults.ROTATIONS} per" in described.__doc__
        assert f"``limit_percent`` ({defaults.LIMIT_PERCENT:g}" in " ".join(described.__doc__.split())
    assert f"``batch_size`` ({defaults.BATCH_SIZE}, " in measurement.measure_calculator.__doc__


class Casting(torch.nn.Module):
    """Works in float32 whatever it is given, as many networks do."""

    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(3, 3)

    def forward(self, x):
        return self.inner(x.float())


def test_a_model_that_casts_inside_has_its_floor_from_small_turns():
    torch.manual_seed(0)
    model, x = Casting(), torch.randn(20, 3)
    found = equidyn.measure(model, [({"x": x}, x)], {"x": Vector()}, Vector(), rotations=4)["output"]
    turned = equidyn.measure(model, [({"x": x}, x)], {"x": Vector()}, Vector(), rotations=4, in_double=False)[
        "output"
    ]
    assert 0 < found.floor == turned.floor < 1e-6 < found.equivariance


class CastingAll(Casting):
    """In float32 whatever it and its input are in; an equivariant map."""

    def forward(self, x):
        return x.float() * self.inner.weight.float().square().mean()


class Refusing(Casting):
    """Accepts nothing but float32."""

    def forward(self, x):
        if x.dtype != torch.float32:
            raise ValueError(f"expected float32, got {x.dtype}")
        return self.inner(x)


@pytest.mark.parametrize("made", [CastingAll, Refusing])
def test_so_has_one_whose_copy_rounds_alike_or_refuses(made):
    torch.manual_seed(0)
    model, x = made(), torch.randn(20, 3)
    asked = ([({"x": x}, x)], {"x": Vector()}, Vector())
    found = equidyn.measure(model, *asked, rotations=4)["output"]
    assert 0 < found.floor == equidyn.measure(model, *asked, rotations=4, in_double=False)["output"].floor
    assert (found.equivariance < 10 * found.floor) == (made is CastingAll)
