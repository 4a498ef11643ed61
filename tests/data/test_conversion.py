"""Streaming conversion: resumable, bounded, the same result whatever the workers and the container."""

import gzip
import io
import lzma
import os
import signal
import subprocess
import sys
import tarfile
import time
import warnings
import zipfile

import numpy as np
import pytest
from labelled import EV, EXTXYZ, SETTINGS

from equidyn.data import build, conversion, store
from equidyn.data.readers import extxyz, label_checks, records, registry
from equidyn.errors import DataError


def same(a, b):
    a, b = store.read(a), store.read(b)
    return all(np.array_equal(a[0][k], b[0][k]) for k in a[0]) and {
        k: v for k, v in a[1].items() if k != "splits"
    } == {k: v for k, v in b[1].items() if k != "splits"}


def test_workers_and_chunks_do_not_matter(many, tmp_path, monkeypatch):
    config = {**SETTINGS, "files": [str(many)]}
    one = build.build(config, str(tmp_path / "a.h5"), workers=1)
    monkeypatch.setattr(conversion, "BYTES", 3000)
    two = build.build(config, str(tmp_path / "b.h5"), workers=2)
    assert one == two and same(tmp_path / "a.h5", tmp_path / "b.h5") and one["items"] == 80
    for name in ("rejected.csv", "split.csv", "split.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert not (tmp_path / "b/resume").exists() and not list(tmp_path.rglob("*.part"))


KILLED = """
import sys, time
from equidyn.data import build
from equidyn.data.readers import extxyz, label_checks
from equidyn.data.readers.records import Reader
from equidyn.data.readers.registry import READERS
slow = extxyz.parse
def parse(record, settings):
    time.sleep(0.02)
    return slow(record, settings)
READERS["extxyz"] = Reader("forces", extxyz.records, parse, check=label_checks.check, chunk=5)
build.build({settings}, sys.argv[1], "code", workers=1)
"""


def test_a_killed_conversion_goes_on_where_it_was(many, tmp_path, monkeypatch):
    config = {**SETTINGS, "files": [str(many)]}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED.replace("{settings}", repr(config)), str(tmp_path / "a.h5")],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.time() + 300
    while len(list((tmp_path / "a").glob("resume/*/*.npz"))) < 4:
        assert time.time() < deadline and child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    before = len(list((tmp_path / "a").glob("resume/*/*.npz")))
    assert not (tmp_path / "a.h5").exists() and before < 16
    parsed = []
    counting = records.Reader(
        "forces",
        extxyz.records,
        lambda r, s: parsed.append(r) or extxyz.parse(r, s),
        check=label_checks.check,
        chunk=5,
    )
    monkeypatch.setitem(registry.READERS, "extxyz", counting)
    build.build(config, str(tmp_path / "a.h5"), "code", workers=1)
    assert len(parsed) == 80 - 5 * before
    build.build(config, str(tmp_path / "b.h5"), "code", workers=1)
    assert len(parsed) == 160 - 5 * before and same(tmp_path / "a.h5", tmp_path / "b.h5")


def test_workers_leave_with_a_killed_parent(many, tmp_path):
    code = """
import os, sys, time
from concurrent.futures import wait
from equidyn.guards import workers
if __name__ == "__main__":
    pool = workers.pool_of(1)
    print(pool.submit(os.getpid).result(), flush=True)
    time.sleep(60)
"""
    script = tmp_path / "parent.py"
    script.write_text(code)
    child = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        text=True,
    )
    worker = int(child.stdout.readline())
    child.kill()
    child.wait()
    deadline = time.time() + 300

    def alive():
        try:
            with open(f"/proc/{worker}/stat") as file:
                return file.read().rsplit(")", 1)[1].split()[0] != "Z"
        except OSError:
            return False

    if not os.path.isdir("/proc"):
        pytest.skip("no /proc")
    while alive():
        assert time.time() < deadline
        time.sleep(0.05)


def test_shards_belong_to_inputs_settings_and_code(many):
    inputs = [conversion.Input((str(many),))]
    digests = {
        conversion.inputs_digest(s, inputs, c)
        for s in (SETTINGS, {**SETTINGS, "energy_unit": "hartree"})
        for c in ("a", "b")
    }
    times = os.stat(many)
    os.utime(many, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    digests.add(conversion.inputs_digest(SETTINGS, inputs, "a"))
    os.utime(many, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert len(digests) == 5 and conversion.inputs_digest(SETTINGS, inputs, "a") in digests


def packed(path, name, data):
    """The same content in every container that readers know."""
    with tarfile.open(path / "a.tar.gz", "w:gz") as archive:
        for member in (f"./._{name}", name, "readme.txt"):
            info = tarfile.TarInfo(member)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    with tarfile.open(path / "a.tar.bz2", "w:bz2") as archive:
        info = tarfile.TarInfo("../" + name)
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    with zipfile.ZipFile(path / "a.zip", "w") as archive:
        archive.writestr(name, data)
    plain = {".gz": gzip.compress, ".xz": lzma.compress}
    for ending, compress in plain.items():
        (path / f"{name}{ending}").write_bytes(compress(data))
    return [path / "a.tar.gz", path / "a.tar.bz2", path / "a.zip", *(path / f"{name}{end}" for end in plain)]


def test_containers_hold_the_same_items(many, tmp_path):
    plain, _ = conversion.read(EXTXYZ, many, EV)
    for path in packed(tmp_path, "many.xyz", many.read_bytes()):
        items, rejected = conversion.read(EXTXYZ, path, EV)
        assert not rejected and [i.cluster for i in items] == [i.cluster for i in plain], path
        assert all(np.array_equal(a.rows["forces"], b.rows["forces"]) for a, b in zip(items, plain))
    assert not (tmp_path.parent / "many.xyz").exists()


@pytest.mark.parametrize("kind", range(5))
def test_what_was_readable_of_a_cut_file_is_kept(many, tmp_path, kind):
    path = packed(tmp_path, "many.xyz", many.read_bytes())[kind]
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    try:
        items, rejected = conversion.read(EXTXYZ, path, EV)
    except DataError as error:  # a zip without its directory, the first block of a bz2
        assert path.suffix in (".zip", ".bz2", ".xz") and path.name in str(error)
    else:
        assert 0 < len(items) < 80 and "breaks off" in rejected[-1].reason and len(rejected) <= 2


def test_members_of_one_name_are_all_read(many, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, warnings.catch_warnings(action="ignore"):
        for data in (many.read_bytes(), b"\n"):
            archive.writestr("many.xyz", data)
    items, rejected = conversion.read(EXTXYZ, tmp_path / "a.zip", EV)
    assert len(items) == 80 and not rejected


@pytest.mark.parametrize("start", [b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf\x27\x1c", b"\x1f\x8b\x08"])
def test_other_compressions_are_refused_by_name(tmp_path, start):
    (tmp_path / "m.xyz.zst").write_bytes(start + b"and so on" * 9)
    with pytest.raises(DataError, match="m.xyz.zst: packed by .*, expected plain text.*.gz, .bz2, .xz"):
        conversion.read(EXTXYZ, tmp_path / "m.xyz.zst", EV)


def test_archives_without_a_member_of_the_kind(tmp_path):
    packed(tmp_path, "notes.txt", b"no frames")
    for name in ("a.tar.gz", "a.tar.bz2", "a.zip"):
        with pytest.raises(DataError, match=f"{name}: no .xyz file in it"):
            conversion.read(EXTXYZ, tmp_path / name, EV)
    (tmp_path / "cut.tar.gz").write_bytes((tmp_path / "a.tar.gz").read_bytes()[:8])
    with pytest.raises(DataError, match="cut.tar.gz: not readable"):
        conversion.read(EXTXYZ, tmp_path / "cut.tar.gz", EV)
