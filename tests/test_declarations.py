"""Declarations of models read off their source, and models built from outside the package."""

import importlib
import shutil
import subprocess
import sys

import pytest
import torch
import yaml
from common import REPOSITORY

from equidyn.config import validate
from equidyn.config.parse import keys_of
from equidyn.config.sections import Training
from equidyn.declarations import Task, figures, model_in, models, own_models, task_of, tasks
from equidyn.errors import ConfigError, UnknownNameError
from equidyn.models import registry

NET = REPOSITORY / "tests/extension_net.py"
EXTENSION = dict(architecture="springs", size="tiny", extension=dict(file=str(NET)))
CLAIMS = [f"C{number}" for number in range(1, 12)]
RAWDIR = "equidyn.models.rawdir:RawDirectionTransformer"
OPTIONS = dict(hidden=8, layers=1, heads=2, n_gaussians=4, cutoff=4.0, n_neighbours=4)


def test_a_file_says_what_it_is():
    found = model_in(NET)
    assert (found.name, found.task, found.class_name, found.sizes) == (
        "springs",
        "forces",
        "Springs",
        ("tiny",),
    )
    assert set(models((str(NET),))) == set(own_models()) | {"springs"}


def test_declarations_need_no_torch():
    code = (
        "import sys; from equidyn import config, declarations; declarations.own_models(); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.parametrize(
    "text, message",
    [
        ("x = 1", "declares no task, model, figure or reader"),
        ("MODEL = dict(name='a')", "expected MODEL = "),
        ("MODEL = {'name': 'a', 'task': 'forces'}", "MODEL with no 'class'; expected MODEL = "),
        ("MODEL = {'name': 'a', 'task': 'forces', 'class': 'A', 'graphs': 0}", "graphs 0, expected bool"),
        ("MODEL = {'name': 'a', 'task': 'forces', 'class': 'A'}\nclass A: pass", "no SIZES"),
        ("MODEL = {'name': 'a', 'task': 'forces', 'class': 'A'}\nSIZES = {'s': {}}", "no class 'A'"),
        ("MODEL = (", "not readable as Python"),
        (
            "MODEL = {'name': 'escaip', 'task': 'forces', 'class': 'A'}\nSIZES = {'s': {}}\nclass A: pass",
            "model 'escaip', expected another name",
        ),
    ],
)
def test_what_is_no_declaration_is_named(tmp_path, text, message):
    file = tmp_path / "net.py"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        models((str(file),))
    assert str(file) in str(caught.value)
    with pytest.raises(ConfigError, match="extensions: no file .*nowhere.py. in .*, expected a path"):
        model_in(tmp_path / "nowhere.py")


FIGURE = dict(name="my_figure", task="forces", caption="What one sees", claim="C2")


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(name="My-Figure"), "name 'My-Figure', expected lower-case letters and underscores"),
        (dict(caption=None), "figure with caption None, expected str"),
        (dict(colour="red"), "figure with unknown key .colour."),
        (dict(name="percent"), "figure 'percent', expected another name"),
        (dict(name="percent", task=""), "figure 'percent', expected another name"),
        (dict(name="head", task="flow"), "figure 'head', expected another name"),  # that of all tasks
    ],
)
def test_figures_outside_the_package_are_checked(tmp_path, change, message):
    file = tmp_path / "figure.py"
    file.write_text(f"FIGURES = {[FIGURE]!r}\n")
    (found,) = [f for f in figures((str(file),)) if f.module == str(file)]
    assert (found.name, found.claim, found.axes) == ("my_figure", "C2", ())
    assert models((str(file),)) == own_models()  # no model in it
    file.write_text(f"FIGURES = {[{**FIGURE, **change}]!r}\n")
    with pytest.raises(ConfigError, match=message):
        figures((str(file),))


TASK = dict(name="moons", title="Moons", unit="m", kind="forces", rotations="haar") | {"class": "Moons"}


@pytest.mark.parametrize(
    "change, gone, message",
    [
        ({}, "kind", "TASK with no 'kind'; expected TASK ="),
        (dict(colour=1), "", "TASK with unknown key 'colour'"),
        (dict(rotations="so3"), "", "TASK with rotations 'so3', expected one of haar, cube"),
        (dict(kind="grids"), "", "TASK with kind 'grids', expected one of forces, molecules, backbones"),
        (dict(name="moons2"), "", "TASK with name 'moons2', expected lower-case"),
        (dict(unit=1), "", "TASK with unit 1, expected str"),
        ({"class": "Moon"}, "", "no class 'Moon', expected one of Moons"),
        (dict(name="forces"), "", "task 'forces', expected another name"),
    ],
)
def test_tasks_outside_the_package_are_checked(tmp_path, change, gone, message):
    file = tmp_path / "task.py"
    file.write_text(f"TASK = {TASK!r}\nclass Moons: pass\n")
    found = tasks((str(file),))["moons"]
    assert (found.class_name, found.training, found.grids) == ("Moons", (), False)
    stated = {key: value for key, value in {**TASK, **change}.items() if key != gone}
    file.write_text(f"TASK = {stated!r}\nclass Moons: pass\n")
    with pytest.raises(ConfigError, match=message):
        tasks((str(file),))


def test_a_task_outside_lists_the_keys_that_it_has_beside_the_common_ones(tmp_path):
    file = tmp_path / "task.py"
    config = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text()) | {"extensions": [str(file)]}
    training = {k: v for k, v in config["defaults"]["forces"]["training"].items() if k in COMMON}
    measure = config["defaults"]["forces"]["measure"]
    model = {"import": "torch.nn:Linear"}
    config["defaults"]["moons"] = dict(model=model, training={**training, "phase": 0.5}, measure=measure)
    config["runs"]["mine"] = {"task": "moons", "dataset": "molecules"}
    file.write_text(f"TASK = {TASK | {'training': ['phase']}!r}\nclass Moons: pass\n")
    validate(config)
    file.write_text(f"TASK = {TASK!r}\nclass Moons: pass\n")
    with pytest.raises(ConfigError, match="defaults.moons.training: unknown key 'phase'.* may list more"):
        validate(config)
    file.write_text(f"TASK = {TASK | {'training': ['phase']}!r}\nclass Moons: pass\n")
    config["runs"]["mine"]["training"] = {"micro_bacth": 2}
    with pytest.raises(ConfigError, match="runs.mine.training: .*'micro_bacth', did you mean 'micro_batch'"):
        validate(config)
    config["runs"]["mine"]["training"] = {"equivariance_penalty": 1.0}  # which its loss would not have
    with pytest.raises(ConfigError, match="runs.mine.training: unknown key 'equivariance_penalty'"):
        validate(config)
    config["runs"]["mine"] = {"task": "moons", "dataset": "backbones"}
    with pytest.raises(ConfigError, match="source 'chains', expected one of conformers, extxyz, npz, spice"):
        validate(config)


def test_a_task_outside_must_have_what_is_asked_of_it():
    from equidyn.tasks import protocol

    class Moons:
        name, group = "moons", "cube"

    declared = Task("moons", "Moons", "Moons", "m", "forces", "haar", REPOSITORY / "moons.py")
    with pytest.raises(ConfigError, match="moons.py: Moons has no actions, output, losses, condit"):
        protocol.check(Moons(), declared)
    for member in protocol.MEMBERS:
        if not hasattr(Moons, member):
            setattr(Moons, member, None)
    with pytest.raises(ConfigError, match="group 'cube', expected 'moons' and 'haar' as TASK says"):
        protocol.check(Moons(), declared)


COMMON = keys_of(Training)


@pytest.mark.parametrize("change, message", [(dict(task="moons"), "'moons'"), (dict(claim="C12"), "'C12'")])
def test_a_figure_that_no_report_would_show_is_refused(tmp_path, change, message):
    file = tmp_path / "figure.py"
    config = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text()) | {"extensions": [str(file)]}
    file.write_text(f"FIGURES = {[FIGURE]!r}\n")
    validate(config)
    file.write_text(f"FIGURES = {[{**FIGURE, **change}]!r}\n")
    with pytest.raises(ConfigError, match=message):
        validate(config)


def test_every_figure_of_the_package_has_its_own_declaration():
    own = figures()
    assert len({(f.task, f.name) for f in own}) == len(own) > 20
    for figure in own:
        module = importlib.import_module(f"equidyn.figures.{figure.module}")
        assert callable(module.draw) and figure.caption and figure.claim in ("", *CLAIMS)


def test_a_model_from_a_file_or_an_import_path_is_seeded_like_any():
    for model in (EXTENSION, {"import": RAWDIR, "options": OPTIONS}):
        one, same, other = (registry.build_named(model, seed, "forces") for seed in (0, 0, 1))
        pairs = list(zip(one.parameters(), same.parameters(), other.parameters()))
        assert all(torch.equal(a, b) for a, b, _ in pairs) and not all(torch.equal(a, c) for a, _, c in pairs)


@pytest.mark.parametrize(
    "model, error, message",
    [
        ({**EXTENSION, "size": "huge"}, UnknownNameError, "size 'huge' of springs, expected one of .'tiny'."),
        ({**EXTENSION, "options": {"colour": 1}}, UnknownNameError, "options .'colour'. of springs"),
        ({"import": "nowhere.net:Net"}, ConfigError, "model.import: 'nowhere.net:Net' cannot be imported"),
        ({"import": "torch.nn:Nothing"}, ConfigError, "expected package.module:Class"),
        ({"import": RAWDIR, "options": {"depth": 2}}, ConfigError, "model.options: .* does not take .*depth"),
        ({"import": "torch.nn:ReLU"}, ConfigError, "no cutoff, n_neighbours, equivariant_control, expected"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_runs(model, error, message):
    with pytest.raises(error, match=message):
        registry.build_named(model, 0, "forces")


def test_a_forward_without_the_tasks_arguments_is_named():
    class Net(torch.nn.Module):
        cutoff, n_neighbours = 4.0, 4

        def forward(self, positions, mask):
            return positions

        def equivariant_control(self):
            return self

    from equidyn.models import protocol

    with pytest.raises(ConfigError, match="forward takes positions, mask, without numbers, neighbours"):
        protocol.check(Net(), "forces", "my.net:Net")


def test_a_forward_with_one_argument_is_called_by_its_name_too():
    class Net(torch.nn.Module):
        multiple = 1

        def forward(self, x):
            return x

        def equivariant_control(self):
            return self

    from equidyn.models import protocol

    with pytest.raises(ConfigError, match="forward takes x, without noisy"):
        protocol.check(Net(), "voxels", "my.net:Net")


def test_own_models_have_what_their_tasks_ask_for():
    from equidyn.models import protocol

    for name, declared in own_models().items():
        protocol.check(registry.build(name, "tiny"), declared.task, name)


def test_an_extension_is_part_of_a_runs_settings(tmp_path):
    """Its digest is, so that a change in it trains anew; a run that imports has no architecture."""
    from equidyn.config import resolve_run, validate

    CONFIG = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())

    file = tmp_path / "net.py"
    shutil.copy(NET, file)
    (name, run) = next((n, r) for n, r in CONFIG["runs"].items() if r["task"] == "forces")
    outside = {**run, "model": {"architecture": "springs", "size": "tiny"}}
    imported = {**run, "model": {"import": RAWDIR, "options": OPTIONS}}
    config = {
        **CONFIG,
        "extensions": [str(file)],
        "runs": {name: run, "outside": outside, "imported": imported},
    }
    validate(config)
    before = resolve_run(config, "outside")["model"]
    assert before["extension"]["file"] == str(file) and "extension" not in resolve_run(config, name)["model"]
    assert resolve_run(config, "imported")["model"] == imported["model"]
    file.write_text(file.read_text() + "\n# a comment changes nothing\n")
    assert resolve_run(config, "outside")["model"]["extension"] == before["extension"]
    file.write_text(file.read_text() + "\nEXTRA = 1\n")
    assert resolve_run(config, "outside")["model"]["extension"] != before["extension"]
    with pytest.raises(ConfigError, match="outside.model.architecture: 'springs', expected one of"):
        validate({**config, "extensions": []})
    both = {**run, "model": {"import": RAWDIR, "size": "tiny"}}
    with pytest.raises(ConfigError, match="runs.x.model: import beside architecture or size"):
        validate({**config, "runs": {"x": both}})


def test_the_task_of_a_run_is_found_within_and_outside_the_package():
    file = str(REPOSITORY / "tests/extension_task.py")
    outside = {"task": "centres", "extension": {"file": file}}
    assert task_of(outside).name == "centres" and task_of({"task": "flow"}).name == "flow"
    with pytest.raises(UnknownNameError, match="'nope', expected one of"):
        task_of({"task": "nope"})


def test_arguments_of_a_model_are_those_of_its_class_and_of_what_kind_sizes_say(tmp_path):
    file = tmp_path / "net.py"
    file.write_text(
        'MODEL = {"name": "n", "task": "forces", "class": "N"}\n'
        'SIZES = {"s": dict(width=8, kind="silu"), "t": {"width": 9}}\n'
        "class N:\n    def __init__(self, width, kind, norm=None, flag=False, rate=1.0): ...\n"
    )
    declared = model_in(file)
    usual = {name: declared.usual(name) for name in declared.arguments}
    assert usual == dict(width=9, kind="silu", norm=None, flag=False, rate=1.0)
    file.write_text(file.read_text().replace("rate=1.0", "**more"))
    assert model_in(file).arguments is None


BLUR = """
MODEL = {"name": "blur", "task": "voxels", "class": "Blur", "graphs": False}
SIZES = {"three": dict(n_channels=3), "plain": {}}

class Blur:
    def __init__(self, n_channels=8): ...
"""


@pytest.mark.parametrize(
    "model, training, message",
    [
        (dict(size="plain"), {}, None),
        (dict(size="three", options=dict(n_channels=8)), {}, None),
        (dict(size="three"), {}, "options.n_channels: 3, expected 8, the number of .*voxels.elements"),
        (dict(size="plain", options=dict(n_channels=5)), {}, "options.n_channels: 5, expected 8"),
        (dict(size="plain"), dict(execution="graphs"), "'graphs', expected eager or compiled for blur"),
    ],
)
def test_models_outside_the_package_are_held_to_what_they_declare(tmp_path, model, training, message):
    (tmp_path / "blur.py").write_text(BLUR)
    config = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
    config["extensions"] = [str(tmp_path / "blur.py")]
    config["runs"]["r"] = dict(
        task="voxels", dataset="small-molecules", model=dict(architecture="blur", **model), training=training
    )
    if message is None:
        validate(config)
        return
    with pytest.raises(ConfigError, match=f"runs.r.*{message}"):
        validate(config)
