"""SPICE's HDF5 layout: units from its attributes, filters, clusters; and a file that states wrong units is
caught.
"""

import json
import shutil

import h5py
import numpy as np
import pytest
from common import REPOSITORY
from spice_files import write

from equidyn.data import build, conversion, store
from equidyn.data.generate import conformers
from equidyn.data.readers import registry, spice
from equidyn.data.units import BOHR, HARTREE
from equidyn.errors import DataError

REAL = REPOSITORY.parent / "shared/data/forces/SPICE-1.1.4_n2.hdf5"
READER = registry.READERS["spice"]
SETTINGS = dict(source="spice", licence="x", n_held_out=1, seed=0)
real = pytest.mark.skipif(not REAL.is_file(), reason="no real SPICE file on this machine")


@pytest.mark.parametrize(
    "length, energy, names",
    [(BOHR, HARTREE, ("bohr", "hartree", "hartree/bohr")), (1.0, 1.0, ("angstrom", "eV", "eV/angstrom"))],
)
def test_items_in_ev_and_angstrom_whatever_the_stated_units(tmp_path, length, energy, names):
    items, rejected = conversion.read(
        READER, write(tmp_path / "s.hdf5", length=length, energy=energy, names=names)
    )
    assert len(items) == 24 and not rejected and {i.cluster for i in items} == {"O", "C", "[NH4+]", "CCl"}
    for item in (i for i in items if "water" in i.where):
        energy, forces = conformers.label(item.rows["numbers"], item.rows["positions"])
        assert (
            energy == pytest.approx(item.values["energy"], abs=1e-4)
            and np.abs(forces - item.rows["forces"]).max() < 1e-3
        )


def test_filters(tmp_path):
    path = write(tmp_path / "s.hdf5")
    config = {**SETTINGS, "files": [str(path)], "elements": ["H", "C", "N", "O"], "neutral": True}
    counts = build.build(config, str(tmp_path / "d.h5"), workers=1)
    assert (
        counts["items"] == 12
        and counts["rejected: charged"] == 6 == counts["rejected: element that is not wanted: Cl"]
    )
    arrays, _ = store.read(tmp_path / "d.h5")
    assert not set(arrays["cluster"][arrays["split"] == 0]) & set(arrays["cluster"][arrays["split"] == 1])


@pytest.mark.parametrize(
    "names, message",
    [
        (("angstrom", "hartree", "hartree/bohr"), "likely: the positions are in bohr"),
        (("bohr", "eV", "eV/angstrom"), "likely: .*hartree/bohr"),
        (("bohr", "hartree", "hartree/angstrom"), "likely: .*hartree/bohr"),
        (("bohr", "rydberg", "rydberg/bohr"), "units .*rydberg.*expected"),
        (("", "hartree", "hartree/bohr"), "units .*expected"),
    ],
)
def test_wrong_units_are_named(tmp_path, names, message):
    path = write(tmp_path / "w.hdf5", names=names)
    with pytest.raises(DataError, match=f"w.hdf5.*{message}"):
        conversion.read(READER, path)


def test_one_group_against_gfn2_xtb_is_noted_and_most_of_them_refuse_the_file(tmp_path):
    path = write(tmp_path / "m.hdf5")
    settings = {**SETTINGS, "files": [str(path)]}
    for names, refused in ((("methyl chloride",), False), (("methane", "water", "ammonium"), True)):
        with h5py.File(path, "r+") as file:
            for name in names:
                file[f"{name}/dft_total_gradient"].attrs["units"] = "hartree/angstrom"
        if refused:
            with pytest.raises(
                DataError, match="m.hdf5, .*: forces are .*likely: the forces are in hartree/bohr"
            ):
                build.build(settings, str(tmp_path / "r.h5"), workers=1)
        else:
            build.build(settings, str(tmp_path / "d.h5"), workers=1)
            (row,) = (
                row
                for row in json.loads((tmp_path / "d/checks.json").read_text())["checks"]
                if row["check"] == "xtb"
            )
            assert row["verdict"] == "noted" and any(
                "methyl chloride" in o["where"] and "likely" in o["text"] for o in row["first"]
            ), row
    settings["accept"] = ["xtb", "energy-forces"]
    build.build(settings, str(tmp_path / "r.h5"), workers=1)


def test_groups_of_another_layout_are_rejected(tmp_path):
    path = write(tmp_path / "s.hdf5")
    with h5py.File(path, "r+") as file:
        del file["methane/dft_total_energy"]
        del file["water/dft_total_gradient"]
        file["water/dft_total_gradient"] = np.zeros((2, 3, 3))
        file["water/dft_total_gradient"].attrs["units"] = "hartree/bohr"
        file["ammonium/atomic_numbers"][:] = 300
        file["note"] = [1, 2]
        file["away"] = h5py.ExternalLink("/etc/passwd", "x")
        file["again"] = h5py.SoftLink("/water")
    items, rejected = conversion.read(READER, path)
    assert {i.cluster for i in items} == {"CCl"} and {r.reason for r in rejected} >= {
        "not the layout of SPICE",
        "shapes disagree",
        "unknown element",
    }
    links = {r.where.rpartition(", ")[2]: r.detail for r in rejected if r.reason == spice.LINKED}
    assert links == {"away": "ExternalLink, expected the group", "again": "SoftLink, expected the group"}
    for name, content in (("t.hdf5", path.read_bytes()[:3000]), ("e.hdf5", b"nothing")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name}: not a readable HDF5"):
            conversion.read(READER, tmp_path / name)


@real
def test_real_file(tmp_path):
    items, rejected = conversion.read(READER, REAL)
    assert (
        len(items) == 55
        and not rejected
        and len({i.cluster for i in items}) == 2
        and "C#C.[Na+]" in {i.cluster for i in items}
    )
    kept, rejected = conversion.read(READER, REAL, {"elements": ["H", "C", "N"]})
    assert len(kept) == 50 and {r.reason for r in rejected} == {"element that is not wanted: Na"}
    kept, rejected = conversion.read(READER, REAL, {"neutral": True})
    assert not kept and {r.reason for r in rejected} == {"charged"}  # one is an ammonium ion
    counts = build.build({**SETTINGS, "files": [str(REAL)]}, str(tmp_path / "d.h5"), workers=1)
    assert counts["items"] == 55 and 0.3 < counts["force_rms_eV_per_angstrom"] < 3


@real
@pytest.mark.parametrize(
    "key, unit, likely",
    [
        ("conformations", "angstrom", "positions are in bohr"),
        ("dft_total_gradient", "eV/angstrom", "forces are in hartree/bohr"),
        ("dft_total_gradient", "kcal/mol/angstrom", "forces are in hartree/bohr"),
        ("dft_total_gradient", "hartree/angstrom", "forces are in hartree/bohr"),
    ],
)
def test_real_file_under_a_wrong_unit(tmp_path, key, unit, likely):
    path = tmp_path / "w.hdf5"
    shutil.copyfile(REAL, path)
    with h5py.File(path, "r+") as file:
        for group in file.values():
            group[key].attrs["units"] = unit
    with pytest.raises(DataError, match=f"likely: .*{likely}"):
        conversion.read(READER, path)
