import csv
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from conftest import REPOSITORY, SETTINGS

from equidyn.data import build, conformers, files, store
from equidyn.data.schema import DataError

REAL = REPOSITORY.parent / "shared/data/forces"


def test_molecules_file_is_what_the_readme_says():
    molecules = conformers.read_molecules(REPOSITORY / "resources/molecules.csv")
    assert len(molecules) >= 600
    with open(REPOSITORY / "resources/molecules.csv") as file:
        formulas = "".join(row["formula"] for row in csv.DictReader(file))
    assert all(element in formulas for element in ("H", "C", "N", "O", "F", "S", "Cl"))


def test_labels_are_reproduced_from_the_file(dataset):
    arrays, attributes = store.read(dataset)
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
    base = conformers.read_molecules(REPOSITORY / "resources/molecules.csv")[:300]
    more = conformers.recombine(base, 330, 36, 0)
    assert len({smiles for _, smiles in more}) == 330 and more == conformers.recombine(base, 330, 36, 0)


@pytest.mark.parametrize(
    "content, message",
    [
        ("name,smiles\na,C(C\n", "line 2.*does not parse"),
        ("a,b\n1,2\n", "columns"),
        ("name,smiles\na,CC\nb,C C\n", "line 3.*does not parse"),
        ("name,smiles\na,CC\nb,CC\n", "line 3.*same molecule"),
        ("name,smiles\na,[Na+]\n", "line 2"),
    ],
)
def test_bad_molecules_files(tmp_path, content, message):
    path = tmp_path / "m.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        conformers.read_molecules(path)


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
        frame = ase.Atoms("OH2", positions=np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]) + 0.01 * i)
        frame.info["energy"], frame.arrays["forces"] = -10.0, scale * np.ones((3, 3))
        frames.append(frame)
    change(frames[3])
    path = tmp_path / "w.xyz"
    ase.io.write(path, frames, format="extxyz")
    return path


def test_extxyz_round_trip_and_frame_split(tmp_path):
    settings = dict(source="extxyz", files=[str(extxyz(tmp_path))], energy_unit="eV", licence="", n_held_out=3, seed=0)
    build.build(settings, str(tmp_path / "w.h5"))
    arrays, attributes = store.read(tmp_path / "w.h5")
    assert len(arrays["energy"]) == 40 and attributes["split"] == "frames" and np.allclose(arrays["forces"], 1.0)


def _nan(frame):
    frame.positions[0, 0] = np.nan


def _bohr(frame):
    frame.positions *= 10


@pytest.mark.parametrize(
    "change, scale, message",
    [(lambda f: f.arrays.pop("forces"), 1, "frame 3: no forces"), (_nan, 1, "frame 3: positions"), (_bohr, 1, "frame 3: shortest"), (lambda f: None, 100, "frame 0: r.m.s. force")],
)
def test_bad_extxyz(tmp_path, change, scale, message):
    with pytest.raises(DataError, match=message):
        files.read_extxyz(extxyz(tmp_path, change, scale))


def test_unreadable_files(tmp_path):
    (tmp_path / "a.xyz").write_text("12\nfoo\nC 0 0\n")
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 broken")
    for reader, name in ((files.read_extxyz, "a.xyz"), (files.read_npz, "a.npz"), (files.read_npz, "gone.npz"), (files.read_extxyz, "gone.xyz")):
        with pytest.raises(DataError, match=name):
            reader(tmp_path / name)


@pytest.mark.skipif(not REAL.is_dir(), reason="no real force files on this machine")
def test_real_files(tmp_path):
    structures = files.read_npz(next(REAL.glob("rmd17_ethanol_train_01.npz")))
    assert len(structures) == 1000 and 0.3 < np.sqrt(np.mean([s[4] ** 2 for s in structures])) < 3
    with pytest.raises(DataError, match="r.m.s. force"):
        files.read_npz(next(REAL.glob("rmd17_ethanol_train_01.npz")), "eV")
    structures = files.read_extxyz(REAL / "3bpa_train_300K.xyz")
    assert len(structures) == 500 and len(structures[0][1]) == 27
    assert len(files.read_extxyz(REAL / "3bpa_train_mixedT.xyz")) == 500
