"""Real files, where they are at hand, go from the file to the decomposition table by a config alone; and the
configs of the real experiments dry-run.
"""

import csv
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from common import REPOSITORY
from test_workflow import checkout

REAL = REPOSITORY.parent / "shared"
CONFIG = "config/real-local.yaml"


def snakemake(folder, config, *arguments):
    """Standard output and error of a run of ``config`` in ``folder``; fails the test where Snakemake
    fails.
    """
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments, "--configfile", config]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, timeout=1500)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return checkout(tmp_path_factory.mktemp("dry") / "clone")


@pytest.mark.parametrize(
    "name", ["paper", "real-small", "matrix", "submatrix", "flow-augmentation", "gpu", "gpu-check"]
)
def test_configs_dry_run_in_a_clean_copy(clean, name):
    snakemake(clean, f"config/{name}.yaml", "-n", "-q")
    assert not (clean / "results").exists()


@pytest.mark.skipif(not (REAL / "data").is_dir(), reason="real files not at hand")
def test_real_files_of_every_family_become_a_decomposition(tmp_path):
    """The tables and what they are made from, without figures and report: those are the smoke run's
    to test.
    """
    (tmp_path / "shared").symlink_to(REAL)  # the paths of the config begin at the folder beside the checkout
    folder = checkout(tmp_path / "main")
    config = yaml.safe_load((folder / CONFIG).read_text())
    runs, results = config["runs"], folder / "results" / config["name"]
    snakemake(
        folder, CONFIG, *(f"{results.relative_to(folder)}/runs/{run}/decomposition.csv" for run in runs)
    )
    assert {run["task"] for run in runs.values()} == {"forces", "voxels", "flow"}
    families = {
        Path(p).parts[3]
        for d in config["datasets"].values()
        for p in [*d.get("files", []), d.get("molecules")]
        if p
    }
    assert families == {"forces", "molecules", "proteins", "smiles"}
    for name, run in runs.items():
        rows = rows_of(results / f"runs/{name}/decomposition.csv")
        measured = {int(row["step"]) for row in rows if row["weights"] == "live"}
        steps = config["defaults"][run["task"]]["training"]["steps"]
        assert min(measured) == 0 and max(measured) == steps and len(measured) >= 4, name
        assert measured == {
            int(path.stem.removeprefix("step_"))
            for path in (results / f"runs/{name}/checkpoints").glob("step_*.pt")
        }, name
        for row in rows:
            assert math.isfinite(float(row["percent"])) and math.isfinite(float(row["total"])), (name, row)
        data = results / "data" / run["dataset"]
        assert (data / "rejected.csv").is_file() and {
            row["split"] for row in rows_of(data / "split.csv")
        } == {"train", "held_out"}, name
    assert rows_of(results / "data/drugs/rejected.csv") and rows_of(results / "data/chains/rejected.csv")
