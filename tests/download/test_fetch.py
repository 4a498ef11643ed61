"""Downloads from a server that misbehaves: the right file or a clear error, never a wrong file under the
final name.
"""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import pickle
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import h5py
import numpy as np
import pytest
import yaml
from conftest import REPOSITORY

from equidyn.download import fetch, lockfile, table, transfer
from equidyn.errors import DataError

DATA = random.Random(0).randbytes(3_000_000)
SHA = "sha256:" + hashlib.sha256(DATA).hexdigest()
TEXT = random.Random(1).randbytes(20_000)
ENVIRONMENT = os.environ | {"PYTHONPATH": str(REPOSITORY / "src"), "no_proxy": "127.0.0.1"}
PAGE = b"\n<!DOCTYPE html><html><body>Sign in to continue</body></html>" + b" " * 5000


class Handler(BaseHTTPRequestHandler):
    """What it does is the first part of the path: /cut,etag/anything.

    ``server.seen`` counts requests and ranges.
    """

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        how = self.path.split("/")[1].split(",")
        self.server.seen[self.path] += 1
        nth, asked, data = self.server.seen[self.path], self.headers.get("Range"), DATA
        if asked:
            self.server.seen[f"{self.path} range"] += 1
        if "404" in how:
            return self.plain(404, b"no such file")
        if "500" in how and (nth <= 2 or "always" in how):
            return self.plain(500, b"oh no")
        if "moved" in how:
            self.send_response(302)
            self.send_header("Location", "/good/x")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if "file" in how:
            self.send_response(302)
            self.send_header("Location", "file:///etc/hostname")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if "html" in how:
            return self.plain(200, PAGE)
        if "empty" in how:
            return self.plain(200, b"")
        if "body" in how:
            return self.plain(200, self.server.body)
        if "other" in how or ("changes" in how and nth > 1):
            data = DATA[::-1]
        tag = f'"{hashlib.md5(data).hexdigest()}"'
        start = 0
        if asked and "norange" not in how and self.headers.get("If-Range", tag) == tag:
            start = int(asked.split("=")[1].split("-")[0])
            if start >= len(data):
                return self.plain(416, b"")
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if "etag" in how:
            self.send_header("ETag", tag)
        body = data[start:]
        length = len(body) + (1000 if "long" in how else -1000 if "short" in how else 0)
        if "nolength" in how:
            self.send_header("Connection", "close")
        elif "chunked" in how:
            self.send_header("Transfer-Encoding", "chunked")
            body = (
                b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:1_000_000], body[1_000_000:]))
                + b"0\r\n\r\n"
            )
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if "cut" in how and (nth == 1 or "always" in how):
            body = body[: len(body) // 2]
        if "stall" in how and (nth == 1 or "always" in how):
            self.wfile.write(body[: 100 if "always" in how else len(body) // 2])
            self.wfile.flush()
            time.sleep(30)
        elif "slow" in how:
            for i in range(10):
                self.wfile.write(body[i * len(body) // 10 : (i + 1) * len(body) // 10])
                time.sleep(0.05)
        else:
            self.wfile.write(body)
        self.close_connection = True

    def plain(self, code, body):
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Quiet(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_):
        pass  # clients that hang up are the point


@pytest.fixture(scope="module")
def server():
    server = Quiet(("127.0.0.1", 0), Handler)
    server.seen = Counter()
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def get(server, tmp_path, monkeypatch):
    """Fetch an entry whose addresses misbehave as named; what is under the final name afterwards is right or
    nothing.
    """
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server.seen.clear()

    def get(*hows, checksum=SHA, size=None, options=None, right=DATA, **fields):
        at = f"http://127.0.0.1:{server.server_port}"
        one = entry(urls=[f"{at}/{how}/x" for how in hows], checksum=checksum, size=size, **fields)
        try:
            return fetch.fetch(
                one,
                tmp_path,
                tmp_path / "lock.json",
                **dict(retries=3, backoff=0.01, stall=1, progress=False) | (options or {}),
            )
        finally:
            target = table.place(one, tmp_path)
            assert not target.exists() or target.read_bytes() == right

    return get


def entry(**fields):
    common = dict(
        name="set",
        version="1",
        task="forces",
        file="data.bin",
        size=None,
        checksum=None,
        licence="CC0-1.0",
        citation="none",
        purpose="test",
        verified=True,
    )
    return common | {"urls": []} | fields


def no_file(tmp_path):
    return not (tmp_path / "set/1/data.bin").exists()


@pytest.mark.parametrize("checksum", [SHA, None], ids=["known", "unknown"])
@pytest.mark.parametrize(
    "how",
    [
        "good",
        "good,norange",
        "moved",
        "chunked",
        "500",
        "cut,etag",
        "cut",
        "cut,norange",
        "cut,norange,etag",
        "cut,chunked,etag",
    ],
)
def test_right_in_the_end(get, tmp_path, how, checksum):
    found = get(how, checksum=checksum)
    assert found["sha256"] == SHA[7:] and found["size"] == len(DATA)
    assert os.listdir(tmp_path / "set/1") == ["data.bin"]  # no part or note left
    lock = lockfile.read_lock(tmp_path / "lock.json")
    assert [row["sha256"] for row in lock.values()] == ([] if checksum else [SHA[7:]])


def test_a_cut_is_continued_not_begun_again(get, server):
    get("cut,etag", checksum=None)
    assert server.seen["/cut,etag/x"] == 2 and server.seen["/cut,etag/x range"] == 1


def test_without_etag_or_checksum_nothing_is_continued(get, server):
    get("cut", checksum=None)
    assert server.seen["/cut/x"] == 2 and server.seen["/cut/x range"] == 0


def test_a_stalled_connection_is_left(get, server):
    get("stall,etag")
    assert server.seen["/stall,etag/x range"] == 1


def test_a_file_that_changes_between_the_halves_is_begun_again(get, server, tmp_path):
    with pytest.raises(DataError, match="expected " + SHA[7:20]):
        get("cut,changes,etag")  # all of the new file, which is not ours
    assert no_file(tmp_path)
    server.seen.clear()
    get(
        "cut,changes,etag", checksum=None, right=DATA[::-1]
    )  # with nothing to compare: the new file, not a mixture


@pytest.mark.parametrize(
    "hows, size, message",
    [
        (["404"], None, "HTTP 404"),
        (["500,always"], None, "HTTP 500, 3 retries"),
        (["cut,always,norange"], None, "3 retries"),
        (["html"], None, "HTML page"),
        (["empty"], None, "HTTP 200 without content"),
        (["other"], None, f"expected {SHA[7:]} (from the table of datasets)"),
        (["good"], 7, "3000000 bytes announced, expected 7"),
        (["chunked"], 7, "more than the 7 bytes expected"),
        (["chunked"], 4_000_000, "3000000 bytes, expected 4000000"),
        (["nolength,cut"], None, f"expected {SHA[7:]}"),
        (["short"], None, f"expected {SHA[7:]}"),
        (["long"], None, "3 retries"),
        (["file"], None, "/file/x: "),
        (["404", "html"], None, "/html/x: an HTML page"),
    ],
)
def test_clear_error_and_no_file(get, tmp_path, hows, size, message):
    with pytest.raises(DataError) as caught:
        get(*hows, size=size)
    text = str(caught.value)
    assert (
        message in text
        and text.startswith("set 1: ")
        and all(f"/{how}/x" in text for how in hows)
        and str(tmp_path / "set/1/data.bin") in text
    )
    assert "not confirmed" not in text and no_file(tmp_path)


def test_an_end_that_could_be_a_cut_is_refused(get, tmp_path):
    with pytest.raises(DataError, match="does not say how long"):
        get("nolength", checksum=None)
    assert no_file(tmp_path)
    get("nolength", checksum=None, size=len(DATA))


@pytest.mark.parametrize("first", ["404", "500,always", "html", "other", "cut,always", "empty"])
def test_mirrors_in_order(get, first, server):
    assert get(first, "good")["sha256"] == SHA[7:]
    assert server.seen[f"/{first}/x"] >= 1 and server.seen["/good/x"] >= 1


def test_first_mirror_that_works_is_the_only_one_asked(get, server):
    get("good", "404")
    assert set(server.seen) == {"/good/x"}


def test_half_of_one_mirror_with_half_of_another(get, tmp_path):
    """Begun at a mirror with another file: the mixture fails the checksum, and the second mirror is asked for
    all of it.
    """
    folder = tmp_path / "set/1"
    folder.mkdir(parents=True)
    (folder / "data.bin.part").write_bytes(DATA[::-1][:1_000_000])
    assert get("good")["sha256"] == SHA[7:]


def test_a_later_run_continues(get, server, tmp_path):
    with pytest.raises(DataError):
        get("cut,etag", options=dict(retries=0))
    assert (tmp_path / "set/1/data.bin.part").stat().st_size == len(DATA) // 2 and no_file(tmp_path)
    get("cut,etag", checksum=None)
    assert server.seen["/cut,etag/x range"] == 1 and server.seen["/cut,etag/x"] == 2


@pytest.mark.parametrize("extra", [b"", b"too much"])
def test_killed_before_the_rename(get, server, tmp_path, extra):
    with pytest.raises(DataError):
        get("cut,etag", options=dict(retries=0))
    (tmp_path / "set/1/data.bin.part").write_bytes(DATA + extra)
    get("cut,etag")
    assert server.seen["/cut,etag/x"] == (1 if not extra else 3)  # nothing, or a refused range and all of it


def test_recorded_once_enforced_ever_after(get, server, tmp_path):
    get("good", checksum=None)
    row = json.loads((tmp_path / "lock.json").read_text())["set/1/data.bin"]
    assert row["sha256"] == SHA[7:] and row["size"] == len(DATA) and row["from"].endswith("/good/x")
    (tmp_path / "set/1/data.bin").unlink()
    with pytest.raises(DataError, match=r"recorded in .*lock.json on .*remove the entry"):
        get("other", checksum=None)
    assert get("good", checksum=None)["sha256"] == SHA[7:]
    fetch.fetch(
        entry(version="2", urls=[f"http://127.0.0.1:{server.server_port}/other/x"]),
        tmp_path,
        tmp_path / "lock.json",
        progress=False,
    )  # another version is another file
    assert len(json.loads((tmp_path / "lock.json").read_text())) == 2


def test_a_file_put_there_by_hand_is_checked(get, server, tmp_path):
    (tmp_path / "set/1").mkdir(parents=True)
    target = tmp_path / "set/1/data.bin"
    target.write_bytes(DATA)
    assert get("404", options=dict(offline=True))["size"] == len(DATA)
    assert not server.seen
    target.write_bytes(DATA[:-1])
    with pytest.raises(DataError, match="move it away"):
        fetch.fetch(entry(checksum=SHA), tmp_path, tmp_path / "lock.json")
    assert target.stat().st_size == len(DATA) - 1  # the user's file is left alone


def test_offline_says_which_file_where(tmp_path):
    doubtful = entry(
        urls=["https://a.example/x", "https://b.example/x"],
        size=12,
        verified=False,
        note="address from memory",
    )
    with pytest.raises(DataError) as caught:
        fetch.fetch(doubtful, tmp_path, tmp_path / "lock.json", offline=True)
    text = str(caught.value)
    for part in (
        "set 1: offline",
        "data.bin (12 bytes; checksum not known",
        "https://a.example/x or https://b.example/x",
        str(tmp_path / "set/1/data.bin"),
        "address from memory",
    ):
        assert part in text
    with pytest.raises(
        DataError,
        match="no address that a program can use: get data.bin .* from https://page.example and put",
    ):
        fetch.fetch(entry(page="https://page.example"), tmp_path, tmp_path / "lock.json")


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
    assert str(caught.value).count("not confirmed: never opened") == 1 and str(caught.value).endswith("]")


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


def test_content_must_fit_the_file_name(get, tmp_path):
    with pytest.raises(DataError, match="expected b'.x1f.x8b' for .gz"):
        get("good", file="data.xyz.gz", checksum=None)


def hdf5(libver="earliest"):
    file = io.BytesIO()
    with h5py.File(file, "w", libver=libver) as opened:
        opened["a"] = np.frombuffer(TEXT, np.uint8)
    return file.getvalue()


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a", TEXT)
    return file.getvalue()


CONTAINERS = {
    "a.xyz.gz": gzip.compress(TEXT),
    "a.tar.bz2": bz2.compress(TEXT),
    "a.tar.xz": lzma.compress(TEXT),
    "a.npz": zipped(),
    "a.hdf5": hdf5(),
    "b.hdf5": hdf5("v110"),
    "a.pickle": pickle.dumps(TEXT),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_cut_with_the_length_to_match_is_not_recorded(get, server, tmp_path, name):
    """The server believes in its half of the file, and nobody knows better: neither size nor checksum is
    known.
    """
    whole = CONTAINERS[name]
    for cut in (len(whole) - 1, len(whole) // 2, 100):
        server.body = whole[:cut]
        with pytest.raises(DataError, match=f"/body/x: incomplete or damaged .* of {cut} bytes: "):
            get("body", file=name, checksum=None)
        assert not (tmp_path / "lock.json").exists() and not os.listdir(tmp_path / "set/1")
    server.body = whole
    get("body", file=name, checksum=None, right=whole)
    assert set(lockfile.read_lock(tmp_path / "lock.json")) == {f"set/1/{name}"}


def test_of_two_servers_the_one_with_the_whole_file(get, server):
    server.body = CONTAINERS["a.xyz.gz"][:-9]
    with pytest.raises(DataError, match="/body/x: incomplete .*[\\s\\S]*/404/x: HTTP 404"):
        get("body", "404", file="a.xyz.gz", checksum=None)


def test_a_cut_file_put_there_by_hand_is_not_recorded(tmp_path):
    (tmp_path / "set/1").mkdir(parents=True)
    (tmp_path / "set/1/a.xyz.gz").write_bytes(CONTAINERS["a.xyz.gz"][:-1])
    with pytest.raises(DataError, match="incomplete or damaged .gz .*move it away"):
        fetch.fetch(entry(file="a.xyz.gz"), tmp_path, tmp_path / "lock.json")
    assert not (tmp_path / "lock.json").exists()


MD5 = "md5:" + hashlib.md5(DATA).hexdigest()


@pytest.mark.parametrize("checksum", [SHA, None], ids=["known", "unknown"])
@pytest.mark.parametrize(
    "quoted, expected, words",
    [
        (dict(size=len(DATA), checksum=MD5), "agrees", []),
        (dict(checksum=SHA), "agrees", []),
        (dict(size=7, checksum=MD5), "differs", ["3000000 bytes, quoted 7"]),
        (
            dict(size=7, checksum="md5:" + "0" * 32),
            "differs",
            ["3000000 bytes, quoted 7", f"{MD5.replace(':', ' ')}, quoted 000"],
        ),
    ],
)
def test_what_others_quote_is_compared_and_not_enforced(
    get, tmp_path, capsys, quoted, expected, words, checksum
):
    assert get("good", checksum=checksum, quoted=quoted)["quoted"] == expected
    said = capsys.readouterr().err
    assert ("WARNING: set 1: data.bin is not the file that others quote" in said) == (
        expected == "differs"
    ) and all(word in said for word in words)
    assert [row["quoted"] for row in lockfile.read_lock(tmp_path / "lock.json").values()] == (
        [] if checksum else [expected]
    )
    assert "quoted" not in get("good")


def test_a_server_that_always_stalls(get, server, tmp_path):
    with pytest.raises(DataError, match="/stall,always,etag/x: .*1 retries"):
        get("stall,always,etag", options=dict(retries=1))
    assert server.seen["/stall,always,etag/x"] == 2 and server.seen["/stall,always,etag/x range"] == 1
    assert no_file(tmp_path) and (tmp_path / "set/1/data.bin.part").stat().st_size == 200


def test_killed_in_the_middle_and_continued(get, server, tmp_path):
    one = entry(urls=[f"http://127.0.0.1:{server.server_port}/stall,etag/x"])
    script = (
        f"from equidyn.data import download; download.fetch({one!r}, {str(tmp_path)!r}, "
        f"{str(tmp_path / 'lock.json')!r}, stall=30, progress=False)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], env=ENVIRONMENT, cwd=REPOSITORY)
    part, deadline = tmp_path / "set/1/data.bin.part", time.time() + 30
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
    download.fetch(one, folder + "/closed", folder + "/closed.json", retries=0, progress=False)
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
