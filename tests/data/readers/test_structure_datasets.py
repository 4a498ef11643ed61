"""Datasets of structure files: workers, fragments, copies, splits, folders that change, real files."""

import csv
import gzip
import hashlib
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from common import REPOSITORY
from structure_files import found, protein, read, several

from equidyn.data import build, conversion, splits, store
from equidyn.data.readers import registry, sequence_clusters
from equidyn.errors import DataError

REAL = REPOSITORY.parent / "shared/data/proteins"
SETTINGS = dict(
    source="structures", licence="x", min_residues=10, max_residues=60, identity=0.9, n_held_out=3, seed=0
)


def test_workers_chunks_fragments_and_copies(tmp_path, monkeypatch):
    """Whatever reads them, chains of a sequence share a cluster, and a copy is rejected by name."""
    config = {**SETTINGS, "files": [str(several(tmp_path / "in")), str(several(tmp_path / "more", 3, 1))]}
    one = build.build(config, str(tmp_path / "a.h5"), workers=1)
    monkeypatch.setitem(registry.READERS, "structures", replace(registry.READERS["structures"], chunk=2))
    two = build.build(config, str(tmp_path / "b.h5"), workers=2)
    (a, _), (b, _) = (store.read(tmp_path / f"{name}.h5", "backbones") for name in "ab")
    assert one == two and all(np.array_equal(a[key], b[key]) for key in a)
    for name in ("rejected.csv", "split.csv", "split.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert (
        one["items"] == 12 + 4 + 3 + 1 == one["chains"]
        and one["clusters"] == 15
        and one["rejected: duplicate"] == 2
        and one["rejected: unreadable file"] == 2
    )
    rows = list(csv.DictReader(open(tmp_path / "a/rejected.csv")))
    assert {(r["record"], r["reason"], r["detail"]) for r in rows} >= {
        (f"{tmp_path}/in/zz.pdb, chain A", "duplicate", f"of {tmp_path}/in/01.pdb, chain A")
    }
    assert a["name"][:3].tolist() == [b"00_A", b"00_B", b"01_A"] and a["cluster"][:3].tolist() == [0, 0, 1]
    pieces = build.build({**config, "fragment": 10}, str(tmp_path / "f.h5"), workers=1)
    lengths = np.diff(a["offsets"])
    assert (
        pieces["items"] == (lengths // 10).sum()
        and pieces["residues left over by fragments"] == (lengths % 10).sum()
        and pieces["chains"] == 20
    )
    f, _ = store.read(tmp_path / "f.h5", "backbones")
    assert (
        f["name"][:3].tolist() == [b"00_A/1", b"00_A/11", b"00_B/1"]
        and set(np.diff(f["offsets"])) == {10}
        and pieces["rejected: duplicate"] == 4
    )


def test_copies_on_both_sides_of_a_published_split_are_a_leak(tmp_path):
    several(tmp_path / "in")
    held_out = tmp_path / "test"
    held_out.mkdir()
    for name in ("00", "01", "zz"):
        (held_out / f"{name}.pdb").write_bytes((tmp_path / f"in/{name}.pdb").read_bytes())
    config = {
        **SETTINGS,
        "files": [str(tmp_path / "in")],
        "held_out_files": [str(held_out / f"{name}.pdb") for name in ("00", "01", "zz")],
    }
    counts = build.build(
        {key: value for key, value in config.items() if key != "n_held_out"},
        str(tmp_path / "d.h5"),
        workers=1,
    )
    assert (
        counts["held out"] == 3
        and counts["rejected: duplicate"] == 2
        and counts[f"rejected: {splits.LEAKED}"] == 3
        and counts["items"] == 16 - 3 + 3
    )


def test_a_listed_split_of_structures_keeps_the_copy_that_it_names(tmp_path):
    """zz is a copy of 01, which comes first."""
    several(tmp_path / "in")
    config = {**SETTINGS, "files": [str(tmp_path / "in")]}
    before = build.build(config, str(tmp_path / "a.h5"), workers=1)
    text = (tmp_path / "a/split.csv").read_text()
    listed = {**config, "split_list": {"file": str(tmp_path / "list.csv")}}
    del listed["n_held_out"]

    (tmp_path / "list.csv").write_text(text.replace(",01_A", ",zz_A"))
    after = build.build(listed, str(tmp_path / "b.h5"), workers=1)
    names = [
        set(row["where"] for row in csv.DictReader(open(tmp_path / name / "split.csv"))) for name in "ab"
    ]
    assert (
        after["items"] == before["items"]
        and names[0] - names[1] == {"01_A"}
        and names[1] - names[0] == {"zz_A"}
    )
    _, attributes = store.read(tmp_path / "b.h5", "backbones")
    assert attributes["split_list_sha256"] == hashlib.sha256((tmp_path / "list.csv").read_bytes()).hexdigest()

    side, other = ("train", "held_out") if re.search(r",train,[^,]*,01_A", text) else ("held_out", "train")
    (tmp_path / "list.csv").write_text(f"{text}99,{other},0,zz_A\n")
    with pytest.raises(DataError, match="1 clusters are in both splits"):
        build.build({**listed, "leaks": "refuse"}, str(tmp_path / "b.h5"), workers=1)

    (tmp_path / "more").mkdir()
    (tmp_path / "more/01.pdb").write_bytes((tmp_path / "in/02.pdb").read_bytes())
    (tmp_path / "in/02.pdb").unlink()
    (tmp_path / "list.csv").write_text(f"split,where\n{side},01_A\n{other},00_A\n")
    with pytest.raises(DataError, match="list.csv: 1 of 2 items are names of several items, e.g. 01_A"):
        build.build(
            {**listed, "files": [str(tmp_path / "in"), str(tmp_path / "more")]},
            str(tmp_path / "b.h5"),
            workers=1,
        )


def test_a_folder_that_changed_is_read_again(tmp_path):
    folder = several(tmp_path / "in", 3)
    digests = [conversion.inputs_digest(SETTINGS, [conversion.Input((str(folder),))], "") for _ in range(2)]
    (folder / "00.pdb").write_text(protein())
    digests.append(conversion.inputs_digest(SETTINGS, [conversion.Input((str(folder),))], ""))
    (folder / "new.pdb").write_text(protein())
    digests.append(conversion.inputs_digest(SETTINGS, [conversion.Input((str(folder),))], ""))
    assert digests[0] == digests[1] and len(set(digests)) == 3


@pytest.mark.skipif(not REAL.is_dir(), reason="no real protein files on this machine")
def test_real_files():
    chains, table = found(REAL, min_residues=50, max_residues=256)
    counts = Counter(reason.split(":")[0] for _, _, reason in table)
    expected = {"too short": 6, "too long": 3, "not a protein": 1, "later models": 2}
    assert len(chains) == 347 and counts == expected
    with open(REAL / "index.csv", newline="") as file:
        expected = {
            f"{row['file'].split('.')[0]}_{row['chain'].strip()}": int(row["residues_with_N_CA_C"])
            for row in csv.DictReader(file)
        }
    lengths = {c.name: len(c.sequence) for c in chains}
    # The index stops at a TER in the middle of six chains, counts residues without N or C not at all, and
    # disordered ones of 1en2 twice.
    assert set(lengths) <= set(expected) and sum(lengths[name] != expected[name] for name in lengths) == 9
    assert (
        lengths["1FLE_r_u_A"] == 240
        and expected["1FLE_r_u_A"] == 136
        and (lengths["1en2_A"], expected["1en2_A"]) == (86, 91)
    )
    bonds = np.concatenate(
        [np.linalg.norm(np.diff(c.positions, axis=0), axis=1)[c.breaks[:-1] == 0] for c in chains]
    )
    assert (
        2.6 < bonds.min()
        and bonds.max() <= 4.0
        and abs(np.median(bonds) - 3.80) < 0.01
        and (bonds < 3.6).mean() < 0.01
    )
    labels = sequence_clusters.cluster_by_sequence([c.sequence for c in chains])
    by_sequence = {}
    assert (
        all(by_sequence.setdefault(c.sequence, label) == label for c, label in zip(chains, labels))
        and 180 < labels.max() + 1 < 260
    )


def test_long_names_are_shortened_and_stay_different(tmp_path):
    """Names are keys of 40 bytes; cut alone, these would be one."""
    folder = several(tmp_path / "p")
    for path in sorted(folder.glob("*.pdb")):
        path.rename(folder / f"{'ä' * 22}-model-of-a-long-campaign-{path.name}")
    build.build({**SETTINGS, "files": [str(folder)]}, str(tmp_path / "a.h5"), workers=1)
    rows = list(csv.DictReader(open(tmp_path / "a/split.csv")))
    names, _ = store.read(tmp_path / "a.h5", "backbones")
    assert len({row["where"] for row in rows}) == len(rows) > 10 and all(
        len(row["where"].encode()) <= 40 for row in rows
    )
    assert [name.decode() for name in names["name"]] == [row["where"] for row in rows]
    listed = {**SETTINGS, "files": [str(folder)], "split_list": {"file": str(tmp_path / "a/split.csv")}}
    del listed["n_held_out"]
    build.build(listed, str(tmp_path / "b.h5"), workers=1)
    assert (tmp_path / "a/split.json").read_bytes() == (tmp_path / "b/split.json").read_bytes()


def test_files_of_a_folder_that_look_like_structures_have_a_row(tmp_path):
    packed = gzip.compress(protein().encode())
    names = ("1abc.pdb1.gz", "2abc.pdb.bz2", "3abc.CIF.xz", "4abc.pdb~")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/5abc.pdb").write_text(protein())
    (tmp_path / "in").mkdir()
    (tmp_path / "in/linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    chains, table = read(tmp_path / "in", dict.fromkeys(names, packed) | {"my.entries": b"", "a.txt": b""})
    assert chains == [] and [name for name, _, _ in table] == [*names, "linked"]
    assert all("expected a name that ends in" in reason for _, _, reason in table[:4])
    assert table[4][2] == "unreadable file: link to a folder or to nothing"
