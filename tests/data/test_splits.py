"""data/splits.py: published, listed and drawn splits of every source; none of them leaks."""

import csv
import hashlib
import json
import os
import pickle
import shutil
import sys
import time
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from common import REPOSITORY
from labelled import SETTINGS, frames
from structure_files import LONG, protein

from equidyn import files
from equidyn.data import build, splits, store
from equidyn.data.readers import registry
from equidyn.errors import DataError

PROTEINS = REPOSITORY.parent / "shared/data/proteins"


@pytest.mark.skipif(not PROTEINS.is_dir(), reason="no real proteins on this machine")
def test_published_split_of_structures(tmp_path):
    names = [str(PROTEINS / f"{name}.cif.gz") for name in ("1aki", "1ake", "4hhb", "1o1z")]
    config = dict(source="structures", licence="x", min_residues=50, max_residues=300, identity=0.5, seed=0)
    counts = build.build(
        {**config, "files": names[:3], "held_out_files": names[2:]}, str(tmp_path / "d.h5"), workers=1
    )
    rows = list(csv.DictReader(open(tmp_path / "d/split.csv")))
    sides = [
        {r["where"].split("_")[0].lower() for r in rows if r["split"] == name}
        for name in ("train", "held_out")
    ]
    assert sides == [{"1aki", "1ake"}, {"4hhb", "1o1z"}] and counts[f"rejected: {splits.LEAKED}"] > 0
    arrays, attributes = store.read(tmp_path / "d.h5", "backbones")
    assert attributes["split"] == "published" and not set(arrays["cluster"][arrays["split"] == 0]) & set(
        arrays["cluster"][arrays["split"] == 1]
    )


def test_published_split_and_its_leaks(tmp_path):
    ase.io.write(tmp_path / "train.xyz", frames(40), format="extxyz")
    ase.io.write(tmp_path / "test.xyz", frames(12, 1, names=("CH4", "C2H4", "N2H4")), format="extxyz")
    config = {
        **SETTINGS,
        "files": [str(tmp_path / "train.xyz")],
        "held_out_files": [str(tmp_path / "test.xyz")],
    }
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
    config = {
        **SETTINGS,
        "files": [str(tmp_path / "train.xyz")],
        "held_out_files": [str(tmp_path / "test.xyz")],
        "leaks": "keep",
        "n_held_out": 4,
    }
    build.build(config, str(tmp_path / "d.h5"), workers=1)
    arrays, attributes = store.read(tmp_path / "d.h5")
    held_out = arrays["cluster"][arrays["split"] == 1]
    assert (
        len(held_out) == 24
        and len(set(held_out)) >= 4
        and not set(held_out) & set(arrays["cluster"][arrays["split"] == 0])
    )
    assert attributes["leaks"] == 1


def test_a_small_side_of_frames_still_has_the_blocks_that_were_asked_for(tmp_path):
    for name, n in (("train", 60), ("test", 10)):
        ase.io.write(tmp_path / f"{name}.xyz", frames(n, n, names=("H2O",)), format="extxyz")
    config = {
        **SETTINGS,
        "files": [str(tmp_path / "train.xyz")],
        "held_out_files": [str(tmp_path / "test.xyz")],
        "leaks": "keep",
        "n_held_out": 9,
    }
    build.build(config, str(tmp_path / "d.h5"), workers=1)
    arrays, _ = store.read(tmp_path / "d.h5")
    sides = [arrays["cluster"][arrays["split"] == side] for side in (0, 1)]
    assert len(set(sides[1])) >= 9 and len(sides[1]) == 10 and not set(sides[0]) & set(sides[1])


def test_another_seed_holds_out_other_clusters():
    """Drawn at random, from all of them, and of a published split too."""
    cluster = np.repeat(np.arange(40), 2)
    drawn = [set(cluster[splits.split_by_cluster(cluster, 10, seed) == 1]) for seed in (0, 1)]
    assert drawn[0] != drawn[1] and all(len(found) == 10 for found in drawn)
    keys, held_out = [str(i) for i in range(40)], cluster >= 20
    for seed, other in ((0, 1), (1, 2)):
        one, two = (
            splits.assign("d", cluster, keys, dict(n_held_out=5, seed=s), "x", held_out).keep
            for s in (seed, other)
        )
        assert not np.array_equal(one, two) and one.sum() == two.sum() == 50


def test_as_many_molecules_as_are_to_be_held_out_are_too_few():
    """Blocks of consecutive frames take their place."""
    found = splits.assign("d", np.repeat([0, 1], 20), ["a", "b"], dict(n_held_out=2, seed=0), "m", None, True)
    assert found.label == "frames" and len(set(found.cluster[found.split == 1])) == 2
    assert set(found.split) == {0, 1}


def test_what_a_killed_conversion_left_of_its_lists_is_removed(tmp_path):
    (tmp_path / f"{splits.SCRATCH}x").mkdir()
    left = tmp_path / ".split.csv.999999999.part"
    left.write_text("half")
    os.utime(left, (time.time() - 2 * files.STALE,) * 2)
    with splits.Lists(tmp_path) as lists:
        lists.add(0, 0, "O", "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["split.csv", "split.json"]


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are any bytes on Linux")
@pytest.mark.parametrize("source", ["structures", "xyz"])
def test_names_of_files_that_are_no_text_are_escaped_in_lists(tmp_path, source):
    good, bad = (os.fsdecode(bytes(tmp_path / "in") + b"/prot\xe9in%d." % i) for i in (1, 2))
    (tmp_path / "in").mkdir()
    if source == "structures":
        Path(f"{good}pdb").write_text(protein() + protein(LONG[::-1], chain="B"))
        Path(f"{bad}pdb").write_text("no structure")
        settings = dict(files=[str(tmp_path / "in")], min_residues=10, max_residues=60, identity=0.9)
    else:
        Path(f"{good}xyz").write_text("2\n\nH 0 0 0\nCl 0 0 1.27\n")
        Path(f"{bad}xyz").write_text("no number\n2\n\nH 0 0 0\nF 0 0 0.92\n")
        settings = dict(files=[f"{good}xyz", f"{bad}xyz"])
    settings |= dict(source=source, licence="x", n_held_out=1, seed=0)
    assert build.build(settings, str(tmp_path / "d.h5"), workers=1)["items"] == 2
    rejected = (tmp_path / "d/rejected.csv").read_text(encoding="utf-8")
    assert "prot\\udce9in2" in rejected and (tmp_path / "d/split.json").is_file()
    if source == "xyz":  # chains are listed by their names
        listed = dict(file=str(tmp_path / "d/split.csv"))
        assert "prot\\udce9in1.xyz, frame 1" in (tmp_path / "d/split.csv").read_text(encoding="utf-8")
        del settings["n_held_out"]
        build.build(settings | dict(split_list=listed), str(tmp_path / "again.h5"), workers=1)


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
        (
            b"split,where\ntest,a.xyz\n",
            "row 2: split 'test', where 'a.xyz', expected split to be one of train, held_out",
        ),
        (b"split,where\ntrain\n", "row 2: split 'train', where None"),
        (b"split,where\ntrain,a\nheld_out,a\n", "row 3: 'a' is on both sides"),
        (b"split,where\ntrain,gone\n", "1 of 1 items are not in the files or rejected there, e.g. gone"),
    ],
)
def test_bad_lists_of_a_split_are_named(many, tmp_path, content, message):
    if content is not None:
        (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(DataError, match=f"list.csv.*{message}"):
        build.build(
            {**SETTINGS, "files": [str(many)], "split_list": {"file": str(tmp_path / "list.csv")}},
            str(tmp_path / "d.h5"),
            workers=1,
        )
    assert not (tmp_path / "d.h5").exists()


def test_lists_of_the_split_say_what_the_file_says(many, tmp_path):
    build.build({**SETTINGS, "files": [str(many)]}, str(tmp_path / "d.h5"), workers=1)
    arrays, _ = store.read(tmp_path / "d.h5")
    rows = list(csv.DictReader(open(tmp_path / "d/split.csv")))
    assert [int(r["item"]) for r in rows] == list(range(80)) and [r["split"] for r in rows] == [
        ("train", "held_out")[i] for i in arrays["split"]
    ]
    keys = {}
    assert all(
        keys.setdefault(n, r["cluster"]) == r["cluster"] for n, r in zip(arrays["cluster"], rows)
    ) and len(set(keys.values())) == len(keys)
    table = json.loads((tmp_path / "d/split.json").read_text())
    for name in ("train", "held_out"):
        lines = sorted(r["where"] + "\n" for r in rows if r["split"] == name)
        assert (
            table[name]["items"] == len(lines)
            and table[name]["sha256 of the sorted column where"]
            == hashlib.sha256("".join(lines).encode()).hexdigest()
        )
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
    assert digests[0] == digests[1] and sorted(p.name for p in tmp_path.iterdir()) == [
        "split.csv",
        "split.json",
    ]


SMALL = {
    "conformers": dict(
        molecules=str(REPOSITORY / "resources/molecules.csv"),
        n_molecules=12,
        n_conformers=24,
        temperature=200,
        max_atoms=20,
        labels=False,
    ),
    "backbones": dict(n_chains=8, min_residues=20, max_residues=22),
}


@pytest.mark.parametrize("source", SMALL)
def test_no_cluster_in_both_splits_of_generated_sources(source, tmp_path):
    build.build(
        {**SMALL[source], "source": source, "n_held_out": 3, "seed": 0}, str(tmp_path / "d.h5"), workers=1
    )
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
        from spice_files import write

        write(path)
    elif source == "structures":
        from structure_files import several

        return {
            **config,
            "source": source,
            "files": [str(several(path))],
            "n_held_out": 2,
            "seed": 0,
            "min_residues": 10,
            "max_residues": 60,
            "identity": 0.9,
        }
    return {**config, "source": source, "files": [str(path)], "n_held_out": 2, "seed": 0}


@pytest.mark.parametrize("source", sorted(set(registry.READERS) - {"npz"}))
def test_no_cluster_in_both_splits_of_streamed_sources(source, tmp_path):
    config = written(source, tmp_path)
    build.build(config, str(tmp_path / "d.h5"), workers=1)
    arrays, _ = store.read(tmp_path / "d.h5", registry.READERS[source].kind)
    rows = list(csv.DictReader(open(tmp_path / "d/split.csv")))
    sides = [{r["cluster"] for r in rows if r["split"] == name} for name in ("train", "held_out")]
    numbers = [set(arrays["cluster"][arrays["split"] == i].tolist()) for i in (0, 1)]
    assert (
        all(sides)
        and not sides[0] & sides[1]
        and not numbers[0] & numbers[1]
        and len(sides[1]) == 2 == len(numbers[1])
    )
    del config["n_held_out"]
    with pytest.raises(
        DataError, match="no items to train on"
    ):  # the same molecules on both sides of a published split
        build.build({**config, "held_out_files": config["files"]}, str(tmp_path / "l.h5"), workers=1)
