"""Other schema versions, readers that die, files made to exhaust a reader."""

import gzip
import os
import sys
import time

import h5py
import numpy as np
import pytest
import yaml
from test_writers import dataset

from equidyn.data import conversion, store
from equidyn.data.generate import molecule_lists
from equidyn.data.readers import archives, extxyz, geom, molecules, records, registry, spice, xyz
from equidyn.data.schema import SCHEMA_VERSION
from equidyn.download.lockfile import read_lock
from equidyn.download.table import read_table
from equidyn.errors import DataError
from equidyn.guards import content_digest, workers


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
    monkeypatch.setattr(workers, "CPU_SECONDS", 1)
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
    from structure_files import LONG, mmcif, protein

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


def test_little_text_is_not_much_work(tmp_path, monkeypatch):
    """What takes long in a library is refused before the library sees it."""
    import ase.io.extxyz
    from rdkit import Chem

    read, from_smiles = [], Chem.MolFromSmiles
    monkeypatch.setattr(
        Chem, "MolFromSmiles", lambda text, *a, **k: read.append(text) or from_smiles(text, *a, **k)
    )
    for module, name in ((ase.io.extxyz, "parse_properties"), (Chem, "MolToSmiles")):
        monkeypatch.setattr(module, name, lambda *_, name=name, **__: pytest.fail(f"{name} was called"))
    columns = "".join(f":{i}:R:999" for i in range(20_000))
    bomb = f"1\nenergy=-1 Properties=species:S:1:pos:R:3{columns}\nH 0 0 0\n"
    assert extxyz.parse(("f, frame 1", bomb), {"energy_unit": "eV"})[0].reason == "does not parse"
    assert molecules.constitution_of("C" * 50_000) is None
    assert geom.parse(("f", 1, "C" * 50_000, [b""]), {})[0].reason == "does not parse (RDKit)"
    crystal = np.stack(np.meshgrid(*[np.arange(9.0)] * 3), -1).reshape(-1, 3) * 1.5  # many rings
    assert molecules.bonds_of(np.full(len(crystal), 6, np.uint8), crystal)[0] == f"C{len(crystal)}"
    assert molecules.bonds_of(np.full(5000, 6, np.uint8), np.zeros((5000, 3)))[0] == "C5000"
    monkeypatch.undo()
    monkeypatch.setattr(
        Chem, "MolFromSmiles", lambda text, *a, **k: read.append(text) or from_smiles(text, *a, **k)
    )
    (tmp_path / "m.smi").write_text("C" * 50_000 + " long\nCC short\n")
    rejected = []
    found = molecule_lists.read_molecules(tmp_path / "m.smi", rejected)
    assert found == [("short", "CC")] and len(rejected) == 1 and read == ["CC"]


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
