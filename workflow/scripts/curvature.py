"""Spectra of the Hessians of twirled error and equivariance error over a block of parameters, and landscapes around the weights.

At the first checkpoint whose percentage counts, at that of the lowest one that counts (the dip), and at the last (live weights), in float64, on the same
items and rotations for both terms. The config's dynamics.rotations, haar or cube, is the group they are drawn from (default: the task's); cube with 24 is
the whole group. The landscape lies along the eigenvectors of the largest eigenvalues of P̂ (axis a) and of Ê (axis b, made orthogonal to a); it reaches
± span × the norm of the block. One draw of rotations for all its points is compared with a fresh draw of the same kind per point, there with dropout of
probability dynamics.dropout. The HDF5 file has one group per step: ``twirled``, ``equivariance``, the same with ``_fresh`` draws per point, axes ``a``, ``b``,
and whole spectra.
"""

import time
from pathlib import Path

import _cli
import numpy as np
from tqdm import tqdm

from equidyn import curvature, dynamics, groups, runs, sealed, tables
from equidyn.data import store
from equidyn.landscape import landscape
from equidyn.training import checkpoint
from equidyn.verdicts import counted, dip

COLUMNS = (
    "run task step condition block term largest smallest_positive most_negative condition_number threshold trace trace_error effective_rank n_above n_parameters "
    "method residual n_items n_rotations rotations seconds"
).split()
ROTATION_SEED = 20_251_006  # fresh draws of the landscape continue from here
FRESH = {"haar": 10, "cube": 4}  # rotations per item and point of the landscape with fresh draws, by group: as published


def directions(twirled: np.ndarray, equivariance: np.ndarray) -> tuple[np.ndarray, str]:
    """Orthonormal [2, n] from the vectors [n, 2] of the two spectra, and what the second is: top of P̂, top of Ê; where those agree, P̂'s smallest positive one."""
    first = twirled[:, 0] / np.linalg.norm(twirled[:, 0])
    for other, name in ((equivariance[:, 0], "top of equivariance"), (twirled[:, 1], "smallest positive of twirled"), (equivariance[:, 1], "smallest positive of equivariance")):
        rest = other - first * (first @ other)
        if np.linalg.norm(rest) > 1e-3:
            return np.stack([first, rest / np.linalg.norm(rest)]), name
    raise RuntimeError("curvature: the Hessians of both terms have one direction only")


def chosen(paths: list[Path], curve: list[dict], n: int) -> list[Path]:
    """At most n ≤ 3 of the checkpoints ``step_*.pt``: the last, the dip, the first that counts; where none counts, the middle one and an early one."""
    of_step = {int(path.stem.removeprefix("step_")): path for path in paths}
    first, lowest = next((r for r in curve if counted(r)), None), dip(curve)
    wanted = [paths[-1], *([of_step[int(lowest["step"])], of_step[int(first["step"])]] if first else [paths[len(paths) // 2], paths[len(paths) // 4]])]
    return sorted(dict.fromkeys(wanted[:n]))


def main() -> None:
    parser = runs.arguments(__doc__)
    parser.add_argument("--checkpoints", required=True, type=Path)
    parser.add_argument("--decomposition", required=True, type=Path, help="table of the run, to choose checkpoints by")
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
    curve = tables.curve(tables.read([args.decomposition]), settings["run"], condition=condition)
    rows, grids = [], {}
    for path in tqdm(chosen(runs.checkpoints(args.checkpoints), curve, dynamic["n_checkpoints"]), desc="checkpoints"):
        saved = checkpoint.load(path)
        model.load_state_dict(saved["live"])
        started, rotations = time.monotonic(), draw(name, n, ROTATION_SEED)
        batches = [dynamics.cast(batch) for batch in task.held_out(model, condition)]
        block = curvature.Block(model, dynamic["block"])
        context = model, task.predict, batches, task.actions, task.output
        spectra = curvature.curvature(*context, rotations, block, order)
        seconds = round(time.monotonic() - started, 3)
        common = dict(run=settings["run"], task=task.name, step=saved["step"], condition=condition, block=dynamic["block"])
        for term, found in spectra.items():
            values = {k: v for k, v in vars(found).items() if k in COLUMNS}
            rows.append(dict(**common, term=term, **values, n_items=n_items, n_rotations=n, rotations=name, seconds=seconds))
        axes, axis_b = directions(*(spectra[term].vectors for term in dynamics.TERMS))
        span = dynamic["span"] * float(np.linalg.norm(block.get()))

        def drawn(k):
            return draw(task.group, n_fresh, ROTATION_SEED + 1 + k)

        grid = landscape(*context, drawn(-1), block, axes, span, dynamic["grid"], fresh_order, drawn, dynamic.get("dropout", 0.0))
        whole = {f"eigenvalues_{term}": found.eigenvalues for term, found in spectra.items() if found.eigenvalues is not None}
        attributes = dict(**common, span=span, n_items=n_items, n_fresh=n_fresh, rotations_fresh=task.group, dropout=dynamic.get("dropout", 0.0))
        grids[saved["step"]] = vars(grid) | whole, attributes | dict(axis_a="top of twirled", axis_b=axis_b)
    with store.whole(args.landscape) as temporary, sealed.creating(temporary) as file:
        for step, (grid, attributes) in grids.items():
            group = file.create_group(str(step))
            group.attrs.update(attributes)
            for key, value in grid.items():
                group.create_dataset(key, data=value)
    runs.write_table(args.out, rows, COLUMNS)


if __name__ == "__main__":
    _cli.run(main)
