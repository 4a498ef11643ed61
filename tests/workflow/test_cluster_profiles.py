"""Cluster profiles: a driver without torch, requests of the estimate, and a cluster that is not Slurm."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from common import REPOSITORY
from workflow.test_workflow import checkout

from equidyn.cost.requests import requests
from equidyn.results.columns import ESTIMATE

WITHOUT_TORCH = (
    "import sys; sys.modules.update(dict.fromkeys(('torch', 'rdkit', 'tblite', 'matplotlib'))); "
    "from snakemake.cli import main; main()"
)
QSUB = '#!/bin/sh\nfor job; do :; done\nsh "$job" >>"$QSUB_LOG" 2>&1 &\necho $$\n'  # what PBS would do later


def driver(folder, profile, config, *more, env=None):
    asked = ["--workflow-profile", f"profiles/{profile}", "--configfile", f"config/{config}.yaml", *more]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *asked],
        cwd=folder,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **(env or {})},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    return checkout(tmp_path_factory.mktemp("cluster") / "clone")


@pytest.mark.parametrize("profile", ["slurm", "cluster-generic"])
def test_a_login_node_without_torch_dry_runs_the_papers_config_with_requests_of_its_estimate(clone, profile):
    run = sorted(yaml.safe_load((clone / "config/paper.yaml").read_text())["runs"])[0]
    table = clone / "results/paper/estimate.csv"
    table.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        ("memory, host", "", 3 * 2**30),
        ("training", "A100, assumed", 7.0),
        ("training", "x, 1 thread", 7.0),
    ]
    with open(table, "w", newline="") as file:
        writer = csv.DictWriter(file, list(ESTIMATE))
        writer.writeheader()
        for quantity, device, value in rows:
            line = dict(of="run", name=run, quantity=quantity, device=device, value=value, unit="", basis="")
            writer.writerow(line)
    device = yaml.safe_load((clone / "config/paper.yaml").read_text()).get("device", "auto")
    told = driver(clone, profile, "paper", "-n")
    jobs = re.findall(r"rule train:.*?wildcards: run=(\S+).*?resources: (.*?)\n", told, re.DOTALL)
    asked = {name: dict(re.findall(r"(\w+)=(\d+)", line)) for name, line in jobs}
    expected = requests(table, run, "training", device)
    assert expected["runtime"] == 15 + 60 * 3 * 7
    for name, found in asked.items():
        wanted = expected if name == run else requests("none", name, "training", device)
        assert {key: int(found[key]) for key in wanted} == wanted
    assert len(asked) > 1 and run in asked


def test_another_cluster_runs_jobs_through_its_own_command(clone, tmp_path):
    """A stand-in for qsub, which is given what the profile says, and starts the job's script."""
    qsub = tmp_path / "bin/qsub"
    qsub.parent.mkdir()
    qsub.write_text(QSUB)
    qsub.chmod(0o755)
    environment = {"PATH": f"{qsub.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment |= {"QSUB_LOG": str(tmp_path / "log")}
    target = "results/smoke/runs/forces/config.yaml"
    (clone / "logs/cluster").mkdir(parents=True, exist_ok=True)
    driver(clone, "cluster-generic", "smoke", "--latency-wait", "10", "--", target, env=environment)
    assert yaml.safe_load((clone / target).read_text())["run"] == "forces"


def test_profiles_say_what_was_never_run():
    assert "NEVER RUN" in (REPOSITORY / "profiles/cluster-generic/config.yaml").read_text()
