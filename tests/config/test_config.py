import copy
import importlib
import inspect
import math

import pytest
import torch
import yaml
from common import REPOSITORY

from equidyn.config import of_training, resolve_run, validate
from equidyn.device import resolve_device
from equidyn.errors import ConfigError

CONFIG = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
DYNAMICS = dict(n_items=2, n_rotations=4, block="b", n_checkpoints=1, grid=3, span=0.1)


@pytest.mark.parametrize("path", sorted((REPOSITORY / "config").glob("*.yaml")), ids=lambda p: p.name)
def test_shipped_configs_are_valid(path):
    validate(yaml.safe_load(path.read_text()))


def broken(path, value):
    config = copy.deepcopy(CONFIG)
    *parents, last = path
    node = config
    for key in parents:
        node = node.setdefault(key, {})
    node[last] = value
    return config


@pytest.mark.parametrize(
    "path, value, message",
    [
        (("runs", "forces", "trainign"), {}, "runs.forces.*trainign"),
        (("defaults", "forces", "training", "lrr"), 1, "training.*lrr.*known keys.*lr"),
        (("defaults", "forces", "training", "lr"), -1, "lr.*-1"),
        (("runs", "forces", "dataset"), "qm9", "'qm9', expected one of.*molecules"),
        (("datasets", "molecules", "source"), ["conformers"], r"source: \['conformers'\], expected one of"),
        (
            ("datasets", "molecules", "n_held_out"),
            5000,
            r"n_held_out: 5000, expected less than n_molecules = \d+",
        ),
        (("runs", "forces", "model"), {"options": {"tide": True}}, "model.options.*'tide'.*tied"),
        (
            ("runs", "forces", "model"),
            {"options": {"tied": "no"}},
            "options.tied: 'no', expected true or false",
        ),
        (
            ("runs", "forces", "model"),
            {"options": {"hidden": "16"}},
            "options.hidden: '16', expected a number",
        ),
        (
            ("runs", "forces", "model"),
            {"options": {"hidden": True}},
            "options.hidden: True, expected a number",
        ),
        (("datasets", "molecules", "temperature"), "hot", "temperature.*hot"),
        (
            ("runs", "forces-raw-aug", "training", "copies"),
            5,
            "copies: 5, expected a divisor of batch_size = 32",
        ),
        (
            ("runs", "forces", "training", "warmup"),
            5000,
            "runs.forces.training.warmup: 5000, expected at most steps = 2400",
        ),
        (("runs", "forces-raw", "training", "copies"), 4, "augment: 0.0 beside copies: 4, expected 1"),
        (
            ("comparisons",),
            {"x": {"agnostic": "forces", "equivariant": ["nope"]}},
            "comparisons.x: .'nope'., expected runs: flow, forces",
        ),
        (
            ("comparisons",),
            {"x": {"agnostic": "forces", "equivariant": ["flow"]}},
            "comparisons.x: flow has another task than forces",
        ),
        (
            ("comparisons",),
            {"x": {"agnostic": "forces", "equivariant": ["forces-aligned"]}},
            "forces-aligned has another dataset than forces .'molecules-aligned', not 'molecules'.",
        ),
        (
            ("comparisons",),
            {"x": {"agnostic": "forces", "equivariant": ["forces"]}},
            "comparisons.x: .'forces'. more than once",
        ),
        (("comparisons",), {"x": {"agnostic": "forces"}}, "comparisons.x: no key 'equivariant'"),
        (
            ("runs", "forces", "training"),
            {"processes": 3},
            "processes: 3, expected a divisor of batch_size = 16",
        ),
        (
            ("runs", "forces", "training"),
            {"processes": 3, "micro_batch": 8},
            "processes: 3, expected at most 2, the micro-batches",
        ),
        (
            ("runs", "forces", "training"),
            {"average": 2, "equivariance_penalty": 1.0},
            "average: 2 beside equivariance_penalty, expected one of the two",
        ),
        (("runs",), {}, "runs"),
        (("name",), "../up", "name"),
        (
            ("runs", "flow", "sample"),
            {"n_chains": 999, "steps": 2},
            "runs.flow.sample.n_chains: 999, expected at most measure.n_items = ",
        ),
        (
            ("runs", "forces", "measure"),
            {"n_items": 9999},
            "runs.forces.measure.n_items: 9999, expected at most datasets.molecules.n_held_out = ",
        ),
    ],
)
def test_bad_configs_are_named(path, value, message):
    with pytest.raises(ConfigError, match=message):
        validate(broken(path, value))


def test_runs_override_defaults_without_changing_them():
    before = copy.deepcopy(CONFIG)
    run = resolve_run(CONFIG, "forces-raw-aug")
    assert run["model"]["architecture"] == "rawdir" and run["training"]["augment"] == 1.0
    assert run["training"]["lr"] == CONFIG["defaults"]["forces"]["training"]["lr"] and before == CONFIG


def test_settings_of_training_hold_all_but_measuring():
    run = resolve_run(CONFIG, "flow")
    of_training_alone = of_training(run)
    assert {"measure", "sample"} == set(run) - set(of_training_alone)
    assert all(run[key] == value for key, value in of_training_alone.items())


def test_a_device_that_was_asked_for_is_never_replaced(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == resolve_device("cpu") == "cpu"
    with pytest.raises(ConfigError, match="finds no CUDA device"):
        resolve_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == resolve_device("cuda") == "cuda" and resolve_device("cpu") == "cpu"
    assert resolve_run(CONFIG, "forces")["device"] == "auto"


def test_a_config_needs_runs_or_a_matrix():
    with pytest.raises(ConfigError, match="top level: no key 'runs', expected"):
        validate({key: value for key, value in CONFIG.items() if key != "runs"})


@pytest.mark.parametrize(
    "dataset, message",
    [
        ({"n_held_out": 2}, "datasets.d: neither files nor download"),
        ({"n_held_out": 2, "files": ["a"], "download": ["qm9"]}, "datasets.d: both files and download"),
        ({"files": ["a"]}, "datasets.d.n_held_out: missing"),
        (
            {"files": ["a"], "held_out_files": ["b"], "held_out_download": ["qm9"]},
            "datasets.d: both held_out_files and held_out_download",
        ),
        (
            {"files": ["a"], "held_out_files": ["b"], "split_list": {"file": "c"}},
            "datasets.d: both held_out_files and split_list",
        ),
        (
            {"files": ["a"], "split_list": {"file": "c", "sha256": "abc"}},
            "datasets.d.split_list.sha256: 'abc'",
        ),
        ({"files": ["a"], "n_held_out": 2, "leaks": "keep"}, "datasets.d.leaks: 'keep' without"),
        ({"files": ["a"], "held_out_files": ["a"]}, "datasets.d.held_out_files: .'a'. also in files"),
        ({"files": ["a"], "held_out_files": ["./a"]}, "datasets.d.held_out_files: .'a'. also in files"),
        ({"files": ["a", "b/../a"], "n_held_out": 2}, "datasets.d.files: .'a'. more than once"),
        ({"files": ["a"], "held_out_files": ["b"], "leaks": "allow"}, "datasets.d.leaks: 'allow'"),
        ({"files": ["a"], "n_held_out": 2, "energy_unit": "eV"}, "datasets.d: .*energy_unit.*known keys"),
        (
            {"source": "spice", "files": ["a"], "n_held_out": 2, "energy_unit": "eV"},
            "datasets.d: .*energy_unit.*known keys",
        ),
        ({"source": "geom", "files": ["a"], "n_held_out": 2, "n_conformers": 0}, "datasets.d.n_conformers"),
    ],
)
def test_bad_datasets_of_a_config_name_the_key(dataset, message):
    base, config = {"source": "sdf", "licence": "x"}, copy.deepcopy(CONFIG)
    config["datasets"]["d"] = {**base, "files": ["a"], "held_out_files": ["b"]}
    validate(config)
    config["datasets"]["d"] = {**base, **dataset}
    with pytest.raises(ConfigError, match=message):
        validate(config)


def test_tables_of_tasks_and_models_are_those_of_the_package():
    from equidyn.config import sections, sources
    from equidyn.data import generated
    from equidyn.data.readers.registry import READERS
    from equidyn.declarations import own_models, own_tasks
    from equidyn.models.voxmol import VoxMol

    tasks = own_tasks()
    assert set(tasks) == set(sections.SETTINGS) == set(sections.RUNS)
    assert {model.task for model in own_models().values()} == set(tasks)
    for model in own_models().values():
        module = importlib.import_module(model.module)
        assert set(model.sizes) == set(module.SIZES) and hasattr(module, model.class_name)
    default = inspect.signature(VoxMol).parameters["n_channels"].default
    assert own_models()["voxmol"].argument("n_channels", "7M", {}) == default
    assert [model.name for model in own_models().values() if not model.graphs] == ["framed"]
    of_tasks = {source for task in tasks.values() for source in task.sources}
    assert of_tasks == set(READERS) | set(generated.SOURCES) == set(sources.SOURCES) - {"turned"}
    for task in tasks.values():
        built = getattr(importlib.import_module(task.module), task.class_name)
        assert (built.name, built.group) == (task.name, task.rotations)
        assert all(READERS[source].kind == task.kind for source in task.sources if source in READERS)


@pytest.mark.parametrize(
    "run, message",
    [
        (
            dict(task="flow", dataset="molecules"),
            "dataset: datasets.molecules has the source 'conformers', expected one of backbones, "
            "structures, chains for the task flow",
        ),
        (dict(task="forces", dataset="small-molecules"), "datasets.small-molecules has no labels"),
        (dict(task="voxels", dataset="molecules"), "datasets.molecules has no section voxels"),
        (
            dict(task="forces", dataset="molecules", model=dict(architecture="proteina")),
            "architecture: 'proteina', expected one of escaip, painn, rawdir",
        ),
        (dict(task="forces", dataset="molecules", model=dict(size="7M")), "size: '7M', expected one of tiny"),
        (
            dict(task="voxels", dataset="small-molecules", model=dict(options=dict(n_channels=3))),
            "n_channels: 3, expected 8, the number of datasets.small-molecules.*elements",
        ),
        (
            dict(task="voxels", dataset="small-molecules", dynamics={**DYNAMICS, "n_rotations": 30}),
            "dynamics.n_rotations: 30, expected at most 24, those of the cube",
        ),
        (
            dict(task="voxels", dataset="small-molecules", dynamics={**DYNAMICS, "rotations": "haar"}),
            "dynamics.rotations: 'haar', expected cube for the task voxels",
        ),
        (
            dict(
                task="forces",
                dataset="molecules",
                dynamics={**DYNAMICS, "rotations": "cube", "n_rotations": 25},
            ),
            "dynamics.n_rotations: 25, expected at most 24, those of the cube",
        ),
        (
            dict(
                task="flow",
                dataset="backbones",
                model=dict(architecture="framed"),
                training=dict(execution="graphs"),
            ),
            "execution: 'graphs', expected eager or compiled for framed",
        ),
    ],
)
def test_a_dataset_or_model_that_does_not_fit_the_task_is_found_before_anything_runs(run, message):
    config = copy.deepcopy(CONFIG)
    config["runs"]["r"] = run
    with pytest.raises(ConfigError, match=f"runs.r.*{message}"):
        validate(config)


@pytest.mark.parametrize(
    "path, value, message",
    [
        (("seed",), 1.0, "config, seed: 1.0, expected an integer"),
        (("seed",), 10**20, "config, seed: 1000.*, expected at most 4294967295"),
        (("defaults", "forces", "training", "steps"), 4.0, "training.steps: 4.0, expected an integer"),
        (
            ("defaults", "forces", "training", "lr"),
            math.nan,
            "defaults.forces.training.lr: nan, expected a finite number",
        ),
        (
            ("datasets", "molecules", "temperature"),
            math.inf,
            "datasets.molecules.temperature: inf, expected a finite number",
        ),
    ],
)
def test_numbers_that_pass_a_schema_but_not_a_program(path, value, message):
    with pytest.raises(ConfigError, match=message):
        validate(broken(path, value))


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(share=0.5, cone=30.0), "datasets.d: both share and cone, expected at most one"),
        (dict(poses="as-made", share=0.5), "datasets.d.poses: 'as-made' beside share or cone, expected haar"),
        (dict(share=1.5), "datasets.d.share: 1.5, expected at most 1"),
        (dict(cone=0), "datasets.d.cone: 0, expected more than 0"),
        (dict(of="d"), "datasets.d.of: 'd', expected one of"),
    ],
)
def test_poses_in_part_are_checked(change, message):
    config = copy.deepcopy(CONFIG)
    config["datasets"]["d"] = dict(source="turned", of="molecules", poses="haar", share=0.5)
    validate(config)
    config["datasets"]["d"] |= change
    with pytest.raises(ConfigError, match=message):
        validate(config)


def test_options_are_of_the_kind_that_a_class_says_and_others_are_its_own():
    from equidyn.config.validate import _check_options
    from equidyn.declarations import Model

    declared = Model(
        "n", "forces", "N", ("s",), REPOSITORY, dict(width=8, kind="silu", norm=None, tied=False)
    )
    for good in (
        {"width": 4.5},
        {"kind": "gelu"},
        {"norm": "layer"},
        {"norm": True},
        {"tied": None},
        {"width": [1]},
    ):
        _check_options("options", good, declared)
    for bad in ({"width": "16"}, {"width": True}, {"kind": 3}, {"tied": "no"}, {"tied": 1}, {"wide": 1}):
        with pytest.raises(ConfigError, match="options"):
            _check_options("options", bad, declared)
