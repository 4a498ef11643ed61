"""Downloads from a server that misbehaves: the right file or a clear error, never a wrong file under the final name."""

import gzip
import hashlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from conftest import REPOSITORY

from equidyn.data import download
from equidyn.data.schema import DataError

DATA = random.Random(0).randbytes(3_000_000)
SHA = "sha256:" + hashlib.sha256(DATA).hexdigest()
PAGE = b"\n<!DOCTYPE html><html><body>Sign in to continue</body></html>" + b" " * 5000


class Handler(BaseHTTPRequestHandler):
    """What it does is the first part of the path: /cut,etag/anything. ``server.seen`` counts requests and ranges."""

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
            body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:1_000_000], body[1_000_000:])) + b"0\r\n\r\n"
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if "cut" in how and (nth == 1 or "always" in how):
            body = body[: len(body) // 2]
        if "stall" in how and nth == 1:
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            time.sleep(30)
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
    """Fetch an entry whose addresses misbehave as named; what is under the final name afterwards is right or nothing."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server.seen.clear()

    def get(*hows, checksum=SHA, size=None, options=None, right=DATA, **fields):
        at = f"http://127.0.0.1:{server.server_port}"
        one = entry(urls=[f"{at}/{how}/x" for how in hows], checksum=checksum, size=size, **fields)
        try:
            return download.fetch(one, tmp_path, tmp_path / "lock.json", **dict(retries=3, backoff=0.01, stall=1, progress=False) | (options or {}))
        finally:
            target = download.place(one, tmp_path)
            assert not target.exists() or target.read_bytes() == right

    return get


def entry(**fields):
    common = dict(name="set", version="1", task="forces", file="data.bin", size=None, checksum=None, licence="CC0-1.0", citation="none", purpose="test", verified=True)
    return common | {"urls": []} | fields


def no_file(tmp_path):
    return not (tmp_path / "set/1/data.bin").exists()


@pytest.mark.parametrize("checksum", [SHA, None], ids=["known", "unknown"])
@pytest.mark.parametrize("how", ["good", "good,norange", "moved", "chunked", "500", "cut,etag", "cut", "cut,norange", "cut,norange,etag", "cut,chunked,etag"])
def test_right_in_the_end(get, tmp_path, how, checksum):
    found = get(how, checksum=checksum)
    assert found["sha256"] == SHA[7:] and found["size"] == len(DATA)
    assert os.listdir(tmp_path / "set/1") == ["data.bin"]  # no part or note left
    lock = download._read_lock(tmp_path / "lock.json")
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
    get("cut,changes,etag", checksum=None, right=DATA[::-1])  # with nothing to compare: the new file, not a mixture


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
    assert message in text and text.startswith("set 1: ") and all(f"/{how}/x" in text for how in hows) and str(tmp_path / "set/1/data.bin") in text
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
    """Begun at a mirror with another file: the mixture fails the checksum, and the second mirror is asked for all of it."""
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
    download.fetch(entry(version="2", urls=[f"http://127.0.0.1:{server.server_port}/other/x"]), tmp_path, tmp_path / "lock.json", progress=False)  # another version is another file
    assert len(json.loads((tmp_path / "lock.json").read_text())) == 2


@pytest.mark.parametrize("content", ["[]", "{", '{"set/1/data.bin": {"sha256": "short"}}', '{"a": 3}'])
def test_damaged_lock_file(tmp_path, content):
    (tmp_path / "lock.json").write_text(content)
    with pytest.raises(DataError, match="not readable as a lock file"):
        download.fetch(entry(), tmp_path, tmp_path / "lock.json")


def test_many_writers_of_the_lock_file(tmp_path):
    threads = [threading.Thread(target=download._record, args=(tmp_path / "lock.json", f"k{i}", {"sha256": f"{i:064x}", "size": i, "from": "x", "date": "y"})) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(download._read_lock(tmp_path / "lock.json")) == 20


def test_a_file_put_there_by_hand_is_checked(get, server, tmp_path):
    (tmp_path / "set/1").mkdir(parents=True)
    target = tmp_path / "set/1/data.bin"
    target.write_bytes(DATA)
    assert get("404", options=dict(offline=True))["size"] == len(DATA)
    assert not server.seen
    target.write_bytes(DATA[:-1])
    with pytest.raises(DataError, match="move it away"):
        download.fetch(entry(checksum=SHA), tmp_path, tmp_path / "lock.json")
    assert target.stat().st_size == len(DATA) - 1  # the user's file is left alone


def test_offline_says_which_file_where(tmp_path):
    doubtful = entry(urls=["https://a.example/x", "https://b.example/x"], size=12, verified=False, note="address from memory")
    with pytest.raises(DataError) as caught:
        download.fetch(doubtful, tmp_path, tmp_path / "lock.json", offline=True)
    text = str(caught.value)
    for part in ("set 1: offline", "data.bin (12 bytes; checksum not known", "https://a.example/x or https://b.example/x", str(tmp_path / "set/1/data.bin"), "address from memory"):
        assert part in text
    with pytest.raises(DataError, match="no address that a program can use: get data.bin .* from https://page.example and put"):
        download.fetch(entry(page="https://page.example"), tmp_path, tmp_path / "lock.json")


def test_doubt_is_in_the_error(get):
    with pytest.raises(DataError, match="not confirmed: never opened"):
        get("404", verified=False, note="never opened")


@pytest.mark.parametrize("size", [len(DATA), None])
def test_disk_too_small(get, server, tmp_path, monkeypatch, size):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: type("Usage", (), {"free": download.SPARE + 2_000_000}))
    with pytest.raises(DataError, match="/good/x: needs 3 MB and 67 MB to spare in .* which has 69 MB free"):
        get("good", size=size)
    assert no_file(tmp_path) and server.seen["/good/x"] == (0 if size else 1)  # known beforehand: not even asked


def test_disk_full_in_the_middle(get, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download._Named, "write", full)
    with pytest.raises(DataError, match="No space left on device.*continued next time"):
        get("good")
    assert no_file(tmp_path)


def test_two_processes_at_one_file(get, tmp_path):
    (tmp_path / "set/1").mkdir(parents=True)
    with download._part(entry(), tmp_path / "set/1/data.bin"), pytest.raises(DataError, match="another process"):
        get("good")
    assert get("good")["size"] == len(DATA)


def test_content_must_fit_the_file_name(get, tmp_path):
    with pytest.raises(DataError, match="expected b'.x1f.x8b' for .gz"):
        get("good", file="data.xyz.gz", checksum=None)


def test_no_server_at_all(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(DataError, match="1 retries"):
        download.fetch(entry(urls=["http://127.0.0.1:9/x"]), tmp_path, tmp_path / "lock.json", retries=1, backoff=0.01, progress=False)


def test_lists_of_files(get, server, tmp_path):
    at = f"http://127.0.0.1:{server.server_port}"
    many = entry(urls=[f"{at}/good/{{middle}}/{{id}}"], file="{id}.bin", ids=["1abc", "2abd", "3xyz"])
    found = download.fetch_all(many, tmp_path, tmp_path / "lock.json", workers=3)
    assert [os.path.basename(one["file"]) for one in found] == ["1abc.bin", "2abd.bin", "3xyz.bin"]
    assert server.seen["/good/ab/1abc"] == 1 and len(download._read_lock(tmp_path / "lock.json")) == 3
    with pytest.raises(DataError) as caught:
        download.fetch_all(many | {"ids": [f"{i}aaa" for i in range(6)], "version": "2"}, tmp_path, tmp_path / "lock.json", offline=True)
    assert "and 3 more files: 3aaa.bin 4aaa.bin 5aaa.bin" in str(caught.value)


def test_the_table_is_sound():
    table = download.read_table(REPOSITORY / "resources/datasets.yaml")
    assert {row["task"] for row in table.values()} == {"forces", "voxels", "flow"}
    files = [download.place(part, ".") for row in table.values() for part in download.expand(row)]
    assert len(set(files)) == len(files)
    lock = REPOSITORY / "resources/datasets.lock.json"
    keys = {download._key(part) for row in table.values() for part in download.expand(row)}
    assert set(download._read_lock(lock)) <= keys


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(file="../escaped"), "expected letters"),
        (dict(version="1/2"), "expected letters"),
        (dict(file="{id}", ids=["..", "1abc"]), "expected letters"),
        (dict(urls=["file:///etc/passwd"]), "expected http"),
        (dict(checksum="sha256:12"), "expected sha256"),
        (dict(size=-1), "expected a number of bytes"),
        (dict(verified=False), "false with a note"),
        (dict(colour="red"), "unknown fields"),
        (dict(ids=["1abc"], size=3), "must be null"),
        (dict(ids=["1abc"], file="{ID}"), "expected letters"),
        (dict(ids=["1abc"], urls=["https://a.example/{ID}"]), "placeholder 'ID'"),
        (dict(urls="https://a.example"), "must be lists"),
    ],
)
def test_bad_tables(tmp_path, change, message):
    path = tmp_path / "table.yaml"
    path.write_text(yaml.safe_dump([entry(**change)]))
    with pytest.raises(DataError, match=message):
        download.read_table(path)
    path.write_text(yaml.safe_dump([entry(), entry()]))
    with pytest.raises(DataError, match="used twice"):
        download.read_table(path)


def test_command_line(server, tmp_path):
    body = gzip.compress(b"x")
    (tmp_path / "files/set/1").mkdir(parents=True)
    (tmp_path / "files/set/1/a.gz").write_bytes(body)
    (tmp_path / "table.yaml").write_text(yaml.safe_dump([entry(file="a.gz", urls=["https://a.example/a.gz"])]))
    command = [sys.executable, "workflow/scripts/download.py", "--table", tmp_path / "table.yaml", "--folder", tmp_path / "files", "--lock", tmp_path / "lock.json", "--offline"]
    environment = os.environ | {"PYTHONPATH": "src"}
    done = subprocess.run([*command, "--name", "set", "--out", tmp_path / "set.json"], cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (listed,) = json.loads((tmp_path / "set.json").read_text())
    assert listed["sha256"] == hashlib.sha256(body).hexdigest() == json.loads((tmp_path / "lock.json").read_text())["set/1/a.gz"]["sha256"]
    done = subprocess.run([*command, "--name", "sett", "--out", tmp_path / "sett.json"], cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "no dataset sett, expected one of set" in done.stderr and not (tmp_path / "sett.json").exists()
