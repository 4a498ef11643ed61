"""A task of each kind on a small dataset, made once per process: task, architecture, training settings."""

import functools
import tempfile
from pathlib import Path

from common import SETTINGS, TRAINING

from equidyn import tasks
from equidyn.data.build import build

MEASURE = dict(n_items=4, batch_size=4)
BOX = dict(elements=["C", "H", "O", "N", "F", "S", "Cl", "Br"], grid=8, resolution=0.5, radius=0.5)
FEW = {**SETTINGS, "max_atoms": 10, "n_molecules": 20, "n_conformers": 30}
DATASETS = {
    "forces": FEW,
    "voxels": {**FEW, "labels": False, "voxels": BOX},
    "flow": dict(source="backbones", n_chains=24, min_residues=20, max_residues=24, n_held_out=4, seed=0),
}


@functools.cache
def file_of(name):
    folder = tempfile.TemporaryDirectory()
    file_of.folders = [*getattr(file_of, "folders", []), folder]  # until the process ends
    path = Path(folder.name) / "d.h5"
    build(DATASETS[name], str(path))
    return path


def _task(name, architecture, measure=MEASURE, **training):
    training = {**TRAINING, **training}
    return tasks.build(name, file_of(name), dict(training=training, measure=measure)), architecture, training


def small_forces(folder):
    return _task("forces", "escaip")


def small_voxels(folder):
    none = {**MEASURE, "n_items": 0}  # no molecule lies in so small a box in every orientation
    return _task("voxels", "voxmol", none, sigma=0.3, shift=0.5, sampler="haar")


def small_flow(folder):
    return _task("flow", "proteina", self_conditioning=0.5)
