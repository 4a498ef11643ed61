"""Start-up, memory and steps of training on generated files of published size.

    python benchmarks/full_size.py forces 1000000      # structures of 10 to 40 atoms
    python benchmarks/full_size.py flow 500000         # chains of 50 to 256 residues
    python benchmarks/full_size.py voxels 1000000      # molecules of 20 to 60 atoms

Writes the file (kept for another call) into ``downloads/full-size``, trains a tiny model for some steps in a
process of its own, and prints a line: seconds until the first step, per step, and the largest memory.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import yaml

from equidyn.data import store

SIZES = {"forces": (10, 40), "flow": (50, 256), "voxels": (20, 60)}  # rows of an item, from and to
MODELS = {"forces": "escaip", "flow": "proteina", "voxels": "voxmol"}
KINDS = {"forces": "forces", "flow": "backbones", "voxels": "molecules"}
N_HELD_OUT, AT_ONCE, BOND = 1000, 20_000, {"forces": 1.5, "flow": 3.8, "voxels": 1.5}
BOX = dict(elements=["C", "H", "O", "N", "F", "S", "Cl", "Br"], grid=16, resolution=1.0, radius=0.5)
ELEMENTS = np.array([1, 6, 7, 8, 9, 16, 17], np.uint8)


def generate(task: str, n_items: int, path: Path) -> None:
    """Random walks of random length: no molecule and no chain, but their size."""
    random = np.random.default_rng(0)
    lengths = random.integers(SIZES[task][0], SIZES[task][1] + 1, n_items)
    offsets = np.concatenate([[0], lengths.cumsum()])
    attributes = dict(
        kind=KINDS[task], source="generated for benchmarks/full_size.py", licence="none", poses="haar"
    )
    settings = json.dumps({"voxels": BOX} if task == "voxels" else {})
    attributes |= dict(code="", settings=settings, split="drawn", split_seed=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with store.writing(path, attributes, int(offsets[-1]), n_items) as file:
        split = np.zeros(n_items, file["split"].dtype)
        split[:N_HELD_OUT] = 1
        known = {
            "offsets": offsets,
            "split": split,
            "cluster": np.arange(n_items),
            "energy": random.normal(size=n_items),
        }
        for name, dataset in file.items():
            if name in known:
                dataset[...] = known[name].astype(dataset.dtype)
        for start in range(0, n_items, AT_ONCE):
            end = min(start + AT_ONCE, n_items)
            rows, own = slice(offsets[start], offsets[end]), lengths[start:end]
            n = rows.stop - rows.start
            steps = random.normal(size=(n, 3)).astype(np.float32)
            steps *= BOND[task] / np.linalg.norm(steps, axis=1, keepdims=True)
            walk = np.cumsum(steps, 0, dtype=np.float64)
            first = walk[offsets[start:end] - rows.start].repeat(own, 0)
            file["positions"][rows] = (walk - first).astype(np.float32)
            if task == "forces":
                file["forces"][rows] = random.normal(size=(n, 3)).astype(np.float32)
            if task != "flow":
                file["numbers"][rows] = ELEMENTS[random.integers(len(ELEMENTS), size=n)]


def train(task: str, path: Path, steps: int) -> dict:
    """What the line says; to be called in a process of its own."""
    started = time.monotonic()
    import torch

    from equidyn import tasks
    from equidyn.models import registry
    from equidyn.training.trainer import Trainer

    torch.set_num_threads(1)
    training = yaml.safe_load(Path("config/smoke.yaml").read_text())["defaults"][task]["training"]
    made = tasks.build(task, path, dict(training=training), "cpu")
    model = registry.build(MODELS[task], "tiny").train()
    trainer, spent = Trainer(model, made, training, 0, "full size"), []
    for step in range(steps):
        before = time.monotonic()
        trainer.advance(step, trainer.draws().of_step(step))
        spent.append(time.monotonic() - before)
        if step == 0:
            start_up = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return dict(
        start_up_s=round(start_up, 1),
        step_ms=round(1e3 * float(np.median(spent)), 1),
        peak_gib=round(peak, 2),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=SIZES)
    parser.add_argument("n_items", type=int)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=Path("downloads/full-size"))
    parser.add_argument("--here", action="store_true", help="train in this process, on a file that is there")
    given = parser.parse_args()
    path = given.folder / f"{given.task}-{given.n_items}.h5"
    if given.here:
        print(json.dumps(train(given.task, path, given.steps)))
        return
    if not path.is_file():
        generate(given.task, given.n_items, path)
    command = [
        sys.executable,
        __file__,
        given.task,
        str(given.n_items),
        "--here",
        "--steps",
        str(given.steps),
    ]
    subprocess.run([*command, "--folder", str(given.folder)], check=True)


if __name__ == "__main__":
    main()
