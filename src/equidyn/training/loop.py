"""Train one run: optimizer, warm-up and cosine, clipping, EMA, log-spaced checkpoints, resume.

Everything is written into ``<run>/resume/`` and published at the end, because a workflow manager deletes a
job's declared outputs before it restarts it. Batches and augmentation of step s depend on (seed, s) alone, so
that a restart replays them: exactly on a CPU, on a GPU but for the order of its sums.
"""

import copy
import csv
import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from equidyn.defaults import COPIES, EXECUTION, PRECISION
from equidyn.device import hardware
from equidyn.errors import ConfigError, TrainingError
from equidyn.files import exclusive
from equidyn.processes import ALONE, Processes
from equidyn.progress import tqdm
from equidyn.training import checkpoint
from equidyn.training.draws import Draws, Part
from equidyn.training.execution import passes_of, products
from equidyn.training.optimizers import optimizer_for

RESUME_EVERY = 15.0  # seconds


def learning_rate(step: int, settings: dict) -> float:
    """Linear warm-up to ``lr`` over ``warmup`` steps, then a cosine to ``final_lr_fraction`` of it at the
    last step.
    """
    if step < settings["warmup"]:
        return settings["lr"] * (step + 1) / settings["warmup"]
    done = (step - settings["warmup"]) / max(1, settings["steps"] - settings["warmup"])
    floor = settings["final_lr_fraction"]
    return settings["lr"] * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


class Watch:
    """Whether all losses and gradient norms so far were finite, asked of the device only when it has to be
    waited for anyway.
    """

    def __init__(self, device: torch.device):
        self.first = torch.full(
            (3,), -1.0, dtype=torch.float64, device=device
        )  # step, loss, norm of the first

    def see(self, step: int, loss: torch.Tensor, norm: torch.Tensor) -> None:
        """Note a step."""
        values = torch.stack([loss.double(), norm.double()])
        found = torch.cat([values.new_full((1,), step), values])
        new = (self.first[0] < 0) & ~values.isfinite().all()
        self.first = torch.where(new, found, self.first)

    def check(self, run: str, settings: dict) -> None:
        """Waits for the device.

        Raises
        ------
        TrainingError
            with the first loss or gradient norm that was not finite
        """
        step, loss, norm = self.first.tolist()
        if step >= 0:
            raise TrainingError(
                f"run {run}, step {step:.0f}: loss {loss}, gradient norm {norm}; lower training.lr "
                f"({settings['lr']}) or training.clip"
            )


class Trainer:
    """A model in training, with its averaged weights and its optimizer; ``advance`` takes a step.

    Attributes
    ----------
    watch : what to ask before weights are kept
    passes : see ``execution.passes_of``; None of a task that has its training loss in one part
    """

    def __init__(
        self,
        model: torch.nn.Module,
        task: Any,
        settings: dict,
        seed: int,
        run: str,
        processes: Processes = ALONE,
    ):
        self.model, self.task, self.settings, self.seed, self.run = model, task, settings, seed, run
        self.processes, self.ema = processes, copy.deepcopy(model)
        self.optimizer = optimizer_for(model, settings)
        self.device = next(model.parameters()).device
        self.watch = Watch(self.device)
        self._weights = list(self.ema.parameters()), list(model.parameters())
        self.passes = passes_of(task, model, settings) if hasattr(task, "draw") else None
        if self.passes is None:
            _check_one_part(run, settings)

    def draws(self) -> Draws:
        """Of its steps.

        Raises
        ------
        ConfigError
            fewer training items than a batch has
        """
        _check_batch(self.run, self.settings, self.task.n_train)
        few_shapes = self.settings.get("execution", EXECUTION) != EXECUTION
        return Draws(self.task, self.settings, self.seed, self.processes, few_shapes)

    def advance(self, step: int, parts: list[Part]) -> dict[str, float] | None:
        """One step of training, in place; returns its row of ``metrics.csv`` every ``log_every`` steps.

        Raises
        ------
        TrainingError
            a loss or gradient that is not finite: on a GPU found when a row is returned, or by ``check``
        """
        settings = self.settings
        rate = learning_rate(step, settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        with products(settings):
            found = {part.number: (part.share, *self._add_gradient(part)) for part in parts}
        self.processes.add_gradients(self.model)
        norm = torch.nn.utils.clip_grad_norm_(self._weights[1], settings["clip"])
        own = [share * loss.double() for share, loss, _ in found.values()]
        self.watch.see(step, sum(own, norm.new_zeros((), dtype=torch.float64)), norm)
        logged = step % settings["log_every"] == 0
        if logged or self.device.type == "cpu":
            self.check()
        self.optimizer.step()
        decay = min(settings["ema"], (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(*self._weights, 1 - decay)
        return self._row(step, rate, found, norm) if logged else None

    def check(self) -> None:
        """See ``Watch.check``."""
        self.watch.check(self.run, self.settings)

    def _add_gradient(self, part: Part) -> tuple[torch.Tensor, dict]:
        """Add the gradient of a part's share of the loss; loss and log. Dropout, too, depends on the part's
        seed alone.
        """
        torch.manual_seed(part.seed % 2**63)
        if self.passes is None:
            loss, log = self.task.training_loss(self.model, part.items, part.seed)
            (part.share * loss).backward()
            return loss.detach(), log
        return self.passes(self.task.make(self.model, part.drawn), part.share)

    def _row(self, step: int, rate: float, found: dict[int, tuple], norm: torch.Tensor) -> dict[str, float]:
        """Of the parts of all processes, in their order."""
        floats = {
            k: (share, float(loss), {name: float(value) for name, value in log.items()})
            for k, (share, loss, log) in found.items()
        }
        total, logged = 0.0, {}
        for share, loss, log in self.processes.joined(floats):
            total += share * loss
            for name, value in log.items():
                logged[name] = logged.get(name, 0.0) + share * value
        return {"step": step, "lr": rate, "loss": total, "gradient_norm": float(norm), **logged}


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
    resume = out / "resume"
    identity = hashlib.sha256(identity.encode()).hexdigest()
    with exclusive(resume, "training") if processes.first else nullcontext():
        _train(model, task, settings, out, resume, identity, seed, resume_every, processes, at_checkpoint)
        if processes.first:
            _publish(out, resume)
        processes.wait()


def _train(model, task, settings, out, resume, identity, seed, resume_every, processes, at_checkpoint):
    trainer = Trainer(model, task, settings, seed, out.name, processes)
    ema, optimizer = trainer.ema, trainer.optimizer
    if not processes.first:
        processes.wait()  # the first one decides whether there is a state to go on from
    state = _restore(resume, identity, model, ema, optimizer, clear=processes.first)
    if processes.first:
        processes.wait()
    rows, spent = state["rows"], state["seconds"]
    steps, wanted = settings["steps"], set(checkpoint.steps_of(settings))
    started = last_saved = time.monotonic()
    width = len(str(steps))
    model.train()
    all_steps = range(state["step"], steps + 1)
    drawn = chain(trainer.draws().of_steps(state["step"], steps), [None])  # nothing of the last
    how = dict(initial=state["step"], total=steps + 1, desc=out.name, mininterval=5)
    for step, parts in tqdm(zip(all_steps, drawn), **how, disable=not processes.first):
        if step in wanted and processes.first:
            trainer.check()
            path = resume / "checkpoints" / f"step_{step:0{width}d}.pt"
            checkpoint.save(path, {"step": step, "live": model.state_dict(), "ema": ema.state_dict()})
            if at_checkpoint is not None:
                paused = time.monotonic()
                at_checkpoint(path)
                spent -= time.monotonic() - paused
        if step == steps:
            break
        if processes.first and time.monotonic() - last_saved > resume_every:
            trainer.check()
            last_saved = time.monotonic()
            _store(resume, identity, step, model, ema, optimizer, rows, spent + last_saved - started)
        row = trainer.advance(step, parts)
        if row is not None:
            rows.append(row)
    if not processes.first:
        return
    trainer.check()
    seconds = spent + time.monotonic() - started
    _store(resume, identity, steps, model, ema, optimizer, rows, seconds)
    checkpoint.save(resume / "model.pt", {"step": steps, "live": model.state_dict(), "ema": ema.state_dict()})
    with open(resume / "metrics.csv", "w", newline="") as file:
        names = dict.fromkeys(name for row in rows for name in row)  # a task may log some at some steps
        writer = csv.DictWriter(file, fieldnames=list(names))
        writer.writeheader()
        writer.writerows(rows)
    device = next(model.parameters()).device
    summary = {
        "run": out.name,
        "parameters": sum(p.numel() for p in model.parameters()),
        "n_train": task.n_train,
        "steps": steps,
        "seconds": round(seconds, 2),
        "steps_per_second": round(steps / seconds, 3) if seconds else None,
        "device": str(device),
        "threads": torch.get_num_threads(),
        "processes": processes.n,
        "hardware": hardware(device),
        "torch": torch.__version__,
    }
    (resume / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")


def _store(resume, identity, step, model, ema, optimizer, rows, seconds):
    state = {
        "identity": identity,
        "step": step,
        "model": model.state_dict(),
        "ema": ema.state_dict(),
        "optimizer": optimizer.state_dict(),
        "rows": rows,
        "seconds": seconds,
    }
    checkpoint.save(resume / "state.pt", state)


def _check_batch(run: str, settings: dict, n_train: int) -> None:
    """A batch has an item once, or ``copies`` of it: with fewer items than that it would be another one."""
    copies = settings.get("copies", COPIES)
    if settings["batch_size"] // copies > n_train:
        raise ConfigError(
            f"run {run}, training.batch_size: {settings['batch_size']}, expected at most {n_train * copies}: "
            f"its dataset has {n_train} training items"
        )


def _check_one_part(run: str, settings: dict) -> None:
    """A loss that comes whole cannot be recorded, nor its forward pass be told from the rest."""
    execution, precision = settings.get("execution", EXECUTION), settings.get("precision", PRECISION)
    if execution != EXECUTION or precision == "bf16":
        raise ConfigError(
            f"run {run}, training: execution {execution!r}, precision {precision!r}, expected {EXECUTION!r} "
            f"and float32 or tf32 for a task without draw, make and loss (tasks/protocol.py, TrainsInParts)"
        )


def _restore(resume, identity, model, ema, optimizer, clear):
    fresh = {"step": 0, "rows": [], "seconds": 0.0}
    if (resume / "state.pt").exists():
        state = checkpoint.load(resume / "state.pt")
        if state["identity"] == identity:
            model.load_state_dict(state["model"])
            ema.load_state_dict(state["ema"])
            optimizer.load_state_dict(state["optimizer"])
            print(f"resuming at step {state['step']}", flush=True)
            return state
        print("resume state belongs to another config, code or dataset: starting anew", flush=True)
    if clear:  # by one process: another would delete what the first has begun to write
        # the state first: it would go on, once its identity is asked for again, with checkpoints of another
        (resume / "state.pt").unlink(missing_ok=True)
        shutil.rmtree(resume / "checkpoints", ignore_errors=True)
    return fresh


def _link(source: str, target: str) -> None:
    """Another name of the file, or a copy where the file system has no such names."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _publish(out: Path, resume: Path) -> None:
    """Copy first, delete the resume state last: a kill in between repeats the copy. state.pt goes first of
    what is deleted, because a state without its checkpoints would publish too few of them."""
    for leftover in out.glob(".checkpoints.*"):
        shutil.rmtree(leftover)
    staged = out / f".checkpoints.{os.getpid()}"
    shutil.copytree(resume / "checkpoints", staged, copy_function=_link)
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    os.replace(staged, out / "checkpoints")
    for name in ("metrics.csv", "summary.json", "model.pt"):
        os.replace(shutil.copy(resume / name, out / f".{name}.part"), out / name)
    for name in ("state.pt", "metrics.csv", "summary.json", "model.pt"):
        (resume / name).unlink()
    shutil.rmtree(resume / "checkpoints")
