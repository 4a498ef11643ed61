"""Shared fixtures: tiny labelled datasets, made once."""

import pickle

import pytest
import torch
from common import SETTINGS, TRAINING

LONG = "test_workflow.py", "test_faults.py", "test_slurm.py", "test_run_in_time.py"


def pytest_collection_modifyitems(items):
    """Files of few, long tests first: begun last, one process would wait for the other."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    from equidyn.data.build import build

    path = tmp_path_factory.mktemp("data") / "molecules.h5"
    build(SETTINGS, str(path))
    return path


@pytest.fixture(scope="session")
def many(tmp_path_factory):
    """80 labelled frames of eight molecules, extended XYZ."""
    import ase.io
    from labelled import frames

    path = tmp_path_factory.mktemp("many") / "many.xyz"
    ase.io.write(path, frames(80), format="extxyz")
    return path


@pytest.fixture
def task(dataset):
    from equidyn import tasks

    return tasks.build(
        "forces", str(dataset), dict(training=dict(TRAINING), measure=dict(n_items=8, batch_size=5))
    )


@pytest.fixture
def escaip(task):
    """Task, EScAIP tiny and held-out batches, all float64."""
    from equidyn.analysis import gradients
    from equidyn.models import registry

    model = registry.build("escaip", "tiny", 3).eval().double()
    return task, model, [gradients.cast(batch) for batch in task.held_out(model)]


@pytest.fixture(scope="module")
def molecules():
    """(SMILES, conformers) of three small molecules, hydrogens included, two conformers each."""
    from rdkit import Chem
    from rdkit.Chem import AllChem

    found = []
    for smiles in ("OCC", "C[C@H](N)C(=O)O", "c1ccncc1Cl"):
        molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
        AllChem.EmbedMultipleConfs(molecule, 2, randomSeed=1)
        found.append((smiles, [Chem.Mol(molecule, confId=c.GetId()) for c in molecule.GetConformers()]))
    return found


@pytest.fixture(scope="module")
def valid(molecules):
    return pickle.dumps(molecules, 4)
