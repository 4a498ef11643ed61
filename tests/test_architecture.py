"""Imports point one way, and the repository keeps its static promises."""

import re
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY

from equidyn import provenance

SOURCE = REPOSITORY / "src/equidyn"
ORDER = ["groups", "actions", "decomposition", "measure", "dynamics", "curvature", "landscape"]


def imported(path: Path) -> set[str]:
    return set(re.findall(r"^\s*(?:from|import) (equidyn[\w.]*)", path.read_text(), re.M)) | {
        f"equidyn.{name.strip()}"
        for names in re.findall(r"^\s*from equidyn import ([\w, ]+)", path.read_text(), re.M)
        for name in names.split(",")
    }


def test_core_imports_point_one_way():
    for i, name in enumerate(ORDER):
        path = SOURCE / f"{name}.py"
        if path.exists():
            allowed = {f"equidyn.{other}" for other in ORDER[:i]} | {"equidyn"}
            assert imported(path) <= allowed, name


def test_data_models_and_training_do_not_know_each_other():
    rules = {
        "data": "models|tasks|training|figures|measure",
        "models": "data|tasks|training|figures",
        "training": "models|tasks|figures",
        "figures": "models|tasks|training|data",
    }
    for folder, forbidden in rules.items():
        for path in (SOURCE / folder).glob("*.py"):
            assert not [m for m in imported(path) if re.match(rf"equidyn\.({forbidden})\b", m)], path


def test_digest_ignores_comments_and_sees_code(tmp_path):
    a, b, c = (tmp_path / f"{n}.py" for n in "abc")
    a.write_text('"""Doc."""\nx = 1  # why\n')
    b.write_text('"""Other."""\nx   =   1\n')
    c.write_text("x = 2\n")
    essence = [provenance._essence(p) for p in (a, b, c)]
    assert essence[0] == essence[1] != essence[2]
    assert provenance.module_file("equidyn.symmetry.measure") in provenance._imports(
        SOURCE / "tasks/forces.py"
    )


@pytest.mark.parametrize("path", sorted((REPOSITORY / "envs").glob("*.yaml")), ids=lambda p: p.stem)
def test_conda_environments_parse_and_pins_equal_the_lock(path):
    from rattler import MatchSpec

    env = yaml.safe_load(path.read_text())
    assert env["channels"] == ["conda-forge", "nodefaults"]
    lock = set((REPOSITORY / "requirements.txt").read_text().split())
    for dependency in env["dependencies"]:
        if isinstance(dependency, str):
            MatchSpec(dependency, strict=True)
        else:
            assert set(dependency["pip"]) <= lock


def test_every_rule_names_an_existing_environment():
    for rules in (REPOSITORY / "workflow/rules").glob("*.smk"):
        for name in re.findall(r'"\.\./\.\./envs/([\w.]+)"', rules.read_text()):
            assert (REPOSITORY / "envs" / name).exists(), (rules, name)


def test_workflow_knows_the_same_tasks_and_models_as_the_package():
    from equidyn import tasks
    from equidyn.models import registry

    rules = (REPOSITORY / "workflow/rules/common.smk").read_text()
    for modules in (tasks.TASKS, registry.ARCHITECTURES):
        for name, (module, _) in modules.items():
            assert f'"{name}": "{module}"' in rules
