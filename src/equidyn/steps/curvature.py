"""Spectra of the Hessians of twirled and equivariance error over a block of parameters, and landscapes around
the weights.

At the first checkpoint whose percentage counts, at that of the lowest one that counts (the dip), and at the
last (live weights), in float64, on the same items and rotations for both terms. The config's
dynamics.rotations, haar or cube, is the group they are drawn from (default: the task's); cube with 24 is the
whole group. The landscape lies along the eigenvectors of the largest eigenvalues of P̂ (axis a) and of Ê
(axis b, made orthogonal to a); it reaches ± span × the norm of the block. One draw of rotations for all its
points is compared with a fresh draw of the same kind per point, there with dropout of probability
dynamics.dropout. The HDF5 file has one group per step: ``twirled``, ``equivariance``, the same with
``_fresh`` draws per point, axes ``a``, ``b``, and whole spectra.
"""

import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from equidyn import seeds
from equidyn.analysis.curvature import Block, Hessians
from equidyn.analysis.curvature import curvature as spectra_of
from equidyn.analysis.curvature_intervals import curvature_ratios, single_items
from equidyn.analysis.gradients import TERMS, cast
from equidyn.analysis.landscape import landscape as landscape_of
from equidyn.defaults import DROPOUT
from equidyn.files import atomic_write
from equidyn.guards import content_digest
from equidyn.results import tables
from equidyn.results.columns import CURVATURE
from equidyn.results.verdicts import counted, dip
from equidyn.steps.run import Run, checkpoints_in, load, read_settings
from equidyn.symmetry import groups
from equidyn.training import checkpoint

FRESH = {
    "haar": 10,
    "cube": 4,
}  # rotations per item and point of the landscape with fresh draws: as published


def curvature(
    config: Path,
    data: Path,
    checkpoints: Path,
    decomposition: Path,
    out: Path,
    landscape: Path,
    grids: Path | None = None,
    threads: int = 1,
) -> None:
    """Write ``curvature.csv`` (``out``) and ``landscape.h5`` of a run.

    Parameters
    ----------
    decomposition : table of the run, to choose checkpoints by
    """
    settings = read_settings(config)
    dynamic = settings["dynamics"]
    run = load(settings, data, grids, threads, dynamic["n_items"])
    run.model.double()
    conditions = run.task.conditions
    condition = "t=0.8" if "t=0.8" in conditions else conditions[len(conditions) // 2]
    curve = tables.curve(tables.read([decomposition]), settings["run"], condition=condition)
    rows, landscapes = [], {}
    chosen = chosen_checkpoints(checkpoints_in(checkpoints, settings), curve, dynamic["n_checkpoints"])
    for path in tqdm(chosen, desc="checkpoints"):
        saved = checkpoint.load(path)
        run.model.load_state_dict(saved["live"])
        found, landscapes[saved["step"]] = _at_checkpoint(run, saved["step"], condition)
        rows += found
    _write_landscapes(landscape, landscapes)
    tables.write_table(out, rows, list(CURVATURE))


def directions(twirled: np.ndarray, equivariance: np.ndarray) -> tuple[np.ndarray, str]:
    """Two orthonormal directions from the vectors of two spectra, and what the second is.

    Top of P̂, top of Ê; where those agree, P̂'s smallest positive one.

    Parameters
    ----------
    twirled, equivariance : [n, 2], see ``analysis.spectrum.Spectrum``

    Returns
    -------
    [2, n], name
    """
    first = twirled[:, 0] / np.linalg.norm(twirled[:, 0])
    candidates = {
        "top of equivariance": equivariance[:, 0],
        "smallest positive of twirled": twirled[:, 1],
        "smallest positive of equivariance": equivariance[:, 1],
    }
    for name, other in candidates.items():
        rest = other - first * (first @ other)
        if np.linalg.norm(rest) > 1e-3:
            return np.stack([first, rest / np.linalg.norm(rest)]), name
    raise RuntimeError("curvature: the Hessians of both terms have one direction only")


def chosen_checkpoints(paths: list[Path], curve: list[dict], n: int) -> list[Path]:
    """At most n ≤ 3 of the checkpoints ``step_*.pt``: the last, the dip, the first that counts.

    Where none counts, the middle one and an early one take the places of the latter two.
    """
    of_step = {int(path.stem.removeprefix("step_")): path for path in paths}
    first, lowest = next((r for r in curve if counted(r)), None), dip(curve)
    wanted = [paths[-1]]
    if first is not None and lowest is not None:
        wanted += [of_step[int(lowest["step"])], of_step[int(first["step"])]]
    else:
        wanted += [paths[len(paths) // 2], paths[len(paths) // 4]]
    return sorted(dict.fromkeys(wanted[:n]))


def _at_checkpoint(run: Run, step: int, condition: str) -> tuple[list[dict], tuple[dict, dict]]:
    """Rows of the table, and arrays and attributes of the landscape, of the weights that the model has."""
    task, model, dynamic = run.task, run.model, run.settings["dynamics"]
    n_items, n = dynamic["n_items"], dynamic["n_rotations"]
    group = dynamic.get("rotations", task.group)
    started = time.monotonic()
    rotations, order = groups.draw_per_item(group, n, n_items, seeds.CURVATURE_ROTATIONS)
    batches = [cast(batch) for batch in task.held_out(model, condition)]
    block = Block(model, dynamic["block"])
    context = model, task.predict, batches, task.actions, task.output
    spectra = spectra_of(*context, rotations, block, order)
    by_item = Hessians(
        model, task.predict, list(single_items(batches)), *context[3:], rotations, block, order
    )
    ratios = {}
    for name, ratio in curvature_ratios(by_item, spectra).items():
        ratios |= {f"{name}_ratio": ratio.value, f"{name}_ratio_lo": ratio.lo, f"{name}_ratio_hi": ratio.hi}
    seconds = round(time.monotonic() - started, 3)
    named = dict(
        run=run.settings["run"], task=task.name, step=step, condition=condition, block=dynamic["block"]
    )
    drawn = dict(n_items=n_items, n_rotations=n, rotations=group, seconds=seconds)
    rows = []
    for term, found in spectra.items():
        values = {k: v for k, v in vars(found).items() if k in CURVATURE}
        rows.append(dict(**named, term=term, **values, **ratios, **drawn))

    axes, axis_b = directions(*(spectra[term].vectors for term in TERMS))
    span = dynamic["span"] * float(np.linalg.norm(block.get()))
    n_fresh, dropout = min(n, FRESH[task.group]), dynamic.get("dropout", DROPOUT)

    def fresh(k: int):
        return groups.draw_per_item(task.group, n_fresh, n_items, seeds.CURVATURE_ROTATIONS + 1 + k)[0]

    fresh_order = groups.CUBE_ORDER if task.group == "cube" else None
    grid = landscape_of(*context, fresh(-1), block, axes, span, dynamic["grid"], fresh_order, fresh, dropout)
    whole = {f"eigenvalues_{t}": s.eigenvalues for t, s in spectra.items() if s.eigenvalues is not None}
    about = dict(span=span, n_items=n_items, n_fresh=n_fresh, rotations_fresh=task.group, dropout=dropout)
    return rows, (vars(grid) | whole, named | about | dict(axis_a="top of twirled", axis_b=axis_b))


def _write_landscapes(path: Path, landscapes: dict[int, tuple[dict, dict]]) -> None:
    with atomic_write(path) as temporary, content_digest.create(temporary) as file:
        for step, (arrays, attributes) in landscapes.items():
            group = file.create_group(str(step))
            group.attrs.update(attributes)
            for key, value in arrays.items():
                group.create_dataset(key, data=value)
