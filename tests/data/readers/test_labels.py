"""data/files.py: frames of any bytes, clusters of force files, units that are what they say."""

import io
import tarfile
from collections import Counter
from dataclasses import replace

import ase
import ase.io
import numpy as np
import pytest
from common import REPOSITORY
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled import EV, EXTXYZ, SETTINGS, frames
from scipy import constants

from equidyn.data import build, conversion, file_checks, units
from equidyn.data.checks import xtb
from equidyn.data.generate import conformers
from equidyn.data.readers import extxyz, label_checks, labels, npz, records, registry
from equidyn.errors import DataError

REAL = REPOSITORY.parent / "shared/data/forces"
real = pytest.mark.skipif(not REAL.is_dir(), reason="no real force files on this machine")


def test_units_are_those_of_the_tables_of_constants():
    """scipy's are of another year, which changes less than a part in a million."""
    known = {name: value for name, (value, *_) in constants.physical_constants.items()}
    assert units.HARTREE == pytest.approx(known["Hartree energy in eV"], rel=1e-6)
    assert units.BOHR == pytest.approx(known["Bohr radius"] * 1e10, rel=1e-6)
    assert units.KCAL_PER_MOL == pytest.approx(4184 / (constants.N_A * constants.e), rel=1e-6)
    kilojoule = labels.FORCE_UNITS["kJ/mol/angstrom"]
    assert kilojoule == pytest.approx(1000 / (constants.N_A * constants.e), rel=1e-6)


def test_leaner_parser_agrees_with_ase(many):
    for path in [many, *sorted(REAL.glob("3bpa_train*.xyz"))]:
        expected = ase.io.read(path, ":", format="extxyz")
        found = [extxyz.frame_of(text) for _, text in extxyz.records(path)]
        assert len(found) == len(expected)
        for (numbers, positions, forces, info), atoms in zip(found, expected):
            assert (
                np.array_equal(numbers, atoms.numbers)
                and np.array_equal(positions, atoms.positions)
                and np.array_equal(forces, atoms.get_forces())
            )
            assert info["energy"] == atoms.get_potential_energy()


@given(st.binary(max_size=300), st.integers(0, 3))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_items_rejections_or_an_error(tmp_path_factory, junk, start):
    path = tmp_path_factory.getbasetemp() / "junk.xyz"
    lines = [
        b"2",
        b'Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.0 pbc="F F F"',
        b"H 0 0 0 0 0 0",
        b"H 0 0 0.75 0 0 0",
    ]
    path.write_bytes(b"\n".join(lines[:start] + [junk] + lines[start:]))
    try:
        conversion.read(records.Reader("forces", extxyz.records, extxyz.parse), path, EV)
    except DataError as error:
        assert "junk.xyz" in str(error)


def test_a_bad_frame_costs_no_other(tmp_path):
    lines = "".join(
        f"3\nenergy={z / 100 - 138} Properties=species:S:1:pos:R:3:forces:R:3\nO 0 0 0 -{f} 0 0\nH 0.96 "
        f"0 0 {f} 0 0\n"
        f"H -0.24 0.93 0 0 0 0\n"
        for z, f in enumerate(np.linspace(0.2, 0.5, 60))
    )
    rows = lines.splitlines()
    rows[5 * 7] = "4"  # swallows the next frame's first line
    rows.insert(5 * 30, "stray words\nand more of them")
    (tmp_path / "w.xyz").write_text("\n".join(rows))
    items, rejected = conversion.read(
        records.Reader("forces", extxyz.records, extxyz.parse), tmp_path / "w.xyz", EV
    )
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
    found = extxyz.parse(("f.xyz, frame 1", f"2\n{comment}\nH 0 0 0.75 0 0 0\n{row}\n"), EV)
    assert len(found) == 1 and isinstance(found[0], records.Rejected) and found[0].reason.startswith(reason)


def test_a_number_of_atoms_or_a_line_without_end_is_no_memory(tmp_path):
    (tmp_path / "n.xyz").write_text("999999999\nand no more\n" + "H 0 0 0\n" * 100)
    items, rejected = conversion.read(EXTXYZ, tmp_path / "n.xyz", EV)
    assert not items and len(rejected) == 1 and rejected[0].reason.startswith("does not parse")
    good = f"2\nenergy=-1 {ATOMS}\nH 0 0 0 0 0 -1\nH 0 0 0.75 0 0 1\n"
    (tmp_path / "l.xyz").write_text(good + "1\n" + "x" * (2 << 20))
    items, rejected = conversion.read(
        records.Reader("forces", extxyz.records, extxyz.parse), tmp_path / "l.xyz", EV
    )
    assert len(items) == 1 and "breaks off" in rejected[-1].reason


def test_smiles_of_the_comment_line_is_the_cluster(tmp_path):
    from rdkit import Chem

    atoms = frames(3, names=("CH3OH",))
    for frame, smiles in zip(atoms, ("OC", "[O:1]([H:6])[C:2]([H:3])([H:4])[H:5]", "nonsense")):
        frame.info["smiles"] = smiles
    ase.io.write(tmp_path / "s.xyz", atoms, format="extxyz")
    items, _ = conversion.read(EXTXYZ, tmp_path / "s.xyz", EV)
    assert (
        items[0].cluster == items[1].cluster == "CO"
        and Chem.MolFromSmiles(items[2].cluster) is not None
        and items[2].cluster != "CO"
    )


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
        assert len(conversion.read(EXTXYZ, tmp_path / "u.xyz", {"energy_unit": declared})[0]) == 24
        return
    with pytest.raises(DataError, match=f"u.xyz.*likely: the forces are in {true}"):
        conversion.read(EXTXYZ, tmp_path / "u.xyz", {"energy_unit": declared})


@pytest.mark.parametrize("scale, unit", [(1 / units.BOHR, "bohr"), (0.1, "nm")])
def test_positions_in_another_unit_are_named(tmp_path, scale, unit):
    atoms = frames(24)
    for frame in atoms:
        frame.positions *= scale
    ase.io.write(tmp_path / "p.xyz", atoms, format="extxyz")
    with pytest.raises(DataError, match=f"all of the first 24 records.*likely: the positions are in {unit}"):
        conversion.read(EXTXYZ, tmp_path / "p.xyz", EV)


def test_forces_per_bohr_are_named_without_another_method(tmp_path, monkeypatch):
    """Energies and forces of neighbouring frames tell, where tblite is not installed."""
    monkeypatch.setattr(xtb, "compare", lambda items: [])
    rng, atoms, start = np.random.default_rng(0), [], frames(1, names=("CH3OH",))[0]
    for _ in range(12):
        frame = ase.Atoms(start.numbers, start.positions + 0.03 * rng.normal(size=start.positions.shape))
        energy, forces = conformers.label(frame.numbers, frame.positions)
        frame.info["energy"], frame.arrays["forces"] = (
            energy / units.HARTREE,
            forces / (units.HARTREE / units.BOHR),
        )
        atoms.append(frame)
    ase.io.write(tmp_path / "b.xyz", atoms, format="extxyz")
    with pytest.raises(DataError, match="56 pairs.*likely: they are in hartree/bohr"):
        conversion.read(EXTXYZ, tmp_path / "b.xyz", {"energy_unit": "hartree"})


@pytest.mark.parametrize("other_method", [True, False])
def test_gradients_in_place_of_forces_are_named(tmp_path, monkeypatch, other_method):
    rng, atoms, start = np.random.default_rng(0), [], frames(1, names=("CH3OH",))[0]
    if not other_method:
        monkeypatch.setattr(xtb, "compare", lambda items: [])
    for _ in range(12):
        frame = ase.Atoms(start.numbers, start.positions + 0.03 * rng.normal(size=start.positions.shape))
        frame.info["energy"], forces = conformers.label(frame.numbers, frame.positions)
        frame.arrays["forces"] = -forces
        atoms.append(frame)
    ase.io.write(tmp_path / "g.xyz", atoms, format="extxyz")
    with pytest.raises(DataError, match="g.xyz.*likely: (they are )?gradients"):
        conversion.read(EXTXYZ, tmp_path / "g.xyz", {"energy_unit": "eV"})


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
            with pytest.raises(
                DataError, match=f"{bad} of 40 records cannot be right; .*frame 11: {labels.TOO_STRONG}"
            ):
                conversion.read(EXTXYZ, tmp_path / "m.xyz", EV)
        else:
            items, rejected = conversion.read(EXTXYZ, tmp_path / "m.xyz", EV)
            assert len(items) == 39 and [r.reason for r in rejected] == [labels.TOO_STRONG]


@real
@pytest.mark.parametrize(
    "file, declared, unit",
    [
        ("rmd17_ethanol_train_01.npz", "eV", "kcal/mol"),
        ("rmd17_ethanol_train_01.npz", "hartree", "kcal/mol"),
        ("rmd17_benzene_test_01.npz", "eV", "kcal/mol"),
        ("3bpa_train_300K.xyz", "kcal/mol", "eV"),
        ("3bpa_train_mixedT.xyz", "hartree", "eV"),
    ],
)
def test_real_files_under_a_wrong_unit(file, declared, unit):
    reader = "npz" if file.endswith("npz") else "extxyz"
    with pytest.raises(DataError, match=f"{file}.*likely: the forces are in {unit}"):
        conversion.read(registry.READERS[reader], REAL / file, {"energy_unit": declared})


@real
def test_train_and_test_file_of_a_molecule_share_its_cluster():
    clusters = Counter()
    for path in sorted(REAL.glob("rmd17_*.npz")):
        record = next(npz.records(path))
        items = npz.parse(record, {"energy_unit": "kcal/mol"})
        clusters[items[0].cluster] += 1
        assert len({item.cluster for item in items}) == 1
    assert set(clusters.values()) == {2} and len(clusters) == 7


@real
def test_npz_in_an_archive(tmp_path):
    with tarfile.open(tmp_path / "r.tar.bz2", "w:bz2") as archive:
        for name in ("ethanol", "benzene"):
            archive.add(REAL / f"rmd17_{name}_train_01.npz", f"rmd17/npz_data/rmd17_{name}.npz")
    reader = registry.READERS["npz"]
    items, rejected = conversion.read(reader, tmp_path / "r.tar.bz2", {"energy_unit": "kcal/mol"})
    plain, _ = conversion.read(reader, REAL / "rmd17_ethanol_train_01.npz", {"energy_unit": "kcal/mol"})
    assert len(items) == 2000 and not rejected and len({i.cluster for i in items}) == 2
    for a, b in zip(items, plain):
        assert a.values == b.values and all(np.array_equal(a.rows[k], b.rows[k]) for k in a.rows)


def tarred(path, members):
    """An archive of npz files, one per (frames, energy unit, force unit)."""
    with tarfile.open(path, "w") as archive:
        for name, (atoms, energy, force) in members.items():
            packed = io.BytesIO()
            positions, energies, forces = (
                np.array(values)
                for values in zip(*((a.positions, a.info["energy"], a.arrays["forces"]) for a in atoms))
            )
            np.savez(
                packed,
                nuclear_charges=atoms[0].numbers,
                coords=positions,
                energies=energies / energy,
                forces=forces / force,
            )
            info = tarfile.TarInfo(name)
            info.size = len(packed.getvalue())
            archive.addfile(info, io.BytesIO(packed.getvalue()))
    return path


KCAL = units.KCAL_PER_MOL


@pytest.mark.parametrize(
    "unit, energy, force",
    [("kJ/mol/angstrom", KCAL / 4.184, KCAL / 4.184), ("kcal/mol/bohr", KCAL, KCAL / units.BOHR)],
)
@pytest.mark.parametrize("chunk", [1, 256])  # the members in shards of their own, and all in one
def test_a_member_in_another_unit_than_the_one_before_it(tmp_path, monkeypatch, unit, energy, force, chunk):
    atoms = {name: frames(12, i, names=(name,)) for i, name in enumerate(("CH3OH", "C2H6", "H2O"))}
    good = {f"{name}.npz": (found, KCAL, KCAL) for name, found in atoms.items()}
    monkeypatch.setitem(registry.READERS, "npz", replace(registry.READERS["npz"], chunk=chunk))
    config = dict(source="npz", energy_unit="kcal/mol", licence="x", n_held_out=1, seed=0)
    counts = build.build(
        {**config, "files": [str(tarred(tmp_path / "good.tar", good))]}, str(tmp_path / "d.h5"), workers=1
    )
    assert counts["items"] == 36 and counts["items compared with GFN2-xTB"] == 18
    path = tarred(tmp_path / "bad.tar", {**good, "C2H6.npz": (atoms["C2H6"], energy, force)})
    with pytest.raises(DataError, match=f"bad.tar, C2H6.npz: forces are .*likely: the forces are in {unit}"):
        build.build({**config, "files": [str(path)]}, str(tmp_path / "b.h5"), workers=1)
    with pytest.raises(DataError, match="bad.tar, C2H6.npz: forces are"):
        conversion.read(registry.READERS["npz"], path, config)


def test_so_many_parts_are_checked_and_small_ones_together(tmp_path):
    """Of 14 members with three frames ten are checked; of members with one frame all, as one."""
    checked = []
    reader = replace(
        EXTXYZ,
        check=lambda path, items, settings: checked.append([item.where for item in items]) or [],
        chunk=9,
    )
    for name, n in (("three", 3), ("one", 1)):
        with tarfile.open(tmp_path / f"{name}.tar", "w") as archive:
            for i in range(14):
                ase.io.write(tmp_path / "f.xyz", frames(n, i, names=("H2O",)), format="extxyz")
                archive.add(tmp_path / "f.xyz", f"{i:02d}.xyz")
        checked.clear()
        list(
            conversion.shards(
                reader, [conversion.Input((str(tmp_path / f"{name}.tar"),))], EV, tmp_path / name
            )
        )
        if name == "three":
            assert len(checked) == file_checks.PARTS and all(
                len(set(map(records.part, found))) == 1 and len(found) >= file_checks.FEW for found in checked
            )
        else:
            assert [len(found) for found in checked] == [14]


def test_relaxed_geometries_are_not_judged_by_the_size_of_their_forces(tmp_path):
    """Forces of another method near its own minimum: as small as those of a wrong unit, but they point
    anywhere.
    """
    rng, atoms = np.random.default_rng(0), frames(12, names=("CH3OH",))
    for frame in atoms:
        forces = rng.normal(size=(6, 3))
        frame.arrays["forces"] = 0.01 * (forces - forces.mean(0))
    ase.io.write(tmp_path / "r.xyz", atoms, format="extxyz")
    items, rejected = conversion.read(EXTXYZ, tmp_path / "r.xyz", EV)
    assert len(items) == 12 and not rejected


def test_isolated_atoms_are_no_molecules(tmp_path):
    """With forces, which are zero, as without: they would be held out as if they said something."""
    one = "1\nProperties=species:S:1:pos:R:3:forces:R:3 energy={}\n{} 0 0 0 0 0 0\n"
    ase.io.write(tmp_path / "f.xyz", frames(12), format="extxyz")
    text = one.format(-10.7, "H") + one.format(-100.0, "O") + (tmp_path / "f.xyz").read_text()
    (tmp_path / "f.xyz").write_text(text)
    items, rejected = conversion.read(EXTXYZ, tmp_path / "f.xyz", EV)
    assert len(items) == 12 and [r.reason for r in rejected] == ["isolated atom"] * 2
    alone = dict(nuclear_charges=[2], coords=np.zeros((3, 1, 3)), energies=np.ones(3))
    np.savez(tmp_path / "a.npz", forces=np.zeros((3, 1, 3)), **alone)
    items, rejected = conversion.read(registry.READERS["npz"], tmp_path / "a.npz", {"energy_unit": "eV"})
    assert not items and [r.reason for r in rejected] == ["isolated atom"] * 3


@pytest.mark.parametrize("far", [0, 1e5, 1e6])
def test_positions_far_from_the_origin_keep_their_digits(tmp_path, far):
    atoms = frames(8)
    expected = [frame.positions - frame.positions.mean(0) for frame in atoms]
    for frame in atoms:
        frame.positions += far
    ase.io.write(tmp_path / "f.xyz", atoms, format="extxyz")
    items, rejected = conversion.read(EXTXYZ, tmp_path / "f.xyz", EV)
    assert not rejected and all(
        np.abs(item.rows["positions"] - x).max() < 1e-6 for item, x in zip(items, expected, strict=True)
    )


def test_charged_molecules_are_compared_with_their_own_charge():
    """The charge is not in the file: a dication and an anion of even and odd numbers of electrons are not
    taken for another unit.
    """
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
            items.append(
                records.Item(
                    f"f, frame {i}",
                    name,
                    {
                        "numbers": atoms.numbers.astype(np.uint8),
                        "positions": atoms.positions,
                        "forces": forces,
                    },
                    {"energy": 0.0},
                )
            )
        outcome, _ = label_checks.outcomes("f", items, 1.0)
        assert outcome.verdict == "passed" and outcome.figures["aligned"] == 3
