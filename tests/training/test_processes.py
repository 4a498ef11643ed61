"""Several processes are one with as many micro-batches: the same curve, checkpoints and measurement."""

import csv
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from common import REPOSITORY, TRAINING

TOLERANCE = 1e-5  # relative, of losses after 12 steps: gradients are summed in another order
STEPS = 12


def settings(**training):
    training = {**TRAINING, "steps": STEPS, "batch_size": 8, "n_checkpoints": 3, "log_every": 1, **training}
    made = dict(run="shared", seed=0, device="cpu", task="forces", dataset="d", training=training)
    made |= dict(model={"architecture": "escaip", "size": "tiny", "options": {"dropout": 0.1}})
    return made | dict(measure=dict(n_items=8, n_rotations=3, batch_size=3))


def call(script, folder, dataset, n, *more):
    """A step as the workflow starts it."""
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n)] if n > 1 else []
    path = str(REPOSITORY / f"workflow/scripts/{script}.py")
    common = ["--config", str(folder / "run.yaml"), "--data", str(dataset), "--out"]
    return subprocess.run(
        [sys.executable, *start, path, *common, *map(str, more)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def trained(folder, dataset, n, **training):
    folder.mkdir()
    (folder / "run.yaml").write_text(yaml.safe_dump(settings(**training)))
    done = call("train", folder, dataset, n, folder)
    assert done.returncode == 0, done.stderr[-12000:]
    measured = call(
        "decompose", folder, dataset, n, folder / "table.csv", "--checkpoints", folder / "checkpoints"
    )
    assert measured.returncode == 0, measured.stderr[-3000:]
    return folder


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def alone(dataset, tmp_path_factory):
    return trained(tmp_path_factory.mktemp("alone") / "run", dataset, 1, micro_batch=4)


@pytest.fixture(scope="module")
def two(dataset, tmp_path_factory):
    return trained(tmp_path_factory.mktemp("two") / "run", dataset, 2, processes=2)


def test_the_loss_curve_is_that_of_one_process(alone, two):
    ours, theirs = table(alone / "metrics.csv"), table(two / "metrics.csv")
    assert len(ours) == len(theirs) == STEPS
    for a, b in zip(ours, theirs):
        for name in ("loss", "gradient_norm", "force_loss"):
            assert float(b[name]) == pytest.approx(float(a[name]), rel=TOLERANCE), (a["step"], name)


def test_checkpoints_are_written_once_and_are_the_same_networks(alone, two):
    names = sorted(path.name for path in (alone / "checkpoints").iterdir())
    assert names == sorted(path.name for path in (two / "checkpoints").iterdir())
    states = [torch.load(folder / "model.pt", weights_only=True)["live"] for folder in (alone, two)]
    for name in states[0]:
        torch.testing.assert_close(states[0][name], states[1][name], rtol=1e-3, atol=1e-5)
    assert not (two / "resume/state.pt").exists()


def test_measuring_by_two_is_measuring_by_one_to_the_last_digit(two, dataset):
    (two / "run.yaml").write_text(yaml.safe_dump(settings()))  # one process
    measured = call("decompose", two, dataset, 1, two / "by-one.csv", "--checkpoints", two / "checkpoints")
    assert measured.returncode == 0, measured.stderr[-3000:]
    strip = [
        [{k: v for k, v in r.items() if k != "seconds"} for r in table(two / f)]
        for f in ("table.csv", "by-one.csv")
    ]
    assert strip[0] == strip[1] and len(strip[0]) > 10


def test_a_killed_process_ends_the_job_which_goes_on_to_the_same_end(two, dataset, tmp_path):
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings(processes=2)))
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = ["--config", "run.yaml", "--data", str(dataset), "--out", "."]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"}
    command = [*start, str(REPOSITORY / "workflow/scripts/train.py"), *arguments]
    how = dict(cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with subprocess.Popen(command, **how) as job:
        while not list(tmp_path.glob("resume/checkpoints/*")) and job.poll() is None:
            time.sleep(0.01)
        children = subprocess.run(
            ["pgrep", "-P", str(job.pid)], capture_output=True, text=True
        ).stdout.split()
        os.kill(int(children[-1]), signal.SIGKILL)
        assert job.wait(timeout=300) != 0
    assert not (tmp_path / "model.pt").exists()
    assert subprocess.run(command, **how).returncode == 0
    assert table(tmp_path / "metrics.csv") == table(two / "metrics.csv")


def test_another_number_of_processes_is_refused(dataset, tmp_path):
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings(processes=2)))
    refused = call("train", tmp_path, dataset, 1, tmp_path)
    assert refused.returncode == 1
    assert "training.processes: 2, but 1 started; expected torchrun" in refused.stderr
