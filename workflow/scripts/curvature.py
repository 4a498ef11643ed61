"""Spectra of the Hessians of twirled error and equivariance error over a block of parameters, and landscapes around the weights.

At an early, a middle and the last checkpoint (live weights), in float64, on the same items and rotations for both terms. The config's
dynamics.rotations, haar or cube, is the group they are drawn from (default: the task's); cube with 24 is the whole group. The landscape lies
along the eigenvectors of the largest eigenvalues of P̂ (axis a) and of Ê (axis b, made orthogonal to a); it reaches ± span × the norm of the block.
The HDF5 file has one group per step: ``twirled``, ``equivariance``, the same with ``_fresh`` draws per point, axes ``a``, ``b``, and whole spectra.
"""

import os
import time
from pathlib import Path

import _cli
import h5py
import numpy as np
from tqdm import tqdm

from equidyn import dynamics, groups, runs
from equidyn.training import checkpoint

COLUMNS = (
    "run task step condition block term largest smallest_positive most_negative condition_number threshold trace trace_error effective_rank n_above n_parameters "
    "method residual n_items n_rotations rotations seconds"
).split()
ROTATION_SEED = 20_251_006  # fresh draws of the landscape continue from here
FRESH = {"haar": 10, "cube": 4}  # rotations per item and point of the landscape with fresh draws, by group: as published


def directions(twirled: np.ndarray, equivariance: np.ndarray) -> np.ndarray:
    """Orthonormal [2, n] from the vectors [n, 2] of the two spectra: top of P̂, top of Ê; where those agree, P̂'s smallest positive one."""
    first = twirled[:, 0] / np.linalg.norm(twirled[:, 0])
    for other in (equivariance[:, 0], twirled[:, 1], equivariance[:, 1]):
        rest = other - first * (first @ other)
        if np.linalg.norm(rest) > 1e-3:
            return np.stack([first, rest / np.linalg.norm(rest)])
    raise RuntimeError("curvature: the Hessians of both terms have one direction only")


def chosen(paths: list[Path], n: int) -> list[Path]:
    """At most n ≤ 3 of them: the last, the middle one, an early one."""
    spread = [len(paths) - 1, len(paths) // 2, len(paths) // 4]
    return [paths[i] for i in sorted(set(spread[:n]))]


def main() -> None:
    parser = runs.arguments(__doc__)
    parser.add_argument("--checkpoints", required=True, type=Path)
    parser.add_argument("--landscape", required=True, type=Path, help="HDF5 of landscapes; --out is the CSV of spectra")
    args = parser.parse_args()
    settings = runs.read_settings(args)
    dynamic = settings["dynamics"]
    n_items, n = dynamic["n_items"], dynamic["n_rotations"]
    run = runs.build(args, runs.few_items(settings, dynamic["n_items"]))
    task, model = run.task, run.model.double()
    name = dynamic.get("rotations", task.group)
    order, fresh_order = (groups.CUBE_ORDER if group == "cube" else None for group in (name, task.group))

    def draw(group, n, seed):
        return groups.subset_per_item(groups.cube(), n, n_items, seed) if group == "cube" else groups.haar_per_item(n, n_items, seed)

    n_fresh = min(n, FRESH[task.group])
    condition = "t=0.8" if "t=0.8" in task.conditions else task.conditions[len(task.conditions) // 2]
    paths = runs.checkpoints(args.checkpoints)
    rows, grids = [], {}
    for path in tqdm(chosen(paths, dynamic["n_checkpoints"]), desc="checkpoints"):
        saved = checkpoint.load(path)
        model.load_state_dict(saved["live"])
        started, rotations = time.monotonic(), draw(name, n, ROTATION_SEED)
        batches = [dynamics.cast(batch) for batch in task.held_out(model, condition)]
        block = dynamics.Block(model, dynamic["block"])
        context = model, task.predict, batches, task.actions, task.output, rotations, block
        spectra = dynamics.curvature(*context, order)
        seconds = round(time.monotonic() - started, 3)
        common = dict(run=settings["run"], task=task.name, step=saved["step"], condition=condition, block=dynamic["block"])
        for term, found in spectra.items():
            values = {k: v for k, v in vars(found).items() if k in COLUMNS}
            rows.append(dict(**common, term=term, **values, n_items=n_items, n_rotations=n, rotations=name, seconds=seconds))
        axes = directions(*(spectra[term].vectors for term in dynamics.TERMS))
        span = dynamic["span"] * float(np.linalg.norm(block.get()))
        grid = dynamics.landscape(*context, axes, span, dynamic["grid"], order, lambda k: draw(task.group, n_fresh, ROTATION_SEED + 1 + k), fresh_order)
        whole = {f"eigenvalues_{term}": found.eigenvalues for term, found in spectra.items() if found.eigenvalues is not None}
        grids[saved["step"]] = vars(grid) | whole, dict(**common, span=span, n_items=n_items, n_rotations=n, rotations=name, n_fresh=n_fresh, rotations_fresh=task.group)
        grids[saved["step"]][1].update(axis_a="top of twirled", axis_b="top of equivariance")
    temporary = args.landscape.with_suffix(f".{os.getpid()}.part")
    with h5py.File(temporary, "w") as file:
        for step, (grid, attributes) in grids.items():
            group = file.create_group(str(step))
            group.attrs.update(attributes)
            for key, value in grid.items():
                group.create_dataset(key, data=value)
    os.replace(temporary, args.landscape)
    runs.write_table(args.out, rows, COLUMNS)


if __name__ == "__main__":
    _cli.run(main)
