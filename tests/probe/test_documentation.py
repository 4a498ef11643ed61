"""The commands of docs/measure-your-model.md run, with stand-ins of packages whose weights are not here."""

import json
import re
import shlex
import sys
import textwrap

import ase.io
import pytest
from common import REPOSITORY
from probe.stand_ins import frames
from probe.test_command import run

PAGE = (REPOSITORY / "docs/measure-your-model.md").read_text()
COMMANDS = re.findall(r"^    equidyn (measure|twirl) (.*)$", PAGE, re.M)
FILES = dict(re.findall(r"^    # (my_\w+\.py)\n((?:    .*\n|\n)+)", PAGE, re.M))
PACKAGES = {
    "mace.calculators": """
        def mace_mp(model, device="", default_dtype="float32"):
            assert model == "small"
            return Springs()
        """,
    "orb_models.forcefield.pretrained": """
        def orb_v3_direct_20_omat(device, precision):
            return "model", "adapter"
        """,
    "orb_models.forcefield.inference.calculator": """
        def ORBCalculator(model, adapter, device):
            assert (model, adapter) == ("model", "adapter")
            return Springs(stretched)
        """,
    "fairchem.core": """
        class pretrained_mlip:
            get_predict_unit = staticmethod(lambda name, device: name)

        def FAIRChemCalculator(unit, task_name):
            return Springs()
        """,
    "upet.ase": """
        class UPETCalculator(Springs):
            def __init__(self, model, version, device):
                super().__init__(stretched)
        """,
}
CALCULATOR = "from probe.my_calc import make\n"
NET = "from probe.my_net import heldout, load\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A user's folder: structures, files of the page, packages with the interfaces of the real ones."""
    import torch
    from probe import my_net

    ase.io.write(tmp_path / "test.extxyz", frames(10))
    for name, text in {**FILES, "my_calc.py": CALCULATOR, "my_net.py": NET}.items():
        (tmp_path / name).write_text(textwrap.dedent(text))
    (tmp_path / "runs/x").mkdir(parents=True)
    torch.save(my_net.load().state_dict(), tmp_path / "runs/x/step_3.pt")
    for module, text in PACKAGES.items():
        path = tmp_path / "packages" / (module.replace(".", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("from probe.stand_ins import Springs, stretched\n" + textwrap.dedent(text))
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.split(".")[0] in (
            "mace",
            "orb_models",
            "fairchem",
            "upet",
            "my_orb",
            "my_uma",
            "my_calc",
            "my_net",
        ):
            del sys.modules[name]


@pytest.mark.parametrize("name, options", COMMANDS, ids=lambda text: text.rpartition("results/")[2])
def test_commands_of_the_page_run(folder, name, options, capsys):
    expected = 1 if "--fail-above" in options else 0
    assert run(*shlex.split(options), "--rotations", 2, command=name) == expected, capsys.readouterr().err
    assert (folder / shlex.split(options)[-1] / "report.html").exists()


def test_the_page_has_the_commands_and_files_it_speaks_of():
    assert len(COMMANDS) == 7 and set(FILES) == {"my_orb.py", "my_uma.py"}


def test_actions_and_predictions_of_the_page_are_what_they_say():
    """Vectors that mirror images leave alone, and forces that are gradients."""
    import torch

    import equidyn
    from equidyn.probe import verdicts
    from equidyn.symmetry.actions import Fixed, Vector

    names = dict(torch=torch, Vector=Vector)
    for start in ("class AxialVector", "def forces"):
        exec(textwrap.dedent(re.search(rf"^    {start}.*\n(?:     .*\n)+", PAGE, re.M)[0]), names)
    x = torch.randn(20, 5, 3, generator=torch.Generator().manual_seed(0))
    cross = lambda pos: torch.linalg.cross(pos, pos.roll(1, 1))  # noqa: E731
    how = dict(group="o3", rotations=4)
    found = equidyn.measure(cross, [({"pos": x}, None)], {"pos": Vector()}, names["AxialVector"](), **how)
    assert found["output"].verdict == verdicts.AT_FLOOR
    energy = lambda pos, z: {"energy": (z * pos.square().sum(-1)).sum(1)}  # noqa: E731
    batches = [({"pos": x, "z": torch.arange(5).expand(20, 5)}, x)]
    actions = {"pos": Vector(), "z": Fixed()}
    found = equidyn.measure(energy, batches, actions, Vector(), predict=names["forces"], quantity="forces")
    assert found["forces"].verdict == verdicts.AT_FLOOR


def test_the_notebook_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cells = json.loads((REPOSITORY / "docs/measure-your-model.ipynb").read_text())["cells"]
    names: dict = {"__name__": "notebook"}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "measure-your-model.ipynb", "exec"), names)
    shown = capsys.readouterr().out
    assert "forces: exact (at the floor)" in shown and "degree 2: 100.000 % of the error" in shown
    assert [row.step for row in names["probe"].history] == [0, 50, 100, 150, 200]
    assert not any(cell.get("outputs") for cell in cells)  # what it prints is not kept
