"""Two workflows in one folder, clocks that disagree, a full disk and a dataset file of another version: what
Snakemake and the steps make of them.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import pytest
import yaml
from test_workflow import checkout

from equidyn.data import store
from equidyn.data.schema import SCHEMA_VERSION
from equidyn.errors import DataError
from equidyn.guards import content_digest


def frames(n):
    """XYZ text of n frames of four molecules each."""
    return "".join(
        f"3\n\n{element} 0 0 {0.01 * i}\nH 0.96 0 0\nH -0.24 0.93 0\n"
        for i in range(n)
        for element in ("O", "S", "Se", "Te")
    )


DATA = "results/faults/data/small-molecules.h5"


def command(*arguments):
    return [
        sys.executable,
        "-m",
        "snakemake",
        "--cores",
        "1",
        *arguments,
        "--configfile",
        "config/faults.yaml",
    ]


def started(folder, *arguments):
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.Popen(
        command(*arguments),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )


def said(folder, *arguments):
    """Exit status and output."""
    process = started(folder, *arguments)
    text, _ = process.communicate(timeout=600)
    return process.returncode, text


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    """A checkout whose config has a dataset that is converted from a small file, made while a second workflow
    tried; status and output of both.
    """
    folder = checkout(tmp_path_factory.mktemp("faults") / "clone")
    config = yaml.safe_load((folder / "config/smoke.yaml").read_text())
    config["name"] = "faults"
    config["datasets"]["small-molecules"] = dict(
        source="xyz", files=["input/m.xyz"], licence="x", n_held_out=2
    )
    config["runs"] = {
        name: run for name, run in config["runs"].items() if run["dataset"] != "small-molecules"
    }
    (folder / "config/faults.yaml").write_text(yaml.safe_dump(config))
    (folder / "input").mkdir()
    (folder / "input/m.xyz").write_text(frames(5))
    first = started(folder, DATA)
    deadline = time.time() + 300
    while not list((folder / ".snakemake").glob("locks/*.lock")):
        assert time.time() < deadline and first.poll() is None, first.stdout.read()
        time.sleep(0.02)
    first.send_signal(signal.SIGSTOP)
    try:
        second = said(folder, DATA)
    finally:
        first.send_signal(signal.SIGCONT)
    text, _ = first.communicate(timeout=600)
    return folder, (first.returncode, text), second


@pytest.fixture
def folder(trial, tmp_path):
    """A copy of the checkout with its dataset; timestamps are kept."""
    return Path(shutil.copytree(trial[0], tmp_path / "clone", copy_function=shutil.copy2, symlinks=True))


def test_two_workflows_in_one_folder(trial, folder):
    _, first, second = trial
    assert (
        second[0] != 0
        and "LockException" in second[1]
        and "--unlock" in second[1]
        and "rule dataset" not in second[1]
    )
    assert first[0] == 0 and len(store.read(folder / DATA, "molecules")[0]["offsets"]) == 21
    status, text = said(folder, DATA)
    assert status == 0 and "Nothing to be done" in text


def test_clocks_that_disagree_are_named_and_spoil_nothing(folder):
    """An input from the future is not made again for its time alone; changed, its output is refused as older
    and removed, until the input is touched.
    """
    source, ahead = folder / "input/m.xyz", time.time() + 7 * 86400
    os.utime(source, (ahead, ahead))
    status, text = said(folder, DATA)
    assert status == 0 and "Nothing to be done" in text
    source.write_text(frames(6))
    os.utime(source, (ahead, ahead))
    status, text = said(folder, DATA)
    assert status != 0 and "clock skew" in text and "input/m.xyz" in text and text.count("rule dataset:") == 1
    assert not (folder / DATA).exists()
    os.utime(source)
    assert said(folder, DATA)[0] == 0 and len(store.read(folder / DATA, "molecules")[0]["offsets"]) == 25


def test_lists_of_a_refused_dataset_survive_the_failed_rule(folder):
    (folder / "input/m.xyz").write_text(frames(5).replace("\n\n", '\npbc="T T T"\n'))
    status, text = said(folder, DATA)
    assert status != 0 and not (folder / DATA).exists()
    lists = (folder / DATA).with_suffix("")
    assert (lists / "rejected.csv").read_text().count("periodic structure") == 20
    assert '"rejected"' in (lists / "checks.json").read_text() and not (lists / "split.csv").exists()
    (folder / "input/m.xyz").write_text(frames(5))
    assert said(folder, DATA)[0] == 0 and "periodic" not in (lists / "rejected.csv").read_text()


def test_a_dataset_of_another_version_is_made_again_by_the_command_of_the_message(folder):
    with h5py.File(folder / DATA, "r+") as file:
        file.attrs["schema"] = 1
    content_digest.write_digest(folder / DATA)
    with pytest.raises(DataError, match=f"schema version 1, expected {SCHEMA_VERSION}") as raised:
        store.read(folder / DATA, "molecules")
    advice = str(raised.value).split("`")[1].split()[1:]
    advice = [word.removeprefix(f"{folder}/") for word in advice]
    status, text = said(folder, *advice)
    assert status == 0 and "rule dataset" in text, text
    assert store.read(folder / DATA, "molecules")[1]["schema"] == SCHEMA_VERSION


def test_a_full_disk_is_one_paragraph_and_no_file(folder):
    (folder / DATA).unlink()
    script = [
        "workflow/scripts/dataset.py",
        "--config",
        "results/faults/data/small-molecules/config.yaml",
        "--out",
        DATA,
        "--workers",
        "1",
    ]
    limited = (
        f"import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000)); sys.argv = "
        f"{script!r}; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    environment = {**os.environ, "PYTHONPATH": f"{folder}/src:{folder}/workflow/scripts"}
    done = subprocess.run(
        [sys.executable, "-c", limited], cwd=folder, capture_output=True, text=True, env=environment
    )
    assert (
        done.returncode == 1
        and "could not be written" in done.stderr
        and len(done.stderr.split("error: ")[1].splitlines()) == 1
        and "Traceback" not in done.stderr
    )
    assert not (folder / DATA).exists() and not list((folder / "results").rglob("*.part"))
