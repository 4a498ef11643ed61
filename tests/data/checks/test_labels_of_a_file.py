"""Labels that do not belong to their geometry are found, whatever the mistake, and right ones pass."""

import csv
import json

import ase
import ase.io
import numpy as np
import pytest
from labelled import SETTINGS, frames
from scipy.spatial.transform import Rotation

from equidyn.data import build
from equidyn.data.checks import energies, net_torque, xtb
from equidyn.data.checks.catalogue import ACCEPTABLE, CHECKS
from equidyn.errors import DataError

ONE, MANY = ("CH3CH2OH",), ("H2O", "NH3", "CH3OH", "C2H6", "H2CO")


def built(folder, atoms, **more):
    """Counts and checks by name of a dataset of these frames."""
    ase.io.write(folder / "f.xyz", atoms, format="extxyz")
    counts = build.build(
        {**SETTINGS, "files": [str(folder / "f.xyz")], **more}, str(folder / "d.h5"), workers=1
    )
    return counts, checks_of(folder)


def checks_of(folder):
    return {row["check"]: row for row in json.loads((folder / "d/checks.json").read_text())["checks"]}


def forces(change):
    """All frames with the forces that ``change`` makes of frame and number."""

    def of(atoms):
        for i, frame in enumerate(atoms):
            frame.arrays["forces"] = change(frame, i)
        return atoms

    return of


def energy(change):
    def of(atoms):
        found = [change(frame, i) for i, frame in enumerate(atoms)]
        for frame, value in zip(atoms, found):
            frame.info["energy"] = value
        return atoms

    return of


def numbers_reversed(atoms):
    for frame in atoms:
        frame.numbers = frame.numbers[::-1].copy()
    return atoms


def of_the_previous_frame(atoms):
    for one, other in zip(atoms[:0:-1], atoms[-2::-1]):
        one.info["energy"], one.arrays["forces"] = other.info["energy"], other.arrays["forces"]
    return atoms


WRONG = {
    "turned": (
        forces(lambda a, i: a.arrays["forces"] @ Rotation.random(random_state=i).as_matrix()),
        "net-torque",
    ),
    "exchanged axes": (forces(lambda a, i: a.arrays["forces"][:, [1, 0, 2]]), "net-torque"),
    "one axis negated": (forces(lambda a, i: a.arrays["forces"] * [1, 1, -1]), "net-torque"),
    "another order": (forces(lambda a, i: a.arrays["forces"][::-1]), "net-torque"),
    "previous frame": (of_the_previous_frame, "net-torque"),
    "zero forces": (forces(lambda a, i: 0 * a.arrays["forces"]), "zero-labels"),
    "zero energies": (energy(lambda a, i: 0.0), "zero-labels"),
    "one energy": (energy(lambda a, i: -7.0), "zero-labels"),
    "negated forces": (forces(lambda a, i: -a.arrays["forces"]), "xtb"),
    "atomic numbers in another order": (numbers_reversed, "xtb"),
    "energies in hartree": (energy(lambda a, i: a.info["energy"] / 27.2114), "energy-forces"),
    "two references": (energy(lambda a, i: a.info["energy"] + 13.6 * (i % 2)), "energy-forces"),
    "energies rise": (energy(lambda a, i: -a.info["energy"]), "energy-forces"),
}


@pytest.fixture(scope="module")
def right():
    return {"one": frames(30, names=ONE), "many": frames(40, names=MANY)}


@pytest.mark.parametrize("molecules", ["one", "many"])
@pytest.mark.parametrize("mistake", WRONG)
def test_wrong_labels_are_refused_by_the_check_that_knows_the_cause(tmp_path, right, mistake, molecules):
    if (mistake, molecules) == ("previous frame", "many"):
        pytest.skip("the previous frame is of another molecule")
    change, check = WRONG[mistake]
    atoms = change([frame.copy() for frame in right[molecules]])
    with pytest.raises(DataError, match=f"f.xyz.*accept: .{check}.* in the dataset"):
        built(tmp_path, atoms)
    assert checks_of(tmp_path)[check]["verdict"] == "refused"
    assert (tmp_path / "d/rejected.csv").is_file() and not (tmp_path / "d.h5").exists()


@pytest.mark.parametrize("molecules", ["one", "many"])
def test_right_labels_pass_wherever_the_molecule_lies(tmp_path, right, molecules):
    atoms = [frame.copy() for frame in right[molecules]]
    for i, frame in enumerate(atoms):
        turn = Rotation.random(random_state=i).as_matrix()
        frame.positions, frame.arrays["forces"] = frame.positions @ turn + 50, frame.arrays["forces"] @ turn
    counts, checks = built(tmp_path, atoms)
    assert (
        counts["items"] == len(atoms)
        and counts["pairs of frames whose energies were compared with their forces"]
    )
    for name in ("zero-labels", "net-torque", "energy-forces", "xtb"):
        assert checks[name]["verdict"] == "passed" and checks[name]["items"] > 0


def test_an_accepted_refusal_stays_visible(tmp_path, right):
    change, _ = WRONG["turned"]
    atoms = change([frame.copy() for frame in right["many"]])
    counts, checks = built(tmp_path, atoms, accept=["net-torque", "xtb", "energy-forces"])
    assert counts["items"] == 40 and checks["net-torque"]["verdict"] == "accepted"
    assert "do not belong to their positions" in checks["net-torque"]["found"]
    assert json.loads((tmp_path / "d/checks.json").read_text())["accept"] == [
        "net-torque",
        "xtb",
        "energy-forces",
    ]


def test_single_frames_with_foreign_forces_are_rejected_one_by_one(tmp_path, right):
    atoms = [frame.copy() for frame in right["many"]]
    for i in (3, 8, 13):
        atoms[i].arrays["forces"] = atoms[i].arrays["forces"][:, [1, 2, 0]]
    counts, checks = built(tmp_path, atoms)
    assert counts["items"] == 37 and checks["net-torque"]["verdict"] == "rejected"
    with open(tmp_path / "d/rejected.csv", newline="") as file:
        listed = {row["record"].rpartition(" ")[2]: row["reason"] for row in csv.DictReader(file)}
    assert listed == dict.fromkeys(("4", "9", "14"), *CHECKS["net-torque"].reasons)


def test_a_file_too_small_for_a_median_loses_its_frames_one_by_one(tmp_path, right):
    change = forces(lambda a, i: np.cross([0, 0, 1.0], a.positions - a.positions.mean(0)))  # a torque alone
    with pytest.raises(DataError, match="none of 2 items is left; rejected: .*net torque.*: 2"):
        built(tmp_path, change([frame.copy() for frame in right["one"][:2]]), accept=["xtb", "energy-forces"])


def test_placeholders_among_labels_are_rejected_one_by_one(tmp_path, right):
    atoms = [frame.copy() for frame in right["many"]]
    atoms[3].arrays["forces"] *= 0
    atoms[9].info["energy"] = 0.0
    counts, checks = built(tmp_path, atoms)
    assert counts["items"] == 38 and checks["zero-labels"]["verdict"] == "rejected"
    kept, checks = built(tmp_path, atoms, accept=["zero-labels"])
    assert kept["items"] == 40


def test_noise_of_labels_is_no_mismatch():
    """It gives a net force as well as a torque, which forces of another orientation do not."""
    rng = np.random.default_rng(0)
    for sigma, verdict in ((0.0, "passed"), (0.03, "passed"), (3.0, "refused")):
        x = rng.normal(size=(50, 12, 3))
        pairs = x[:, :, None] - x[:, None]
        f = pairs.sum(2) / 12 + sigma * rng.normal(size=x.shape)  # central forces
        assert net_torque.judge("f", net_torque.figures(x, f)).verdict == verdict
    turned = (pairs.sum(2) / 12)[:, :, [1, 0, 2]]
    assert net_torque.judge("f", net_torque.figures(x, turned)).verdict == "refused"
    assert net_torque.judge("f", net_torque.figures(x, 1e-3 * turned)).verdict == "not checked"


def test_torque_does_not_depend_on_place_size_or_orientation():
    rng = np.random.default_rng(1)
    x, f = rng.normal(size=(2, 20, 7, 3))
    expected = net_torque.figures(x, f)
    turn = Rotation.random(random_state=0).as_matrix()
    assert np.allclose(net_torque.figures(x @ turn + 9, f @ turn), expected)
    assert np.allclose(net_torque.figures(3 * x, f), expected)
    assert np.allclose(net_torque.figures(x, 5 * f)[:, :2], expected[:, :2])
    one = net_torque.figures(x[:1], f[:1])[0]
    centred = x[0] - x[0].mean(0)
    by_hand = np.linalg.norm(np.cross(centred, f[0]).sum(0))
    assert one[0] == pytest.approx(by_hand / np.sqrt(((centred**2).sum(1) * (f[0] ** 2).sum(1)).sum()))


def test_gfn2_xtb_says_nothing_against_ions_and_metals(tmp_path):
    """Labels of a model of point charges, in right units: they are not those of GFN2-xTB."""
    atoms, rng = [], np.random.default_rng(0)
    for i in range(30):
        distance = 2.2 + 0.6 * rng.random()
        force = 14.4 / distance**2 - 400 * np.exp(-distance / 0.3)
        frame = ase.Atoms("NaCl" if i % 2 else "LiF", [[0, 0, 0], [0, 0, distance]])
        frame.info["energy"] = -14.4 / distance + 120 * np.exp(-distance / 0.3)
        frame.arrays["forces"] = np.array([[0, 0, force], [0, 0, -force]])
        atoms.append(frame)
    counts, checks = built(tmp_path, atoms)
    assert counts["items"] == 30 and checks["xtb"]["verdict"] == "not checked"
    assert "nothing to compare" in checks["xtb"]["found"]


def test_without_neighbours_energies_are_said_to_be_unchecked(tmp_path):
    counts, checks = built(tmp_path, frames(8))
    assert counts["items"] == 8 and checks["energy-forces"]["verdict"] == "not checked"
    assert "unchecked" in checks["energy-forces"]["found"]


def test_charges_of_one_molecule_are_told_apart_and_noted(tmp_path, right):
    atoms = [frame.copy() for frame in right["one"]]
    for i, frame in enumerate(atoms):
        frame.info["charge"] = i % 2
        frame.info["energy"] += 9.0 * (i % 2)
    counts, checks = built(tmp_path, atoms, accept=["xtb"])
    assert counts["items"] == 30 and checks["charges"]["verdict"] == "noted"
    assert "0, 1" in checks["charges"]["found"] and checks["energy-forces"]["verdict"] == "passed"


def test_every_check_can_be_overridden_only_where_the_config_may_say_so():
    from equidyn.config.sources import SOURCES

    kinds = {
        "extxyz": "forces",
        "spice": "forces",
        "sdf": "molecules",
        "geom": "molecules",
        "structures": "backbones",
    }
    for source, kind in kinds.items():
        accept = SOURCES[source].model_json_schema()["properties"]["accept"]
        allowed = accept["items"].get("enum", [])
        possible = {name for name in ACCEPTABLE if kind in CHECKS[name].kinds}
        assert set(allowed) <= possible and possible - set(allowed) <= {"periodic"}  # which GEOM cannot state


def test_constants_of_two_checks_do_not_contradict_each_other():
    assert energies.ALIKE == xtb.ALIKE and net_torque.SMALL < net_torque.LARGE < net_torque.SURE
