"""A small folder of results as `make gpu-data` makes it, for what runs without Snakemake."""

import shutil

import yaml
from common import REPOSITORY

from equidyn import config
from equidyn.data.build import build

RUNS = ("forces", "voxels-0.9", "flow")


def tiny(content):
    """The config with tiny models and few steps, of fewer items."""
    for task, settings in content["defaults"].items():
        settings["model"] = dict(architecture=settings["model"]["architecture"], size="tiny")
        few = dict(batch_size=4, lr=1e-3, warmup=2, log_every=1, n_checkpoints=4)
        settings["training"] |= few
        settings["training"].pop("n_train", None)
        settings["measure"] |= dict(n_items=4, n_rotations=3, batch_size=4)
        if task == "flow":
            settings["measure"]["times"] = [0.4, 0.9]
    return content


def make(folder, dataset):
    """Into a folder, with the labelled ``dataset``: data files and settings of ``RUNS``."""
    (folder / "data").mkdir(parents=True)
    shutil.copy(dataset, folder / "data/drugs.h5")
    molecules = str(REPOSITORY / "resources/molecules.csv")
    small = dict(source="conformers", molecules=molecules, n_molecules=12, n_conformers=16, temperature=200)
    small |= dict(max_atoms=9, n_held_out=5, seed=0, labels=False)
    box = dict(elements=["C", "H", "O", "N", "F", "S", "Cl", "Br"], grid=12, resolution=0.9, radius=0.5)
    build({**small, "voxels": box}, str(folder / "data/drug-shapes.h5"))
    chains = dict(source="backbones", n_chains=10, min_residues=20, max_residues=24, n_held_out=4, seed=0)
    build(chains, str(folder / "data/backbones.h5"))
    content = tiny(yaml.safe_load((REPOSITORY / "config/gpu.yaml").read_text()))
    for name in RUNS:
        path = folder / "runs" / name / "config.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(yaml.safe_dump(config.resolve_run(content, name)))
    return folder
