"""The JSON schema and the tables of the README are those of the typed models, and say what is checked."""

import copy
import json

import jsonschema
import pytest
import yaml
from common import REPOSITORY

from equidyn import config, defaults
from equidyn.config import reference, sections, sources
from equidyn.errors import ConfigError

CONFIG = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
SECTIONS = [
    section
    for module in (sections, sources)
    for section in vars(module).values()
    if isinstance(section, type) and issubclass(section, sections.Section)
]


def test_schema_and_tables_are_those_of_the_models():
    page = (REPOSITORY / reference.README).read_text()
    assert (REPOSITORY / reference.SCHEMA).read_text() == reference.schema_text()
    assert page == reference.filled(page)


def test_every_table_stands_in_the_readme_once():
    page = (REPOSITORY / reference.README).read_text()
    assert all(page.count(reference.BEGIN.format(name)) == 1 for name in reference.tables())


@pytest.mark.parametrize("path", sorted((REPOSITORY / "config").glob("*.yaml")), ids=lambda p: p.name)
def test_shipped_configs_fit_the_schema(path):
    jsonschema.Draft202012Validator(reference.schema()).validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize(
    "path, value",
    [
        (("runs", "forces", "training"), {"lrr": 1}),
        (("runs", "forces", "training"), {"lr": -1}),
        (("runs", "forces", "training"), {"n_train": None}),
        (("runs", "flow", "sample"), {"n_chains": 0}),
        (("runs", "voxels-0.445", "measure"), {"n_rotations": 25}),
        (("runs", "forces", "sample"), {"n_chains": 1, "steps": 1}),  # of flow alone
        (("datasets", "molecules", "temperature"), "hot"),
        (("datasets", "molecules", "colour"), "red"),
        (("defaults", "forces", "model"), {"sizes": "mini"}),
        (("seed",), True),
        (("name",), "../up"),
        (("defaults", "forces"), None),
    ],
)
def test_the_schema_refuses_what_the_check_refuses(path, value):
    changed = copy.deepcopy(CONFIG)
    *parents, last = path
    node = changed
    for key in parents:
        node = node[key]
    node[last] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(reference.schema()).validate(changed)
    with pytest.raises(ConfigError, match="config, "):
        config.validate(changed)


def test_every_key_says_what_it_means():
    for section in SECTIONS:
        for key, field in section.model_fields.items():
            assert field.description or key == "source", (section.__name__, key)
    assert len(SECTIONS) > 30


def test_defaults_of_the_models_are_those_that_readers_take():
    fields = [field for section in SECTIONS for field in section.model_fields.values()]
    shown = [field.default for field in fields if not field.is_required()]
    told = reference.filled((REPOSITORY / reference.README).read_text())
    for name, value in vars(defaults).items():
        if name.isupper() and name not in ("BETAS", "SELF_CONDITIONING"):  # a list; always given by a config
            assert value in shown or f"`{value}`" in told, name
    assert json.dumps(list(defaults.BETAS)) in told


def test_all_problems_are_told_at_once():
    changed = copy.deepcopy(CONFIG)
    changed["runs"]["forces"]["training"] = {"lrr": 1, "steps": 0, "optimizer": "adam"}
    with pytest.raises(ConfigError) as caught:
        config.validate(changed)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3 and all(line.startswith("config, runs.forces.training") for line in lines)
    assert "unknown key 'lrr', did you mean 'lr'? known keys: augment" in str(caught.value)
    assert "runs.forces.training.optimizer: 'adam', expected one of 'adamw', 'sgd' or 'muon'" in lines[0]


def test_a_run_may_complete_what_defaults_leave_out():
    changed = copy.deepcopy(CONFIG)
    del changed["defaults"]["flow"]["training"]["lr"]
    with pytest.raises(ConfigError, match="runs.flow.training: no key 'lr', expected one .peak"):
        config.validate(changed)
    for run in changed["runs"].values():
        if run["task"] == "flow":
            run.setdefault("training", {})["lr"] = 1e-3
    config.validate(changed)
