"""``equidyn measure --model``: checkpoints that are kept and go on, and what is refused of a user's code."""

import csv
import json
from pathlib import Path

import pytest
import torch
from probe import my_net
from probe.test_command import CALCULATOR, run
from probe.test_command import file as structures  # noqa: F401  a fixture

import equidyn
from equidyn.errors import ArgumentError, DataError, UnknownNameError
from equidyn.probe import models
from equidyn.probe.comparison import compare
from equidyn.symmetry.actions import Fixed, Vector
from equidyn.symmetry.measure import Batch

NET = Path(my_net.__file__)
ASKED = ("--model", f"{NET}:load", "--data", f"{NET}:heldout", "--rotations", 3)
ACTIONS = dict(x=Vector(), kind=Fixed())


@pytest.fixture
def checkpoints(tmp_path):
    """Three of a run; of the second the weights are not finite."""
    (tmp_path / "run").mkdir()
    states = {}

    def save(step, model):
        if step in (0, 20, 40):
            states[step] = {name: value.clone() for name, value in model.state_dict().items()}

    my_net.train(steps=40, save=save)
    states[20]["out.bias"][:] = torch.nan
    for step, state in states.items():
        torch.save(state, tmp_path / f"run/step_{step}.pt")
    return (*ASKED, "--checkpoints", tmp_path / "run/*.pt", "--out", tmp_path / "out")


def steps(folder) -> list[str]:
    return [row["step"] for row in csv.DictReader(open(folder / "decomposition.csv"))]


def test_a_checkpoint_that_fails_is_left_out_by_name(checkpoints, tmp_path, capsys):
    assert run(*checkpoints) == 0 and steps(tmp_path / "out") == ["0", "40"]
    shown = capsys.readouterr()
    assert "step_20.pt: left out, as the model failed: batch 0: decomposition: a prediction" in shown.out
    assert run(*checkpoints, "--fail-above", "100%") == 1
    assert "not shown for every" in capsys.readouterr().out


def test_what_was_measured_of_a_run_is_kept(checkpoints, tmp_path, monkeypatch):
    calls = []

    def counted(model, heldout, **how):
        calls.append(model)
        return models.measure(model, heldout, **how)

    monkeypatch.setattr("equidyn.probe.networks.measure", counted)
    run(*checkpoints)
    first = (tmp_path / "out/decomposition.csv").read_text()
    items = (tmp_path / "out/items.jsonl").read_text()
    assert len(calls) == 3 and run(*checkpoints) == 0 and len(calls) == 4  # the one that failed
    assert (tmp_path / "out/decomposition.csv").read_text() == first
    assert (tmp_path / "out/items.jsonl").read_text() == items
    torch.save(my_net.load().state_dict(), tmp_path / "run/step_20.pt")
    torch.save(my_net.load().state_dict(), tmp_path / "run/last.pt")
    assert run(*checkpoints) == 0 and steps(tmp_path / "out") == ["0", "20", "40", "41"]
    assert len(calls) in (5, 6)  # the same weights thrice; the last one's items
    before = len(calls)
    monkeypatch.setattr(equidyn.HeldOut, "sha256", lambda self: "other items")
    assert run(*checkpoints) == 2
    monkeypatch.undo()
    monkeypatch.setattr("equidyn.probe.networks.measure", counted)
    assert run(*checkpoints, "--seed", 1) == 2 and run(*checkpoints, "--fail-above", "2%") == 1
    assert len(calls) == before  # a limit changes no number


def test_a_checkpoint_may_be_a_folder(tmp_path):
    for step in (1, 2):
        (tmp_path / f"run/step_{step}").mkdir(parents=True)
        torch.save(my_net.load().state_dict(), tmp_path / f"run/step_{step}/weights.pt")
    asked = ("--model", f"{NET}:from_folder", *ASKED[2:], "--checkpoints", tmp_path / "run/*")
    assert run(*asked, "--out", tmp_path / "out") == 0 and steps(tmp_path / "out") == ["1", "2"]


def test_all_that_fail_are_an_error(checkpoints, tmp_path, capsys):
    asked = ("--model", f"{NET}:raw", *checkpoints[2:])
    assert run(*asked) == 2
    shown = capsys.readouterr().err
    assert "none of 3 checkpoints could be measured; the first" in shown
    assert "made a dict, expected a torch module or a callable" in shown


def test_two_measurements_of_the_same_items_are_paired(tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        assert run(*ASKED, "--seed", seed, "--out", tmp_path / name) == 0
    (change,) = compare(tmp_path / "a", tmp_path / "b")
    assert change.paired and change.verdict == "no difference shown"
    lines = (tmp_path / "b/items.jsonl").read_text().splitlines()
    other = json.loads(lines[1])
    other["quantities"]["output"]["zero"] *= 2  # another target: not the same item
    (tmp_path / "b/items.jsonl").write_text("\n".join([lines[0], json.dumps(other), *lines[2:], ""]))
    assert not compare(tmp_path / "a", tmp_path / "b")[0].paired


def test_a_folder_holds_one_measurement(structures, tmp_path, capsys):  # noqa: F811
    asked = ("--calculator", CALCULATOR, "--structures", structures, "--rotations", 2)
    assert run(*asked, "--out", tmp_path / "a") == 0
    assert run(*ASKED, "--out", tmp_path / "a") == 2
    assert "items.jsonl: records of another command (calculator: " in capsys.readouterr().err
    assert run(*ASKED, "--out", tmp_path / "b") == 0
    (tmp_path / "b/worst.extxyz").touch()
    assert run(*ASKED, "--out", tmp_path / "b") == 0 and not (tmp_path / "b/worst.extxyz").exists()
    assert run(*asked, "--out", tmp_path / "b") == 2


def test_measured_with_checkpoints_before(checkpoints, tmp_path, capsys):
    assert run(*checkpoints) == 0 and run(*ASKED, "--out", tmp_path / "out") == 2
    assert "checkpoints.jsonl: measured with --checkpoints before" in capsys.readouterr().err


def test_any_callable_is_a_model(tmp_path):
    assert run("--model", f"{NET}:plain", *ASKED[2:], "--out", tmp_path) == 0


def test_an_error_of_the_model_is_one_paragraph_behind_its_traceback(tmp_path, capsys):
    assert run("--model", f"{NET}:broken", *ASKED[2:], "--out", tmp_path) == 2
    *traceback, last = capsys.readouterr().err.splitlines()
    assert last == f"error: {NET}:broken: batch 1: KeyError: 'no such thing'"
    assert any("in forward" in line for line in traceback)


@pytest.mark.parametrize(
    "more, message",
    [
        (("--limit", 5), "--limit 5: has no effect with --model"),
        (("--forces-key", "REF"), "--forces-key REF: has no effect with --model"),
        (("--quantities", "stress"), "--quantities stress: has no effect"),
        (("--special-poses",), "--special-poses True: has no effect"),
        (("--structures", "x.xyz"), "--structures x.xyz: has no effect"),
        (("--calculator", "a:b"), "--calculator a:b: has no effect with --model"),
        (("--batch-size", 4), "--batch-size 4: has no effect"),
    ],
)
def test_options_without_effect_are_refused(tmp_path, capsys, more, message):
    assert run(*ASKED, "--out", tmp_path, *more) == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--data", "--checkpoints", "--dataset"])
def test_so_are_those_of_networks_beside_a_calculator(structures, tmp_path, capsys, option):  # noqa: F811
    asked = ("--calculator", CALCULATOR, "--structures", structures, "--out", tmp_path)
    assert run(*asked, option, "x") == 2
    assert f"{option} x: has no effect" in capsys.readouterr().err


X, TARGET = torch.ones(4, 3), torch.ones(4, 3)


@pytest.mark.parametrize(
    "batches, message",
    [
        (({"x": X}, TARGET), "batch 0: a dict, expected a list of"),
        (Batch({"x": X}, TARGET, None, torch.arange(4)), "a single Batch, expected a list"),
        ([[X, TARGET]], "batch 0: a list that begins with a Tensor, expected a list of"),
        ([({"x": X.numpy()}, TARGET)], "batch 0, x: a ndarray, expected a tensor"),
        ([({"x": X}, TARGET.numpy())], "batch 0, target: a ndarray, expected a tensor"),
        ([({"x": X}, TARGET), ({"x": X, "t": 0.5}, TARGET)], "batch 1, t: a float, expected a tensor"),
        ([({"x": X, "t": torch.tensor(0.5)}, TARGET)], "batch 0, t: a tensor without axes"),
        ([({"x": X}, TARGET, [True] * 4)], "batch 0, mask: a list, expected a tensor"),
        ([({"x": X, "batch": torch.zeros(4).long()}, TARGET)], "batch 0, batch: .* item to be a structure"),
    ],
)
def test_batches_that_are_none_are_named(batches, message):
    with pytest.raises(ArgumentError, match=message):
        equidyn.HeldOut(batches, {"x": Vector()}, Vector())


@pytest.mark.parametrize("actions", [({"x": Vector}, Vector()), ({"x": Vector()}, Vector)])
def test_actions_are_made(actions):
    with pytest.raises(ArgumentError, match=r"Vector'>, expected how it turns, such as Vector\(\)"):
        equidyn.HeldOut([({"x": X}, TARGET)], *actions)


@pytest.mark.parametrize(
    "model, message",
    [
        (lambda x: {"energy": x, "forces": x}, "returned a dict with energy, forces, expected a tensor"),
        (lambda x: (x, x), "returned a tuple, expected a tensor"),
        (lambda x: x.numpy(), "returned a ndarray"),
        (lambda x: None, "returned a NoneType"),
        (lambda x: x.sum(), r"returned a tensor of shape \[\]"),
        (lambda x: x[:2], r"a tensor of shape \[2, 3\], expected a tensor \[4, ...\]"),
        (lambda x: torch.autograd.grad(x.square().sum(), x)[0], "predict= .* that turns them on"),
    ],
)
@pytest.mark.parametrize("target", [TARGET, None])
def test_predictions_that_are_none_are_named(model, message, target):
    with pytest.raises(
        ArgumentError, match=f"batch 0: .*{message}" if "predict=" not in message else "batch 0"
    ):
        equidyn.measure(model, [({"x": X}, target)], {"x": Vector()}, Vector(), rotations=2)


def test_an_error_of_the_model_keeps_its_type_and_says_the_batch():
    with pytest.raises(KeyError) as raised:
        equidyn.measure(my_net.broken(), my_net.heldout(), rotations=2)
    assert raised.value.__notes__ == ["batch 1"]


def test_a_seed_below_zero_and_a_quantity_that_there_is_not(tmp_path, capsys):
    assert run(*ASKED, "--seed", -1, "--out", tmp_path) == 2
    assert "seed: -1, expected a number from 0" in capsys.readouterr().err
    found = equidyn.measure(my_net.plain(), my_net.heldout(), rotations=2)
    with pytest.raises(UnknownNameError, match="no quantity 'energy', expected one of output"):
        _ = found["energy"]
    with pytest.raises(DataError, match=f"{tmp_path}: a folder, expected structures"):
        equidyn.measure_calculator(None, tmp_path)


def test_an_input_may_be_called_mask(tmp_path):
    x = torch.randn(4, 3)
    for one in (
        Batch(dict(x=x, mask=x), x, None, torch.arange(4)),
        (dict(x=x, mask=x), x, None),
        (dict(x=x, target=x), None),
    ):
        inputs = {name: Vector() for name in (one.inputs if isinstance(one, Batch) else one[0])}
        equidyn.HeldOut([one], inputs, Vector())
