"""Real molecules, forces, proteins and lists of SMILES, where they are at hand, go from file to a trained and
measured tiny run by settings alone.
"""

import pytest
from common import REPOSITORY, TRAINING

from equidyn import tasks
from equidyn.data import grids
from equidyn.data.build import build
from equidyn.models import registry
from equidyn.symmetry import groups
from equidyn.symmetry.measure import measure
from equidyn.training import checkpoint, loop

REAL = REPOSITORY.parent / "shared/data"
BOX = dict(elements=["C", "H", "O", "N", "F", "S", "Cl", "Br"], grid=16, resolution=1.0, radius=0.5)
MOLECULES = {
    "qm7": ("xyz", ["molecules/qm7_xyz.tar.gz"]),
    "conformers": ("xyz", ["molecules/conformer_benchmark_neutral.tar.gz"]),
    "sdf": (
        "sdf",
        [
            "molecules/MiniDrugBank.sdf",
            "molecules/cdk2.sdf",
            "molecules/egfr.sdf.gz",
            "molecules/setEEM1.sdf.gz",
        ],
    ),
}
FORCES = {
    "rmd17": ("npz", ["forces/rmd17_ethanol_train_01.npz"], "kcal/mol"),
    "3bpa": ("extxyz", ["forces/3bpa_train_300K.xyz"], "eV"),
}
SMILES = ["smiles/chembl_drugs.smi", "smiles/delaney-processed.csv", "smiles/tox21.csv.gz"]
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="real files not at hand")


def trained_and_measured(task, architecture, training, folder):
    loop.train(registry.build(architecture, "tiny"), task, training, folder / "run", "a", 0)
    model = registry.build(architecture, "tiny")
    model.load_state_dict(checkpoint.load(folder / "run/model.pt")["live"])
    batches = task.held_out(model, task.conditions[-1])
    n = sum(len(b) for b in batches)
    rotations, order = (
        (groups.subset_per_item(groups.cube(), 4, n, 0), 24)
        if task.group == "cube"
        else (groups.haar_per_item(4, n, 0), None)
    )
    return measure(model.eval(), task.predict, batches, task.actions, task.output, rotations, order)


@pytest.mark.parametrize("name", MOLECULES)
def test_molecules(name, tmp_path):
    source, files = MOLECULES[name]
    settings = dict(
        source=source,
        files=[str(REAL / f) for f in files],
        licence="as published",
        n_held_out=60,
        seed=0,
        voxels=BOX,
    )
    counts = build(settings, str(tmp_path / "d.h5"))
    grids.build(str(tmp_path / "d.h5"), str(tmp_path / "g.h5"))
    training = {**TRAINING, "sigma": 0.3, "shift": 0.5, "sampler": "haar"}
    run = dict(training=training, measure=dict(n_items=12, batch_size=6))
    result = trained_and_measured(
        tasks.build("voxels", tmp_path / "d.h5", run, grids=tmp_path / "g.h5"), "voxmol", training, tmp_path
    )
    assert counts["items"] > 400 and result.total > 0 and 0 < result.percent < 100


def test_proteins(tmp_path):
    settings = dict(
        source="structures",
        files=[str(REAL / "proteins")],
        licence="as published",
        min_residues=50,
        max_residues=256,
        identity=0.5,
        n_held_out=40,
        seed=0,
    )
    counts = build(settings, str(tmp_path / "d.h5"))
    training = {**TRAINING, "self_conditioning": 0.5}
    run = dict(training=training, measure=dict(n_items=12, batch_size=6, times=[0.4, 0.9]))
    result = trained_and_measured(
        tasks.build("flow", str(tmp_path / "d.h5"), run), "proteina", training, tmp_path
    )
    assert counts["items"] > 300 and counts["clusters"] < counts["items"] and 0 < result.percent < 100
    assert counts["rejected: too short"] > 0
    pieces = build({**settings, "fragment": 64}, str(tmp_path / "f.h5"))
    assert pieces["items"] > counts["items"] and pieces["clusters"] <= counts["clusters"]


def measured_forces(file, folder):
    training = {**TRAINING, "loss": "l2", "energy_weight": 0.05, "force_weight": 1.0}
    run = dict(training=training, measure=dict(n_items=8, batch_size=4))
    return trained_and_measured(tasks.build("forces", str(file), run), "escaip", training, folder)


@pytest.mark.parametrize("name", FORCES)
def test_forces(name, tmp_path):
    source, files, unit = FORCES[name]
    settings = dict(
        source=source,
        files=[str(REAL / f) for f in files],
        licence="as published",
        energy_unit=unit,
        n_held_out=20,
        seed=0,
    )
    counts = build(settings, str(tmp_path / "d.h5"))
    result = measured_forces(tmp_path / "d.h5", tmp_path)
    assert (
        counts["items"] >= 495 and 0.3 < counts["force_rms_eV_per_angstrom"] < 3 and 0 < result.percent < 100
    )


@pytest.mark.parametrize("file", SMILES)
def test_smiles(file, tmp_path):
    settings = dict(
        source="conformers",
        molecules=str(REAL / file),
        n_molecules=12,
        n_conformers=24,
        temperature=200,
        max_atoms=32,
        n_held_out=8,
        seed=0,
    )
    counts = build(settings, str(tmp_path / "d.h5"))
    result = measured_forces(tmp_path / "d.h5", tmp_path)
    assert counts["items"] == 24 and counts["rejected: too many atoms"] > 100 and 0 < result.percent < 100
