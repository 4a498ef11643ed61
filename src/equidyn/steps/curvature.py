"""Spectra of the Hessians of twirled and equivariance error over a block of parameters, and landscapes around
the weights.

At the first checkpoint whose percentage counts, at that of the lowest one that counts (the dip), and at the
last (live weights), in float64, on the same items and rotations for both terms; over dynamics.other_blocks
at the last one only. The config's dynamics.rotations, haar or cube, is the group they are drawn from
(default: the task's); cube with 24 is the whole group.

The landscape, over dynamics.block, lies along the eigenvectors of the largest eigenvalues of P̂ (axis a) and
of Ê (axis b, made orthogonal to a); it reaches ± span × the norm of the block. One draw of rotations for all
its points is compared with a fresh draw of the same kind per point, there with dropout of probability
dynamics.dropout. The HDF5 file has one group per step: ``twirled``, ``equivariance``, the same with
``_fresh`` draws per point, axes ``a``, ``b``, and whole spectra.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from equidyn import seeds
from equidyn.analysis.curvature import Block, Hessians
from equidyn.analysis.curvature import curvature as spectra_of
from equidyn.analysis.curvature_intervals import curvature_ratios, single_items
from equidyn.analysis.gradients import TERMS, cast
from equidyn.analysis.landscape import landscape as landscape_of
from equidyn.analysis.spectrum import Spectrum
from equidyn.defaults import DROPOUT
from equidyn.files import atomic_write
from equidyn.guards import content_digest
from equidyn.results import tables
from equidyn.results.columns import CURVATURE
from equidyn.results.verdicts import counted, dip
from equidyn.steps.run import Run, checkpoints_in, load, read_settings
from equidyn.symmetry import groups
from equidyn.symmetry.measure import Batch
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
    rows, landscapes, terms = [], {}, _Terms.at(run, condition)
    chosen = chosen_checkpoints(checkpoints_in(checkpoints, settings), curve, dynamic["n_checkpoints"])
    for path in tqdm(chosen, desc="checkpoints"):
        step = run.take(path)
        spectra, found = terms.curvature_over(dynamic["block"], step)
        landscapes[step] = terms.landscape_along(spectra, found[0])
        rows += found
    for name in tqdm(dynamic.get("other_blocks", ()), desc="other blocks"):
        rows += terms.curvature_over(name, step)[1]
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
    of_step = {checkpoint.step_of(path): path for path in paths}
    first, lowest = next((r for r in curve if counted(r)), None), dip(curve)
    wanted = [paths[-1]]
    if first is not None and lowest is not None:
        wanted += [of_step[int(lowest["step"])], of_step[int(first["step"])]]
    else:
        wanted += [paths[len(paths) // 2], paths[len(paths) // 4]]
    return sorted(dict.fromkeys(wanted[:n]))


@dataclass(frozen=True)
class _Terms:
    """Both terms of the loss of a run's model as it stands: on which items, by which rotations."""

    run: Run
    condition: str
    batches: list[Batch]
    rotations: torch.Tensor  # [n_items, n_rotations, 3, 3]
    order: int | None  # of the group, where the rotations are all of it

    @classmethod
    def at(cls, run: Run, condition: str) -> "_Terms":
        dynamic = run.settings["dynamics"]
        drawn = groups.draw_per_item(
            dynamic.get("rotations", run.task.group),
            dynamic["n_rotations"],
            dynamic["n_items"],
            seeds.CURVATURE_ROTATIONS,
        )
        return cls(run, condition, [cast(b) for b in run.task.held_out(run.model, condition)], *drawn)

    def curvature_over(self, name: str, step: int) -> tuple[dict[str, Spectrum], list[dict]]:
        """Spectra over the block of this name, and their rows of the table."""
        task, model, dynamic = self.run.task, self.run.model, self.run.settings["dynamics"]
        started, block, symmetry = time.monotonic(), Block(model, name), (task.actions, task.output)
        spectra = spectra_of(model, task.predict, self.batches, *symmetry, self.rotations, block, self.order)
        by_item = Hessians(
            model,
            task.predict,
            list(single_items(self.batches)),
            *symmetry,
            self.rotations,
            block,
            self.order,
        )
        shared = dict(run=self.run.settings["run"], task=task.name, step=step, condition=self.condition)
        shared |= dict(block=name, n_items=dynamic["n_items"], n_rotations=dynamic["n_rotations"])
        shared |= dict(rotations=dynamic.get("rotations", task.group))
        for kind, ratio in curvature_ratios(by_item, spectra).items():
            shared |= {
                f"{kind}_ratio": ratio.value,
                f"{kind}_ratio_lo": ratio.lo,
                f"{kind}_ratio_hi": ratio.hi,
            }
        shared |= dict(seconds=round(time.monotonic() - started, 3))
        rows = [
            {"term": term, **shared, **{key: value for key, value in vars(found).items() if key in CURVATURE}}
            for term, found in spectra.items()
        ]
        return spectra, rows

    def landscape_along(self, spectra: dict[str, Spectrum], row: dict) -> tuple[dict, dict]:
        """Arrays and attributes of the landscape over the block of these spectra; ``row`` names it."""
        task, model, dynamic = self.run.task, self.run.model, self.run.settings["dynamics"]
        block = Block(model, row["block"])
        axes, axis_b = directions(*(spectra[term].vectors for term in TERMS))
        span = dynamic["span"] * float(np.linalg.norm(block.get()))
        n_fresh = min(dynamic["n_rotations"], FRESH[task.group])
        dropout = dynamic.get("dropout", DROPOUT)

        def fresh(k: int):
            seed = seeds.CURVATURE_ROTATIONS + 1 + k
            return groups.draw_per_item(task.group, n_fresh, dynamic["n_items"], seed)[0]

        grid = landscape_of(
            model,
            task.predict,
            self.batches,
            task.actions,
            task.output,
            fresh(-1),
            block,
            axes,
            span,
            dynamic["grid"],
            groups.CUBE_ORDER if task.group == "cube" else None,
            fresh,
            dropout,
        )
        whole = {f"eigenvalues_{t}": s.eigenvalues for t, s in spectra.items() if s.eigenvalues is not None}
        about = {key: row[key] for key in ("run", "task", "step", "condition", "block", "n_items")}
        about |= dict(span=span, n_fresh=n_fresh, rotations_fresh=task.group, dropout=dropout)
        return vars(grid) | whole, about | dict(axis_a="top of twirled", axis_b=axis_b)


def _write_landscapes(path: Path, landscapes: dict[int, tuple[dict, dict]]) -> None:
    with atomic_write(path) as temporary, content_digest.create(temporary) as file:
        for step, (arrays, attributes) in landscapes.items():
            group = file.create_group(str(step))
            group.attrs.update(attributes)
            for key, value in arrays.items():
                group.create_dataset(key, data=value)
