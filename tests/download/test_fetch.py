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
import zipfile

import h5py
import numpy as np
import pytest
from download_server import DATA, SHA, TEXT, entry, no_file

from equidyn.download import fetch, lockfile
from equidyn.errors import DataError


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
    assert "never tried" not in text and no_file(tmp_path)


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


def at(server):
    return f"http://127.0.0.1:{server.server_port}"


def test_a_mirror_of_the_config_is_asked_first(get, server):
    """Under the place that the file has in ``downloads/``; the table's addresses come after it."""
    assert get("404", options=dict(mirror=f"{at(server)}/good/"))["sha256"] == SHA[7:]
    assert set(server.seen) == {"/good/set/1/data.bin"}
    server.seen.clear()


@pytest.mark.parametrize("how", ["404", "other", "html"])
def test_what_a_mirror_has_wrong_the_table_has_right(get, server, how):
    assert get("good", options=dict(mirror=f"{at(server)}/{how}"))["sha256"] == SHA[7:]
    assert server.seen[f"/{how}/set/1/data.bin"] == 1 and server.seen["/good/x"] == 1


def test_a_mirror_is_not_asked_offline(get, server):
    with pytest.raises(DataError, match="offline"):
        get("good", options=dict(mirror=f"{at(server)}/good", offline=True))
    assert not server.seen


def test_connections_go_through_the_proxy_of_the_config(server, tmp_path):
    """The server stands for the proxy: it is asked for the whole address, of a host that there is not."""
    server.seen.clear()
    one = entry(urls=["http://nowhere.invalid/x"], checksum=SHA)
    found = fetch.fetch(one, tmp_path, tmp_path / "lock.json", proxy=at(server), retries=0, progress=False)
    assert found["sha256"] == SHA[7:] and set(server.seen) == {"http://nowhere.invalid/x"}


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
