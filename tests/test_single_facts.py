"""A fact stands once: version, pins, seeds, columns, names of modules."""

import csv
import importlib.util
import re

import pytest
import yaml
from common import REPOSITORY

import equidyn
from equidyn import seeds
from equidyn.results import columns

SOURCE = REPOSITORY / "src/equidyn"


def written(name):
    """The module envs/write.py."""
    spec = importlib.util.spec_from_file_location("write_environments", REPOSITORY / "envs/write.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.environment(module.PACKAGES[name])


@pytest.mark.parametrize("path", sorted((REPOSITORY / "envs").glob("*.yaml")), ids=lambda p: p.stem)
def test_conda_environments_parse_and_pins_equal_the_lock(path):
    from rattler import MatchSpec

    env = yaml.safe_load(path.read_text())
    assert env["channels"] == ["conda-forge", "nodefaults"] and path.read_text() == written(path.stem)
    lock = set((REPOSITORY / "constraints.txt").read_text().split())
    for dependency in env["dependencies"]:
        if isinstance(dependency, str):
            MatchSpec(dependency, strict=True)
        else:
            assert set(dependency["pip"]) <= lock


def test_every_rule_names_an_existing_environment():
    for rules in (REPOSITORY / "workflow/rules").glob("*.smk"):
        for name in re.findall(r'"\.\./\.\./envs/([\w.]+)"', rules.read_text()):
            assert (REPOSITORY / "envs" / name).exists(), (rules, name)


def test_every_package_that_is_asked_for_is_pinned():
    import tomllib

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    asked = [name for extra in project["optional-dependencies"].values() for name in extra] + project[
        "dependencies"
    ]
    pinned = {line.partition("==")[0] for line in (REPOSITORY / "constraints.txt").read_text().split()}
    names = {re.split(r"[>=\[]", name)[0] for name in asked} - {"equidyn"}
    assert names == pinned


def test_the_version_stands_in_the_package_alone():
    for name in ("pyproject.toml", "CITATION.cff", "README.md"):
        assert equidyn.__version__ not in (REPOSITORY / name).read_text(), name
    changes = re.findall(r"^## (.*)$", (REPOSITORY / "CHANGELOG.md").read_text(), re.M)
    assert changes[0] == "Unreleased" and changes[1].startswith(equidyn.__version__)


def test_seeds_stand_in_one_place():
    values = [value for name, value in vars(seeds).items() if name.isupper()]
    assert len(values) == len(set(values)) == 8
    for path in [*SOURCE.rglob("*.py"), *(REPOSITORY / "benchmarks").glob("*.py")]:
        if path.name != "seeds.py":
            assert not re.search(r"20_?25\d_?\d{3}", path.read_text()), path


def test_what_counts_as_learned_stands_in_one_place():
    """For our own runs and for models from outside."""
    homes = [p for p in SOURCE.rglob("*.py") if re.search(r"^LEARNED\b.*=", p.read_text(), re.M)]
    assert homes == [SOURCE / "symmetry/limits.py"]


def test_the_workflow_takes_names_of_modules_from_the_package():
    for path in (REPOSITORY / "workflow").rglob("*.smk"):
        assert not re.search(
            r"equidyn\.(tasks|models)\.(forces|voxels|flow|escaip|rawdir|voxmol|proteina)", path.read_text()
        )


def test_documentation_of_columns_is_that_of_the_package():
    assert (REPOSITORY / "docs/tables.md").read_text() == columns.markdown()


@pytest.mark.parametrize("name", ["forces", "flow", "voxels-0.445"])
def test_published_tables_have_the_documented_columns(name):
    with open(REPOSITORY / f"docs/results/{name}.csv", newline="") as file:
        assert next(csv.reader(file)) == list(columns.DECOMPOSITION)


def test_lists_of_columns_stand_in_one_place():
    header = "percent_lo"  # of the decomposition, say
    homes = [path.name for path in (SOURCE / "steps").glob("*.py") if header in path.read_text()]
    assert homes == []


def test_a_config_knows_as_many_rotations_of_the_cube_as_there_are():
    """It may not import the instrument."""
    from equidyn.config import sections
    from equidyn.symmetry import groups

    assert sections.CUBE_ORDER == len(groups.cube()) == groups.CUBE_ORDER
