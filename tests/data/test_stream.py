"""Streaming conversion: resumable, bounded, the same result whatever the workers; splits that do not leak; units that are what they say."""

import csv
import gzip
import hashlib
import io
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections import Counter
from dataclasses import replace

import ase
import ase.io
import numpy as np
import pytest
import yaml
from conftest import REPOSITORY
from dataset import located  # the script
from hypothesis import given, settings
from hypothesis import strategies as st

from equidyn.config import ConfigError, validate
from equidyn.data import build, conformers, files, sealed, splits, store, stream, units
from equidyn.data.schema import DataError

REAL = REPOSITORY.parent / "shared/data/forces"
EXTXYZ = build.READERS["extxyz"]
SETTINGS = dict(source="extxyz", energy_unit="eV", licence="x", n_held_out=2, seed=0)
MOLECULES = ("H2O", "CH4", "NH3", "CH3OH", "C2H6", "HCN", "C2H2", "H2CO")
real = pytest.mark.skipif(not REAL.is_dir(), reason="no real force files on this machine")


def frames(n, seed=0, names=MOLECULES):
    """Displaced small molecules with GFN2-xTB labels."""
    from ase.build import molecule

    rng, result = np.random.default_rng(seed), []
    for i in range(n):
        atoms = molecule(names[i % len(names)])
        atoms.positions += 0.03 * rng.normal(size=atoms.positions.shape)
        energy, forces = conformers.label(atoms.numbers, atoms.positions)
        atoms.info["energy"], atoms.arrays["forces"] = energy, forces
        result.append(atoms)
    return result


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """80 frames of eight molecules."""
    path = tmp_path_factory.mktemp("many") / "many.xyz"
    ase.io.write(path, frames(80), format="extxyz")
    return path


def same(a, b):
    a, b = store.read(a), store.read(b)
    return all(np.array_equal(a[0][k], b[0][k]) for k in a[0]) and {k: v for k, v in a[1].items() if k != "splits"} == {k: v for k, v in b[1].items() if k != "splits"}


def test_workers_and_chunks_do_not_matter(many, tmp_path, monkeypatch):
    config = {**SETTINGS, "files": [str(many)]}
    one = build.build(config, str(tmp_path / "a.h5"), workers=1)
    monkeypatch.setattr(stream, "BYTES", 3000)
    two = build.build(config, str(tmp_path / "b.h5"), workers=2)
    assert one == two and same(tmp_path / "a.h5", tmp_path / "b.h5") and one["items"] == 80
    for name in ("rejected.csv", "split.csv", "split.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert not (tmp_path / "b/resume").exists() and not list(tmp_path.rglob("*.part"))


KILLED = """
import sys, time
from equidyn.data import build, files, stream
slow, stream.RECORDS = files.parse_extxyz, 5
def parse(record, settings):
    time.sleep(0.02)
    return slow(record, settings)
build.READERS["extxyz"] = stream.Reader("forces", files.extxyz_records, parse, check=files.check, chunk=5)
build.build({settings}, sys.argv[1], "code", workers=1)
"""


def test_a_killed_conversion_goes_on_where_it_was(many, tmp_path, monkeypatch):
    config = {**SETTINGS, "files": [str(many)]}
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen([sys.executable, "-c", KILLED.replace("{settings}", repr(config)), str(tmp_path / "a.h5")], env=environment, stderr=subprocess.DEVNULL)
    deadline = time.time() + 60
    while len(list((tmp_path / "a").glob("resume/*/*.npz"))) < 4:
        assert time.time() < deadline and child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    before = len(list((tmp_path / "a").glob("resume/*/*.npz")))
    assert not (tmp_path / "a.h5").exists() and before < 16
    parsed = []
    counting = stream.Reader("forces", files.extxyz_records, lambda r, s: parsed.append(r) or files.parse_extxyz(r, s), check=files.check, chunk=5)
    monkeypatch.setitem(build.READERS, "extxyz", counting)
    build.build(config, str(tmp_path / "a.h5"), "code", workers=1)
    assert len(parsed) == 80 - 5 * before
    build.build(config, str(tmp_path / "b.h5"), "code", workers=1)
    assert len(parsed) == 160 - 5 * before and same(tmp_path / "a.h5", tmp_path / "b.h5")


def test_workers_leave_with_a_killed_parent(many, tmp_path):
    code = """
import os, sys, time
from concurrent.futures import wait
from equidyn.data import stream
if __name__ == "__main__":
    pool = stream._pool(1)
    print(pool.submit(os.getpid).result(), flush=True)
    time.sleep(60)
"""
    script = tmp_path / "parent.py"
    script.write_text(code)
    child = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")})
    worker = int(child.stdout.readline())
    child.kill()
    child.wait()
    deadline = time.time() + 20

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
    inputs = [stream.Input((str(many),))]
    digests = {stream.inputs_digest(s, inputs, c) for s in (SETTINGS, {**SETTINGS, "energy_unit": "hartree"}) for c in ("a", "b")}
    times = os.stat(many)
    os.utime(many, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    digests.add(stream.inputs_digest(SETTINGS, inputs, "a"))
    os.utime(many, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert len(digests) == 5 and stream.inputs_digest(SETTINGS, inputs, "a") in digests


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
    with gzip.open(path / f"{name}.gz", "wb") as file:
        file.write(data)
    return [path / "a.tar.gz", path / "a.tar.bz2", path / "a.zip", path / f"{name}.gz"]


def test_containers_hold_the_same_items(many, tmp_path):
    plain, _ = stream.read(EXTXYZ, many)
    for path in packed(tmp_path, "many.xyz", many.read_bytes()):
        items, rejected = stream.read(EXTXYZ, path)
        assert not rejected and [i.cluster for i in items] == [i.cluster for i in plain], path
        assert all(np.array_equal(a.rows["forces"], b.rows["forces"]) for a, b in zip(items, plain))
    assert not (tmp_path.parent / "many.xyz").exists()


@pytest.mark.parametrize("kind", range(4))
def test_what_was_readable_of_a_cut_file_is_kept(many, tmp_path, kind):
    path = packed(tmp_path, "many.xyz", many.read_bytes())[kind]
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    try:
        items, rejected = stream.read(EXTXYZ, path)
    except DataError as error:  # a zip without its directory, the first block of a bz2
        assert path.suffix in (".zip", ".bz2") and path.name in str(error)
    else:
        assert 0 < len(items) < 80 and "breaks off" in rejected[-1].reason and len(rejected) <= 2


def test_leaner_parser_agrees_with_ase(many):
    for path in [many, *sorted(REAL.glob("3bpa_train*.xyz"))]:
        expected = ase.io.read(path, ":", format="extxyz")
        found = [files.frame_of(text) for _, text in files.extxyz_records(path)]
        assert len(found) == len(expected)
        for (numbers, positions, forces, info), atoms in zip(found, expected):
            assert np.array_equal(numbers, atoms.numbers) and np.array_equal(positions, atoms.positions) and np.array_equal(forces, atoms.get_forces())
            assert info["energy"] == atoms.get_potential_energy()


@given(st.binary(max_size=300), st.integers(0, 3))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_items_rejections_or_an_error(tmp_path_factory, junk, start):
    path = tmp_path_factory.getbasetemp() / "junk.xyz"
    lines = [b"2", b'Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.0 pbc="F F F"', b"H 0 0 0 0 0 0", b"H 0 0 0.75 0 0 0"]
    path.write_bytes(b"\n".join(lines[:start] + [junk] + lines[start:]))
    try:
        stream.read(stream.Reader("forces", files.extxyz_records, files.parse_extxyz), path)
    except DataError as error:
        assert "junk.xyz" in str(error)


def test_a_bad_frame_costs_no_other(tmp_path):
    lines = "".join(f"3\nenergy=-138 Properties=species:S:1:pos:R:3:forces:R:3\nO 0 0 {z} 0 0 1\nH 0.96 0 {z} 0 0 0\nH -0.24 0.93 {z} 0 0 -1\n" for z in range(60))
    rows = lines.splitlines()
    rows[5 * 7] = "4"  # swallows the next frame's first line
    rows.insert(5 * 30, "stray words\nand more of them")
    (tmp_path / "w.xyz").write_text("\n".join(rows))
    items, rejected = stream.read(stream.Reader("forces", files.extxyz_records, files.parse_extxyz), tmp_path / "w.xyz")
    assert 57 <= len(items) <= 59 and len(rejected) >= 2 and all("w.xyz, frame" in r.where for r in rejected)


ATOMS = "Properties=species:S:1:pos:R:3:forces:R:3"


@pytest.mark.parametrize(
    "comment, row, reason",
    [
        (f"energy=high {ATOMS}", "H 0 0 0 0 0 0", "does not parse"),
        (f"energy=1e400 {ATOMS}", "H 0 0 0 0 0 0", "energy holds"),
        (f"energy=-1 {ATOMS}", "H 1e39 0 0 0 0 0", "positions holds"),
        (f"energy=-1 {ATOMS}", "H 0 0 0 0 0 1e39", "forces holds"),
        (f"energy=-1 {ATOMS}", "Qq 0 0 0 0 0 0", "does not parse"),
        (f"energy=-1 {ATOMS}", "H 0 0 0 0 0", "does not parse"),
        (ATOMS, "H 0 0 0 0 0 0", "no energy"),
        ("energy=-1", "H 0 0 0", "no forces"),
        ("", "H 0 0 0", "no energy"),
        ("energy=-1 Properties=species:S:1:pos:R:99999999999", "H 0 0 0", "does not parse"),
    ],
)
def test_bad_frames_are_rejected_with_a_reason(comment, row, reason):
    found = files.parse_extxyz(("f.xyz, frame 1", f"2\n{comment}\nH 0 0 0.75 0 0 0\n{row}\n"), {})
    assert len(found) == 1 and isinstance(found[0], stream.Rejected) and found[0].reason.startswith(reason)


def test_a_number_of_atoms_or_a_line_without_end_is_no_memory(tmp_path):
    (tmp_path / "n.xyz").write_text("999999999\nand no more\n" + "H 0 0 0\n" * 100)
    items, rejected = stream.read(EXTXYZ, tmp_path / "n.xyz")
    assert not items and len(rejected) == 1 and rejected[0].reason.startswith("does not parse")
    good = f"2\nenergy=-1 {ATOMS}\nH 0 0 0 0 0 0\nH 0 0 0.75 0 0 0\n"
    (tmp_path / "l.xyz").write_text(good + "1\n" + "x" * (2 << 20))
    items, rejected = stream.read(stream.Reader("forces", files.extxyz_records, files.parse_extxyz), tmp_path / "l.xyz")
    assert len(items) == 1 and "breaks off" in rejected[-1].reason


def test_archives_without_a_member_of_the_kind(tmp_path):
    packed(tmp_path, "notes.txt", b"no frames")
    for name in ("a.tar.gz", "a.tar.bz2", "a.zip"):
        with pytest.raises(DataError, match=f"{name}: no .xyz file in it"):
            stream.read(EXTXYZ, tmp_path / name)
    (tmp_path / "cut.tar.gz").write_bytes((tmp_path / "a.tar.gz").read_bytes()[:8])
    with pytest.raises(DataError, match="cut.tar.gz: not readable"):
        stream.read(EXTXYZ, tmp_path / "cut.tar.gz")


PROTEINS = REPOSITORY.parent / "shared/data/proteins"


@pytest.mark.skipif(not PROTEINS.is_dir(), reason="no real proteins on this machine")
def test_published_split_of_structures(tmp_path):
    names = [str(PROTEINS / f"{name}.cif.gz") for name in ("1aki", "1ake", "4hhb", "1o1z")]
    config = dict(source="structures", licence="x", min_residues=50, max_residues=300, identity=0.5, seed=0)
    counts = build.build({**config, "files": names[:3], "held_out_files": names[2:]}, str(tmp_path / "d.h5"), workers=1)
    rows = list(csv.DictReader(open(tmp_path / "d/split.csv")))
    sides = [{r["where"].split("_")[0].lower() for r in rows if r["split"] == name} for name in ("train", "held_out")]
    assert sides == [{"1aki", "1ake"}, {"4hhb", "1o1z"}] and counts[f"rejected: {splits.LEAKED}"] > 0
    arrays, attributes = store.read(tmp_path / "d.h5", "backbones")
    assert attributes["split"] == "published" and not set(arrays["cluster"][arrays["split"] == 0]) & set(arrays["cluster"][arrays["split"] == 1])


def test_published_split_and_its_leaks(tmp_path):
    ase.io.write(tmp_path / "train.xyz", frames(40), format="extxyz")
    ase.io.write(tmp_path / "test.xyz", frames(12, 1, names=("CH4", "C2H4", "N2H4")), format="extxyz")
    config = {**SETTINGS, "files": [str(tmp_path / "train.xyz")], "held_out_files": [str(tmp_path / "test.xyz")]}
    del config["n_held_out"]
    counts = build.build(config, str(tmp_path / "d.h5"), workers=1)
    arrays, attributes = store.read(tmp_path / "d.h5")
    clusters = [set(arrays["cluster"][arrays["split"] == i]) for i in (0, 1)]
    assert not clusters[0] & clusters[1] and attributes["split"] == "published" and attributes["leaks"] == 0
    assert counts["items"] == 47 and counts["held out"] == 12 and counts[f"rejected: {splits.LEAKED}"] == 5
    rows = list(csv.DictReader(open(tmp_path / "d/rejected.csv")))
    assert len(rows) == 5 and {r["reason"] for r in rows} == {splits.LEAKED}
    with pytest.raises(DataError, match="1 clusters are in both splits.*C"):
        build.build({**config, "leaks": "refuse"}, str(tmp_path / "r.h5"), workers=1)
    assert not (tmp_path / "r.h5").exists()
    assert build.build({**config, "leaks": "keep"}, str(tmp_path / "k.h5"), workers=1)["items"] == 52
    assert store.read(tmp_path / "k.h5")[1]["leaks"] == 1
    drawn = build.build({**config, "n_held_out": 1}, str(tmp_path / "n.h5"), workers=1)
    assert drawn["held out"] == 4 and drawn[f"rejected: {splits.SURPLUS}"] == 8
    with pytest.raises(DataError, match="no items to train on.*leaks: keep"):
        build.build({**config, "held_out_files": config["files"]}, str(tmp_path / "s.h5"), workers=1)


def test_frames_of_one_molecule_on_both_sides_are_blocks(tmp_path):
    for name, seed in (("train", 0), ("test", 1)):
        ase.io.write(tmp_path / f"{name}.xyz", frames(24, seed, names=("H2O",)), format="extxyz")
    config = {**SETTINGS, "files": [str(tmp_path / "train.xyz")], "held_out_files": [str(tmp_path / "test.xyz")], "leaks": "keep", "n_held_out": 4}
    build.build(config, str(tmp_path / "d.h5"), workers=1)
    arrays, attributes = store.read(tmp_path / "d.h5")
    held_out = arrays["cluster"][arrays["split"] == 1]
    assert len(held_out) == 24 and len(set(held_out)) >= 4 and not set(held_out) & set(arrays["cluster"][arrays["split"] == 0])
    assert attributes["leaks"] == 1


def test_a_listed_split_is_the_one_it_was_made_from(many, tmp_path):
    config = {**SETTINGS, "files": [str(many)]}
    build.build(config, str(tmp_path / "a.h5"), workers=1)
    (tmp_path / "elsewhere").mkdir()
    config["files"] = [shutil.copy(many, tmp_path / "elsewhere")]
    listed = tmp_path / "a/split.csv"
    del config["n_held_out"]
    config["split_list"] = {"file": str(listed), "sha256": hashlib.sha256(listed.read_bytes()).hexdigest()}
    build.build(config, str(tmp_path / "b.h5"), workers=1)
    (a, _), (b, attributes) = store.read(tmp_path / "a.h5"), store.read(tmp_path / "b.h5")
    assert all(np.array_equal(a[name], b[name]) for name in a) and attributes["split"] == "published"
    assert (tmp_path / "a/split.json").read_bytes() == (tmp_path / "b/split.json").read_bytes()

    lines = listed.read_text().splitlines(keepends=True)
    training = next(i for i, line in enumerate(lines) if ",train," in line)
    listed.write_text("".join(lines[:training] + lines[training + 1 :]))
    with pytest.raises(DataError, match="split.csv: sha256 .*, expected split_list.sha256 = "):
        build.build(config, str(tmp_path / "b.h5"), workers=1)
    config["split_list"] = {"file": str(listed)}
    counts = build.build(config, str(tmp_path / "b.h5"), workers=1)
    assert counts["items"] == len(lines) - 2 and counts[f"rejected: {splits.UNLISTED}"] == 1


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "not a readable list"),
        (b"\xff\xfe", "not a readable list"),
        (b"", "columns none, expected split and where"),
        (b"\xef\xbb\xbfsplit,where\n", "no rows, expected the items of a split"),
        (b"index\n1\n", "columns .'index'., expected split and where"),
        (b"split,where\ntest,a.xyz\n", "row 2: split 'test', where 'a.xyz', expected split to be one of train, held_out"),
        (b"split,where\ntrain\n", "row 2: split 'train', where None"),
        (b"split,where\ntrain,a\nheld_out,a\n", "row 3: 'a' is on both sides"),
        (b"split,where\ntrain,gone\n", "1 of 1 items are not in the files or rejected there, e.g. gone"),
    ],
)
def test_bad_lists_of_a_split_are_named(many, tmp_path, content, message):
    if content is not None:
        (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(DataError, match=f"list.csv.*{message}"):
        build.build({**SETTINGS, "files": [str(many)], "split_list": {"file": str(tmp_path / "list.csv")}}, str(tmp_path / "d.h5"), workers=1)
    assert not (tmp_path / "d.h5").exists()


def test_lists_of_the_split_say_what_the_file_says(many, tmp_path):
    build.build({**SETTINGS, "files": [str(many)]}, str(tmp_path / "d.h5"), workers=1)
    arrays, _ = store.read(tmp_path / "d.h5")
    rows = list(csv.DictReader(open(tmp_path / "d/split.csv")))
    assert [int(r["item"]) for r in rows] == list(range(80)) and [r["split"] for r in rows] == [("train", "held_out")[i] for i in arrays["split"]]
    keys = {}
    assert all(keys.setdefault(n, r["cluster"]) == r["cluster"] for n, r in zip(arrays["cluster"], rows)) and len(set(keys.values())) == len(keys)
    table = json.loads((tmp_path / "d/split.json").read_text())
    for name in ("train", "held_out"):
        lines = sorted(r["where"] + "\n" for r in rows if r["split"] == name)
        assert table[name]["items"] == len(lines) and table[name]["sha256 of the sorted column where"] == hashlib.sha256("".join(lines).encode()).hexdigest()
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (moved / many.name).write_bytes(many.read_bytes())
    build.build({**SETTINGS, "files": [str(moved / many.name)]}, str(tmp_path / "m.h5"), workers=1)
    assert (tmp_path / "m/split.json").read_text() == (tmp_path / "d/split.json").read_text()


def test_long_lists_are_sorted_in_pieces(tmp_path, monkeypatch):
    names = [f"{i * 7919 % 1000}" for i in range(1000)]
    digests = []
    for spill in (10**6, 7):
        monkeypatch.setattr(splits, "SPILL", spill)
        with splits.Lists(tmp_path) as lists:
            for i, name in enumerate(names):
                lists.add(i % 2, i, name, name)
        digests.append((tmp_path / "split.json").read_text())
    assert digests[0] == digests[1] and sorted(p.name for p in tmp_path.iterdir()) == ["split.csv", "split.json"]


SMALL = {
    "conformers": dict(molecules=str(REPOSITORY / "resources/molecules.csv"), n_molecules=12, n_conformers=24, temperature=200, max_atoms=20, labels=False),
    "backbones": dict(n_chains=8, min_residues=20, max_residues=22),
}


@pytest.mark.parametrize("source", SMALL)
def test_no_cluster_in_both_splits_of_generated_sources(source, tmp_path):
    build.build({**SMALL[source], "source": source, "n_held_out": 3, "seed": 0}, str(tmp_path / "d.h5"), workers=1)
    rows = list(csv.DictReader(open(tmp_path / "d/split.csv")))
    sides = [{r["cluster"] for r in rows if r["split"] == name} for name in ("train", "held_out")]
    assert all(sides) and not sides[0] & sides[1] and len(sides[1]) == 3


def written(source, folder):
    """A small input of a streamed source: five molecules in several conformers each; returns its settings."""
    from rdkit import Chem
    from rdkit.Chem import AllChem

    path, config = folder / f"m.{source}", {"licence": "x"}
    mols = []
    for smiles in ("CCO", "CC=O", "CCN", "c1ccccc1", "CC#N"):
        mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
        AllChem.EmbedMultipleConfs(mol, 4, randomSeed=1)
        mols.append((smiles, [Chem.Mol(mol, confId=c.GetId()) for c in mol.GetConformers()]))
    if source == "sdf":
        path.write_text("".join(Chem.MolToMolBlock(c) + "$$$$\n" for _, confs in mols for c in confs))
    elif source == "xyz":
        path.write_text("".join(Chem.MolToXYZBlock(c) for _, confs in mols for c in confs))
    elif source == "geom":
        path.write_bytes(pickle.dumps(mols, protocol=4))
    elif source == "extxyz":
        ase.io.write(path, frames(40), format="extxyz")
        config["energy_unit"] = "eV"
    elif source == "spice":
        from test_spice import write

        write(path)
    elif source == "structures":
        from test_structures import several

        return {**config, "source": source, "files": [str(several(path))], "n_held_out": 2, "seed": 0, "min_residues": 10, "max_residues": 60, "identity": 0.9}
    return {**config, "source": source, "files": [str(path)], "n_held_out": 2, "seed": 0}


@pytest.mark.parametrize("source", sorted(set(build.READERS) - {"npz"}))
def test_no_cluster_in_both_splits_of_streamed_sources(source, tmp_path):
    config = written(source, tmp_path)
    build.build(config, str(tmp_path / "d.h5"), workers=1)
    arrays, _ = store.read(tmp_path / "d.h5", build.READERS[source].kind)
    rows = list(csv.DictReader(open(tmp_path / "d/split.csv")))
    sides = [{r["cluster"] for r in rows if r["split"] == name} for name in ("train", "held_out")]
    numbers = [set(arrays["cluster"][arrays["split"] == i].tolist()) for i in (0, 1)]
    assert all(sides) and not sides[0] & sides[1] and not numbers[0] & numbers[1] and len(sides[1]) == 2 == len(numbers[1])
    del config["n_held_out"]
    with pytest.raises(DataError, match="no items to train on"):  # the same molecules on both sides of a published split
        build.build({**config, "held_out_files": config["files"]}, str(tmp_path / "l.h5"), workers=1)


BASE = {"source": "sdf", "licence": "x"}


@pytest.mark.parametrize(
    "dataset, message",
    [
        ({"n_held_out": 2}, "datasets.d: neither files nor download"),
        ({"n_held_out": 2, "files": ["a"], "download": ["qm9"]}, "datasets.d: both files and download"),
        ({"files": ["a"]}, "datasets.d.n_held_out: missing"),
        ({"files": ["a"], "held_out_files": ["b"], "held_out_download": ["qm9"]}, "datasets.d: both held_out_files and held_out_download"),
        ({"files": ["a"], "held_out_files": ["b"], "split_list": {"file": "c"}}, "datasets.d: both held_out_files and split_list"),
        ({"files": ["a"], "split_list": {"file": "c", "sha256": "abc"}}, "datasets.d.split_list.sha256: 'abc'"),
        ({"files": ["a"], "n_held_out": 2, "leaks": "keep"}, "datasets.d.leaks: 'keep' without"),
        ({"files": ["a"], "held_out_files": ["a"]}, "datasets.d.held_out_files: .'a'. also in files"),
        ({"files": ["a"], "held_out_files": ["b"], "leaks": "allow"}, "datasets.d.leaks: 'allow'"),
        ({"files": ["a"], "n_held_out": 2, "energy_unit": "eV"}, "datasets.d: .*energy_unit.*known keys"),
        ({"source": "spice", "files": ["a"], "n_held_out": 2, "energy_unit": "eV"}, "datasets.d: .*energy_unit.*known keys"),
        ({"source": "geom", "files": ["a"], "n_held_out": 2, "n_conformers": 0}, "datasets.d.n_conformers"),
    ],
)
def test_bad_datasets_of_a_config_name_the_key(dataset, message):
    config = yaml.safe_load((REPOSITORY / "config/smoke.yaml").read_text())
    schema = REPOSITORY / "workflow/schemas/config.schema.json"
    config["datasets"]["d"] = {**BASE, "files": ["a"], "held_out_files": ["b"]}
    validate(config, schema)
    config["datasets"]["d"] = {**BASE, **dataset}
    with pytest.raises(ConfigError, match=message):
        validate(config, schema)


def test_smiles_of_the_comment_line_is_the_cluster(tmp_path):
    from rdkit import Chem

    atoms = frames(3, names=("CH3OH",))
    for frame, smiles in zip(atoms, ("OC", "[O:1]([H:6])[C:2]([H:3])([H:4])[H:5]", "nonsense")):
        frame.info["smiles"] = smiles
    ase.io.write(tmp_path / "s.xyz", atoms, format="extxyz")
    items, _ = stream.read(EXTXYZ, tmp_path / "s.xyz")
    assert items[0].cluster == items[1].cluster == "CO" and Chem.MolFromSmiles(items[2].cluster) is not None and items[2].cluster != "CO"


UNITS = {"eV": 1.0, "kcal/mol": units.KCAL_PER_MOL, "hartree": units.HARTREE}


@pytest.mark.parametrize("true", UNITS)
@pytest.mark.parametrize("declared", UNITS)
def test_wrong_energy_unit_is_named(tmp_path, true, declared):
    atoms = frames(24)
    for frame in atoms:
        frame.info["energy"] /= UNITS[true]
        frame.arrays["forces"] = frame.arrays["forces"] / UNITS[true]
    ase.io.write(tmp_path / "u.xyz", atoms, format="extxyz")
    if true == declared:
        assert len(stream.read(EXTXYZ, tmp_path / "u.xyz", {"energy_unit": declared, "source": "extxyz"})[0]) == 24
        return
    with pytest.raises(DataError, match=f"u.xyz.*likely: the forces are in {true}"):
        stream.read(EXTXYZ, tmp_path / "u.xyz", {"energy_unit": declared, "source": "extxyz"})


@pytest.mark.parametrize("scale, unit", [(1 / units.BOHR, "bohr"), (0.1, "nm")])
def test_positions_in_another_unit_are_named(tmp_path, scale, unit):
    atoms = frames(24)
    for frame in atoms:
        frame.positions *= scale
    ase.io.write(tmp_path / "p.xyz", atoms, format="extxyz")
    with pytest.raises(DataError, match=f"all of the first 24 records.*likely: the positions are in {unit}"):
        stream.read(EXTXYZ, tmp_path / "p.xyz")


def test_forces_per_bohr_are_named_without_another_method(tmp_path, monkeypatch):
    """Energies and forces of neighbouring frames tell, where tblite is not installed."""
    monkeypatch.setattr(files, "_xtb_ratios", lambda items: np.zeros(0))
    rng, atoms, start = np.random.default_rng(0), [], frames(1, names=("CH3OH",))[0]
    for _ in range(12):
        frame = ase.Atoms(start.numbers, start.positions + 0.03 * rng.normal(size=start.positions.shape))
        energy, forces = conformers.label(frame.numbers, frame.positions)
        frame.info["energy"], frame.arrays["forces"] = energy / units.HARTREE, forces / (units.HARTREE / units.BOHR)
        atoms.append(frame)
    ase.io.write(tmp_path / "b.xyz", atoms, format="extxyz")
    with pytest.raises(DataError, match="11 pairs.*likely: they are in hartree/bohr"):
        stream.read(EXTXYZ, tmp_path / "b.xyz", {"energy_unit": "hartree", "source": "extxyz"})


@pytest.mark.parametrize("other_method", [True, False])
def test_gradients_in_place_of_forces_are_named(tmp_path, monkeypatch, other_method):
    rng, atoms, start = np.random.default_rng(0), [], frames(1, names=("CH3OH",))[0]
    if not other_method:
        monkeypatch.setattr(files, "_xtb_ratios", lambda items: np.zeros(0))
    for _ in range(12):
        frame = ase.Atoms(start.numbers, start.positions + 0.03 * rng.normal(size=start.positions.shape))
        frame.info["energy"], forces = conformers.label(frame.numbers, frame.positions)
        frame.arrays["forces"] = -forces
        atoms.append(frame)
    ase.io.write(tmp_path / "g.xyz", atoms, format="extxyz")
    with pytest.raises(DataError, match="g.xyz.*likely: (they are )?gradients"):
        stream.read(EXTXYZ, tmp_path / "g.xyz", {"energy_unit": "eV", "source": "extxyz"})


def test_a_net_force_is_counted_not_rejected(tmp_path):
    atoms = frames(40)
    for frame in atoms[:3]:
        frame.arrays["forces"] = frame.arrays["forces"] + 0.2
    ase.io.write(tmp_path / "n.xyz", atoms, format="extxyz")
    counts = build.build({**SETTINGS, "files": [str(tmp_path / "n.xyz")]}, str(tmp_path / "n.h5"), workers=1)
    assert counts["items"] == 40 and counts["frames with a net force above 5 % of the norm"] == 3


def test_few_suspect_frames_are_rejected_many_refuse_the_file(tmp_path):
    for bad, refused in ((1, False), (3, True)):
        atoms = frames(40)
        for i in range(bad):
            atoms[10 + i].arrays["forces"] *= 100
        ase.io.write(tmp_path / "m.xyz", atoms, format="extxyz")
        if refused:
            with pytest.raises(DataError, match=f"{bad} of 40 records cannot be right; .*frame 11: {files.TOO_STRONG}"):
                stream.read(EXTXYZ, tmp_path / "m.xyz")
        else:
            items, rejected = stream.read(EXTXYZ, tmp_path / "m.xyz")
            assert len(items) == 39 and [r.reason for r in rejected] == [files.TOO_STRONG]


@real
@pytest.mark.parametrize(
    "file, declared, unit",
    [("rmd17_ethanol_train_01.npz", "eV", "kcal/mol"), ("rmd17_ethanol_train_01.npz", "hartree", "kcal/mol"), ("rmd17_benzene_test_01.npz", "eV", "kcal/mol"),
     ("3bpa_train_300K.xyz", "kcal/mol", "eV"), ("3bpa_train_mixedT.xyz", "hartree", "eV")],
)  # fmt: skip
def test_real_files_under_a_wrong_unit(file, declared, unit):
    reader = "npz" if file.endswith("npz") else "extxyz"
    with pytest.raises(DataError, match=f"{file}.*likely: the forces are in {unit}"):
        stream.read(build.READERS[reader], REAL / file, {"energy_unit": declared, "source": reader})


@real
def test_train_and_test_file_of_a_molecule_share_its_cluster():
    clusters = Counter()
    for path in sorted(REAL.glob("rmd17_*.npz")):
        record = next(files.npz_records(path))
        items = files.parse_npz(record, {})
        clusters[items[0].cluster] += 1
        assert len({item.cluster for item in items}) == 1
    assert set(clusters.values()) == {2} and len(clusters) == 7


@real
def test_npz_in_an_archive(tmp_path):
    with tarfile.open(tmp_path / "r.tar.bz2", "w:bz2") as archive:
        for name in ("ethanol", "benzene"):
            archive.add(REAL / f"rmd17_{name}_train_01.npz", f"rmd17/npz_data/rmd17_{name}.npz")
    reader = build.READERS["npz"]
    items, rejected = stream.read(reader, tmp_path / "r.tar.bz2", {"energy_unit": "kcal/mol", "source": "npz"})
    plain, _ = stream.read(reader, REAL / "rmd17_ethanol_train_01.npz", {"energy_unit": "kcal/mol", "source": "npz"})
    assert len(items) == 2000 and not rejected and len({i.cluster for i in items}) == 2
    for a, b in zip(items, plain):
        assert a.values == b.values and all(np.array_equal(a.rows[k], b.rows[k]) for k in a.rows)


def tarred(path, members):
    """An archive of npz files, one per (frames, energy unit, force unit)."""
    with tarfile.open(path, "w") as archive:
        for name, (atoms, energy, force) in members.items():
            packed = io.BytesIO()
            positions, energies, forces = (np.array(values) for values in zip(*((a.positions, a.info["energy"], a.arrays["forces"]) for a in atoms)))
            np.savez(packed, nuclear_charges=atoms[0].numbers, coords=positions, energies=energies / energy, forces=forces / force)
            info = tarfile.TarInfo(name)
            info.size = len(packed.getvalue())
            archive.addfile(info, io.BytesIO(packed.getvalue()))
    return path


KCAL = units.KCAL_PER_MOL


@pytest.mark.parametrize("unit, energy, force", [("kJ/mol/angstrom", KCAL / 4.184, KCAL / 4.184), ("kcal/mol/bohr", KCAL, KCAL / units.BOHR)])
@pytest.mark.parametrize("chunk", [1, 256])  # the members in shards of their own, and all in one
def test_a_member_in_another_unit_than_the_one_before_it(tmp_path, monkeypatch, unit, energy, force, chunk):
    atoms = {name: frames(12, i, names=(name,)) for i, name in enumerate(("CH3OH", "C2H6", "H2O"))}
    good = {f"{name}.npz": (found, KCAL, KCAL) for name, found in atoms.items()}
    monkeypatch.setitem(build.READERS, "npz", replace(build.READERS["npz"], chunk=chunk))
    config = dict(source="npz", energy_unit="kcal/mol", licence="x", n_held_out=1, seed=0)
    counts = build.build({**config, "files": [str(tarred(tmp_path / "good.tar", good))]}, str(tmp_path / "d.h5"), workers=1)
    assert counts["items"] == 36 and counts["items compared with GFN2-xTB"] == 9
    path = tarred(tmp_path / "bad.tar", {**good, "C2H6.npz": (atoms["C2H6"], energy, force)})
    with pytest.raises(DataError, match=f"bad.tar, C2H6.npz: forces are .*likely: the forces are in {unit}"):
        build.build({**config, "files": [str(path)]}, str(tmp_path / "b.h5"), workers=1)
    with pytest.raises(DataError, match="bad.tar, C2H6.npz: forces are"):
        stream.read(build.READERS["npz"], path, config)


def test_so_many_parts_are_checked_and_small_ones_together(tmp_path):
    """Of 14 members with three frames ten are checked; of members with one frame the first shard, as one."""
    checked = []
    reader = replace(EXTXYZ, check=lambda path, items, settings: checked.append([item.where for item in items]) or {}, chunk=9)
    for name, n in (("three", 3), ("one", 1)):
        with tarfile.open(tmp_path / f"{name}.tar", "w") as archive:
            for i in range(14):
                ase.io.write(tmp_path / "f.xyz", frames(n, i, names=("H2O",)), format="extxyz")
                archive.add(tmp_path / "f.xyz", f"{i:02d}.xyz")
        checked.clear()
        list(stream.shards(reader, [stream.Input((str(tmp_path / f"{name}.tar"),))], {}, tmp_path / name))
        if name == "three":
            assert len(checked) == stream.PARTS and all(len(set(map(stream.part, found))) == 1 and len(found) >= stream.FEW for found in checked)
        else:
            assert [len(found) for found in checked] == [9]


def test_relaxed_geometries_are_not_judged_by_the_size_of_their_forces(tmp_path):
    """Forces of another method near its own minimum: as small as those of a wrong unit, but they point anywhere."""
    rng, atoms = np.random.default_rng(0), frames(12, names=("CH3OH",))
    for frame in atoms:
        forces = rng.normal(size=(6, 3))
        frame.arrays["forces"] = 0.01 * (forces - forces.mean(0))
    ase.io.write(tmp_path / "r.xyz", atoms, format="extxyz")
    items, rejected = stream.read(EXTXYZ, tmp_path / "r.xyz")
    assert len(items) == 12 and not rejected


def test_charged_molecules_are_compared_with_their_own_charge():
    """The charge is not in the file: a dication and an anion of even and odd numbers of electrons are not taken for another unit."""
    from ase.build import molecule
    from tblite.interface import Calculator

    rng = np.random.default_rng(0)
    for name, charge in (("CH3OH", 2), ("H2O", -2), ("CH3O", -1), ("CH3CH2O", 1), ("CH3", 0)):
        items = []
        for i in range(3):
            atoms = molecule(name)
            atoms.positions += 0.05 * rng.normal(size=atoms.positions.shape)
            calculator = Calculator("GFN2-xTB", atoms.numbers, atoms.positions / units.BOHR, charge=charge)
            calculator.set("verbosity", 0)
            forces = -calculator.singlepoint().get("gradient") * (units.HARTREE / units.BOHR)
            items.append(stream.Item(f"f, frame {i}", name, {"numbers": atoms.numbers.astype(np.uint8), "positions": atoms.positions, "forces": forces}, {"energy": 0.0}))
        assert files.check_units("f", items, 1.0)["items compared with GFN2-xTB"] == 3


def test_downloads_become_files(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([{"file": "downloads/a/1/x.xyz", "size": 1, "sha256": ""}]))
    assert located({"download": ["a"], "seed": 0}, tmp_path) == {"download": ["a"], "seed": 0, "files": ["downloads/a/1/x.xyz"]}
    with pytest.raises(DataError, match="b.json: not a list.*expected what `snakemake"):
        located({"held_out_download": ["b"]}, tmp_path)


def test_another_schema_version_says_what_to_rebuild(dataset, tmp_path):
    import h5py

    path = tmp_path / "old.h5"
    path.write_bytes(dataset.read_bytes())
    with h5py.File(path, "r+") as file:
        file.attrs["schema"] = 1
    sealed.seal(path)
    with pytest.raises(DataError, match=f"schema version 1, expected 2; .*`snakemake {path} --forcerun dataset`"):
        store.read(path)
