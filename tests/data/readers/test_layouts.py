"""Files in the layouts that programs and people write are read, or refused by the key that is missing."""

import gzip
import io

import ase.io
import h5py
import numpy as np
import pytest
from labelled import EV, EXTXYZ, frames

from equidyn.data import conversion
from equidyn.data.checks.catalogue import MORE_LABELS, TWO_SETS
from equidyn.data.generate import molecule_lists
from equidyn.data.readers import xyz
from equidyn.data.readers.records import Item, Rejected
from equidyn.data.readers.registry import READERS
from equidyn.errors import DataError


def file_of(path, energy="energy", forces="forces", more=lambda frame: None):
    """Twelve frames with labels under these names."""
    atoms = frames(12)
    for frame in atoms:
        frame.info[energy], frame.arrays[forces] = frame.info.pop("energy"), frame.arrays.pop("forces")
        more(frame)
    ase.io.write(path, atoms, format="extxyz")
    return path


def test_a_byte_order_mark_costs_no_frame(tmp_path):
    path = file_of(tmp_path / "f.xyz")
    marked = tmp_path / "m.xyz"
    marked.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    for name in ("f.xyz", "m.xyz"):
        items, rejected = conversion.read(EXTXYZ, tmp_path / name, EV)
        assert len(items) == 12 and not rejected
    packed = tmp_path / "m.xyz.gz"
    packed.write_bytes(gzip.compress(marked.read_bytes()))
    assert len(conversion.read(EXTXYZ, packed, EV)[0]) == 12


@pytest.mark.parametrize(
    "energy, forces", [("REF_energy", "REF_forces"), ("dft_energy", "force"), ("Energy", "F")]
)
def test_labels_under_other_names_are_read_by_a_setting_and_named_without_it(tmp_path, energy, forces):
    path = file_of(tmp_path / "f.xyz", energy, forces)
    named = {**EV, "energy_key": energy, "forces_key": forces}
    items, rejected = conversion.read(EXTXYZ, path, named)
    assert len(items) == 12 and not rejected
    _, rejected = conversion.read(EXTXYZ, path, EV)
    assert len(rejected) == 12 and energy in rejected[0].detail and forces in rejected[0].detail
    assert "energy_key" in rejected[0].detail


def test_two_sets_of_labels_ask_for_a_choice(tmp_path):
    def second(frame):
        frame.info["REF_energy"], frame.arrays["REF_forces"] = -1.0, 2 * frame.arrays["forces"]

    path = file_of(tmp_path / "f.xyz", more=second)
    _, rejected = conversion.read(EXTXYZ, path, EV)
    assert {r.reason for r in rejected} == {TWO_SETS} and "REF_forces" in rejected[0].detail
    items, _ = conversion.read(EXTXYZ, path, {**EV, "energy_key": "energy", "forces_key": "forces"})
    assert len(items) == 12 and items[0].notes[MORE_LABELS] == 1
    twin = file_of(tmp_path / "t.xyz", more=lambda frame: frame.info.update(free_energy=-1.0))
    assert len(conversion.read(EXTXYZ, twin, EV)[0]) == 12


def arrays(**change):
    atoms = frames(12, names=("CH3OH",))
    found = {
        "nuclear_charges": atoms[0].numbers,
        "coords": np.stack([a.positions for a in atoms]),
        "energies": np.array([a.info["energy"] for a in atoms]),
        "forces": np.stack([a.arrays["forces"] for a in atoms]),
    }
    return {change.get(name, name): values for name, values in found.items()}


def test_arrays_in_fortran_order_are_those_in_c_order(tmp_path):
    np.savez(tmp_path / "c.npz", **arrays())
    np.savez(tmp_path / "f.npz", **{name: np.asfortranarray(values) for name, values in arrays().items()})
    found = [
        conversion.read(READERS["npz"], tmp_path / f"{name}.npz", {"energy_unit": "eV"})[0] for name in "cf"
    ]
    assert len(found[0]) == len(found[1]) == 12
    for one, other in zip(*found):
        assert all(np.array_equal(one.rows[key], other.rows[key]) for key in one.rows)


def test_arrays_under_other_names(tmp_path):
    path = tmp_path / "f.npz"
    np.savez(path, **arrays(energies="e_dft", forces="f_dft"))
    settings = {"energy_unit": "eV", "energy_key": "e_dft", "forces_key": "f_dft"}
    assert len(conversion.read(READERS["npz"], path, settings)[0]) == 12
    with pytest.raises(DataError, match="no energies, forces; expected .*found .*e_dft.*energy_key"):
        conversion.read(READERS["npz"], path, {"energy_unit": "eV"})
    np.savez(path, **arrays(nuclear_charges="z", coords="R", energies="E", forces="F"))
    with pytest.raises(DataError, match="keys of MD17 and sGDML: save nuclear_charges from z"):
        conversion.read(READERS["npz"], path, {"energy_unit": "eV"})


def test_columns_of_plain_xyz_are_those_that_properties_names():
    rows = ["O 8 0.1 0.2 0.3", "H 1 1.06 0.2 0.3", "H 1 -0.14 1.13 0.3", "O 8 9 9 9"][:3]
    text = "\n".join(["3", "Properties=species:S:1:Z:I:1:pos:R:3", *rows]) + "\n"
    (found,) = xyz.parse(("f.xyz, frame 1", text), {})
    assert isinstance(found, Item) and np.ptp(found.rows["positions"][:, 2]) == 0
    ammonia = ["N 7 0 0 0.1", "H 1 0 0.9 -0.3", "H 1 0.8 -0.5 -0.3", "H 1 -0.8 -0.5 -0.3"]
    for comment, message in (("", "atomic numbers in the second column"), ("charge 0", "atomic numbers")):
        (found,) = xyz.parse(("f.xyz, frame 1", "\n".join(["4", comment, *ammonia]) + "\n"), {})
        assert isinstance(found, Rejected) and message in found.detail
    (found,) = xyz.parse(("f.xyz, frame 1", "2\n\nC1 0 0 0\nH2 0 0 1.1\n"), {})
    assert found.reason == "does not parse" and "'C1', expected an element symbol" in found.detail


def test_scalar_smiles_of_a_group_and_a_locked_file(tmp_path, monkeypatch):
    from spice_files import write

    path = write(tmp_path / "f.hdf5")
    with h5py.File(path, "r+") as file:
        for group in file.values():
            smiles = group["smiles"][()].reshape(-1)[0]
            del group["smiles"]
            group["smiles"] = smiles
    items, rejected = conversion.read(READERS["spice"], path)
    assert items and not rejected

    def locked(*arguments, **named):
        raise BlockingIOError(11, "Unable to lock file, errno = 11")

    monkeypatch.setattr(h5py, "File", locked)
    with pytest.raises(DataError, match="f.hdf5: locked|f.hdf5: .*unable to lock"):
        list(READERS["spice"].records(path))


@pytest.mark.parametrize("separator", [" ", "\t", ",", ";", ", "])
def test_fields_of_a_list_of_smiles(tmp_path, separator):
    path = tmp_path / "m.smi"
    lines = [
        "SMILES{0}ID{0}pIC50",
        "COc1ccccc1{0}MOL1{0}5.1",
        "CCO{0}MOL2{0}4.2",
        "[CH3]{0}radical{0}1",
        "O=O{0}o{0}2",
    ]
    path.write_text("\ufeff" + "\n".join(lines).format(separator))
    rejected = []
    found = molecule_lists.read_molecules(path, rejected)
    assert [smiles for _, smiles in found] == ["COc1ccccc1", "CCO"]
    assert [reason.split(" (")[0] for _, reason in rejected] == ["open shell"] * 2
    assert all(name.startswith("MOL") for name, _ in found)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_with_a_byte_order_mark(tmp_path, delimiter):
    text = io.StringIO("smiles,name\nCCO,ethanol\nCC,ethane\n").getvalue().replace(",", delimiter)
    (tmp_path / "m.csv").write_text(text, encoding="utf-8-sig")
    found = molecule_lists.read_molecules(tmp_path / "m.csv")
    assert found == [("ethanol", "CCO"), ("ethane", "CC")]
