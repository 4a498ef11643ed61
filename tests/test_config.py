import copy

import pytest
import torch
import yaml
from conftest import REPOSITORY

from equidyn.config import ConfigError, resolve_device, resolve_run, validate

SCHEMA = REPOSITORY / "workflow/schemas/config.schema.json"
CONFIG = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())


@pytest.mark.parametrize("path", sorted((REPOSITORY / "config").glob("*.yaml")), ids=lambda p: p.name)
def test_shipped_configs_are_valid(path):
    validate(yaml.safe_load(path.read_text()), SCHEMA)


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
        (("datasets", "molecules", "temperature"), "hot", "temperature.*hot"),
        (("runs",), {}, "runs"),
        (("name",), "../up", "name"),
    ],
)
def test_bad_configs_are_named(path, value, message):
    with pytest.raises(ConfigError, match=message):
        validate(broken(path, value), SCHEMA)


def test_runs_override_defaults_without_changing_them():
    before = copy.deepcopy(CONFIG)
    run = resolve_run(CONFIG, "forces-raw-aug")
    assert run["model"]["architecture"] == "rawdir" and run["training"]["augment"] == 1.0
    assert run["training"]["lr"] == CONFIG["defaults"]["forces"]["training"]["lr"] and before == CONFIG


def test_a_device_that_was_asked_for_is_never_replaced(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == resolve_device("cpu") == "cpu"
    with pytest.raises(ConfigError, match="finds no CUDA device"):
        resolve_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == resolve_device("cuda") == "cuda" and resolve_device("cpu") == "cpu"
    assert resolve_run(CONFIG, "forces")["device"] == "auto"
