"""benchmarks/gpu_replicate.py with tiny models on the CPU, in an environment cut down to what its header
promises.
"""

import csv
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from benchmarks import gpu_replicate
from equidyn import config
from equidyn.data import grids
from equidyn.data.build import build
from equidyn.device import tf32
from equidyn.results import tables
from equidyn.results.columns import DECOMPOSITION
from equidyn.training import loop

REPOSITORY = Path(__file__).resolve().parents[1]
SCRIPT = REPOSITORY / "benchmarks/gpu_replicate.py"
BLOCKED = "yaml jsonschema pydantic tqdm numba rdkit ase gemmi tblite snakemake pycurl jinja2 pandas skimage"
BLOCKER = f"""
import runpy, sys
sys.modules.update(dict.fromkeys("{BLOCKED}".split()))  # None: an import fails, and a search finds nothing
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def data(dataset, tmp_path_factory):
    """The files that `make gpu-data` makes, small."""
    folder = tmp_path_factory.mktemp("gpu-data")
    for name in ("conformers", "conformers-aligned"):
        shutil.copy(dataset, folder / f"{name}.h5")
    small = dict(
        source="conformers",
        molecules=str(REPOSITORY / "resources/molecules.csv"),
        n_molecules=12,
        n_conformers=16,
        temperature=200,
        max_atoms=9,
        n_held_out=5,
        seed=0,
    )
    box = dict(elements=["C", "H", "O", "N", "F", "S", "Cl", "Br"], grid=12, resolution=0.9, radius=0.5)
    build({**small, "labels": False, "voxels": box}, str(folder / "voxels.h5"))
    grids.build(str(folder / "voxels.h5"), str(folder / "voxels/grids.h5"))
    build(
        dict(source="backbones", n_chains=10, min_residues=20, max_residues=24, n_held_out=4, seed=0),
        str(folder / "backbones.h5"),
    )
    return folder


def command(data, folder, *more):
    return [
        str(SCRIPT),
        "--data",
        str(data),
        "--out",
        str(folder / "out"),
        "--work",
        str(folder / "work"),
        "--device",
        "cpu",
        "--tiny",
        *more,
    ]


def call(data, folder, monkeypatch, *more):
    """The script's main in this process, without figures: they are looked at in the other one."""
    monkeypatch.setattr(gpu_replicate, "save_figure", lambda figure, stem: None)
    monkeypatch.setattr(sys, "argv", command(data, folder, *more))
    gpu_replicate.main()


@pytest.fixture(scope="module")
def done(data, tmp_path_factory):
    """All tasks, run where nothing but the allowed packages can be imported."""
    folder = tmp_path_factory.mktemp("replicate")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    finished = subprocess.run(
        [sys.executable, "-c", BLOCKER, *command(data, folder, "--steps", "10")],
        env=environment,
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return folder, finished.stdout


def test_writes_tables_figures_and_record_without_other_packages(done):
    folder, printed = done
    names = {
        f"replicate-{task}.{suffix}" for task in gpu_replicate.RUNS for suffix in ("csv", "png", "svg", "pdf")
    }
    assert {path.name for path in (folder / "out").iterdir()} == names | {
        "replicate.json"
    }  # and nothing half-written
    record = json.loads((folder / "out/replicate.json").read_text())
    assert set(record) == set(gpu_replicate.RUNS)
    for task, entry in record.items():
        assert (
            entry["steps_run"] == 10
            and entry["steps_per_second"] > 0
            and entry["tiny"]
            and entry["hardware"]
            and entry["torch"] == torch.__version__
        )
        assert set(entry["data"]) == {Path(file).name for file in gpu_replicate.FILES[task]}
    assert f"10 of {gpu_replicate.LEAST['forces']} wanted" in printed


@pytest.mark.parametrize("task", gpu_replicate.RUNS)
def test_tables_are_those_of_the_workflow(done, task):
    path = done[0] / f"out/replicate-{task}.csv"
    with open(path) as file:
        assert next(csv.reader(file)) == list(DECOMPOSITION)
    rows = tables.read([path])
    for condition in tables.conditions(rows, rows[0]["run"]):
        curve = tables.curve(rows, rows[0]["run"], condition=condition)
        assert (curve[0]["step"], curve[-1]["step"]) == (0, 10) and len(
            {row["step"] for row in curve}
        ) == len(curve)
        averaged = tables.curve(rows, rows[0]["run"], weights="ema", condition=condition)
        assert [row["step"] for row in averaged] == [row["step"] for row in curve]
        seen = tables.curve(rows, rows[0]["run"], condition=condition, items="training")
        assert [row["step"] for row in seen] == [10]
    for row in rows:
        assert row["percent_lo"] <= row["percent"] <= row["percent_hi"]
        assert math.isclose(row["total"], row["twirled"] + row["equivariance"], rel_tol=1e-9, abs_tol=1e-12)
        if row["loss"] == "mse":
            assert row["floor"] < 1e-6 * row["total"] < row["equivariance"]


def test_goes_on_where_it_was(done, data, tmp_path, monkeypatch):
    """A finished training is kept, a lost measurement is made again and gives the same, other settings start
    anew.
    """
    folder = tmp_path / "copy"
    shutil.copytree(done[0], folder)
    monkeypatch.chdir(tmp_path)

    def forbidden(*_, **__):
        raise AssertionError("trained again")

    before = tables.read([folder / "out/replicate-forces.csv"])
    shutil.rmtree(folder / "out")
    lost = sorted((folder / "work/forces/rows").iterdir())[1]
    lost.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(loop, "train", forbidden)
        call(data, folder, patch, "--steps", "10", "--tasks", "forces")
        assert lost.is_file()
        after = tables.read([folder / "out/replicate-forces.csv"])
        assert [{**row, "seconds": 0} for row in after] == [{**row, "seconds": 0} for row in before]
        with pytest.raises(AssertionError, match="trained again"):
            call(data, folder, patch, "--steps", "11", "--tasks", "forces")
    call(data, folder, monkeypatch, "--steps", "11", "--tasks", "forces")
    assert max(row["step"] for row in tables.read([folder / "out/replicate-forces.csv"])) == 11


def test_a_killed_training_resumes_from_the_plan(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train, resumed = loop.train, []

    def killed(model, task, settings, out, identity, seed, resume_every):
        original = task.training_loss
        task.training_loss = lambda model, items, step: 1 / 0 if step == 6 else original(model, items, step)
        train(model, task, settings, out, identity, seed, 0.0)

    def watched(model, task, settings, out, identity, seed, resume_every):
        original = task.training_loss
        task.training_loss = lambda model, items, step: resumed.append(step) or original(model, items, step)
        train(model, task, settings, out, identity, seed, 0.0)

    monkeypatch.setattr(loop, "train", killed)
    with pytest.raises(ZeroDivisionError):
        call(data, tmp_path, monkeypatch, "--steps", "10", "--tasks", "forces")
    assert not (tmp_path / "out/replicate.json").exists()
    monkeypatch.setattr(loop, "train", watched)
    call(data, tmp_path, monkeypatch, "--steps", "10", "--tasks", "forces")
    assert resumed == [6, 7, 8, 9]


@pytest.mark.parametrize(
    "step_seconds, remaining, n_left",
    [(0.01, 600, 3), (0.04, 600, 3), (0.1, 600, 3), (0.0001, 600, 1), (100, 600, 3)],
)
@pytest.mark.parametrize("task", ["forces", "flow"])
def test_the_plan_stays_within_the_time(data, tmp_path, monkeypatch, task, step_seconds, remaining, n_left):
    replica = gpu_replicate.Replica(task, data, tmp_path, "cpu", True, None)
    monkeypatch.setattr(replica, "_time_steps", lambda n: step_seconds)
    monkeypatch.setattr(replica, "_time_measuring", lambda: 2.0)
    plan = replica.plan(remaining, n_left)
    assert (
        plan["steps"] * step_seconds + (plan["n_checkpoints"] + 1) * 2.0 <= plan["share"] <= remaining
        or plan["steps"] == 0
    )
    assert plan["steps"] <= gpu_replicate.RUNS[task]["steps"] and plan["n_checkpoints"] >= 3
    needed = (
        gpu_replicate.LEAST.get(task, 0) * step_seconds / gpu_replicate.BEST["margin"]
        + (gpu_replicate.BEST["n_checkpoints"] + 1) * 2.0
    )
    if task == "flow" or needed <= remaining / n_left:
        assert plan["share"] <= max(remaining / n_left, needed)
    if task == "forces" and needed < 0.99 * remaining:
        assert plan["steps"] >= gpu_replicate.LEAST["forces"] - 1
    assert (tmp_path / task / "plan.json").is_file() == (plan["steps"] >= gpu_replicate.FEWEST)


def test_says_what_is_missing(tmp_path):
    asked = [sys.executable, str(SCRIPT), "--data", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
    finished = subprocess.run(asked, capture_output=True, text=True)
    assert finished.returncode != 0 and len(finished.stderr.strip().splitlines()) == 1
    assert (
        all(
            str(tmp_path / "none" / file) in finished.stderr
            for files in gpu_replicate.FILES.values()
            for file in files
        )
        and "make gpu-data" in finished.stderr
    )
    assert torch.cuda.is_available() or "no CUDA device" in finished.stderr
    assert not (tmp_path / "out").exists()


def test_settings_are_those_of_the_config():
    content = yaml.safe_load((REPOSITORY / "config/gpu-data.yaml").read_text())
    config.validate(content)
    made = {f"{name}.h5" for name in content["datasets"]} | {
        f"{run['dataset']}/grids.h5" for run in content["runs"].values() if run["task"] == "voxels"
    }
    assert made == {file for files in gpu_replicate.FILES.values() for file in files}
    assert {run["run"] for run in gpu_replicate.RUNS.values()} == set(content["runs"])
    for task, ours in gpu_replicate.RUNS.items():
        theirs = config.resolve_run(content, ours["run"])
        assert theirs["task"] == ours["task"] and f"{theirs['dataset']}.h5" == gpu_replicate.FILES[task][0]
        training = {
            key: value for key, value in theirs["training"].items() if key not in ("steps", "n_checkpoints")
        }
        assert (theirs["model"], training, theirs["measure"]) == (
            ours["model"],
            ours["training"],
            ours["measure"],
        )


def test_tf32_is_as_it_was_afterwards():
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    with pytest.raises(ZeroDivisionError), tf32(not before[0]):
        assert torch.backends.cuda.matmul.allow_tf32 is torch.backends.cudnn.allow_tf32 is not before[0]
        raise ZeroDivisionError
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


def test_the_papers_curve_agrees_with_its_milestones():
    curve = gpu_replicate.read_paper(REPOSITORY / "resources/paper_train50k.csv")
    assert [row["step"] for row in curve] == sorted({row["step"] for row in curve})
    assert all(0 < row["ratio_percent"] <= row["published_percent"] for row in curve)
    known = [
        r
        for r in tables.read_paper(REPOSITORY / "resources/paper_milestones.csv")
        if (r["task"], r["run"], r["quantity"]) == ("forces", "train-50k", "percent_published")
    ]
    assert known
    for point in known:
        near = min(curve, key=lambda row: abs(math.log(row["step"] / point["step"])))
        neighbours = [
            row["published_percent"] for row in curve if abs(math.log(row["step"] / near["step"])) < 0.5
        ]
        assert 0.85 * min(neighbours) <= point["percent"] <= 1.15 * max(neighbours)


def test_the_progress_bar_stays():
    import tqdm

    assert loop.tqdm is tqdm.tqdm
