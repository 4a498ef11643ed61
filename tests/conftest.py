"""Shared fixtures: tiny labelled datasets, made once."""

from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
SETTINGS = dict(
    source="conformers",
    molecules=str(REPOSITORY / "resources/molecules.csv"),
    n_molecules=30,
    n_conformers=60,
    temperature=200,
    max_atoms=36,
    n_held_out=8,
    seed=0,
)
TRAINING = dict(
    optimizer="adamw",
    lr=2e-3,
    weight_decay=0.01,
    warmup=5,
    final_lr_fraction=0.1,
    steps=12,
    batch_size=6,
    clip=10.0,
    ema=0.99,
    n_checkpoints=4,
    log_every=1,
    loss="l2",
    energy_weight=0.05,
    force_weight=1.0,
    augment=0.5,
)


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
