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

from workflow import one_node_slurm

RUNS = ("forces", "forces-control")
TABLES = [f"results/smoke/runs/{run}/decomposition.csv" for run in RUNS]
QUICK = (
    "--slurm-init-seconds-before-status-checks", "5", "--jobs", "2", "--latency-wait", "10", "--retries", "2",
    "--default-resources", "mem_mb=1500", "runtime=20", "slurm_partition=test",
    "--set-resources", "train:gpu=1", "train:mem_mb=1500", "train:runtime=20", "decompose:mem_mb=1500",
    "decompose:runtime=20",
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


def cancel_one(stop: threading.Event, trained: set[str], cancelled: list[str]) -> None:
    """Of the jobs that train, whose ids are kept, the first once it has run for a moment."""
    while not stop.wait(0.3):
        listed = subprocess.run(["squeue", "-h", "-t", "R", "-o", "%i %k %M"], capture_output=True, text=True)
        for line in listed.stdout.splitlines():
            trained |= {line.split()[0]} if "train" in line else set()
            if "train" in line and not cancelled and not line.endswith("0:00"):
                cancelled.append(line.split()[0])
                subprocess.run(["scancel", cancelled[0]])


def finished(record: Path) -> list[dict]:
    """Fields of every line of Slurm's record."""
    return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in record.read_text().splitlines()]


def test_the_smoke_config_runs_on_slurm_to_the_same_tables(jobs, tmp_path):
    here, there = checkout(tmp_path / "here"), checkout(tmp_path / "there")
    snakemake(here, "--", *TABLES)
    stop, trained, cancelled = threading.Event(), set(), []
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
    assert all(end <= start for (_, end), (start, _) in zip(spans, spans[1:]))  # one GPU, one at a time
