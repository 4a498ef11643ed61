"""The package as one that is installed: public names, doctests, the command, an empty environment."""

import doctest
import importlib
import os
import re
import subprocess
import sys

import pytest
from common import REPOSITORY

import equidyn
from equidyn import cli
from equidyn.errors import MissingPackageError, optional_packages

DOCUMENTED = ("symmetry.actions", "symmetry.decomposition", "symmetry.groups", "symmetry.measure")
DOCUMENTED += ("probe.calculators", "probe.measurement", "probe.models", "probe.training")
DOCUMENTED += ("probe.twirled", "probe.averaging", "probe.picture", "symmetry.averaging")
DOCUMENTED += ("symmetry.transformations",)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_examples_in_docstrings_are_true(name):
    module = importlib.import_module(f"equidyn.{name}")
    found = doctest.testmod(module)
    assert found.attempted > 0 and found.failed == 0


def test_public_names_are_what_they_say():
    for name in equidyn._HOME:
        assert getattr(equidyn, name) is not None and name in dir(equidyn)
    assert equidyn.decompose.__module__ == "equidyn.symmetry.decomposition"
    with pytest.raises(AttributeError, match="no attribute 'meassure', expected one of .*measure"):
        _ = equidyn.meassure


def test_a_missing_package_is_one_sentence_that_names_the_extra():
    with pytest.raises(MissingPackageError, match=r"rdkit is not installed.*pip install 'equidyn\[data\]'"):
        with optional_packages():
            raise ModuleNotFoundError("No module named 'rdkit.Chem'", name="rdkit.Chem")
    with pytest.raises(ModuleNotFoundError, match="ours"), optional_packages():
        raise ModuleNotFoundError("ours", name="equidyn.ours")


def test_every_extra_of_a_message_exists():
    import tomllib

    from equidyn.errors import EXTRAS

    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = {"yaml": "pyyaml", "skimage": "scikit-image"}
    for package, extra in EXTRAS.items():
        assert names.get(package, package) in extras[extra]


def command(*arguments, **more):
    return subprocess.run(
        [sys.executable, "-m", "equidyn.cli", *arguments], capture_output=True, text=True, **more
    )


def test_the_command_explains_itself_and_its_errors(tmp_path):
    assert re.search(r"estimate.*\n.*report", command("--help").stdout, re.S)
    assert command("--version").stdout.strip() == equidyn.__version__
    done = command("report", str(tmp_path))
    assert done.returncode == 1 and re.fullmatch(
        r"error: .*no claims.csv.*expected a folder.*\n", done.stderr
    )
    resources = str(REPOSITORY / "resources")
    done = command("estimate", "--resources", resources, "--utilisation", "2")
    assert done.returncode == 1 and "utilisation 2.0" in done.stderr and "Traceback" not in done.stderr


def test_a_fault_of_our_own_keeps_its_traceback(monkeypatch):
    from equidyn.steps.command import end_with_one_paragraph

    def fault():
        raise ValueError("this was not expected")

    with pytest.raises(ValueError, match="not expected"):
        end_with_one_paragraph(fault)


def test_the_installed_command_is_that_of_the_package():
    path = os.path.join(os.path.dirname(sys.executable), "equidyn")
    done = subprocess.run([path, "--version"], capture_output=True, text=True)
    assert done.stdout.strip() == equidyn.__version__
    assert cli.main.__module__ == "equidyn.cli"


CORE = """
import sys
import equidyn, torch
assert "torch" in sys.modules
x = torch.randn(50, 3)
model = torch.nn.Linear(3, 3).eval()
Vector = equidyn.actions.Vector
found = equidyn.measure(model, [(dict(input=x), x)], dict(input=Vector()), Vector(), rotations=4)
assert 0 < found["output"].percent < 100
absent = {"h5py", "yaml", "rdkit", "ase", "matplotlib", "snakemake"}
assert not absent & set(sys.modules)
print(equidyn.__version__, equidyn.__file__)
"""


MOLECULES = "3\n\nO 0 0 0.12\nH 0 0.76 -0.48\nH 0 -0.76 -0.48\n" * 3


def test_an_empty_environment_needs_the_core_alone(tmp_path):
    """`pip install .` with this repository's constraints, then the library without any extra; then with ase,
    for a calculator.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    python = tmp_path / "env/bin/python"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    constraints = str(REPOSITORY / "constraints.txt")
    asked = [*pip, "--constraint", constraints, str(REPOSITORY)]
    done = subprocess.run(asked, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    done = subprocess.run(
        [str(python), "-c", CORE], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    version, path = done.stdout.split() or ("", done.stderr)
    assert version == equidyn.__version__ and str(tmp_path) in path, done.stderr
    missing = subprocess.run(
        [str(tmp_path / "env/bin/equidyn"), "report", str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert (
        missing.returncode == 1
        and "pip install 'equidyn[" in missing.stderr
        and "Traceback" not in missing.stderr
    )
    measure = [str(tmp_path / "env/bin/equidyn"), "measure", "--structures", "water.xyz", "--out", "out"]
    measure += ["--calculator", "ase.calculators.emt:EMT", "--rotations", "2"]
    (tmp_path / "water.xyz").write_text(MOLECULES)
    how = dict(capture_output=True, text=True, env=environment, cwd=tmp_path)
    without = subprocess.run(measure, **how)
    assert without.returncode == 2 and "'ase'" in without.stderr and "Traceback" not in without.stderr
    asked = [*pip, "--constraint", constraints, f"{REPOSITORY}[calculators]"]
    assert subprocess.run(asked, capture_output=True, env=environment).returncode == 0
    done = subprocess.run(measure, **how)
    assert done.returncode == 0 and "forces: exact (at the floor)" in done.stdout, done.stderr


def test_a_file_that_is_not_there_is_named_without_a_traceback(tmp_path):
    done = command("estimate", "--configfile", str(tmp_path / "nope.yaml"))
    assert done.returncode == 1 and re.fullmatch(r"error: .*No such file.*nope.yaml.*\n", done.stderr)
