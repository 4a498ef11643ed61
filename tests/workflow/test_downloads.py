"""The table and the lock file are enforced after the download too: by the rule, and at the conversion."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
import yaml
from common import REPOSITORY
from test_workflow import checkout

from equidyn.download import fetch
from equidyn.errors import DataError
from equidyn.steps.dataset import checked, located

FRAMES = "".join(
    f"3\n\n{element} 0 0 {0.01 * i}\nH 0.96 0 0\nH -0.24 0.93 0\n"
    for i in range(5)
    for element in ("O", "S", "Se", "Te")
).encode()


def entry(name, **fields):
    common = dict(
        version="1",
        task="voxels",
        file="m.xyz",
        size=None,
        checksum=None,
        licence="CC0-1.0",
        citation="none",
        purpose="test",
        verified=True,
    )
    return common | {"name": name, "urls": []} | fields


def downloaded(folder: Path) -> dict:
    """A file put there by hand, and the list of checked files that names it."""
    (folder / "set/1").mkdir(parents=True)
    (folder / "set/1/m.xyz").write_bytes(FRAMES)
    row = fetch.fetch(entry("set", quoted=dict(size=7)), folder, folder / "lock.json")
    (folder / "set.json").write_text(json.dumps([row]))
    return row


def test_where_it_comes_from_is_in_the_dataset_file(tmp_path):
    row = downloaded(tmp_path)
    (tmp_path / "config.yaml").write_text(
        yaml.safe_dump(dict(source="xyz", download=["set"], licence="x", n_held_out=1, seed=0))
    )
    command = [
        sys.executable,
        "workflow/scripts/dataset.py",
        "--config",
        tmp_path / "config.yaml",
        "--out",
        tmp_path / "d.h5",
        "--downloads",
        tmp_path,
    ]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=os.environ | {"PYTHONPATH": "src"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "d.h5") as file:
        settings = json.loads(file.attrs["settings"])
    assert settings["downloaded"] == [
        {"entry": "set", "file": "m.xyz", "sha256": hashlib.sha256(FRAMES).hexdigest(), "quoted": "differs"}
    ] and settings["files"] == [row["file"]]


def test_a_long_list_fits_into_the_attribute(tmp_path):
    text = json.dumps(
        [{"entry": "pdb_full", "file": f"{i}.cif.gz", "sha256": f"{i:064x}"} for i in range(100_000)]
    )
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["settings"] = text
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.attrs["settings"] == text


def test_downloads_become_files(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([{"file": "downloads/a/1/x.xyz", "size": 1, "sha256": ""}]))
    assert located({"download": ["a"], "seed": 0}, tmp_path) == {
        "download": ["a"],
        "seed": 0,
        "files": ["downloads/a/1/x.xyz"],
    }
    with pytest.raises(DataError, match="b.json: not a list.*expected what `snakemake"):
        located({"held_out_download": ["b"]}, tmp_path)


def test_without_downloads_nothing_changes(tmp_path):
    assert checked({"files": ["gone"]}, tmp_path) == {"files": ["gone"]}


@pytest.mark.parametrize(
    "content, message",
    [
        (FRAMES[:-1], f"m.xyz: {len(FRAMES) - 1} bytes, expected {len(FRAMES)} .listed in"),
        (
            FRAMES.replace(b"Se", b"Te"),
            f"m.xyz: sha256 [0-9a-f]+, expected {hashlib.sha256(FRAMES).hexdigest()}",
        ),
        (None, f"m.xyz: No such file or directory, expected {len(FRAMES)} bytes"),
    ],
)
def test_a_file_that_changed_since_it_was_checked_is_not_converted(tmp_path, content, message):
    row, settings = downloaded(tmp_path), {"held_out_download": ["set"]}
    assert checked(located(settings, tmp_path), tmp_path)["held_out_files"] == [row["file"]]
    os.remove(row["file"])
    if content is not None:
        Path(row["file"]).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        checked(located(settings, tmp_path), tmp_path)
    assert f"delete {tmp_path}/set.json and run `snakemake --cores 1 downloads/set.json`" in str(caught.value)


@pytest.mark.parametrize("rows", [[{"file": "a", "size": 1}], [3], {"a": 3}])
def test_lists_that_are_none(tmp_path, rows):
    (tmp_path / "set.json").write_text(json.dumps(rows))
    with pytest.raises(DataError, match="set.json: not a list of checked files"):
        checked({"download": ["set"]}, tmp_path)


def test_an_entry_is_checked_again_when_it_or_its_lock_changes(tmp_path):
    folder = checkout(tmp_path / "clone")
    table, lock = folder / "resources/datasets.yaml", folder / "resources/datasets.lock.json"
    lists = [f"downloads/{name}.json" for name in "ab"]

    def run(*arguments, **change):
        table.write_text(yaml.safe_dump([entry("a") | change, entry("b")]))
        command = [
            sys.executable,
            "-m",
            "snakemake",
            "--cores",
            "1",
            "--configfile",
            "config/smoke.yaml",
            *arguments,
            "--",
            *lists,
        ]
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, env=environment, timeout=600
        )
        return (
            done.returncode,
            {name for name in lists if f"output: {name}" in done.stdout + done.stderr},
            done.stdout + done.stderr,
        )

    for name in "ab":
        (folder / f"downloads/{name}/1").mkdir(parents=True)
        (folder / f"downloads/{name}/1/m.xyz").write_bytes(FRAMES)
    assert run()[:2] == (0, set(lists))
    assert set(json.loads(lock.read_text())) == {"a/1/m.xyz", "b/1/m.xyz"}
    assert run("-n", purpose="other words")[:2] == (
        0,
        set(),
    )  # recording the checksums is no reason, nor are words
    assert run("-n", urls=["https://a.example/m.xyz"])[:2] == (0, {lists[0]})
    status, again, text = run(checksum="sha256:" + "0" * 64)
    assert status != 0 and again == {lists[0]} and not (folder / lists[0]).exists()
    assert run()[:2] == (0, {lists[0]})
    rows = json.loads(lock.read_text())
    rows["b/1/m.xyz"]["sha256"] = "0" * 64
    lock.write_text(json.dumps(rows))
    assert run("-n")[:2] == (0, {lists[1]})
