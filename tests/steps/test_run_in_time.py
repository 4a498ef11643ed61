"""`equidyn run` and `equidyn pack` with tiny models on the CPU, in an environment cut down to what a node
without a network has.
"""

import csv
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time

import gpu_results
import pytest
import torch
import yaml
from common import REPOSITORY
from gpu_results import RUNS

from equidyn.device import tf32
from equidyn.errors import ArgumentError, DataError
from equidyn.results import tables
from equidyn.results.columns import DECOMPOSITION
from equidyn.steps import run_in_time as module
from equidyn.steps.pack import pack
from equidyn.steps.run import read_settings

BLOCKED = "yaml jsonschema pydantic tqdm numba rdkit ase gemmi tblite snakemake pycurl jinja2 pandas skimage"
BLOCKER = f"""
import runpy, sys
sys.modules.update(dict.fromkeys("{BLOCKED}".split()))  # None: an import fails, and a search finds nothing
runpy.run_module("equidyn.cli", run_name="__main__", alter_sys=True)
"""
STEPS = 12


@pytest.fixture(scope="module")
def results(dataset, tmp_path_factory):
    return gpu_results.make(tmp_path_factory.mktemp("results") / "gpu", dataset)


@pytest.fixture(scope="module")
def unpacked(results, tmp_path_factory):
    """Packed, taken elsewhere, unpacked."""
    folder = tmp_path_factory.mktemp("node")
    pack(results, folder / "pack.tar.gz")
    with tarfile.open(folder / "pack.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "equidyn"


def command(*more):
    return [sys.executable, "-c", BLOCKER, "run", "results/gpu", "--device", "cpu", *map(str, more)]


def surroundings(tree):
    return dict(env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tree / "src")}, cwd=tree)


@pytest.fixture(scope="module")
def done(unpacked):
    """All runs, where nothing but the allowed packages can be imported."""
    asked = command("--minutes", 60, "--steps", STEPS)
    finished = subprocess.run(asked, **surroundings(unpacked), capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return unpacked / "results/gpu/timed", finished.stdout


def test_the_code_that_runs_is_the_packed_one(done, unpacked):
    for name in RUNS:
        told = json.loads((done[0] / f"{name}.json").read_text())
        assert told["commit"] == (unpacked / "COMMIT").read_text()


def test_writes_tables_figures_and_records_without_other_packages(done):
    folder, printed = done
    made = {f"{name}.{suffix}" for name in RUNS for suffix in ("csv", "json", "png", "svg", "pdf")}
    assert {path.name for path in folder.iterdir()} == made | {"work", "summary.md"}  # nothing half-written
    for name in RUNS:
        told = json.loads((folder / f"{name}.json").read_text())
        assert told["summary"]["steps"] == told["planned"]["steps"] == STEPS
        assert told["summary"]["torch"] == torch.__version__ and told["summary"]["hardware"]
        assert name in printed
    assert (folder / "summary.md").read_text().count("\n|") == 2 + len(RUNS)


@pytest.mark.parametrize("name", RUNS)
def test_tables_are_those_of_the_workflow(done, name):
    path = done[0] / f"{name}.csv"
    with open(path) as file:
        assert next(csv.reader(file)) == list(DECOMPOSITION)
    rows = tables.read([path])
    for condition in tables.conditions(rows, name):
        curve = tables.curve(rows, name, condition=condition)
        assert (curve[0]["step"], curve[-1]["step"]) == (0, STEPS) and len(curve) == 4
        averaged = tables.curve(rows, name, weights="ema", condition=condition)
        assert [row["step"] for row in averaged] == [row["step"] for row in curve]
        seen = tables.curve(rows, name, condition=condition, items="training")
        assert [row["step"] for row in seen] == [STEPS]
    for row in rows:
        assert row["percent_lo"] <= row["percent"] <= row["percent_hi"]
        assert math.isclose(row["total"], row["twirled"] + row["equivariance"], rel_tol=1e-9, abs_tol=1e-12)
        if row["loss"] == "mse":
            assert row["floor"] < 1e-6 * row["total"] < row["equivariance"]


def without_seconds(path):
    return [{**row, "seconds": 0} for row in tables.read([path])]


@pytest.mark.parametrize("seed", range(1))
def test_killed_at_random_moments_it_comes_to_the_same_and_measures_nothing_twice(
    done, unpacked, tmp_path, seed
):
    """However often it is killed: what a call has measured, the next one has not lost."""
    out, draw = tmp_path / "out", random.Random(seed)
    asked = command("--minutes", 60, "--steps", STEPS, "--out", out, "--runs", "forces")
    kept, printed = set(), ""
    for _ in range(3):
        call = subprocess.Popen(asked, **surroundings(unpacked), stdout=subprocess.PIPE, text=True)
        wanted = draw.randrange(1, 5)  # measured checkpoints until it dies, or a little later
        for line in call.stdout:
            wanted -= "measured step" in line
            if wanted == 0:
                time.sleep(draw.random() / 4)
                break
        call.send_signal(signal.SIGKILL)
        call.wait()
        there = {path.name for path in (out / "work/forces/measured").glob("step_*.json")}
        assert kept <= there or (out / "work/forces/decomposition.csv").is_file()
        kept = there
    finished = subprocess.run(asked, **surroundings(unpacked), capture_output=True, text=True)
    assert finished.returncode == 0, printed + finished.stdout + finished.stderr
    assert without_seconds(out / "forces.csv") == without_seconds(done[0] / "forces.csv")


def test_a_call_that_is_killed_in_its_second_run_repeats_nothing_of_the_first(done, unpacked, tmp_path):
    out = tmp_path / "out"
    asked = command("--minutes", 60, "--steps", STEPS, "--out", out, "--runs", "forces", "flow")
    call = subprocess.Popen(asked, **surroundings(unpacked), stdout=subprocess.PIPE, text=True)
    for line in call.stdout:
        if line.startswith("flow: measured"):
            break
    call.send_signal(signal.SIGKILL)
    call.wait()
    told = json.loads((out / "forces.json").read_text())
    finished = subprocess.run(asked, **surroundings(unpacked), capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert told["seconds"] > 0 and json.loads((out / "forces.json").read_text())["seconds"] == told["seconds"]
    assert "forces: plan of before" in finished.stdout and "forces: measured" not in finished.stdout
    for name in ("forces", "flow"):
        assert without_seconds(out / f"{name}.csv") == without_seconds(done[0] / f"{name}.csv")


def test_a_run_that_fails_leaves_the_others(unpacked, tmp_path):
    tree = tmp_path / "tree"
    shutil.copytree(unpacked, tree, ignore=shutil.ignore_patterns("timed"))
    path = tree / "results/gpu/runs/flow/config.yaml"
    settings = json.loads(path.read_text())
    settings["model"]["size"] = "no such size"
    path.write_text(json.dumps(settings))
    asked = command("--minutes", 60, "--steps", STEPS, "--runs", "flow", "forces")
    finished = subprocess.run(asked, **surroundings(tree), capture_output=True, text=True)
    assert finished.returncode == 1 and "flow: failed, see above" in finished.stderr
    assert "| flow | failed: " in finished.stdout and (tree / "results/gpu/timed/forces.csv").is_file()


def test_settings_that_were_packed_are_those_of_the_config(results, unpacked):
    """JSON writes 1e-05, which YAML takes for text."""
    path = results / "runs/forces/config.yaml"
    settings = yaml.safe_load(path.read_text())
    settings["training"]["lr"] = 1e-5
    packed = path.parent / "packed.yaml"
    packed.write_text(json.dumps(settings))
    assert read_settings(packed) == settings and read_settings(path)["training"]["lr"] == 1e-3
    for name in RUNS:
        there = read_settings(unpacked / f"results/gpu/runs/{name}/config.yaml")
        assert there == yaml.safe_load((results / f"runs/{name}/config.yaml").read_text())


def test_other_settings_start_anew(done, unpacked, tmp_path):
    shutil.copytree(done[0], tmp_path / "out")
    asked = command("--minutes", 60, "--steps", STEPS + 1, "--out", tmp_path / "out", "--runs", "forces")
    finished = subprocess.run(asked, **surroundings(unpacked), capture_output=True, text=True)
    assert finished.returncode == 0 and "discarded" in finished.stdout
    assert max(row["step"] for row in tables.read([tmp_path / "out/forces.csv"])) == STEPS + 1


@pytest.mark.parametrize(
    "step_seconds, share", [(0.01, 600), (0.04, 200), (0.1, 100), (1e-4, 600), (100, 600)]
)
def test_the_plan_stays_within_the_time(results, tmp_path, monkeypatch, step_seconds, share):
    (settings,) = module.settings_of(results, ["forces"])
    timed = module._Timed(results, {**settings, "device": "cpu"}, tmp_path)
    used = []
    monkeypatch.setattr(timed, "_time_steps", lambda: step_seconds)
    monkeypatch.setattr(timed, "_time_measuring", lambda measurement: (used.append(measurement), 2.0)[1])
    monkeypatch.setattr(timed, "_time_storing", lambda: 0.5)
    planned = timed.plan(share, None)
    if planned is None:
        assert module.FEWEST * step_seconds > 0.9 * share - 8 * 2.0
        return

    def rotations(last):
        plans = used[0].plans(last)
        return sum(len(plan.conditions) * len(plan.rotations.drawn) for plan in plans)

    measuring = (planned.n_checkpoints - 1 + rotations(True) / rotations(False)) * 2.0
    training = planned.steps * step_seconds
    storing = 0.5 * (planned.n_checkpoints + training / module.KEEP_EVERY)
    assert training + measuring + storing <= share
    assert module.FEWEST <= planned.steps <= settings["training"]["steps"]
    assert timed.plan(1.0, None) == planned  # kept


def test_what_measuring_refuses_is_found_before_a_step_is_taken(results, tmp_path, monkeypatch):
    (settings,) = module.settings_of(results, ["forces"])
    timed = module._Timed(results, {**settings, "device": "cpu"}, tmp_path)

    def refused(measurement):
        raise DataError("too few items")

    monkeypatch.setattr(timed, "_time_measuring", refused)
    monkeypatch.setattr(timed, "_time_steps", lambda: pytest.fail("steps were taken"))
    with pytest.raises(DataError, match="too few items"):
        timed.plan(600, None)


def test_what_a_task_refuses_is_not_packed(results, tmp_path):
    shutil.copytree(results, tmp_path / "gpu")
    path = tmp_path / "gpu/runs/forces/config.yaml"
    settings = read_settings(path)
    path.write_text(json.dumps({**settings, "measure": {**settings["measure"], "n_items": 10**6}}))
    with pytest.raises(DataError, match="n_items"):
        pack(tmp_path / "gpu", tmp_path / "pack.tar.gz", runs=["forces"])
    assert not (tmp_path / "pack.tar.gz").exists()


def test_says_what_is_missing_and_runs_nothing(results, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_Timed", None)
    with pytest.raises(DataError, match="runs/.*make gpu-data"):
        module.run_in_time(tmp_path, 1.0)
    with pytest.raises(ArgumentError, match="no runs .'absent'., expected some of flow, forces"):
        module.run_in_time(results, 1.0, runs=["absent"])
    with pytest.raises(ArgumentError, match="minutes 0"):
        module.run_in_time(results, 0)
    copy = tmp_path / "gpu"
    shutil.copytree(results, copy)
    (copy / "data/drugs.h5").unlink()
    with pytest.raises(DataError, match="drugs.h5: not there"):
        module.run_in_time(copy, 1.0)
    with pytest.raises(DataError, match="drugs.h5: not there"):
        pack(copy, tmp_path / "pack.tar.gz")
    assert not (copy / "timed").exists() and not (tmp_path / "pack.tar.gz").exists()


def test_files_of_extensions_travel_too(results, tmp_path, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    shutil.copytree(results, tmp_path / "gpu")
    path = tmp_path / "gpu/runs/forces/config.yaml"
    settings = read_settings(path)
    model = dict(
        architecture="springs", size="tiny", extension=dict(file="tests/extension_net.py", digest="x")
    )
    path.write_text(json.dumps({**settings, "model": model}))
    pack(tmp_path / "gpu", tmp_path / "pack.tar.gz", runs=["forces"])
    with tarfile.open(tmp_path / "pack.tar.gz") as archive:
        assert "equidyn/tests/extension_net.py" in archive.getnames()
    model["extension"]["file"] = str(REPOSITORY / "tests/extension_net.py")
    path.write_text(json.dumps({**settings, "model": model}))
    with pytest.raises(DataError, match="extension_net.py, expected paths within the repository"):
        pack(tmp_path / "gpu", tmp_path / "away.tar.gz", runs=["forces"])


def test_a_pack_beyond_the_limit_is_refused(results, tmp_path):
    with pytest.raises(DataError, match=r"MiB, expected at most 0.01"):
        pack(results, tmp_path / "pack.tar.gz", limit=0.01)
    assert not list(tmp_path.iterdir())


def test_tf32_is_as_it_was_afterwards():
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    with pytest.raises(ZeroDivisionError), tf32(not before[0]):
        assert torch.backends.cuda.matmul.allow_tf32 is torch.backends.cudnn.allow_tf32 is not before[0]
        raise ZeroDivisionError
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


def test_the_papers_curve_agrees_with_its_milestones():
    paper = tables.read_paper(REPOSITORY / "resources/paper_milestones.csv")
    rows = [r for r in paper if (r["task"], r["run"]) == ("forces", "train-50k")]

    def of(quantity):
        return {r["step"]: r["percent"] for r in rows if r["quantity"] == quantity}

    ratio, drawn, known = (of(q) for q in ("percent_ratio", "percent_drawn", "percent_published"))
    assert known and set(ratio) == set(drawn) and all(0 < ratio[s] <= drawn[s] for s in ratio)
    for step, percent in known.items():
        near = min(drawn, key=lambda s: abs(math.log(s / step)))
        neighbours = [drawn[s] for s in drawn if abs(math.log(s / near)) < 0.5]
        assert 0.85 * min(neighbours) <= percent <= 1.15 * max(neighbours)
