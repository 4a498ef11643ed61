import csv
import gzip
import itertools
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
import torch
from common import REPOSITORY, SETTINGS
from labelled import EV

from equidyn.data import build, conversion, padding, store
from equidyn.data.generate import conformers, molecule_lists
from equidyn.data.readers import molecules, npz, records, registry
from equidyn.errors import DataError

REAL = REPOSITORY.parent / "shared/data/forces"
EXTXYZ, NPZ = (
    records.Reader("forces", reader.records, reader.parse)
    for reader in (registry.READERS["extxyz"], registry.READERS["npz"])
)  # without the comparison of labels


def test_molecules_file_is_what_the_readme_says():
    molecules = molecule_lists.read_molecules(REPOSITORY / "resources/molecules.csv")
    assert len(molecules) >= 600
    with open(REPOSITORY / "resources/molecules.csv") as file:
        formulas = "".join(row["formula"] for row in csv.DictReader(file))
    assert all(element in formulas for element in ("H", "C", "N", "O", "F", "S", "Cl"))


def test_labels_are_reproduced_from_the_file(tmp_path):
    """In the poses that they were made in, exactly; turned ones are in test_poses.py."""
    build.build({**SETTINGS, "poses": "as-made"}, str(tmp_path / "d.h5"))
    arrays, attributes = store.read(tmp_path / "d.h5")
    for i in range(0, len(arrays["energy"]), 13):
        rows = slice(arrays["offsets"][i], arrays["offsets"][i + 1])
        energy, forces = conformers.label(arrays["numbers"][rows], arrays["positions"][rows])
        assert energy == pytest.approx(arrays["energy"][i], abs=1e-8)
        assert np.abs(forces.astype(np.float32) - arrays["forces"][rows]).max() < 1e-6
    assert "GFN2-xTB" in attributes["source"]


def test_no_molecule_in_two_splits_and_workers_do_not_matter(dataset, tmp_path):
    arrays, _ = store.read(dataset)
    held_out = set(arrays["cluster"][arrays["split"] == 1])
    assert len(held_out) == 8 and not held_out & set(arrays["cluster"][arrays["split"] == 0])
    build.build(SETTINGS, str(tmp_path / "again.h5"), workers=1)
    again, _ = store.read(tmp_path / "again.h5")
    assert all(np.array_equal(arrays[k], again[k]) for k in arrays)


def test_recombination_gives_new_distinct_molecules():
    base = molecule_lists.read_molecules(REPOSITORY / "resources/molecules.csv")[:300]
    more = molecule_lists.recombine(base, 330, 36, 0)
    assert len({smiles for _, smiles in more}) == 330 and more == molecule_lists.recombine(base, 330, 36, 0)


def test_stereoisomers_of_a_list_are_never_on_both_sides(tmp_path):
    """They are molecules of their own in the list, and one cluster, called by the first of them."""
    families = {"a": ("C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "CC(N)C(=O)O"), "b": ("O", "[2H]O[2H]")}
    families |= {"c": ("C/C=C/C=O", "C/C=C\\C=O"), "d": ("CCO", "[13CH3]CO")}
    listed = [(f"{name}{i}", smiles) for name, found in families.items() for i, smiles in enumerate(found)]
    (tmp_path / "list.smi").write_text("".join(f"{smiles} {name}\n" for name, smiles in listed))
    settings = SETTINGS | dict(molecules=str(tmp_path / "list.smi"), n_molecules=9, n_conformers=18)
    build.build(settings | dict(labels=False, n_held_out=2), str(tmp_path / "d.h5"), workers=1)
    rows = list(csv.DictReader(open(tmp_path / "d/split.csv")))
    assert {row["where"].partition(",")[0] for row in rows} == {name for name, _ in listed}
    sides = {name: {row["split"] for row in rows if row["where"][0] == name} for name in families}
    assert all(len(found) == 1 for found in sides.values()) and len({row["cluster"] for row in rows}) == 4
    assert store.read(tmp_path / "d.h5", "molecules")[1]["split"] == "molecule (constitution)"


def test_recombination_makes_nothing_that_a_list_would_lose():
    """Half a zwitterion is an ion, which would be labelled as if it were none."""
    base = [("zwitterion", "[NH3+]CC(=O)NCC(=O)[O-]"), ("phenacetin", "CCOc1ccc(cc1)NC(C)=O")]
    base += [("ethyl benzoate", "CCOC(=O)c1ccccc1"), ("amide", "CCN(CC)C(C)=O"), ("anisole", "COc1ccccc1")]
    more = molecule_lists.recombine(base, 20, 40, 1)
    assert [molecule_lists.canonical_of(smiles)[1] for _, smiles in more] == [None] * 20


@pytest.mark.parametrize(
    "content, message",
    [
        ("name,smiles\na,C(C\n", "line 2.*does not parse"),
        ("a,b\n1,2\n", "columns"),
        ("name,smiles\na,CC\nb,C C\n", "line 3.*does not parse"),
        ("name,smiles\na,CC\nb,CC\n", "line 3.*same molecule"),
        ("name,smiles\na,[Na+]\n", "line 2"),
        ("name,smiles\n", "no usable molecules"),
        ("name,smiles\na,\udcff\n", "not a readable list"),
    ],
)
def test_bad_molecules_files(tmp_path, content, message):
    path = tmp_path / "m.csv"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=message):
        molecule_lists.read_molecules(path)


@pytest.mark.parametrize("name", ["m.smi", "m.smi.gz", "m.csv", "m.csv.gz"])
def test_published_lists_lose_only_what_cannot_be_used(tmp_path, name):
    """Names may be missing or repeat themselves; every line is kept or listed with a reason."""
    if ".smi" in name:
        text = (
            "CCO ethanol\nC(C broken\nOCC again\nC[NH3+] ion\nCC.CC two\n[Xe] xenon\nCCC "
            "ethanol\n\nc1ccccc1\n"
        )
    else:
        text = "Compound ID,logP,SMILES\nethanol,1,CCO\nbroken,1,C(C\nagain,1,OCC\nion,1,C[NH3+]\n"
        text += "two,1,CC.CC\nxenon,1,[Xe]\nethanol,1,CCC\n,1,c1ccccc1\n"
    (tmp_path / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    rejected = []
    rows = molecule_lists.read_molecules(tmp_path / name, rejected)
    assert (
        [smiles for _, smiles in rows] == ["CCO", "CCC", "c1ccccc1"]
        and len({n for n, _ in rows}) == 3
        and rows[0][0] == "ethanol"
    )
    assert (
        len(rejected) == 5
        and len({where for where, _ in rejected}) == 5
        and len({reason for _, reason in rejected}) == 3
    )
    with pytest.raises(DataError, match="line .*broken.*does not parse"):
        molecule_lists.read_molecules(tmp_path / name)


def test_truncated_and_foreign_hdf5(dataset, tmp_path):
    whole = Path(dataset).read_bytes()
    for content in (whole[: len(whole) // 2], b"not hdf5", b""):
        path = tmp_path / "x.h5"
        path.write_bytes(content)
        with pytest.raises(DataError, match="x.h5"):
            store.read(path)


def test_nothing_is_left_of_a_failed_write(tmp_path, dataset):
    arrays, _ = store.read(dataset)
    arrays["forces"][0] = np.nan
    with pytest.raises(DataError, match="forces holds values"):
        store.write(tmp_path / "y.h5", arrays, {"kind": "forces"})
    with pytest.raises(DataError, match="kind None"):
        store.write(tmp_path / "y.h5", arrays, {})
    assert list(tmp_path.iterdir()) == []


def extxyz(tmp_path, change=lambda frame: None, scale=1.0):
    frames = []
    for i in range(40):
        frame = ase.Atoms(
            "OH2", positions=(1 + 1e-3 * i) * np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
        )
        frame.info["energy"], frame.arrays["forces"] = (
            -10.0,
            scale * np.ones((3, 3)),
        )  # no structure's forces, but of a possible size
        frames.append(frame)
    change(frames[3])
    path = tmp_path / "w.xyz"
    ase.io.write(path, frames, format="extxyz")
    return path


def test_extxyz_round_trip_and_frame_split(tmp_path, monkeypatch):
    monkeypatch.setitem(registry.READERS, "extxyz", EXTXYZ)
    settings = dict(
        source="extxyz", files=[str(extxyz(tmp_path))], energy_unit="eV", licence="", n_held_out=3, seed=0
    )
    build.build(settings, str(tmp_path / "w.h5"))
    arrays, attributes = store.read(tmp_path / "w.h5")
    assert (
        len(arrays["energy"]) == 40 and attributes["split"] == "frames" and np.allclose(arrays["forces"], 1.0)
    )


def _nan(frame):
    frame.positions[0, 0] = np.nan


def _bohr(frame):
    frame.positions *= 10


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda f: f.arrays.pop("forces"), "no forces"),
        (_nan, "positions holds NaN"),
        (_bohr, molecules.NOT_POSITIONS),
    ],
)
def test_a_bad_frame_is_rejected_with_its_reason(tmp_path, change, reason):
    items, rejected = conversion.read(EXTXYZ, extxyz(tmp_path, change), EV)
    assert (
        len(items) == 39
        and len(rejected) == 1
        and rejected[0].where.endswith("frame 4")
        and rejected[0].reason.startswith(reason)
    )


def test_a_file_of_impossible_forces_is_refused(tmp_path):
    with pytest.raises(DataError, match="w.xyz: all .*frame 1: r.m.s. force"):
        conversion.read(EXTXYZ, extxyz(tmp_path, scale=100), EV)


def test_unreadable_files(tmp_path):
    (tmp_path / "a.xyz").write_text("12\nfoo\nC 0 0\n")
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 broken")
    items, rejected = conversion.read(EXTXYZ, tmp_path / "a.xyz", EV)
    assert not items and [r.reason for r in rejected] == ["does not parse"]
    for reader, name in ((NPZ, "a.npz"), (NPZ, "gone.npz"), (EXTXYZ, "gone.xyz")):
        with pytest.raises(DataError, match=name):
            conversion.read(reader, tmp_path / name, EV)


def _npz(**changes):
    arrays = dict(
        nuclear_charges=np.array([8, 1, 1]),
        coords=np.zeros((4, 3, 3)),
        energies=np.zeros(4),
        forces=np.zeros((4, 3, 3)),
    )
    arrays["coords"][:] = [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]
    return {name: array for name, array in {**arrays, **changes}.items() if array is not None}


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(forces=None), "no forces; expected"),
        (dict(energies=np.zeros(5)), "energies .5,"),
        (dict(nuclear_charges=np.array([8, 1])), "nuclear_charges .2,"),
        (dict(coords=np.array([{}], dtype=object)), "m.npz: coords is an array of object, expected numbers"),
        (dict(nuclear_charges=np.array(["O", "H", "H"])), "nuclear_charges is an array of <U1, expected"),
        (dict(forces=np.zeros((4, 3, 3), complex)), "forces is an array of complex128, expected numbers"),
        (dict(nuclear_charges=np.array([8.7, 1, 1])), "nuclear_charges holds 8.7, expected whole numbers"),
        (dict(nuclear_charges=np.array([8, np.nan, 1])), "nuclear_charges holds nan, expected whole"),
        (dict(coords=np.asfortranarray(np.zeros((4, 3, 3)))), "Fortran"),
    ],
)
def test_bad_npz(tmp_path, changes, message):
    np.savez(tmp_path / "m.npz", **_npz(**changes))
    with pytest.raises(DataError, match=f"m.npz.*{message}"):
        conversion.read(NPZ, tmp_path / "m.npz", {"energy_unit": "kcal/mol"})


def test_npz_in_blocks_is_the_whole(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    coords = _npz()["coords"][:1] + 0.01 * rng.normal(size=(50, 3, 3))
    whole = _npz(coords=coords, forces=rng.normal(size=(50, 3, 3)), energies=rng.normal(size=50))
    np.savez_compressed(tmp_path / "m.npz", **whole)
    monkeypatch.setattr(npz, "FRAMES", 7)
    items, rejected = conversion.read(
        NPZ, tmp_path / "m.npz", {"energy_unit": "eV", "accept": ["net-torque"]}
    )
    assert not rejected and np.array_equal([i.rows["positions"] for i in items], molecules.centred(coords))
    assert (
        np.array_equal([i.rows["forces"] for i in items], whole["forces"].astype(np.float32))
        and [i.values["energy"] for i in items] == whole["energies"].tolist()
    )


@pytest.mark.skipif(not REAL.is_dir(), reason="no real force files on this machine")
def test_real_files():
    items, rejected = conversion.read(
        registry.READERS["npz"], REAL / "rmd17_ethanol_train_01.npz", {"energy_unit": "kcal/mol"}
    )
    assert (
        len(items) == 1000
        and not rejected
        and 0.3 < np.sqrt(np.mean([i.rows["forces"] ** 2 for i in items])) < 3
    )
    for name in ("300K", "mixedT"):
        items, rejected = conversion.read(
            registry.READERS["extxyz"],
            REAL / f"3bpa_train_{name}.xyz",
            {"energy_unit": "eV"},
        )
        assert (
            len(items) == 500
            and not rejected
            and len(items[0].rows["numbers"]) == 27
            and len({i.cluster for i in items}) == 1
        )
    items, rejected = conversion.read(registry.READERS["extxyz"], REAL / "3bpa_iso_atoms.xyz", EV)
    assert not items and {r.reason for r in rejected} == {"isolated atom"} and len(rejected) == 4


def test_ragged_items_are_the_padded_ones():
    offsets = np.array([0, 2, 3, 7])
    for values in (np.arange(7, dtype=np.uint8), np.random.default_rng(0).normal(size=(7, 3))):
        ragged, whole = padding.Ragged(values, offsets), torch.zeros(3, 4, *values.shape[1:])
        whole, mask = whole.to(torch.from_numpy(values).dtype), torch.zeros(3, 4, dtype=torch.bool)
        for item, (start, end) in enumerate(itertools.pairwise(offsets)):
            whole[item, : end - start] = torch.from_numpy(values[start:end])
            mask[item, : end - start] = True
        torch.testing.assert_close(ragged[torch.arange(3)], whole, rtol=0, atol=0)
        assert torch.equal(padding.Ragged.mask(offsets)[torch.arange(3)], mask)
        assert torch.equal(ragged[torch.tensor([1, 0])], whole[[1, 0], :2]) and len(ragged) == 3
        assert torch.equal(ragged[2], whole[2]) and torch.equal(ragged[1], whole[1, :1])
        assert ragged[torch.tensor([1])].dtype == whole.dtype
