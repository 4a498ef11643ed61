"""Train one run: steps from where it was stopped to the last, log-spaced checkpoints, tables.

Everything is written into ``<run>/resume/`` and published at the end, because a workflow manager deletes a
job's declared outputs before it restarts it. Batches and augmentation of step s depend on (seed, s) alone, so
that a restart replays them: exactly on a CPU, on a GPU but for the order of its sums.
"""

import csv
import hashlib
import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from equidyn.device import hardware
from equidyn.files import exclusive
from equidyn.processes import ALONE, Processes
from equidyn.progress import tqdm
from equidyn.training import checkpoint
from equidyn.training.resume import Progress, Resume
from equidyn.training.trainer import Trainer

RESUME_EVERY = 15.0  # seconds


def train(
    model: torch.nn.Module,
    task: Any,
    settings: dict,
    out: Path,
    identity: str,
    seed: int,
    resume_every: float = RESUME_EVERY,
    processes: Processes = ALONE,
    at_checkpoint: Callable[[Path], None] | None = None,
) -> None:
    """Train and publish ``checkpoints/step_*.pt``, ``model.pt``, ``metrics.csv`` and ``summary.json`` in
    ``out``.

    Parameters
    ----------
    settings : the ``training`` section of a run's config
    identity : what the run is (config, code, data); a resume state of another identity is discarded
    resume_every : seconds between resume states; a kill loses at most that much work
    processes : that share every batch; the first of them writes
    at_checkpoint : called with every checkpoint when it is written; its time does not count

    Raises
    ------
    TrainingError
        a loss that is not finite
    """
    resume = Resume(out / "resume", hashlib.sha256(identity.encode()).hexdigest())
    with exclusive(resume.folder, "training") if processes.first else nullcontext():
        trainer = Trainer(model, task, settings, seed, out.name, processes)
        progress = _steps(trainer, resume, resume_every, at_checkpoint)
        if processes.first:
            resume.store(trainer, progress)
            _write_tables(resume.folder, trainer, progress)
            resume.publish(out)
        processes.wait()


def _steps(
    trainer: Trainer, resume: Resume, resume_every: float, at_checkpoint: Callable[[Path], None] | None
) -> Progress:
    """All steps that are left; the first process stores states and checkpoints."""
    progress = _begin(trainer, resume)
    settings, first = trainer.settings, trainer.processes.first
    steps, wanted = settings["steps"], set(checkpoint.steps_of(settings))
    last_stored = time.monotonic()
    begun = last_stored - progress.seconds  # as if it had never been stopped
    trainer.model.train()
    parts_of = chain(trainer.draws().of_steps(progress.step, steps), [None])  # nothing of the last
    shown = dict(initial=progress.step, total=steps + 1, desc=trainer.run, mininterval=5, disable=not first)
    for step, parts in tqdm(zip(range(progress.step, steps + 1), parts_of), **shown):
        if step in wanted and first:
            path = _save_weights(trainer, step, resume.checkpoints / checkpoint.name_of(step, steps))
            if at_checkpoint is not None:
                paused = time.monotonic()
                at_checkpoint(path)
                begun += time.monotonic() - paused
        if step == steps:
            break
        if first and time.monotonic() - last_stored > resume_every:
            trainer.check()
            last_stored = time.monotonic()
            resume.store(trainer, replace(progress, step=step, seconds=last_stored - begun))
        row = trainer.advance(step, parts)
        if row is not None:
            progress.rows.append(row)
    progress.step, progress.seconds = steps, time.monotonic() - begun
    return progress


def _begin(trainer: Trainer, resume: Resume) -> Progress:
    """Where to go on: the first process decides whether there is a state, and tidies up."""
    processes = trainer.processes
    if not processes.first:
        processes.wait()
    progress = resume.restore(trainer, clear=processes.first)
    if processes.first:
        processes.wait()
    return progress


def _save_weights(trainer: Trainer, step: int, path: Path) -> Path:
    trainer.check()
    checkpoint.save(path, {"step": step, **trainer.weights()})
    return path


def _write_tables(folder: Path, trainer: Trainer, progress: Progress) -> None:
    """The last weights, ``metrics.csv`` and ``summary.json``."""
    _save_weights(trainer, progress.step, folder / "model.pt")
    with open(folder / "metrics.csv", "w", newline="") as file:
        # a task may log some at some steps
        names = dict.fromkeys(name for row in progress.rows for name in row)
        writer = csv.DictWriter(file, fieldnames=list(names))
        writer.writeheader()
        writer.writerows(progress.rows)
    steps, seconds = progress.step, progress.seconds
    summary = {
        "run": trainer.run,
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "n_train": trainer.task.n_train,
        "steps": steps,
        "seconds": round(seconds, 2),
        "steps_per_second": round(steps / seconds, 3) if seconds else None,
        "device": str(trainer.device),
        "threads": torch.get_num_threads(),
        "processes": trainer.processes.n,
        "hardware": hardware(trainer.device),
        "torch": torch.__version__,
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
