"""Cells, drawings and mirror images are told from molecules and chains, and nothing of a file is lost."""

import json
import pickle

import ase.io
import gemmi
import h5py
import numpy as np
import pytest
from ase.build import molecule
from common import REPOSITORY
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled import SETTINGS, frames
from rdkit import Chem
from rdkit.Chem import AllChem
from scipy.spatial.transform import Rotation
from spice_files import write as write_spice
from structure_files import LONG, helix, line, mmcif, protein, read

from equidyn.data import build, conversion
from equidyn.data.checks import catalogue, hand
from equidyn.data.checks.flat import in_plane
from equidyn.data.checks.periodic import periodic
from equidyn.data.generate import experimental_chains
from equidyn.data.readers import sdf, structures
from equidyn.data.readers.pdb_chains import sorted_out
from equidyn.data.readers.records import Item, Rejected
from equidyn.data.readers.registry import READERS
from equidyn.errors import DataError

CHAINS = {"min_residues": 5, "max_residues": 400, "identity": 0.5}


@pytest.mark.parametrize(
    "stated, cell",
    [
        ({"pbc": np.array([True, True, False])}, True),
        ({"pbc": "T T T"}, True),
        ({"Lattice": np.eye(3) * 9}, True),
        ({"cell": "9 0 0 0 9 0 0 0 9"}, True),
        ({"pbc": np.array([False] * 3), "Lattice": np.eye(3) * 9}, False),
        ({"pbc": "F F F"}, False),
        ({"Lattice": np.zeros((3, 3))}, False),
        ({"energy": 1.0}, False),
    ],
)
def test_a_cell_is_periodic_unless_it_says_not(stated, cell):
    assert bool(periodic(stated)) == cell


@pytest.mark.parametrize("source", ["extxyz", "xyz", "npz", "spice"])
def test_periodic_structures_are_rejected_by_every_reader_that_can_know(tmp_path, source):
    atoms = frames(12, names=("H2O",) if source == "npz" else ("H2O", "CH4", "NH3"))
    if source in ("extxyz", "xyz"):
        path = tmp_path / "f.xyz"
        for frame in atoms:
            frame.cell, frame.pbc = np.eye(3) * 9, True
        ase.io.write(path, atoms, format="extxyz")
    elif source == "npz":
        path = tmp_path / "f.npz"
        labels = {
            "energies": [a.info["energy"] for a in atoms],
            "forces": [a.arrays["forces"] for a in atoms],
        }
        coords = [a.positions for a in atoms]
        np.savez(path, nuclear_charges=atoms[0].numbers, coords=coords, **labels, lattice=np.eye(3) * 9)
    else:
        path = write_spice(tmp_path / "f.hdf5")
        with h5py.File(path, "r+") as file:
            for group in file.values():
                group["cell"] = np.eye(3) * 9
    config = {**SETTINGS, "source": source, "files": [str(path)]}
    with pytest.raises(DataError, match=f"{catalogue.PERIODIC}.*accept: .periodic"):
        build.build(config, str(tmp_path / "d.h5"), workers=1)
    config["accept"] = ["periodic", "energy-forces", "xtb", "copies"]
    build.build(config, str(tmp_path / "d.h5"), workers=1)
    checks = {row["check"]: row for row in json.loads((tmp_path / "d/checks.json").read_text())["checks"]}
    assert checks["periodic"]["verdict"] == "accepted"


def record(smiles, flat, hydrogens=False, scale=1.0):
    """A mol block whose header says 3D."""
    made = Chem.MolFromSmiles(smiles)
    made = Chem.AddHs(made) if hydrogens or not flat else made
    AllChem.Compute2DCoords(made) if flat else AllChem.EmbedMolecule(made, randomSeed=3)
    made.GetConformer().SetPositions(scale * made.GetConformer().GetPositions())
    made.GetConformer().Set3D(True)
    return Chem.MolToMolBlock(made)


FLAT_OR_NOT = (
    "CCO",
    "CC(=O)O",
    "c1ccccc1C",
    "CC(C)C",
    "C1CCCCC1",
    "c1ccncc1",
    "OC(=O)c1ccccc1N",
    "C=CC=C",
    "CCCC",
)


@pytest.mark.parametrize("smiles", FLAT_OR_NOT)
@pytest.mark.parametrize("hydrogens", [True, False])
def test_drawings_are_no_structures(smiles, hydrogens):
    (found,) = sdf.parse(("d.sdf, record 1", record(smiles, True, hydrogens)), {})
    assert isinstance(found, Rejected) and found.reason == catalogue.NO_3D
    (kept,) = sdf.parse(
        ("d.sdf, record 1", record(smiles, True, hydrogens)), {"accept": ["three-dimensional"]}
    )
    assert isinstance(kept, Item) and kept.notes == {"three-dimensional, accepted": 1}


@pytest.mark.parametrize("smiles", [*FLAT_OR_NOT, "O", "C=C", "C=O", "c1ccc2ccccc2c1", "C#C", "N#CC#N", "OO"])
def test_flat_molecules_are_structures(smiles):
    (found,) = sdf.parse(("s.sdf, record 1", record(smiles, False)), {})
    assert isinstance(found, Item), found


@pytest.mark.parametrize("length", [1.0, 30.0])
@pytest.mark.parametrize("thickness, flat", [(0.0, True), (0.01, True), (0.04, False), (1.0, False)])
def test_a_plane_is_one_in_any_orientation(thickness, flat, length):
    rng = np.random.default_rng(0)
    x = (
        rng.uniform(-1, 1, size=(12, 3)) * [length, 1.0, 0]
        + [0, 0, 1] * np.tile([thickness, -thickness], 6)[:, None]
    )
    assert in_plane(x) == flat
    assert in_plane(x @ Rotation.random(random_state=1).as_matrix() + 5) == flat


def test_a_molecule_in_a_plane_with_four_neighbours_is_none_in_any_format(tmp_path):
    atoms = molecule("CH4")
    atoms.positions[:] = [[0, 0, 0], [1.09, 0, 0], [-1.09, 0, 0], [0, 1.09, 0], [0, -1.09, 0]]
    ase.io.write(tmp_path / "f.xyz", [atoms, molecule("CH4")], format="xyz")
    items, rejected = conversion.read(READERS["xyz"], tmp_path / "f.xyz")
    assert len(items) == 1 and rejected[0].reason == catalogue.NO_3D


def backbone(n, mirror=1.0):
    """PDB text of the first residues of a shipped chain: C-alphas of an experiment."""
    chains = experimental_chains.read(REPOSITORY / "resources/backbones/chains.npz")
    long = next(x for x in chains.positions if len(x) >= n)[:n] * [mirror, 1, 1]
    return "".join(line(LONG[i % len(LONG)], i + 1, x) for i, x in enumerate(long)) + "TER\n"


def test_the_hand_of_experimental_traces_shows_in_their_helices():
    chains = experimental_chains.read(REPOSITORY / "resources/backbones/chains.npz")
    found = [hand.of_trace(np.asarray(x, np.float64)) for x in chains.positions[:200]]
    assert not any(h.mirrored for h in found)
    mirrored = [hand.of_trace(np.asarray(x, np.float64) * [1, -1, 1]) for x in chains.positions[:200]]
    judged = [h for h in mirrored if h.places >= hand.FEWEST]
    assert len(judged) > 100 and np.mean([h.mirrored for h in judged]) > 0.95


def test_mirror_images_are_rejected_whatever_atoms_they_have(tmp_path):
    for mirror, kept in ((1.0, True), (-1.0, False)):
        ideal = helix(30) * [1, 1, mirror]
        text = "".join(line(name, i + 1, x) for i, (name, x) in enumerate(zip(LONG, ideal))) + "TER\n"
        (found,) = structures.parse(("f.pdb", "f.pdb", text.encode()), CHAINS)
        assert isinstance(found, Item) == kept
        if not kept:
            assert found.reason == catalogue.MIRROR
            assert isinstance(
                structures.parse(("f", "f.pdb", text.encode()), CHAINS | {"accept": ["hand"]})[0], Item
            )


def test_corners_of_alanine_tell_its_hand():
    """From RDKit's embedding of L- and D-alanine, whose chirality its SMILES states."""
    for smiles, other in (("C[C@H](N)C(=O)O", 0), ("C[C@@H](N)C(=O)O", 1)):
        made = Chem.AddHs(Chem.MolFromSmiles(smiles))
        AllChem.EmbedMolecule(made, randomSeed=1)
        x = made.GetConformer().GetPositions()
        atoms = {"CB": x[0], "CA": x[1], "N": x[2], "C": x[3]}
        found = hand.of_chain({name: np.repeat(at[None], hand.FEWEST, 0) for name, at in atoms.items()})
        assert (found.places, found.other) == (hand.FEWEST, other * hand.FEWEST)


def chains_of(text):
    results = structures.parse(("f.pdb", "f.pdb", text.encode()), CHAINS)
    items = [r for r in results if isinstance(r, Item)]
    return [(item.where.removeprefix("f.pdb"), len(item.cluster)) for item in items], results


def test_chains_without_identifiers_or_sharing_one_are_told_apart():
    first, second = protein(LONG[:20], chain=" "), protein(LONG[3:15], first=21, chain=" ", shift=30.0)
    assert chains_of(first + second)[0] == [("", 20), (", chain blank (2)", 12)]
    first, second = protein(LONG[:20]).removesuffix("TER\n"), protein(LONG[:12], shift=30.0)
    assert chains_of(first + second)[0] == [(", chain A", 20), (", chain A (2)", 12)]
    apart = protein(LONG[:20]) + protein(LONG[3:15], first=201, shift=30.0)
    assert chains_of(apart)[0] == [(", chain A", 20), (", chain A (2)", 12)]
    other = protein(LONG[5:20], chain="B", shift=60.0)
    assert chains_of(first + other + second)[0] == [
        (", chain A", 20),
        (", chain B", 15),
        (", chain A (2)", 12),
    ]


def test_a_chain_with_a_gap_or_an_early_ter_stays_one():
    whole = protein(LONG[:24]).removesuffix("TER\n").splitlines(keepends=True)
    gap = "".join(whole[:30] + whole[45:])
    assert chains_of(gap)[0] == [(", chain A", 19)]
    assert chains_of("".join(whole[:30]) + "TER\n" + "".join(whole[30:]))[0] == [(", chain A", 24)]
    assert chains_of("".join(whole[:30]) + "TER\n" + "".join(whole[45:]))[0] == [(", chain A", 19)]


@pytest.mark.parametrize(
    "name, letter", [("HIE", "H"), ("HSD", "H"), ("CYX", "C"), ("ASH", "D"), ("LYN", "K")]
)
def test_names_of_force_fields_are_those_of_their_parents(name, letter):
    names = [*LONG[:10], name, *LONG[10:20]]
    (found,) = structures.parse(("f.pdb", "f.pdb", protein(names).encode()), CHAINS)
    assert found.cluster[10] == letter and len(found.cluster) == 21


def test_names_of_four_letters_and_names_out_of_their_columns():
    text = protein(LONG[:12])
    long = text.replace(f"{LONG[4]} A", f"N{LONG[4]}A").replace(f"{LONG[5]} A", f"C{LONG[5]}A")
    assert long != text and chains_of(long)[0] == [(", chain A", 12)]
    left = "".join(
        f"{row[:12]}{row[13:16]} {row[16:76]}\n" if row.startswith("ATOM") else f"{row}\n"
        for row in text.splitlines()
    )
    assert chains_of(left)[0] == [(", chain A", 12)]
    calcium = "HETATM  999 CA    CA A 900       1.000   1.000   1.000  1.00 10.00\n"
    assert gemmi.read_pdb_string(sorted_out(text + calcium)[0])[0][-1][-1][0].element.name == "Ca"


def test_later_models_are_listed():
    models = "".join(f"MODEL     {i:4d}\n{protein(shift=i * 10.0)}ENDMDL\n" for i in (1, 2, 3)) + "END\n"
    items, results = chains_of(models)
    assert len(items) == 1 and results[-1].reason == catalogue.LATER_MODELS and "2 of 3" in results[-1].detail


@given(st.lists(st.sampled_from(["$$$$\n", ""]), min_size=1, max_size=9))
@settings(max_examples=40, deadline=None)
def test_molecules_without_a_separator_are_records_of_their_own(tmp_path_factory, ends):
    path = tmp_path_factory.getbasetemp() / "ends.sdf"
    path.write_text("".join(BLOCKS[i % len(BLOCKS)] + end for i, end in enumerate(ends)))
    items, rejected = conversion.read(READERS["sdf"], path)
    assert len(items) == len(ends) and not rejected


BLOCKS = [record(smiles, False) for smiles in ("CCO", "CC(=O)N", "c1ccccc1")]


def xyz_record(kind):
    atoms = molecule("CH3OH")
    rows = [f"{a.symbol} {a.x} {a.y} {a.z} 0.1 0 0" for a in atoms]
    head = "Properties=species:S:1:pos:R:3:forces:R:3"
    if kind == "element":
        rows[0] = rows[0].replace(atoms[0].symbol, "Qq", 1)
    return "\n".join([str(len(rows)), f"{head} energy=-1.0" if kind != "energy" else head, *rows]) + "\n"


def written(folder, source, kinds):
    """A file with one record of each kind; whether it is good is the reader's to say."""
    path = folder / {"spice": "f.hdf5", "npz": "f.npz", "sdf": "f.sdf", "geom": "f.pickle"}.get(
        source, "f.xyz"
    )
    if source in ("xyz", "extxyz"):
        path.write_text("".join(map(xyz_record, kinds)))
    elif source == "sdf":
        path.write_text("".join((BLOCKS[0] if k == "good" else "no\nmolecule\n\n") + "$$$$\n" for k in kinds))
    elif source == "geom":
        good = Chem.MolFromMolBlock(BLOCKS[0], removeHs=False)
        path.write_bytes(pickle.dumps([("CCO", [good if k == "good" else Chem.Mol()]) for k in kinds]))
    elif source == "npz":
        x = np.stack([molecule("CH3OH").positions * (np.nan if k == "element" else 1) for k in kinds])
        labels = {"energies": np.arange(len(kinds)), "forces": np.zeros_like(x) + [0.1, 0, 0]}
        np.savez(path, nuclear_charges=molecule("CH3OH").numbers, coords=x, **labels)
    else:
        path = folder / "chains"
        path.mkdir(exist_ok=True)
        for old in path.iterdir():
            old.unlink()
        for i, kind in enumerate(kinds):
            (path / f"{i}.pdb").write_text(protein(LONG[:10]) if kind == "good" else "nothing")
    return path


@pytest.mark.parametrize("source", ["xyz", "extxyz", "sdf", "geom", "npz", "structures"])
@given(kinds=st.lists(st.sampled_from(["good", "element", "energy"]), min_size=1, max_size=12))
@settings(max_examples=15, deadline=None)
def test_records_in_are_items_and_rejections(tmp_path_factory, source, kinds):
    folder = tmp_path_factory.getbasetemp() / source
    folder.mkdir(exist_ok=True)
    path = written(folder, source, kinds)
    accept = ["net-torque", "zero-labels", "xtb", "energy-forces"]
    settings = {**CHAINS, "accept": accept, "energy_unit": {"npz": "kcal/mol"}.get(source, "eV")}
    try:
        items, rejected = conversion.read(READERS[source], path, settings)
    except DataError as error:
        assert "cannot be right" in str(error)  # every frame is broken
        return
    assert len(items) + len(rejected) == len(kinds)


def spice_file(path, kinds):
    """A group of three conformations of each kind, in the layout of SPICE."""
    atoms = molecule("CH3OH")
    with h5py.File(path, "w") as file:
        for i, kind in enumerate(kinds):
            group = file.create_group(f"{i:02d}")
            numbers = np.where(atoms.numbers == 8, 0 if kind == "element" else 8, atoms.numbers)
            group["smiles"], group["atomic_numbers"] = ["CO"], numbers.astype(np.int16)
            group["conformations"] = np.stack([atoms.positions + 0.01 * i + k for k in range(3)])
            group["dft_total_gradient"] = np.full((3, len(atoms), 3), 0.1)
            if kind != "energy":
                group["dft_total_energy"] = np.arange(3.0) + i
            units = dict(conformations="angstrom", dft_total_energy="ev", dft_total_gradient="ev/angstrom")
            for key in set(units) & set(group):
                group[key].attrs["units"] = units[key]
    return path


@given(kinds=st.lists(st.sampled_from(["good", "element", "energy"]), min_size=1, max_size=8))
@settings(max_examples=15, deadline=None)
def test_conformations_of_spice_are_items_and_rejections(tmp_path_factory, kinds):
    """Each of a group that can be read; a group that is not of the layout is one rejection."""
    path = spice_file(tmp_path_factory.getbasetemp() / "groups.hdf5", kinds)
    accept = ["net-torque", "zero-labels", "xtb", "energy-forces"]
    items, rejected = conversion.read(READERS["spice"], path, {"accept": accept})
    assert len(items) == 3 * kinds.count("good")
    assert len(rejected) == 3 * kinds.count("element") + kinds.count("energy")


def test_a_record_that_becomes_nothing_is_an_error(tmp_path):
    from dataclasses import replace

    (tmp_path / "f.xyz").write_text(xyz_record("good"))
    silent = replace(READERS["xyz"], parse=lambda record, settings: [])
    with pytest.raises(DataError, match="f.xyz, frame 1: read, but neither kept nor rejected"):
        conversion.read(silent, tmp_path / "f.xyz")


def test_two_polymers_under_one_name_are_refused(tmp_path):
    for first, detail in ((101, "Axp, Bxp"), (1, "2 CA in MET 1")):
        text = mmcif(protein() + protein(first=first, shift=20.0, chain="B"))
        document = gemmi.cif.read_string(text)
        for row in document.sole_block().find("_atom_site.", ["auth_asym_id"]):
            row[0] = "A"
        chains, table = read(tmp_path, {"m.cif": document.as_string()})
        assert chains == [] and table == [("m.cif", "A", f"two chains under one name: {detail}")]
