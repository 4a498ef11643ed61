"""The workflow on a real Slurm of one node: jobs share its GPU in turn, and a cancelled one goes on."""

import csv
import os
import re
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

import pytest
from workflow.test_workflow import checkout, snakemake

from equidyn.cost.requests import requests
from workflow import one_node_slurm

RUNS = ("forces", "forces-control")
TABLES = [f"results/smoke/runs/{run}/decomposition.csv" for run in RUNS]
QUICK = (
    "--slurm-init-seconds-before-status-checks", "5", "--jobs", "2", "--latency-wait", "10", "--retries", "2",
    "--default-resources", "mem_mb=1500", "runtime=20", "slurm_partition=test",
    "--set-resources", "train:gpu=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    if why := one_node_slurm.missing():
        assert "CI" not in os.environ, f"Slurm is asked for where CI is set: {why}"
        pytest.skip(why)
    with one_node_slurm.one_node(tmp_path_factory.mktemp("slurm")) as record:
        yield record


def table(path):
    with open(path, newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def cancel_one(stop: threading.Event, asked: dict[str, tuple[str, str]], cancelled: list[str]) -> None:
    """Of the jobs that train, the first once it has run for a moment; memory and minutes that each asked for
    are kept by its id.
    """
    while not stop.wait(0.3):
        form = ["-o", "%i|%k|%M|%m|%l"]
        listed = subprocess.run(["squeue", "-h", "-t", "R", *form], capture_output=True, text=True)
        for job, comment, spent, memory, limit in (line.split("|") for line in listed.stdout.splitlines()):
            if "train" not in comment:
                continue
            asked[job] = memory, limit
            if not cancelled and spent != "0:00":
                cancelled.append(job)
                subprocess.run(["scancel", job])


def finished(record: Path) -> list[dict]:
    """Fields of every line of Slurm's record."""
    return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in record.read_text().splitlines()]


def _seconds(limit: str) -> int:
    """Of Slurm's minutes:seconds or hours:minutes:seconds."""
    total = 0
    for part in limit.split(":"):
        total = 60 * total + int(part)
    return total


def test_the_smoke_config_runs_on_slurm_to_the_same_tables(jobs, tmp_path):
    here, there = checkout(tmp_path / "here"), checkout(tmp_path / "there")
    snakemake(here, "--", *TABLES)
    snakemake(there, "--", "results/smoke/estimate.csv")
    stop, trained, cancelled = threading.Event(), {}, []
    thread = threading.Thread(target=cancel_one, args=(stop, trained, cancelled))
    thread.start()
    command = [sys.executable, "-m", "snakemake", "--workflow-profile", "profiles/slurm", "--configfile"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    try:
        done = subprocess.run(
            [*command, "config/smoke.yaml", *QUICK, "--", *TABLES],
            cwd=there,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=600,
        )
    finally:
        stop.set()
        thread.join()
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    for name in TABLES:
        assert table(there / name) == table(here / name)
    for _ in range(50):  # Slurm writes its record a little later
        record = finished(jobs)
        if len(record) >= 6:
            break
        time.sleep(0.2)
    states = [job["JobState"] for job in record]
    assert cancelled and states.count("CANCELLED") == 1 and states.count("COMPLETED") == len(states) - 1 >= 5
    spans = sorted(
        (datetime.fromisoformat(job["StartTime"]), datetime.fromisoformat(job["EndTime"]))
        for job in record
        if job["JobId"] in trained
    )
    assert len(spans) == 3  # two runs, one of them twice
    expected = requests(there / "results/smoke/estimate.csv", RUNS[0], "training", "cpu")
    memory, minutes = f"{expected['mem_mb']}M", expected["runtime"]
    limits = [minutes * 60, minutes * 60, 2 * minutes * 60]  # twice the time at the second attempt
    assert {memory for memory, _ in trained.values()} == {memory}
    assert sorted(_seconds(limit) for _, limit in trained.values()) == limits
    assert all(end <= start for (_, end), (start, _) in zip(spans, spans[1:]))  # one GPU, one at a time
