"""Rows of the decomposition table, checkpoint by checkpoint, kept in files until the table is whole: what has
been measured is not measured again.
"""

import hashlib
import json
import shutil
from pathlib import Path

import torch

from equidyn import files
from equidyn.guards import content_digest
from equidyn.processes import ALONE, Processes
from equidyn.steps.measurement import Measurement, Plan, about_training
from equidyn.steps.run import Run
from equidyn.training import checkpoint


class Measured:
    """The rows of a run's checkpoints; ``folder`` holds those that were measured.

    Kept rows count for the same settings, code, data, checkpoint, torch, threads and device alone.
    """

    def __init__(
        self,
        run: Run,
        data: Path,
        folder: Path,
        code: str = "",
        grids: Path | None = None,
        processes: Processes = ALONE,
    ):
        measured, about = run.settings["measure"], about_training(run.settings, data)
        self.run, self.folder, self.processes = run, folder, processes
        self.measurement = Measurement(
            run.settings["run"],
            run.task,
            run.model,
            measured["n_rotations"],
            about=about,
            processes=processes,
        )
        digests = [content_digest.stored_digest(file) for file in (data, grids) if file is not None]
        device = next(run.model.parameters()).device.type
        settings = json.dumps(run.settings, sort_keys=True)
        known = [settings, code, torch.__version__, torch.get_num_threads(), device, processes.n, *digests]
        self.identity = json.dumps(known)

    def rows(self, path: Path, last: bool) -> list[dict]:
        """The rows of a checkpoint; of the last one, more."""
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        name = hashlib.sha256(f"{self.identity} {digest} {last}".encode()).hexdigest()[:24]
        kept = self.folder / f"{path.stem}-{name}.json"
        found = self.processes.as_first(files.undamaged(kept, _read) if self.processes.first else None)
        if found is None:
            found = self._measure(checkpoint.load(path), last)
            if self.processes.first:
                self.folder.mkdir(parents=True, exist_ok=True)
                files.write_text(kept, json.dumps(found))
        return found

    def _measure(self, saved: dict, last: bool) -> list[dict]:
        measurement, off_grid = self.measurement, self.run.settings["measure"].get("off_grid")
        averaged_is_live = all(torch.equal(saved["live"][name], x) for name, x in saved["ema"].items())
        rows: list[dict] = []
        for plan in measurement.plans(last):
            if plan.weights == "ema" and averaged_is_live:  # as at the first step
                rows += [dict(row, weights="ema", seconds=0.0) for row in rows if _of_live(row, plan)]
            else:
                rows += measurement.rows(saved, plan)
        if last and off_grid:
            rows.append(measurement.off_grid_row(saved, off_grid))
        return rows

    def forget(self) -> None:
        """The table is there: what was kept for it is deleted."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _of_live(row: dict, plan: Plan) -> bool:
    """Whether a row is what a plan asks for, but for the weights."""
    same = row["items"] == plan.items and row["rotations"] == plan.rotations.name
    return row["weights"] == "live" and same and row["condition"] in plan.conditions


def _read(path: Path) -> list[dict]:
    return json.loads(path.read_text())
