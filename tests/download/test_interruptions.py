"""Downloads that are killed, stall, find no room or meet another process; progress, lists, the command."""

import gzip
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext

import pytest
import yaml
from common import REPOSITORY
from download_server import DATA, ENVIRONMENT, SHA, entry, no_file

from equidyn.download import fetch, lockfile, transfer
from equidyn.errors import DataError


def full(*_):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    "trouble",
    [
        "404",
        "offline",
        "no address",
        "no list",
        "small disk",
        "full disk",
        "two processes",
        "damaged lock",
        "wrong file there",
    ],
)
def test_doubt_is_in_every_error_once(get, tmp_path, monkeypatch, trouble):
    target, doubtful = tmp_path / "set/1/data.bin", dict(verified=False, note="never opened")
    target.parent.mkdir(parents=True)
    if trouble == "small disk":
        monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1}))
    if trouble == "full disk":
        monkeypatch.setattr(fetch._Named, "write", full)
    if trouble == "damaged lock":
        (tmp_path / "lock.json").write_text("{")
    if trouble == "wrong file there":
        target.write_bytes(DATA[:-1])
    with (
        pytest.raises(DataError) as caught,
        fetch._part(entry(), target) if trouble == "two processes" else nullcontext(),
    ):
        if trouble == "no address":
            fetch.fetch(entry(**doubtful), tmp_path, tmp_path / "lock.json")
        elif trouble == "no list":
            fetch.fetch_all(
                entry(file="{id}.bin", ids_file=str(tmp_path / "ids.txt"), **doubtful),
                tmp_path,
                tmp_path / "lock.json",
            )
        else:
            get(
                "404" if trouble == "404" else "good",
                options=dict(offline=trouble == "offline"),
                right=DATA[:-1] if trouble == "wrong file there" else DATA,
                **doubtful,
            )
    assert str(caught.value).count("never tried by us: never opened") == 1 and str(caught.value).endswith("]")


@pytest.mark.parametrize("size", [len(DATA), None])
def test_disk_too_small(get, server, tmp_path, monkeypatch, size):
    monkeypatch.setattr(
        transfer.shutil, "disk_usage", lambda _: type("Usage", (), {"free": transfer.SPARE + 2_000_000})
    )
    with pytest.raises(DataError, match="/good/x: needs 3 MB and 67 MB to spare in .* which has 69 MB free"):
        get("good", size=size)
    assert no_file(tmp_path) and server.seen["/good/x"] == (
        0 if size else 1
    )  # known beforehand: not even asked


def test_disk_full_in_the_middle(get, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch._Named, "write", full)
    with pytest.raises(DataError, match="No space left on device.*continued next time"):
        get("good")
    assert no_file(tmp_path)


def test_two_processes_at_one_file(get, tmp_path):
    (tmp_path / "set/1").mkdir(parents=True)
    with fetch._part(entry(), tmp_path / "set/1/data.bin"), pytest.raises(DataError, match="another process"):
        get("good")
    assert get("good")["size"] == len(DATA)


def test_a_server_that_always_stalls(get, server, tmp_path):
    with pytest.raises(DataError, match="/stall,always,etag/x: .*1 retries"):
        get("stall,always,etag", options=dict(retries=1))
    assert server.seen["/stall,always,etag/x"] == 2 and server.seen["/stall,always,etag/x range"] == 1
    assert no_file(tmp_path) and (tmp_path / "set/1/data.bin.part").stat().st_size == 200


def test_killed_in_the_middle_and_continued(get, server, tmp_path):
    one = entry(urls=[f"http://127.0.0.1:{server.server_port}/stall,etag/x"])
    script = (
        f"from equidyn.download import fetch; fetch.fetch({one!r}, {str(tmp_path)!r}, "
        f"{str(tmp_path / 'lock.json')!r}, stall=30, progress=False)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], env=ENVIRONMENT, cwd=REPOSITORY)
    part, deadline = tmp_path / "set/1/data.bin.part", time.time() + 300
    while not (part.exists() and part.stat().st_size == len(DATA) // 2):
        assert time.time() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert no_file(tmp_path) and not (tmp_path / "lock.json").exists()
    assert get("stall,etag", checksum=None)["sha256"] == SHA[7:]
    assert server.seen["/stall,etag/x"] == 2 and server.seen["/stall,etag/x range"] == 1


READ_ONLY = """
import os, sys
from equidyn.download import fetch
from equidyn.errors import DataError

folder, one = sys.argv[1], {one}
# imports what another user could not
fetch.fetch(one, folder + "/open", folder + "/open.json", progress=False)
if os.getuid() == 0:
    os.setuid(65534)  # root may write anywhere
try:
    fetch.fetch(one, folder + "/closed", folder + "/closed.json", retries=0, progress=False)
except DataError as error:
    print(error)
"""


def test_a_folder_that_cannot_be_written_to(server):
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is closed to other users altogether
        os.chmod(folder, 0o755)
        os.makedirs(f"{folder}/closed/set/1")
        os.chmod(f"{folder}/closed/set/1", 0o555)
        script = READ_ONLY.format(
            one=entry(urls=[f"http://127.0.0.1:{server.server_port}/good/x"], checksum=SHA)
        )
        done = subprocess.run(
            [sys.executable, "-c", script, folder],
            env=ENVIRONMENT,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
        )
        assert (
            done.returncode == 0
            and "set 1: " in done.stdout
            and "Permission denied" in done.stdout
            and f"{folder}/closed/set/1/data.bin" in done.stdout
        ), done.stderr
        assert os.path.exists(f"{folder}/open/set/1/data.bin") and not os.listdir(f"{folder}/closed/set/1")


def test_progress_shows_rate_and_remaining_time(get, capsys, monkeypatch):
    monkeypatch.setattr(transfer, "interval", lambda: 0.02)
    get("slow", options=dict(progress=True))
    lines = re.split(r"[\r\n]+", capsys.readouterr().err)
    on_the_way = [
        line
        for line in lines
        if re.search(r"data.bin: +[1-9]\d?%.*[\d.]+M/3.00M \[\d\d:\d\d<\d\d:\d\d, +[\d.]+[kM]?B/s\]", line)
    ]
    assert len(on_the_way) >= 2, lines


def test_no_server_at_all(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(DataError, match="1 retries"):
        fetch.fetch(
            entry(urls=["http://127.0.0.1:9/x"]),
            tmp_path,
            tmp_path / "lock.json",
            retries=1,
            backoff=0.01,
            progress=False,
        )


def test_lists_of_files(get, server, tmp_path):
    at = f"http://127.0.0.1:{server.server_port}"
    many = entry(urls=[f"{at}/good/{{middle}}/{{id}}"], file="{id}.bin", ids=["1abc", "2abd", "3xyz"])
    found = fetch.fetch_all(many, tmp_path, tmp_path / "lock.json", workers=3)
    assert [os.path.basename(one["file"]) for one in found] == ["1abc.bin", "2abd.bin", "3xyz.bin"]
    assert server.seen["/good/ab/1abc"] == 1 and len(lockfile.read_lock(tmp_path / "lock.json")) == 3
    with pytest.raises(DataError) as caught:
        fetch.fetch_all(
            many | {"ids": [f"{i}aaa" for i in range(6)], "version": "2"},
            tmp_path,
            tmp_path / "lock.json",
            offline=True,
        )
    assert "and 3 more files: 3aaa.bin 4aaa.bin 5aaa.bin" in str(caught.value)


def test_command_line(server, tmp_path):
    body = gzip.compress(b"x")
    (tmp_path / "files/set/1").mkdir(parents=True)
    (tmp_path / "files/set/1/a.gz").write_bytes(body)
    (tmp_path / "table.yaml").write_text(
        yaml.safe_dump([entry(file="a.gz", urls=["https://a.example/a.gz"], quoted=dict(size=7))])
    )
    command = [
        sys.executable,
        "workflow/scripts/download.py",
        "--table",
        tmp_path / "table.yaml",
        "--folder",
        tmp_path / "files",
        "--lock",
        tmp_path / "lock.json",
        "--offline",
    ]
    environment = os.environ | {"PYTHONPATH": "src"}
    done = subprocess.run(
        [*command, "--name", "set", "--out", tmp_path / "set.json"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "WARNING: set 1: a.gz is not the file that others quote" in done.stderr, (
        done.stderr
    )
    (listed,) = json.loads((tmp_path / "set.json").read_text())
    assert (
        listed["sha256"]
        == hashlib.sha256(body).hexdigest()
        == json.loads((tmp_path / "lock.json").read_text())["set/1/a.gz"]["sha256"]
    )
    assert (
        listed["quoted"]
        == json.loads((tmp_path / "lock.json").read_text())["set/1/a.gz"]["quoted"]
        == "differs"
    )
    done = subprocess.run(
        [*command, "--name", "sett", "--out", tmp_path / "sett.json"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (
        done.returncode == 1
        and "no dataset sett, expected one of set" in done.stderr
        and not (tmp_path / "sett.json").exists()
    )
