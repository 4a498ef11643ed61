"""Frames of one molecule share a cluster, isomers do not, and copies are there once."""

import json

import ase
import ase.io
import numpy as np
import pytest
from ase.build import molecule
from labelled import SETTINGS, frames

from equidyn.data import build, store
from equidyn.data.checks import copies, identity
from equidyn.data.checks.alignment import distances
from equidyn.data.readers import molecules


def graph(numbers, *bonds):
    matrix = np.zeros((len(numbers), len(numbers)), int)
    for i, j in bonds:
        matrix[i, j] = matrix[j, i] = 1
    return identity.graph(np.array(numbers), matrix)


CHAIN = [6, 6, 8, 1]


def test_a_stretched_or_a_formed_bond_makes_no_new_molecule():
    whole = graph(CHAIN, (0, 1), (1, 2), (2, 3))
    stretched, contact = graph(CHAIN, (0, 1), (2, 3)), graph(CHAIN, (0, 1), (1, 2), (2, 3), (0, 3))
    labels = identity.merged([("A", whole, ""), ("B", stretched, ""), ("C", contact, "")], [50, 3, 1])
    assert set(labels) == {0}


def test_isomers_with_the_same_atoms_in_the_same_order_stay_apart():
    one, other = graph(CHAIN, (0, 1), (1, 2), (2, 3)), graph(CHAIN, (0, 2), (1, 2), (1, 3))
    assert len(set(identity.merged([("A", one, ""), ("B", other, "")], [50, 40]))) == 2
    ring, opened = graph(CHAIN, (0, 1), (1, 2), (0, 2), (2, 3)), graph(CHAIN, (0, 1), (1, 2), (2, 3))
    assert len(set(identity.merged([("A", ring, ""), ("B", opened, "")], [1, 1]))) == 2  # no frames of either
    reordered = graph([6, 8, 6, 1], (0, 1))
    assert len(set(identity.merged([("A", one, ""), ("B", reordered, "")], [9, 9]))) == 2


def test_names_join_what_bonds_do_not():
    one, other = graph(CHAIN, (0, 1), (1, 2), (2, 3)), graph(CHAIN, (0, 2), (1, 2), (1, 3))
    name = f"{identity.atoms(CHAIN)} m1"
    assert len(set(identity.merged([("A", one, name), ("B", other, name)], [5, 5]))) == 1


def trajectory(n, broken=()):
    """Frames of methanol; in some the C-O bond is stretched to 2.2 angstrom."""
    atoms = frames(n, names=("CH3OH",))
    for i in broken:
        frame = atoms[i]
        axis = frame.positions[1] - frame.positions[0]
        moved = np.linalg.norm(frame.positions - frame.positions[1], axis=1) < 1.2
        frame.positions[moved] += axis / np.linalg.norm(axis) * 0.8
    return atoms


@pytest.mark.parametrize("source", ["extxyz", "xyz"])
def test_a_trajectory_with_stretched_frames_is_one_molecule(tmp_path, source):
    path = tmp_path / "t.xyz"
    ase.io.write(path, trajectory(40, broken=(5, 20, 33)), format="extxyz")
    settings = {**SETTINGS, "files": [str(path)], "accept": ["net-torque", "xtb", "energy-forces"]}
    if source == "xyz":
        other = [molecule("CH4") for _ in range(3)]
        for i, frame in enumerate(other):
            frame.positions *= 1 + 0.01 * i
        ase.io.write(tmp_path / "o.xyz", other)
        settings = {k: settings[k] for k in ("licence", "seed")}
        settings |= {"source": "xyz", "files": [str(path), str(tmp_path / "o.xyz")], "n_held_out": 1}
    counts = build.build(settings, str(tmp_path / "d.h5"), workers=1)
    label = store.read(tmp_path / "d.h5", "forces" if source == "extxyz" else "molecules")[1]["split"]
    checks = {row["check"]: row for row in json.loads((tmp_path / "d/checks.json").read_text())["checks"]}
    assert checks["identity"]["verdict"] == "noted"
    if source == "extxyz":
        assert label == "frames" and "unit is blocks" in checks["identity"]["found"]
    else:
        assert counts["clusters"] == 2 and "unit of the split is the molecule" in checks["identity"]["found"]


@pytest.mark.parametrize("source", ["extxyz", "xyz"])
def test_a_file_given_twice_is_there_once(tmp_path, source):
    for name in ("a", "b"):
        ase.io.write(tmp_path / f"{name}.xyz", frames(24), format="extxyz")
    files = [str(tmp_path / f"{name}.xyz") for name in ("a", "b")]
    settings = {**SETTINGS, "source": source, "files": files}
    settings = {key: value for key, value in settings.items() if source == "extxyz" or key != "energy_unit"}
    counts = build.build(settings, str(tmp_path / "d.h5"), workers=1)
    assert counts["items"] == 24 and counts["rejected: duplicate"] == 24
    assert build.build({**settings, "accept": ["copies"]}, str(tmp_path / "d.h5"), workers=1)["items"] == 48


def test_other_labels_of_a_geometry_are_called_so(tmp_path):
    atoms = frames(24, names=("CH3OH",))
    twice = [frame.copy() for frame in atoms[:2]]
    for frame in twice:
        frame.arrays["forces"] = 1.1 * frame.arrays["forces"]
    ase.io.write(tmp_path / "f.xyz", atoms + twice, format="extxyz")
    counts = build.build({**SETTINGS, "files": [str(tmp_path / "f.xyz")]}, str(tmp_path / "d.h5"), workers=1)
    assert counts["items"] == 24 and counts["rejected: geometry of an earlier item with other labels"] == 2


def test_training_copies_of_published_held_out_frames_are_dropped(tmp_path):
    atoms = frames(40, names=("CH3OH",))
    ase.io.write(tmp_path / "train.xyz", atoms[:25], format="extxyz")
    ase.io.write(tmp_path / "test.xyz", atoms[20:], format="extxyz")
    settings = {
        **SETTINGS,
        "files": [str(tmp_path / "train.xyz")],
        "held_out_files": [str(tmp_path / "test.xyz")],
    }
    settings |= {"leaks": "keep", "n_held_out": 4}
    counts = build.build(settings, str(tmp_path / "d.h5"), workers=1)
    assert counts["items"] == 40 and counts["held out"] == 20
    assert counts["rejected: copy of a held-out item"] == 5


def test_the_nearest_training_frame_is_reported(tmp_path):
    """A copy that is turned is none to the digest; its distance tells."""
    atoms = frames(12, names=("CH3OH",))
    turned = [frame.copy() for frame in atoms]
    for frame in turned:
        frame.rotate(40, "x")
    for name, kept in (("train", atoms), ("test", turned)):
        for frame in kept:
            frame.arrays.pop("forces")
        ase.io.write(tmp_path / f"{name}.xyz", kept, format="extxyz", write_results=False)
    settings = {"source": "xyz", "licence": "x", "seed": 0, "files": [str(tmp_path / "train.xyz")]}
    settings |= {"held_out_files": [str(tmp_path / "test.xyz")], "leaks": "keep"}
    build.build(settings, str(tmp_path / "d.h5"), workers=1)
    checks = {row["check"]: row for row in json.loads((tmp_path / "d/checks.json").read_text())["checks"]}
    assert checks["copies"]["verdict"] == "noted" and "12 of them within" in checks["copies"]["found"]


def test_digests_and_distances_do_not_see_place_and_pose():
    rng = np.random.default_rng(0)
    x, numbers = rng.normal(size=(5, 3, 3)), np.array([8, 1, 1])
    assert copies.of_molecule(numbers, x) == copies.of_molecule(numbers, x + 30)
    assert len(set(copies.of_molecule(numbers, x))) == 5
    assert copies.of_molecule(numbers, x)[0] != copies.of_molecule(numbers, x, charge=1)[0]
    assert copies.of_molecule(numbers[::-1], x)[0] != copies.of_molecule(numbers, x)[0]
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    assert np.abs(distances(x, x @ turn + 1)).max() < 1e-9
    assert distances(x, x * [1, 1, -1]).max() < 1e-9  # three atoms have no hand
    four = rng.normal(size=(5, 4, 3))
    assert distances(four, four * [1, 1, -1]).min() > 1e-3


def test_bonds_without_text_are_those_with_it():
    from rdkit import Chem
    from rdkit.Chem import rdDetermineBonds

    for name in ("CH3CH2OH", "C6H6", "H2O"):
        atoms = molecule(name)
        block = f"{len(atoms)}\n\n" + "\n".join(f"{a.symbol} {a.x:.6f} {a.y:.6f} {a.z:.6f}" for a in atoms)
        expected = Chem.MolFromXYZBlock(block)
        rdDetermineBonds.DetermineConnectivity(expected)
        key, found = molecules.bonds_of(atoms.numbers, atoms.positions)
        assert key == Chem.MolToSmiles(expected)
        assert found == identity.graph(atoms.numbers, Chem.GetAdjacencyMatrix(expected))
