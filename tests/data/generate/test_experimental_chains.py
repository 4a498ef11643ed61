"""Experimental chains that the project ships: the file, its fragments, datasets of them."""

import csv
import hashlib
import importlib.util
import re
import subprocess
import sys
import zipfile

import gemmi
import numpy as np
import pytest
from common import REPOSITORY

from equidyn.config import validate
from equidyn.cost import shapes
from equidyn.data import store
from equidyn.data.build import build
from equidyn.data.generate import experimental_chains
from equidyn.data.readers import chains_wheel
from equidyn.data.readers.sequence_clusters import ALPHABET
from equidyn.declarations import own_tasks
from equidyn.errors import ConfigError, DataError
from equidyn.geometry import chains as shape

FOLDER = REPOSITORY / "resources/backbones"
FILE = FOLDER / "chains.npz"
SETTINGS = dict(
    source="chains",
    chains=str(FILE),
    min_residues=40,
    max_residues=64,
    identity=0.5,
    n_held_out=40,
    seed=0,
)


@pytest.fixture(scope="module")
def shipped():
    return experimental_chains.read(FILE)


@pytest.fixture(scope="module")
def make():
    spec = importlib.util.spec_from_file_location("make_backbones", FOLDER / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    path = tmp_path_factory.mktemp("chains") / "d.h5"
    counts = build(SETTINGS, str(path), workers=1)
    return path, counts, *store.read(path, "backbones")


def traces(shipped, settings):
    kept, rejected = experimental_chains.fragments(shipped, settings)
    return [shipped.positions[f.chain][f.start : f.stop] for f in kept], kept, rejected


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_file_is_what_its_readme_says(shipped, make):
    text, content = (FOLDER / "README.md").read_text(), FILE.read_bytes()
    assert hashlib.sha256(content).hexdigest() in text and f"{len(content):,} bytes" in text
    assert make.SHA256 in text and "Copyright (c) 2021 Joe G Greener" in text
    assert "The above copyright notice and this permission notice shall be included" in text
    lengths = np.array([len(x) for x in shipped.positions])
    bonds = [shape.bond_lengths(x) for x in shipped.positions]
    neighbours = np.concatenate(bonds)
    following = np.concatenate([residues[1:] for residues in shipped.residues])
    cis = neighbours < 3.1
    for stated, found in (
        (r"traces of ([\d,]+) chains", len(shipped.names)),
        (r"\(([\d,]+) residues\)", lengths.sum()),
        (r"([\d,]+) chains have at least 40", (lengths >= 40).sum()),
        (r"([\d,]+) have 40 to 64", ((lengths >= 40) & (lengths <= 64)).sum()),
        (r"([\d,]+) chains have a chain break", sum((b > 4).any() for b in bonds)),
        (r"Å apart, ([\d,]+) in all", (neighbours > 4).sum()),
        (r"([\d,]+) sequences occur twice", len(shipped.names) - len(set(shipped.sequences()))),
        (r"([\d,]+) neighbours are less", cis.sum()),
        (r"([\d,]+) of them before a proline", (cis & (following == ALPHABET.index("P"))).sum()),
    ):
        (number,) = re.findall(stated, text)
        assert int(number.replace(",", "")) == found, stated
    assert lengths.min() == 20 and lengths.max() == 100 and shipped.names == sorted(shipped.names)
    assert shipped.licence == chains_wheel.LICENCE and shipped.source == chains_wheel.SOURCE


def test_positions_are_whole_hundredths_about_the_centroid(shipped):
    assert all(np.abs(x.mean(0)).max() <= 0.005 for x in shipped.positions)
    x = np.concatenate(shipped.positions)
    assert np.array_equal(x, np.round(x, 2)) and np.abs(x).max() < 327


def test_fragments_are_protein_like(shipped):
    found, kept, _ = traces(shipped, SETTINGS)
    bonds = [shape.bond_lengths(x) for x in found]
    following = np.concatenate([shipped.residues[f.chain][f.start + 1 : f.stop] for f in kept])
    bond, before_proline = np.concatenate(bonds), following == ALPHABET.index("P")
    assert bond.min() > 2.7 and bond.max() <= 4.0
    assert (np.abs(bond - 3.8) <= 0.2).mean() > 0.995
    # of what is not a trans peptide most is cis, and most of that before proline
    assert ((bond > 3.1) & (bond < 3.6)).mean() < 0.0005
    cis = bond < 3.1
    assert before_proline[cis].mean() > 0.7 > 0.1 > cis[before_proline].mean() > 0.02
    assert cis[~before_proline].mean() < 0.001
    relative = [shape.radius_of_gyration(x) / (2.2 * len(x) ** 0.38) for x in found]
    assert min(relative) > 0.8 and 1.0 < np.median(relative) < 1.3 and np.mean(np.array(relative) > 2) < 0.15
    right, left = np.sum([shape.helix_handedness(x) for x in found], axis=0)
    assert right > 30_000 and left < 0.02 * right
    angles = np.concatenate([shape.dihedrals(x) for x in found])
    strands = np.mean(np.abs(angles) > 150)
    assert 0.15 < strands < 0.5  # real folds have them; helices do not


def test_one_fragment_of_a_length_in_range_per_chain(shipped):
    found, kept, rejected = traces(shipped, SETTINGS)
    lengths = np.array([len(x) for x in found])
    assert lengths.min() == 40 and lengths.max() == 64 and len(kept) > 1600
    assert len({f.chain for f in kept}) == len(kept) == len({f.name for f in kept})
    assert sorted([shipped.names[f.chain] for f in kept] + [name for name, _ in rejected]) == shipped.names
    assert {reason for _, reason in rejected} == {"too short", "chain break in the fragment"}
    cut = [f for f in kept if len(shipped.positions[f.chain]) > 64]
    for f in kept:
        n = len(shipped.positions[f.chain])
        assert 0 <= f.start < f.stop <= n and (n > 64 or (f.start, f.stop) == (0, n))
        assert f.name == f"{shipped.names[f.chain]}/{f.start + 1}-{f.stop}"
    cut_lengths = np.bincount([f.stop - f.start for f in cut], minlength=65)[40:]
    assert len(cut) > 1000 and cut_lengths.min() > 0.4 * cut_lengths.mean() and len(cut_lengths) == 25
    slack = [(f.start, len(shipped.positions[f.chain]) - (f.stop - f.start)) for f in cut]
    assert 0.4 < np.mean([start / free for start, free in slack]) < 0.6


def test_rejected_chains_are_short_or_broken(shipped):
    _, _, rejected = traces(shipped, SETTINGS)
    number = {name: i for i, name in enumerate(shipped.names)}
    for name, reason in rejected:
        x = shipped.positions[number[name]]
        assert (len(x) < 40) == (reason == "too short")
        assert reason == "too short" or shape.bond_lengths(x).max() > 4.0


def test_the_seed_and_the_name_decide_and_nothing_else_does(shipped):
    def names(seed, chains=shipped):
        return [f.name for f in experimental_chains.fragments(chains, {**SETTINGS, "seed": seed})[0]]

    assert names(0) == names(0)
    assert len(set(names(0)) & set(names(1))) < 0.5 * len(names(0))
    half = slice(None, None, 2)
    fewer = experimental_chains.Chains(
        shipped.names[half], shipped.positions[half], shipped.residues[half], "", ""
    )
    assert set(names(0, fewer)) < set(names(0))


def test_fewer_chains_are_a_subset(shipped):
    def kept(n, seed=0):
        found, rejected = experimental_chains.fragments(shipped, {**SETTINGS, "n_chains": n, "seed": seed})
        assert len(found) + len(rejected) == len(shipped.names)
        return [f.chain for f in found]

    few, more = kept(50), kept(200)
    assert len(few) == 50 and len(more) == 200 and set(few) < set(more) and more == sorted(more)
    assert set(kept(50, 1)) != set(few)
    whole = experimental_chains.fragments(shipped, SETTINGS)[0]
    assert kept(10_000) == [f.chain for f in whole]


def test_dataset_end_to_end(built, shipped):
    path, counts, arrays, attributes = built
    rows, rejected = table(path.with_suffix("") / "split.csv"), table(path.with_suffix("") / "rejected.csv")
    assert len(rows) == counts["items"] == len(arrays["name"])
    assert sorted([r["where"].split("/")[0] for r in rows] + [r["record"] for r in rejected]) == shipped.names
    assert counts["chains"] == len(shipped.names)
    assert counts["taken whole"] + counts["fragments"] == counts["items"]
    assert sum(n for key, n in counts.items() if key.startswith("rejected: ")) == len(rejected)
    assert attributes["licence"] == "MIT (cgdms 1.0); PDB content CC0" and attributes["kind"] == "backbones"
    assert attributes["clusterer"] == f"greedy, gemmi {gemmi.__version__}"
    assert attributes["split"] == "sequence cluster" and not arrays["breaks"].any()
    sequences, number = shipped.sequences(), {name: i for i, name in enumerate(shipped.names)}
    for k in range(0, counts["items"], 97):
        a, b = arrays["offsets"][k : k + 2]
        name, place = arrays["name"][k].decode().split("/")
        start, stop = map(int, place.split("-"))
        letters = "".join(ALPHABET[i] for i in arrays["residues"][a:b])
        assert letters == sequences[number[name]][start - 1 : stop] and b - a == stop - start + 1
        x = shipped.positions[number[name]][start - 1 : stop]
        assert np.allclose(arrays["positions"][a:b], x - x.mean(0), atol=1e-5)


def test_no_cluster_on_both_sides_and_none_is_cut(built, shipped):
    path, counts, arrays, _ = built
    rows = table(path.with_suffix("") / "split.csv")
    train, held_out = ({r["cluster"] for r in rows if r["split"] == side} for side in ("train", "held_out"))
    assert len(held_out) == SETTINGS["n_held_out"] and train and not train & held_out
    assert len(train | held_out) == counts["clusters"] == arrays["cluster"].max() + 1
    side, sequences = {}, dict(zip(shipped.names, shipped.sequences()))
    for row in rows:  # whole chains are clustered: those of one sequence lie together wherever they are cut
        assert side.setdefault(sequences[row["where"].split("/")[0]], row["split"]) == row["split"]
    assert len(side) < len(rows)


def test_the_estimate_counts_what_is_made(built):
    path, counts, arrays, _ = built
    made, expected = (shapes.shape_of(SETTINGS, "backbones", file) for file in (path, None))
    assert (made.items, made.mean, made.longest) == (expected.items, expected.mean, expected.longest)
    assert made.items == counts["items"] and str(FILE) in expected.basis
    absent = shapes.shape_of({**SETTINGS, "chains": "absent.npz"}, "backbones")
    assert absent.items is None and absent.longest == 64


CONFIG = dict(
    name="c",
    seed=0,
    datasets=dict(chains={key: value for key, value in SETTINGS.items() if key != "seed"}),
    runs={},
)


def test_config_of_the_source():
    assert "chains" in own_tasks()["flow"].sources
    measure = dict(n_items=8, n_rotations=2, batch_size=4, times=[0.5], self_conditioning_times=[])
    training = dict(
        optimizer="adamw", lr=1e-3, weight_decay=0.0, warmup=1, final_lr_fraction=0.1, steps=2, batch_size=2,
        clip=1.0, ema=0.9, n_checkpoints=2, log_every=1, augment=1.0, self_conditioning=0.5,
    )  # fmt: skip
    run = dict(task="flow", dataset="chains", model=dict(architecture="proteina", size="tiny"))
    run |= dict(sample=dict(n_chains=2, steps=2))
    config = {**CONFIG, "runs": {"r": {**run, "training": training, "measure": measure}}}
    validate(config)
    for wrong, message in (
        ({"chains": 3}, "chains.chains: 3, expected text"),
        ({"files": ["x"]}, "unknown key 'files'"),
        ({"min_residues": 10}, "min_residues: 10, expected at least 20"),
        ({"identity": 0}, "identity"),
    ):
        datasets = {"chains": {**CONFIG["datasets"]["chains"], **wrong}}
        with pytest.raises(ConfigError, match=message):
            validate({**config, "datasets": datasets})


def test_lengths_in_the_wrong_order_are_refused(shipped):
    with pytest.raises(DataError, match="min_residues 65 and max_residues 64, expected min <= max"):
        experimental_chains.fragments(shipped, {**SETTINGS, "min_residues": 65})


def helix(n, shift=0.0, letters=ALPHABET):
    """Text of a chain in the wheel's format: an ideal helix."""
    turn = np.radians(100) * np.arange(n)
    alphas = np.stack([2.3 * np.cos(turn), 2.3 * np.sin(turn), 1.5 * np.arange(n) + shift], axis=1)
    atoms = np.concatenate([alphas + [9, 9, 9], alphas, alphas - [9, 9, 9], alphas + [5, 5, 5]], axis=1)
    rows = "\n".join(" ".join(f"{value:.3f}" for value in row) for row in atoms)
    return f"{(letters * n)[:n]}\n{'C' * n}\n{rows}\n", np.round(alphas, 3)


def wheel(path, chains):
    with zipfile.ZipFile(path, "w") as file:
        for name, text in chains.items():
            file.writestr(f"cgdms/protein_data/train_val/{name}.txt", text)
        file.writestr("cgdms/protein_data/example/1CRN.txt", "AAA\nCCC\n")
    return path


def test_make_keeps_c_alphas_and_says_what_it_drops(make, tmp_path):
    good, alphas = helix(30, 100)
    lines = good.splitlines()
    clash = lines[:]
    clash[12] = lines[2]
    given = {
        "2ABC_B": good,
        "1ABC_A": helix(45)[0],
        "1BAD_A": helix(19)[0],
        "1BAD_B": "\n".join(lines[:-1]),
        "1BAD_C": good.replace(lines[5].split()[3], "nan"),
        "1BAD_D": good.replace("A", "X", 1),
        "1BAD_E": "\n".join(lines[:3] + [lines[2]] + lines[4:]),
        "1BAD_F": "\n".join(clash),
        "1BAD_G": good.replace(lines[9], lines[9] + " 1.0"),
    }
    counts = make.convert(wheel(tmp_path / "w.whl", given), tmp_path / "a.npz")
    assert counts == {
        "in the wheel": 9,
        "kept": 2,
        "residues": 75,
        "dropped: fewer than 20 residues": 1,
        "dropped: sequence and coordinates differ in length": 1,
        "dropped: coordinates not finite": 1,
        "dropped: other letters than the twenty": 1,
        "dropped: consecutive CA less than 2 angstrom apart": 1,
        "dropped: other CA less than 3 angstrom apart": 1,
        "dropped: rows that are no coordinates": 1,
    }
    found = experimental_chains.read(tmp_path / "a.npz")
    assert found.names == ["1ABC_A", "2ABC_B"] and found.sequences()[1] == lines[0]
    assert np.abs(found.positions[1] - (alphas - alphas.mean(0))).max() <= 0.005 + 1e-9
    make.convert(tmp_path / "w.whl", tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with pytest.raises(DataError, match="1 files in cgdms/protein_data/train_val/, none usable"):
        make.convert(wheel(tmp_path / "v.whl", {"1BAD_A": given["1BAD_A"]}), tmp_path / "c.npz")
    assert not (tmp_path / "c.npz").exists()


def test_the_wheel_itself_is_read_as_the_file_made_of_it(make, tmp_path):
    """``download: [cgdms]`` in place of ``chains``: the same chains in the same order."""
    given = {"2ABC_B": helix(30, 100)[0], "1ABC_A": helix(45)[0]}
    make.convert(wheel(tmp_path / "w.whl", given), tmp_path / "a.npz")
    direct, file = (experimental_chains.read(tmp_path / name) for name in ("w.whl", "a.npz"))
    assert (direct.names, direct.sequences(), direct.licence) == (file.names, file.sequences(), file.licence)
    for one, other in zip(direct.positions, file.positions):
        assert np.array_equal(one, other)
    (tmp_path / "v.whl").write_bytes((tmp_path / "w.whl").read_bytes()[:400])
    with pytest.raises(DataError, match="v.whl: not readable as a wheel"):
        experimental_chains.read(tmp_path / "v.whl")


def test_a_wheel_with_a_damaged_or_encrypted_member_is_named(tmp_path):
    whole = wheel(tmp_path / "w.whl", {"1ABC_A": helix(45)[0]}).read_bytes()
    directory = whole.index(b"PK\1\2")
    damaged = whole[: directory // 2] + bytes(40) + whole[directory // 2 + 40 :]
    encrypted = bytearray(whole)
    for header, flags in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        for found in re.finditer(re.escape(header), whole):
            encrypted[found.start() + flags] |= 1
    for content in (damaged, bytes(encrypted)):
        (tmp_path / "v.whl").write_bytes(content)
        with pytest.raises(DataError, match="v.whl: not readable as a wheel"):
            experimental_chains.read(tmp_path / "v.whl")


def test_another_wheel_is_refused(tmp_path):
    command = [sys.executable, str(FOLDER / "make.py"), str(wheel(tmp_path / "w.whl", {})), "out.npz"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode and re.search(r"w\.whl: sha256 \w{64}, expected 8a7a9ea8", done.stderr)
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(names=None), "no names; expected a file of chains"),
        (dict(licence=None, offsets=None), "no licence, offsets; expected"),
        (dict(positions=np.zeros((40, 3))), "positions is float64 .40, 3., expected int16"),
        (dict(positions=np.zeros((40, 2), "int16")), r"positions is int16 .40, 2., expected int16 .'n', 3"),
        (dict(residues=np.zeros(39, "uint8")), "residues are 39 up to 0, expected 40 indices"),
        (dict(residues=np.full(40, 20, "uint8")), "residues are 40 up to 20, expected 40 indices"),
        (dict(offsets=np.array([0, 20, 41], "int32")), "offsets do not part 40 positions"),
        (dict(offsets=np.array([0, 40, 40], "int32")), "offsets do not part 40 positions"),
        (dict(offsets=np.array([0], "int32")), "offsets do not part 40 positions"),
        (dict(names=np.array(["a", "a"], "S")), "2 names, 1 distinct, expected one for each of 2 chains"),
        (dict(names=np.array(["a", "b" * 29], "S")), "a name 29 bytes long, expected at most 28"),
        (dict(names=np.array([{}, {}])), "not readable as npz"),
    ],
)
def test_files_that_are_none_are_named(change, message, tmp_path):
    arrays = dict(
        positions=np.zeros((40, 3), "int16"),
        residues=np.zeros(40, "uint8"),
        offsets=np.array([0, 20, 40], "int32"),
        names=np.array(["a", "b"], "S"),
        source=np.array("s"),
        licence=np.array("l"),
    )
    path = tmp_path / "c.npz"
    np.savez(path, **arrays)
    assert experimental_chains.read(path).names == ["a", "b"]
    np.savez(path, **{name: value for name, value in {**arrays, **change}.items() if value is not None})
    with pytest.raises(DataError, match=f"^{re.escape(str(path))}: {message}"):
        experimental_chains.read(path)


def test_files_that_are_not_npz_are_named(tmp_path):
    for name, content in (("a.npz", b""), ("b.npz", b"PK\3\4 no zip"), ("c.npz", FILE.read_bytes()[:5000])):
        (tmp_path / name).write_bytes(content)
    np.save(tmp_path / "d.npy", np.zeros(3))
    for name in ("a.npz", "b.npz", "c.npz", "d.npy", "absent.npz"):
        with pytest.raises(DataError, match=f"{name}: not readable as npz"):
            experimental_chains.read(tmp_path / name)
