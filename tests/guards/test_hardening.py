"""Full disks, folders that cannot be written to, killed writers, two writers, other schema versions, readers
that die, files made to exhaust a reader.
"""

import contextlib
import fcntl
import gzip
import io
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from conftest import REPOSITORY

from equidyn import files
from equidyn.data import build, conversion, shards, store
from equidyn.data.generate import conformers, molecule_lists
from equidyn.data.readers import archives, extxyz, geom, molecules, records, registry, spice, xyz
from equidyn.data.schema import SCHEMA_VERSION
from equidyn.download.lockfile import read_lock
from equidyn.download.table import read_table
from equidyn.errors import DataError
from equidyn.guards import content_digest

WATERS = "".join(
    f"3\n\n{element} 0 0 {0.01 * i}\nH 0.96 0 0\nH -0.24 0.93 0\n"
    for i in range(40)
    for element in ("O", "S", "Se", "Te")
)  # not that they would be water, all of them
XYZ = dict(source="xyz", licence="x", n_held_out=1, seed=0)
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"}


def molecules_of(n):
    """Arrays and attributes of a dataset of n one-atom molecules."""
    keys = dict(
        offsets=np.arange(n + 1),
        numbers=np.ones(n, np.uint8),
        positions=np.zeros((n, 3), np.float32),
        cluster=np.arange(n),
        split=np.arange(n) % 2,
    )
    return keys, dict(
        kind="molecules", source="x", licence="x", split="molecule", split_seed=0, code="", settings="{}"
    )


@pytest.fixture
def waters(tmp_path):
    path = tmp_path / "in" / "w.xyz"
    path.parent.mkdir()
    path.write_text(WATERS)
    return path


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

    tables.write_table(path, [{"a": 0.1 + i, "b": "x"} for i in range(n)])


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
        and not list((tmp_path / "out/d").glob("*.csv"))
    )
    assert build.build({**XYZ, "files": [str(waters)]}, str(out), workers=1)["items"] == 160


def test_a_folder_that_is_none(waters, tmp_path):
    config = {**XYZ, "files": [str(waters)]}
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(DataError, match="taken/d: cannot be written to"):
        build.build(config, str(tmp_path / "taken/d.h5"), workers=1)
    with pytest.raises(DataError, match="taken/d.h5: could not be written"):
        dataset(tmp_path / "taken/d.h5", 3)


@contextlib.contextmanager
def open_folder():
    """A temporary folder that every user may enter, which pytest's are not."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def without_privileges(code, folder):
    """What ``code`` prints for a folder, in a process that permissions bind; ``{drop}`` in it is where the
    superuser becomes nobody, after its imports.
    """
    drop = "os.geteuid() or os.setuid(65534)"
    command = [sys.executable, "-c", "import os, sys\n" + code.format(drop=drop), str(folder)]
    return subprocess.run(
        command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT, check=True
    ).stdout.strip()


READ_ONLY = """
from equidyn.data import build, store
from equidyn.errors import DataError
import numpy as np
numbers, settings = np.ones(3, np.uint8), dict(source="xyz", files=[], licence="x", n_held_out=1, seed=0)
positions, cluster = np.zeros((3, 3), np.float32), np.arange(3)
arrays = dict(offsets=np.arange(4), numbers=numbers, positions=positions, cluster=cluster, split=cluster % 2)
attributes = dict(kind="molecules", source="x", licence="x", split="molecule", split_seed=0)
attributes |= dict(code="", settings="")
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
from test_hardening import molecules_of
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
            == f"{tmp_path}/d: another conversion into this folder is running; waiting until it ends\n"
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


@pytest.mark.parametrize("version", (SCHEMA_VERSION - 1, SCHEMA_VERSION + 1, None))
def test_another_schema_version_says_what_to_rebuild(tmp_path, version):
    path = tmp_path / "d.h5"
    dataset(path, 3)
    with h5py.File(path, "r+") as file:
        del file.attrs["schema"]
        if version is not None:
            file.attrs["schema"] = version
    content_digest.write_digest(path)
    with pytest.raises(DataError) as raised:
        store.read(path, "molecules")
    said = str(raised.value)
    assert (
        f"{path}: schema version {version}, expected {SCHEMA_VERSION}" in said
        and f"`snakemake {path} --forcerun dataset`" in said
    )


def numbered(path):
    return ((f"{path}, record {i}", i) for i in range(6))


def lives(record, settings):
    where, i = record
    return [records.Item(where, str(i), {"numbers": np.ones(1), "positions": np.zeros((1, 3))})]


def dies(record, settings):
    if record[1] == 4:
        time.sleep(1)  # the shards before are finished
        os._exit(1)
    return lives(record, settings)


def test_a_reader_that_dies_is_named_and_finished_shards_are_kept(tmp_path):
    path = tmp_path / "crafted.pickle"
    path.write_text("x")
    inputs, folder = [conversion.Input((str(path),))], tmp_path / "shards"
    with pytest.raises(
        DataError,
        match="crafted.pickle: a worker process died.*out of memory.*crafted record.*Finished shards",
    ):
        list(
            conversion.shards(
                records.Reader("molecules", numbered, dies, chunk=1, isolated=True), inputs, {}, folder
            )
        )
    kept = {p.name: p.stat().st_mtime_ns for p in folder.glob("*.npz")}
    assert len(kept) >= 3
    found = list(conversion.shards(records.Reader("molecules", numbered, lives, chunk=1), inputs, {}, folder))
    assert len(found) == 6 and all((folder / name).stat().st_mtime_ns == time for name, time in kept.items())


def spins(record, settings):
    while True:
        pass


def swells(record, settings):
    return [bytearray(3 << 30)]


def lists_and_dies(path):
    os._exit(1)
    yield


@pytest.mark.parametrize(
    "reader",
    [
        records.Reader("molecules", numbered, spins, isolated=True),
        records.Reader("molecules", lists_and_dies, lives, isolated=True, aside=True),
    ],
)
def test_a_reader_that_stalls_or_dies_while_listing_ends_in_an_error(tmp_path, monkeypatch, reader):
    monkeypatch.setattr(conversion, "CPU_SECONDS", 1)
    (tmp_path / "f").write_text("x")
    with pytest.raises(DataError, match="f: a worker process died.*busy for 1 s"):
        list(conversion.shards(reader, [conversion.Input((str(tmp_path / "f"),))], {}, tmp_path / "shards"))


@pytest.mark.skipif(sys.platform != "linux", reason="no limit of memory elsewhere")
def test_a_reader_that_asks_for_too_much_memory_ends_in_an_error(tmp_path):
    (tmp_path / "f").write_text("x")
    with pytest.raises(DataError, match="more than 2 GiB"):
        list(
            conversion.shards(
                records.Reader("molecules", numbered, swells, isolated=True),
                [conversion.Input((str(tmp_path / "f"),))],
                {},
                tmp_path / "shards",
            )
        )


# What fuzzing and reading for it found.


def test_names_that_are_no_text(tmp_path):
    from test_structures import LONG, mmcif, protein

    good = mmcif(protein(LONG)).encode()
    assert b" A " in good
    (tmp_path / "a.cif").write_bytes(good.replace(b" A ", b" \xe9 "))
    (tmp_path / "b.cif").write_bytes(good)
    chains, rejected = conversion.read(
        registry.READERS["structures"], tmp_path, {"min_residues": 10, "max_residues": 40}
    )
    assert len(chains) == 1 and [(r.where, r.reason) for r in rejected] == [
        (str(tmp_path / "a.cif"), "unreadable file")
    ]
    assert geom.parse(("f", 1, "C\ud800", [b""]), {})[0].reason == "does not parse (RDKit)"


@pytest.mark.parametrize(
    "header",
    (
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (3,\n",
        b"(" * 400,
        b"{'shape': (3L",
        b"  x\n y\n",
        b"-" * 9000,
    ),
)
def test_npy_headers_that_are_none(tmp_path, header):
    import zipfile

    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(tmp_path / "f.npz", "w") as file:
        for name in ("nuclear_charges", "coords", "energies", "forces"):
            file.writestr(f"{name}.npy", content)
    with pytest.raises(DataError, match="f.npz: not readable"):
        conversion.read(registry.READERS["npz"], tmp_path / "f.npz")


ROW = dict(
    name="a",
    version="1",
    task="forces",
    urls=[],
    file="f.xyz",
    size=None,
    checksum=None,
    licence="x",
    citation="x",
    purpose="x",
    verified=True,
)


@pytest.mark.parametrize(
    "text",
    [
        "- 2001-99-99",
        "[" * 500,
        "- !!float x",
        "- {? [a] : 1}",
        "- !!int ''",
        yaml.safe_dump([{**ROW, 1: 2, "b": 3}]),
        yaml.safe_dump([{**ROW, "file": 5, "ids": ["a"]}]),
        yaml.safe_dump([{**ROW, "version": 1}]),
        yaml.safe_dump([{**ROW, "urls": ["http://127.0.0.1/{id.x}"], "ids": ["abc"]}]),
    ],
)
def test_tables_of_datasets_that_are_none(tmp_path, text):
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(DataError, match="t.yaml"):
        read_table(tmp_path / "t.yaml")
    (tmp_path / "l.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match="l.json"):
        read_lock(tmp_path / "l.json")


def test_little_text_is_not_much_work(tmp_path):
    start = time.perf_counter()
    bomb = (
        "1\nenergy=-1 Properties=species:S:1:pos:R:3"
        + "".join(f":{i}:R:999" for i in range(20_000))
        + "\nH 0 0 0\n"
    )
    assert extxyz.parse(("f, frame 1", bomb), {})[0].reason == "does not parse"
    assert (
        molecules.canonical_smiles("C" * 50_000) is None
        and geom.parse(("f", 1, "C" * 50_000, [b""]), {})[0].reason == "does not parse (RDKit)"
    )
    (tmp_path / "m.smi").write_text("C" * 50_000 + " long\nCC short\n")
    rejected = []
    assert (
        molecule_lists.read_molecules(tmp_path / "m.smi", rejected) == [("short", "CC")]
        and len(rejected) == 1
    )
    crystal = np.stack(np.meshgrid(*[np.arange(9.0)] * 3), -1).reshape(-1, 3) * 1.5  # many rings
    assert molecules.connectivity(np.full(len(crystal), 6, np.uint8), crystal) == f"C{len(crystal)}"
    assert molecules.connectivity(np.full(5000, 6, np.uint8), np.zeros((5000, 3))) == "C5000"
    assert time.perf_counter() - start < 20


def test_an_element_without_a_symbol_here_is_a_molecule_of_its_own():
    (item,) = xyz.parse(("f.xyz, frame 1", "2\n\nU 0 0 0\nO 0 0 1.8\n"), {})
    assert isinstance(item, records.Item) and item.rows["numbers"].tolist() == [92, 8] and item.cluster


def test_a_frame_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "LARGEST", 1 << 20)
    rows = b"H 0 0 0" + b" " * 5000 + b"\n"
    with gzip.open(tmp_path / "b.xyz.gz", "wb") as file:
        file.write(b"1000\n\n" + rows * 1000 + b"1\n\nH 0 0 0\n")
    first, second = archives.frames(tmp_path / "b.xyz.gz")
    assert (
        isinstance(first, records.Rejected) and "more than" in first.reason and second[0].endswith("frame 2")
    )


def test_arrays_that_are_only_declared(tmp_path):
    """A few bytes of HDF5 may declare terabytes, or point to other files."""
    with h5py.File(tmp_path / "s.hdf5", "w") as file:
        for name, options in (
            ("endless", dict(shape=(10**9, 3, 3), chunks=(1, 3, 3))),
            ("elsewhere", dict(shape=(2, 3, 3), external=[("other", 0, 144)])),
        ):
            group = file.create_group(name)
            group["smiles"], group["atomic_numbers"] = ["O"], [8, 1, 1]
            for key in spice.KEYS[2:]:
                group.create_dataset(key, dtype="f8", **options)
    items, rejected = conversion.read(
        records.Reader("forces", spice.records, spice.parse), tmp_path / "s.hdf5"
    )
    assert not items and [r.reason for r in rejected] == ["not the layout of SPICE"] * 2
    path = tmp_path / "d.h5"
    for shape, dtype in (((10**12,), "uint8"), ((3,), "S5"), (None, "f4")):
        dataset(path, 3)
        with h5py.File(path, "r+") as file:
            del file["numbers"]
            file.create_dataset(
                "numbers",
                **(
                    dict(data=h5py.Empty(dtype))
                    if shape is None
                    else dict(shape=shape, dtype=dtype, chunks=(3,))
                ),
            )
        content_digest.write_digest(path)
        with pytest.raises(DataError, match="d.h5: numbers is"):
            store.read(path, "molecules")


@pytest.mark.parametrize(
    "change",
    [
        dict(offsets=[1, 2, 3, 3]),
        dict(offsets=[1, 2, 3, 4]),
        dict(offsets=[0, -(2**63), 2**63 - 1, 3]),
        dict(split=[0, 1, 7]),
    ],
)
def test_offsets_and_splits_that_are_none(tmp_path, change):
    path = tmp_path / "d.h5"
    dataset(path, 3)
    with h5py.File(path, "r+") as file:
        for name, values in change.items():
            file[name][...] = values
    content_digest.write_digest(path)
    with pytest.raises(DataError, match="d.h5"):
        store.read(path, "molecules")
