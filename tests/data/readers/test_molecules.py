"""Readers of unlabelled molecules: every record is kept or counted with a reason, and lengths are in Å."""

import gzip
import pickle
import tarfile

import numpy as np
import pytest
from common import REPOSITORY

from equidyn.data import conversion, grids, store
from equidyn.data.build import build
from equidyn.data.elements import channel_of
from equidyn.data.readers import molecules, sdf
from equidyn.data.readers.registry import READERS
from equidyn.data.units import BOHR
from equidyn.errors import DataError

REAL = REPOSITORY.parent / "shared/data/molecules"
WATER = "3\n{}\nO 0 0 0.1\nH 0.76 0 -0.48\nH -0.76 0 -0.48\n"
QM9 = (
    "3\ngdb 1\t1.0\t2*^3\nO\t 0.0\t 0.0\t 1.0*^-1\t-0.4\nH\t 0.76\t 0.0\t-0.48\t 0.2\nH\t-0.76\t "
    "0.0\t-0.48\t 0.2\n"
)
QM9 += "1341.3\t1341.4\t1341.5\nO\tO\nInChI=1S/H2O/h1H2\tInChI=1S/H2O/h1H2\n"
VOXELS = dict(elements=["C", "H", "O", "N", "F", "S", "Cl", "Br"], grid=16, resolution=0.5, radius=0.5)


def read_sdf(path):
    return conversion.read(READERS["sdf"], path)


def read_xyz(path):
    return conversion.read(READERS["xyz"], path)


def sdf_of(smiles, three_dimensional=True, hydrogens=True):
    from rdkit import Chem
    from rdkit.Chem import AllChem

    molecule = Chem.MolFromSmiles(smiles)
    molecule = Chem.AddHs(molecule) if hydrogens else molecule
    if three_dimensional:
        AllChem.EmbedMolecule(molecule, randomSeed=1)
    else:
        AllChem.Compute2DCoords(molecule)
    return Chem.MolToMolBlock(molecule) + "$$$$\n"


def scaled(source, path, factors):
    """A file of molecules in one of the formats, the coordinates of each times its factor."""
    from rdkit import Chem
    from rdkit.Chem import AllChem
    from rdkit.Geometry import Point3D

    found = []
    for i, factor in enumerate(factors):
        molecule = Chem.AddHs(Chem.MolFromSmiles(("O", "CCO", "c1ccccc1", "CC(=O)N", "CS")[i % 5]))
        AllChem.EmbedMolecule(molecule, randomSeed=1)
        conformer = molecule.GetConformer()
        for k, x in enumerate(conformer.GetPositions() * factor):
            conformer.SetAtomPosition(k, Point3D(*x))
        found.append(molecule)
    if source == "geom":
        path.write_bytes(
            pickle.dumps([(Chem.MolToSmiles(Chem.RemoveHs(molecule)), [molecule]) for molecule in found])
        )
    else:
        path.write_text(
            "".join(
                Chem.MolToMolBlock(m) + "$$$$\n" if source == "sdf" else Chem.MolToXYZBlock(m) for m in found
            )
        )
    return path


@pytest.mark.parametrize("unit, factor", [("bohr", 1 / BOHR), ("nm", 0.1), ("pm", 100.0)])
@pytest.mark.parametrize("source", ["xyz", "sdf", "geom"])
def test_molecules_in_another_unit_of_length_are_refused_by_its_name(tmp_path, source, unit, factor):
    path = scaled(source, tmp_path / "m", [factor] * 5)  # one that is water
    with pytest.raises(
        DataError,
        match=(
            f"m: all 5 records cannot be right; .*{molecules.NOT_POSITIONS}.*"
            f"likely: the positions are in {unit}"
        ),
    ):
        conversion.read(READERS[source], path)
    few = scaled(source, tmp_path / "few", [1.0] * 15 + [factor] + [1.0] * 24)
    items, rejected = conversion.read(READERS[source], few)
    assert len(items) == 39 and [(r.reason, r.suspect) for r in rejected] == [
        (molecules.NOT_POSITIONS, f"the positions are in {unit}")
    ]
    many = scaled(source, tmp_path / "many", [1.0] * 15 + [factor] * 3 + [1.0] * 22)
    with pytest.raises(
        DataError, match=f"many: 3 of 40 records cannot be right; .*likely: the positions are in {unit}"
    ):
        conversion.read(READERS[source], many)
    assert len(conversion.read(READERS[source], scaled(source, tmp_path / "good", [1.0] * 5))[0]) == 5


def test_what_is_far_apart_and_atoms_on_each_other(tmp_path):
    (tmp_path / "m.xyz").write_text(
        "2\n\nAr 0 0 0\nAr 0 0 3.8\n1\n\nHe 0 0 0\n"
        + WATER.format("") * 30
        + "3\n\nO 0 0 0\nO 0 0 0.5\nH 0 0 1\n"
    )
    items, rejected = read_xyz(tmp_path / "m.xyz")
    assert len(items) == 32 and [(r.reason, r.suspect) for r in rejected] == [
        (molecules.NOT_POSITIONS, "broken positions")
    ]


def test_one_canonical_form_for_all_readers(tmp_path):
    from rdkit import Chem

    for smiles in (
        "OCC",
        "[H]OC([H])([H])C",
        "[OH:3][CH2:1][CH3:2]",
        "[O:1]([H:9])[C:2]([H:3])([H:4])[C:5]([H:6])([H:7])[H:8]",
    ):
        assert molecules.constitution_of(smiles) == "CCO"
        assert molecules.constitution(Chem.AddHs(Chem.MolFromSmiles(smiles))) == "CCO"
    for nothing in ("", "no smiles", "C\ud800"):
        assert molecules.constitution_of(nothing) is None
    (tmp_path / "m.sdf").write_text(sdf_of("OCC"))
    (record,) = sdf.records(tmp_path / "m.sdf")
    mapped = Chem.AddHs(Chem.MolFromSmiles("[OH:1][CH2:2][CH3:3]"))
    (geom,) = READERS["geom"].parse(
        ("f", 1, Chem.MolToSmiles(mapped), [Chem.MolFromMolBlock(record[1], removeHs=False).ToBinary()]), {}
    )
    assert sdf.parse(record, {})[0].cluster == geom.cluster == "CCO"


@pytest.mark.parametrize(
    "family",
    [
        ("C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "CC(N)C(=O)O", "[13CH3]C(N)C(=O)O"),
        ("C/C=C/C=O", "C/C=C\\C=O", "CC=CC=O"),
        ("[H]/N=C/C", "[H]/N=C\\C", "CC=N"),
        ("[2H]O[2H]", "O"),
        ("O[C@H]1CC[C@@H](O)CC1", "O[C@H]1CC[C@H](O)CC1"),
    ],
)
def test_stereoisomers_and_isotopologues_share_a_cluster(tmp_path, family):
    """The same molecule to whoever splits: one of them in training is as good as all."""
    assert len({molecules.constitution_of(smiles) for smiles in family}) == 1
    (tmp_path / "m.sdf").write_text("".join(map(sdf_of, family)))
    items, rejected = read_sdf(tmp_path / "m.sdf")
    assert len(items) == len(family) and not rejected and len({item.cluster for item in items}) == 1


def test_xyz_in_its_dialects(tmp_path):
    (tmp_path / "plain.xyz").write_text(WATER.format("water") + WATER.format("again"))
    (tmp_path / "qm9.xyz").write_text(QM9)
    plain, rejected = read_xyz(tmp_path / "plain.xyz")
    raw, rejected_raw = read_xyz(tmp_path / "qm9.xyz")
    assert len(plain) == 2 and len(raw) == 1 and not rejected and not rejected_raw
    assert (
        np.allclose(plain[0].rows["positions"], raw[0].rows["positions"], atol=1e-6)
        and plain[0].cluster == raw[0].cluster
    )  # same positions, same cluster
    assert np.abs(plain[0].rows["positions"].mean(0)).max() < 1e-6 and plain[0].rows["numbers"].tolist() == [
        8,
        1,
        1,
    ]


def test_blank_lines_are_skipped_and_what_is_no_frame_is_counted(tmp_path):
    (tmp_path / "blank.xyz").write_text(WATER.format("a") + "\n" + WATER.format("b"))
    kept, rejected = read_xyz(tmp_path / "blank.xyz")
    assert len(kept) == 2 and not rejected
    (tmp_path / "tail.xyz").write_text(WATER.format("a") + "and so on\n" + WATER.format("b"))
    kept, rejected = read_xyz(tmp_path / "tail.xyz")
    assert (
        len(kept) == 2 and len(rejected) == 1 and "frame 2" in rejected[0].where
    )  # reading goes on at the next number of atoms


@pytest.mark.parametrize("atom", ["H 0.76 0 -0.48", "1 0.76 0 -0.48"])
def test_a_frame_with_more_atoms_than_it_states_is_rejected(tmp_path, atom):
    short = f"2\n\nO 0 0 0.1\n{atom}\n"
    text = WATER.format("a") + short + atom + "\n" + WATER.format("b") + short + atom + "\n" + atom + "\n"
    (tmp_path / "m.xyz").write_text(text + WATER.format("c"))
    kept, rejected = read_xyz(tmp_path / "m.xyz")
    assert [item.where[-1] for item in kept] == ["1", "3", "5"] and len({item.cluster for item in kept}) == 1
    assert [(r.where[-1], r.detail) for r in rejected] == [
        (number, "more atom lines than the stated 2") for number in "24"
    ]
    (tmp_path / "qm9.xyz").write_text(QM9.replace("1341.3\t1341.4\t1341.5", "O 1 2 3 4"))
    assert len(read_xyz(tmp_path / "qm9.xyz")[0]) == 1


def test_archives_are_read_in_memory_only(tmp_path):
    (tmp_path / "w.xyz").write_text(WATER.format(""))
    (tmp_path / "note.txt").write_text("no molecule")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "w.xyz", "../../escaped.xyz")
        archive.add(tmp_path / "note.txt", "note.txt")
    kept, rejected = read_xyz(tmp_path / "a.tar.gz")
    assert len(kept) == 1 and not rejected and not (tmp_path.parent.parent / "escaped.xyz").exists()


@pytest.mark.parametrize(
    "content, reason",
    [
        ("3\nshort\nO 0 0 0\n", "does not parse"),
        ("3\nword\nO 0 0 zero\nH 0 0 1\nH 0 1 0\n", "does not parse"),
        ("2\nnan\nO 0 0 nan\nH 0 0 1\n", "not finite"),
        ("2\none place\nO 1 1 1\nH 1 1 1\n", "no 3D coordinates"),
        ("0\nnothing\n", "no atoms"),
        ("hello\n", "does not parse"),
    ],
)
def test_bad_xyz_frames_are_counted_with_a_reason(tmp_path, content, reason):
    (tmp_path / "bad.xyz").write_text(content)
    kept, rejected = read_xyz(tmp_path / "bad.xyz")
    assert not kept and len(rejected) == 1 and reason in rejected[0].reason and "bad.xyz" in rejected[0].where


def test_sdf_records_are_kept_or_counted(tmp_path):
    bad = sdf_of("CCO").replace(" C   0", " Qq  0", 1)
    text = sdf_of("CCO") + sdf_of("c1ccccc1C", three_dimensional=False) + bad + sdf_of("CCN", hydrogens=False)
    with gzip.open(tmp_path / "m.sdf.gz", "wt") as file:
        file.write(text)
    kept, rejected = read_sdf(tmp_path / "m.sdf.gz")
    assert [item.cluster for item in kept] == ["CCO", "CCN"] and [item.bare for item in kept] == [False, True]
    assert [r.reason for r in rejected] == ["no 3D coordinates", "does not parse (RDKit)"]
    assert "record 2" in rejected[0].where


def test_broken_files_are_errors_or_rejections(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_sdf(tmp_path / "none.sdf")
    (tmp_path / "a.tar.gz").write_bytes(b"\x1f\x8b broken")
    with pytest.raises(DataError, match="not readable"):
        read_xyz(tmp_path / "a.tar.gz")
    (tmp_path / "cut.sdf.gz").write_bytes(gzip.compress((sdf_of("CCO") * 2).encode())[:-4])
    kept, rejected = read_sdf(tmp_path / "cut.sdf.gz")
    assert len(kept) == 2 and [r.reason.split(" (")[0] for r in rejected] == ["file breaks off"]


def test_foreign_elements_are_rejected_and_listed(tmp_path):
    texts = [sdf_of(s) for s in ("CCO", "CCP", "CCI", "CCCl", "CC", "CCC")]
    (tmp_path / "m.sdf").write_text("".join(texts))
    settings = dict(
        source="sdf", files=[str(tmp_path / "m.sdf")], licence="x", n_held_out=1, seed=0, voxels=VOXELS
    )
    counts = build(settings, str(tmp_path / "d.h5"))
    assert (
        counts["items"] == 4
        and counts["rejected: element outside the channels: P"]
        == 1
        == counts["rejected: element outside the channels: I"]
    )
    lines = (tmp_path / "d/rejected.csv").read_text().splitlines()
    assert len(lines) == 3 and "record 2" in lines[1] and "record 3" in lines[2]
    arrays, attributes = store.read(tmp_path / "d.h5", "molecules")
    assert channel_of(VOXELS["elements"])[arrays["numbers"]].max() < 8
    with pytest.raises(DataError, match="kind 'molecules', expected 'forces'"):
        store.read(tmp_path / "d.h5")
    grids.build(str(tmp_path / "d.h5"), str(tmp_path / "g.h5"))
    assert grids.read(str(tmp_path / "g.h5"))["grid"].shape[1:] == (8, 16, 16, 16)
    with pytest.raises(DataError, match="unknown|expected element symbols"):
        channel_of(["C", "Xx"])


@pytest.mark.skipif(not REAL.is_dir(), reason="real molecules not at hand")
def test_real_files(tmp_path):
    """Counts as published with the files: 5673 QM7 molecules; MiniDrugBank 371 records, of which RDKit
    refuses 19.
    """
    kept, rejected = read_xyz(REAL / "qm7_xyz.tar.gz")
    assert len(kept) == 5673 and not rejected
    kept, rejected = read_sdf(REAL / "MiniDrugBank.sdf")
    assert (
        len(kept) + len(rejected) == 371 and sum(r.reason == "does not parse (RDKit)" for r in rejected) == 19
    )
    kept, rejected = read_sdf(REAL / "bzr.sdf")
    assert len(kept) == 163 and sum(item.bare for item in kept) > 100  # heavy atoms only
    kept, rejected = read_xyz(REAL / "dsgdb9nsd_000212.xyz")
    assert len(kept) == 1 and len(kept[0].rows["numbers"]) == 13
    for path in sorted(REAL.glob("*.sdf.gz")):
        kept, rejected = read_sdf(path)
        assert kept and not rejected


@pytest.mark.skipif(not REAL.is_dir(), reason="real molecules not at hand")
@pytest.mark.parametrize("unit, factor", [("bohr", 1 / BOHR), ("nm", 0.1)])
def test_no_real_molecule_passes_in_another_unit(unit, factor):
    """Those without hydrogens (bzr) and with them (MiniDrugBank) as they are, and every one of them
    scaled.
    """
    for name in ("bzr.sdf", "MiniDrugBank.sdf"):
        for item in read_sdf(REAL / name)[0]:
            numbers, positions = item.rows["numbers"], item.rows["positions"].astype(float)
            assert molecules.wrong_unit("", numbers, positions) is None
            assert (
                molecules.wrong_unit("", numbers, positions * factor).suspect
                == f"the positions are in {unit}"
            ), item.where
