"""Full disks, folders that cannot be written to, killed writers, two writers, damaged parts."""

import contextlib
import fcntl
import io
import os
import resource
import signal
import subprocess
import sys
import time
import zipfile

import h5py
import numpy as np
import pytest
from common import REPOSITORY
from privileges import ENVIRONMENT, open_folder, without_privileges
from small_datasets import XYZ, molecules_of

from equidyn import files
from equidyn.data import build, conversion, shards, store
from equidyn.data.generate import conformers
from equidyn.data.readers import records, registry, xyz
from equidyn.errors import DataError


@contextlib.contextmanager
def full_disk(room):
    """No file can grow beyond ``room`` bytes: a write fails in the middle, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def dataset(path, n):
    store.write(path, *molecules_of(n))


def shard(path, n):
    item = records.Item("f, record 1", "O", {"numbers": np.ones(n), "positions": np.zeros((n, 3))})
    shards.save(path, [item], "molecules")


def labels(path, n):
    conformers._save(
        path, [(0, "", (np.ones(n, np.uint8), np.zeros((n, 3), np.float32), 0.0, np.zeros((n, 3))))]
    )


def saved(path, n):
    import torch  # here, because worker processes import this module

    from equidyn.training import checkpoint

    checkpoint.save(path, {"weight": torch.zeros(n, 3)})


def table(path, n):
    from equidyn.results import tables

    tables.write_table(path, [{"a": 0.1 + i, "b": "x"} for i in range(n)], ["a", "b"])


@pytest.mark.parametrize(
    "write, ours", [(dataset, True), (shard, True), (labels, True), (saved, False), (table, False)]
)
def test_a_full_disk_leaves_what_was_there(write, ours, tmp_path):
    path = tmp_path / "d.h5"
    write(path, 3)
    before = path.read_bytes()
    with (
        full_disk(20_000),
        pytest.raises(DataError if ours else (DataError, OSError, RuntimeError)) as raised,
    ):
        write(path, 20_000)
    assert path.read_bytes() == before
    if ours:
        assert (
            str(path) in str(raised.value)
            and "could not be written" in str(raised.value)
            and [p.name for p in tmp_path.iterdir()] == ["d.h5"]
        )
    write(path, 20_000)
    assert path.read_bytes() != before and [p.name for p in tmp_path.iterdir()] == ["d.h5"]


@pytest.mark.parametrize("room", (100, 2000, 5000))
def test_a_conversion_on_a_full_disk_goes_on_when_there_is_room(waters, tmp_path, room):
    out = tmp_path / "out" / "d.h5"
    with full_disk(room), pytest.raises(DataError, match="could not be written"):
        build.build({**XYZ, "files": [str(waters)]}, str(out), workers=1)
    assert (
        not out.exists()
        and not [p for p in (tmp_path / "out").rglob("*.part")]
        and {p.name for p in (tmp_path / "out/d").glob("*.csv")} <= {"rejected.csv"}  # whole, what there was
    )
    assert build.build({**XYZ, "files": [str(waters)]}, str(out), workers=1)["items"] == 160


def test_a_folder_that_is_none(waters, tmp_path):
    config = {**XYZ, "files": [str(waters)]}
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(DataError, match="taken/d: cannot be written to"):
        build.build(config, str(tmp_path / "taken/d.h5"), workers=1)
    with pytest.raises(DataError, match="taken/d.h5: could not be written"):
        dataset(tmp_path / "taken/d.h5", 3)


READ_ONLY = """
from equidyn.data import build, store
from equidyn.errors import DataError
import numpy as np
numbers, settings = np.ones(3, np.uint8), dict(source="xyz", files=[], licence="x", n_held_out=1, seed=0)
positions, cluster = np.zeros((3, 3), np.float32), np.arange(3)
arrays = dict(offsets=np.arange(4), numbers=numbers, positions=positions, cluster=cluster, split=cluster % 2)
attributes = dict(kind="molecules", source="x", licence="x", split="molecule", split_seed=0)
attributes |= dict(code="", settings="", poses="as-made")
{drop}
store.write(sys.argv[1] + "/open/d.h5", arrays, attributes)
for write in (lambda path: store.write(path, arrays, attributes), lambda path: build.build(settings, path)):
    try:
        write(sys.argv[1] + "/closed/d.h5")
    except DataError as error:
        print(error)
"""


def test_a_read_only_folder():
    with open_folder() as folder:
        (folder / "open").mkdir()
        os.chmod(folder / "open", 0o777)
        (folder / "closed").mkdir(mode=0o555)
        first, second = without_privileges(READ_ONLY, folder).splitlines()
        assert f"{folder}/closed/d.h5: could not be written ([Errno 13] Permission denied" in first
        assert f"{folder}/closed/d: cannot be written to ([Errno 13] Permission denied" in second
        assert (folder / "open/d.h5").exists() and not list((folder / "closed").iterdir())


KILLED = """
import sys, time
sys.path.insert(0, {tests!r})
from equidyn.data import store
from small_datasets import molecules_of
arrays, attributes = molecules_of(50)
with store.writing(sys.argv[1], attributes, 50, 50) as file:
    file["positions"][...] = arrays["positions"]
    file.flush()
    print("writing", flush=True)
    time.sleep(60)
"""


def test_a_killed_writer_leaves_nothing_that_counts(tmp_path):
    path = tmp_path / "d.h5"
    dataset(path, 3)
    before = path.read_bytes()
    environment = {
        **ENVIRONMENT,
        "PYTHONPATH": f"{REPOSITORY}/src:{REPOSITORY}/tests:{REPOSITORY}/workflow/scripts",
    }
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED.format(tests=str(REPOSITORY / "tests/data")), str(path)],
        stdout=subprocess.PIPE,
        env=environment,
    )
    assert child.stdout.readline() == b"writing\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    (left,) = (p for p in tmp_path.iterdir() if p != path)
    assert path.read_bytes() == before and left.name.startswith(".") and left.suffix == ".part"
    dataset(path, 4)
    assert (
        len(store.read(path, "molecules")[0]["offsets"]) == 5 and left.exists()
    )  # so young, it may be at work on another machine
    os.utime(left, (time.time() - 2 * files.STALE,) * 2)
    mine = path.with_name(f".d.h5.{os.getppid()}.part")
    mine.write_text("of a process that lives")
    os.utime(mine, (time.time() - 2 * files.STALE,) * 2)
    dataset(path, 5)
    assert not left.exists() and mine.exists()


def test_two_conversions_at_once_make_one_whole_file(waters, tmp_path):
    code = (
        f"import sys; from equidyn.data import build; "
        f"print(build.build({ {**XYZ, 'files': [str(waters)]}!r}, sys.argv[1], workers=1)['items'])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "d.h5")]
    both = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=ENVIRONMENT
        )
        for _ in range(2)
    ]
    assert [child.communicate()[0].strip() for child in both] == ["160", "160"]
    assert len(store.read(tmp_path / "d.h5", "molecules")[0]["offsets"]) == 161 and not list(
        tmp_path.rglob("*.part")
    )


def test_a_second_conversion_says_what_it_waits_for(waters, tmp_path):
    code = (
        f"import sys; from equidyn.data import build; "
        f"print(build.build({ {**XYZ, 'files': [str(waters)]}!r}, sys.argv[1], workers=1)['items'])"
    )
    (tmp_path / "d").mkdir()
    with open(tmp_path / "d/.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "d.h5")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        assert (
            child.stderr.readline()
            == f"{tmp_path}/d: another process is at work here (making a dataset); waiting for it\n"
        )
    out, err = child.communicate()
    assert out.strip() == "160" and "waiting" not in err


def test_the_space_of_a_dataset_is_its_own_from_the_start(tmp_path):
    """Blocks are there before the values are, so that a disk that fills up meanwhile does not matter; and no
    more than needed in the end.
    """
    arrays, attributes = molecules_of(100_000)
    path = tmp_path / "d.h5"
    with store.writing(path, attributes, 100_000, 100_000) as file:
        (part,) = tmp_path.glob(".*.part")
        before = part.stat()
        for name in ("offsets", "numbers", "positions", "cluster", "split"):
            file[name][...] = arrays[name]
    after = path.stat()
    assert (
        before.st_blocks * 512 >= before.st_size == after.st_size > 3_000_000
        and after.st_blocks * 512 < after.st_size + 2**16
    )


def test_content_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    order, fsync, rename = [], os.fsync, os.replace
    monkeypatch.setattr(
        os,
        "fsync",
        lambda descriptor: (order.append(("fsync", os.fstat(descriptor).st_size)), fsync(descriptor)),
    )
    monkeypatch.setattr(
        os, "replace", lambda a, b: (order.append(("rename", os.stat(a).st_size)), rename(a, b))
    )
    for write in (dataset, shard, labels, table):
        order.clear()
        write(tmp_path / "f.h5", 3)
        (first, size), second = order
        assert (first, second) == ("fsync", ("rename", size)) and size > 0


DAMAGES = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) * 2 // 3],
    "a bit of the arrays": lambda data: _flipped(data, data.index(b"positions.npy") + 200),
    "another file": lambda data: b"<html></html>",
    "no list": lambda data: _without(data, "meta.npy"),
}


def _flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def _without(data, name):
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as whole, zipfile.ZipFile(packed, "w") as less:
        for member in whole.namelist():
            if member != name:
                less.writestr(member, whole.read(member))
    return packed.getvalue()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_shard_is_made_again(waters, tmp_path, monkeypatch, damage):
    config, parsed = {**XYZ, "files": [str(waters)]}, []
    counting = records.Reader(
        "molecules", xyz.records, lambda r, s: parsed.append(r) or xyz.parse(r, s), chunk=40
    )
    monkeypatch.setitem(registry.READERS, "xyz", counting)
    build.build(config, str(tmp_path / "a.h5"), "code", workers=1)
    inputs = conversion.inputs(counting, config)
    resume = tmp_path / "b/resume" / conversion.inputs_digest(config, inputs, "code")
    made = [shard.path for shard in conversion.shards(counting, inputs, config, resume)]
    made[1].write_bytes(DAMAGES[damage](made[1].read_bytes()))
    parsed.clear()
    build.build(config, str(tmp_path / "b.h5"), "code", workers=1)
    assert len(made) == 4 and len(parsed) == 40
    (a, about), (b, about_b) = (store.read(tmp_path / f"{name}.h5", "molecules") for name in "ab")
    assert all(np.array_equal(a[key], b[key]) for key in a) and list(map(str, about.values())) == list(
        map(str, about_b.values())
    )


def test_damaged_labels_are_made_again(tmp_path):
    arguments = ([("methane", "C"), ("water", "O")], 4, 200, 0, 1, tmp_path)
    whole, _ = conformers.build(*arguments, labels=False)
    (chunk,) = tmp_path.glob("*.npz")
    content = chunk.read_bytes()
    chunk.write_bytes(content[:-100])
    again, _ = conformers.build(*arguments, labels=False)
    assert (
        all(np.array_equal(a[2], b[2]) for a, b in zip(whole, again))
        and len(again) == 4
        and len(chunk.read_bytes()) == len(content)
    )


def test_what_goes_wrong_while_something_is_written_is_not_called_a_full_disk(tmp_path):
    path = tmp_path / "out.h5"
    with pytest.raises(RuntimeError, match="shapes"), files.atomic_write(path):
        raise RuntimeError("shapes do not fit")
    with pytest.raises(FileNotFoundError, match="absent"), files.atomic_write(path):
        open(tmp_path / "other" / "absent")
    with pytest.raises(FileNotFoundError, match="absent"), files.atomic_write(path):
        open(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="absent"), files.atomic_write(path):
        h5py.File(tmp_path / "absent", "r")
    with pytest.raises(BrokenPipeError), files.atomic_write(path):
        raise BrokenPipeError(32, "Broken pipe")
    with pytest.raises(OSError, match="truncated"), files.atomic_write(path):
        raise OSError("Unable to open file (truncated file: eof = 96)")
    with pytest.raises(DataError, match="could not be written"), files.atomic_write(path):
        pass  # nothing was written under the temporary name
    assert not list(tmp_path.iterdir())
