"""Wrong inputs of the collected cases end as their README says: refused by name, rejected with a reason,
read, or noted. The files are beside the repository; small constructed ones are in ``checks/`` and
``readers/``.
"""

import json

import pytest
from common import REPOSITORY

from equidyn.data import build, store
from equidyn.data.generate import molecule_lists
from equidyn.errors import DataError

CASES = REPOSITORY.parent / "shared/cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not on this machine")
VOXELS = {
    "elements": ["C", "H", "O", "N", "S", "F", "Cl", "Na"],
    "grid": 16,
    "resolution": 1.0,
    "radius": 0.5,
}
CHAINS = {"min_residues": 10, "max_residues": 300, "identity": 0.5}


def source_of(name):
    if name.startswith(("xyz_", "sdf_", "geom_")):
        return name.split("_")[0]
    return {"xyz": "extxyz", "npz": "npz", "hdf5": "spice", "pdb": "structures"}[name.rpartition(".")[2]]


def built(folder, name, **more):
    """Counts and checks by name of a dataset that is made of one case."""
    source = source_of(name)
    settings = {"source": source, "files": [str(CASES / name)], "licence": "x", "n_held_out": 2, "seed": 0}
    settings |= {
        "extxyz": {"energy_unit": "eV"},
        "npz": {"energy_unit": "kcal/mol"},
        "structures": CHAINS,
    }.get(source, {})
    settings |= {"voxels": VOXELS} if source in ("xyz", "sdf", "geom") else {}
    counts = build.build({**settings, **more}, str(folder / "d.h5"), workers=1)
    return counts, checks_of(folder)


def checks_of(folder):
    return {row["check"]: row for row in json.loads((folder / "d/checks.json").read_text())["checks"]}


@pytest.mark.parametrize(
    "name, check, message",
    [
        ("forces_rotated_frame.xyz", "net-torque", "do not belong to their positions"),
        ("labels_off_by_one.xyz", "net-torque", "do not belong to their positions"),
        ("forces_permuted.xyz", "net-torque", "do not belong to their positions"),
        ("constant_forces_zero.xyz", "zero-labels", "forces of all 40 frames are zero"),
        ("energies_all_zero.xyz", "zero-labels", "energies of all 40 frames are 0"),
        ("energy_hartree_forces_eV.xyz", "energy-forces", "energies are in another unit"),
        (
            "energy_and_REF_energy.xyz",
            "label-sets",
            "energy and REF_energy.*expected energy_key and forces_key",
        ),
        ("pbc_silicon.xyz", "periodic", "periodic structure .*pbc.*accept: .periodic"),
        ("pbc_water_unwrapped.xyz", "periodic", "periodic structure .*pbc"),
        ("xyz_periodic.xyz", "periodic", "periodic structure .*pbc"),
        ("ref_keys.xyz", None, "REF_energy.*REF_forces.*energy_key: REF_energy"),
        ("dft_energy_force.xyz", None, "dft_energy.*force.*energy_key: dft_energy"),
        ("md17_keys.npz", None, "no nuclear_charges.*found .*keys of MD17"),
        ("sdf_2D_flagged_3D.sdf", "three-dimensional", "no 3D coordinates"),
        ("xyz_labels.xyz", None, "'C1'"),
        ("geom_dict_per_molecule.pickle", None, "rdkit_folder"),
        ("geom_newer_rdkit.pickle", None, "RDKit"),
        ("mirror_L_names.pdb", "hand", "mirror image under L names"),
    ],
)
def test_is_refused_with_its_cause(tmp_path, name, check, message):
    with pytest.raises(DataError, match=message):
        built(tmp_path, name)
    assert (tmp_path / "d/rejected.csv").is_file()
    if check:
        assert checks_of(tmp_path)[check]["verdict"] in ("refused", "rejected")


@pytest.mark.parametrize(
    "name, items, more",
    [
        ("bom.xyz", 24, {}),
        ("ref_keys.xyz", 24, {"energy_key": "REF_energy", "forces_key": "REF_forces"}),
        ("dft_energy_force.xyz", 24, {"energy_key": "dft_energy", "forces_key": "force"}),
        ("energy_and_REF_energy.xyz", 24, {"energy_key": "energy", "forces_key": "forces"}),
        ("npz_fortran_order.npz", None, {}),
        ("spice_ion_pairs.hdf5", 160, {}),
        ("spice_scalar_smiles.hdf5", None, {}),
        ("sdf_no_separator.sdf", 8, {}),
        ("xyz_Z_before_pos.xyz", 32, {}),
    ],
)
def test_is_read(tmp_path, name, items, more):
    counts, _ = built(tmp_path, name, **more)
    assert counts["items"] == (items or counts["items"]) > 2
    assert not [key for key in counts if key.startswith("rejected")]


@pytest.mark.parametrize(
    "name, lengths",
    [
        ("blank_two_chains_TER.pdb", [51, 40]),
        ("A_noTER_A_restart_diffseq.pdb", [51, 40]),
        ("amber_names.pdb", [51]),
        ("left_justified_names_no_element.pdb", [51]),
    ],
)
def test_chains_are_read(name, lengths):
    from equidyn.data import conversion
    from equidyn.data.readers.registry import READERS

    items, rejected = conversion.read(READERS["structures"], CASES / name, CHAINS)
    assert [len(item.rows["positions"]) for item in items] == lengths and not rejected


def test_one_molecule_is_split_by_frames(tmp_path):
    counts, checks = built(tmp_path, "stretched_bonds_one_molecule.xyz")
    assert store.read(tmp_path / "d.h5")[1]["split"] == "frames" and counts["held out"] < 30
    assert checks["identity"]["verdict"] == "noted" and "frames" in checks["identity"]["found"]


def test_copies_are_dropped(tmp_path):
    counts, checks = built(tmp_path, "duplicate_frames.xyz")
    assert counts["items"] == 30 and counts["rejected: duplicate"] == 30
    assert checks["copies"]["verdict"] == "rejected"


def test_mixed_charges_and_salts_are_noted(tmp_path):
    counts, checks = built(tmp_path, "charges_mixed.xyz")
    assert counts["items"] == 40 and checks["charges"]["verdict"] == "noted"
    counts, checks = built(tmp_path, "sdf_salt.sdf")
    assert counts["items"] == 9 and checks["fragments"]["verdict"] == "noted"


def test_lists_of_smiles():
    assert molecule_lists.read_molecules(CASES / "smi_comma_separated.smi", []) != []
    rejected = []
    kept = [name for name, _ in molecule_lists.read_molecules(CASES / "smi_salt_charge.smi", rejected)]
    lost = {where.rpartition(" ")[2]: reason for where, reason in rejected}
    assert "nitromethane" in kept and "open shell" in lost["5"] and "open shell" in lost["6"]
