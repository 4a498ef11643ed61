"""Train one run: optimizer, warm-up and cosine, clipping, EMA, log-spaced checkpoints, exact resume.

Everything is written into ``<run>/resume/`` and published at the end, because a workflow manager deletes a
job's declared outputs before it restarts it. Batches and augmentation of step s depend on (seed, s) alone, so
that a restart replays them.
"""

import copy
import csv
import functools
import hashlib
import json
import math
import os
import shutil
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from equidyn.defaults import COPIES
from equidyn.device import hardware
from equidyn.errors import TrainingError
from equidyn.files import exclusive
from equidyn.processes import ALONE, Processes
from equidyn.training import checkpoint
from equidyn.training.optimizers import optimizer_for

try:
    from tqdm import tqdm
except ImportError:  # a machine with a GPU may do without a progress bar

    def tqdm(items, **_):
        return items


PART_SEED = 10**12  # beyond every seed · 1,000,003 + step of one part
POOL = 16  # batches whose items are sorted by length together


def learning_rate(step: int, settings: dict) -> float:
    """Linear warm-up to ``lr`` over ``warmup`` steps, then a cosine to ``final_lr_fraction`` of it at the
    last step.
    """
    if step < settings["warmup"]:
        return settings["lr"] * (step + 1) / settings["warmup"]
    done = (step - settings["warmup"]) / max(1, settings["steps"] - settings["warmup"])
    floor = settings["final_lr_fraction"]
    return settings["lr"] * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def batch_items(
    step: int, n_train: int, batch_size: int, seed: int, lengths: np.ndarray | None = None
) -> torch.Tensor:
    """Indices of the batch of a step: epochs are seeded permutations, the incomplete batch at an epoch's end
    is dropped.

    With lengths [n_train], every ``POOL`` batches of an epoch are sorted by length among themselves, so that
    little is padded, and then shuffled as batches.
    """
    epoch, position = divmod(step, max(1, n_train // batch_size))
    order = _order(epoch, n_train, batch_size, seed, None if lengths is None else _Same(lengths))
    return torch.from_numpy(order[position * batch_size : (position + 1) * batch_size].copy())


@functools.lru_cache(maxsize=2)
def _order(epoch: int, n_train: int, batch_size: int, seed: int, lengths: "_Same | None") -> np.ndarray:
    """Items of an epoch, made once: of a million a permutation takes as long as a step."""
    rng = np.random.default_rng([seed, epoch])
    order, per_epoch = rng.permutation(n_train), max(1, n_train // batch_size)
    if lengths is not None:
        for start in range(0, per_epoch * batch_size, POOL * batch_size):
            pool = order[start : min(start + POOL * batch_size, per_epoch * batch_size)]
            by_length = np.argsort(lengths.array[pool], kind="stable")
            batches = pool[by_length].reshape(-1, min(batch_size, len(pool)))
            order[start : start + len(pool)] = rng.permutation(batches).reshape(-1)
    return order


class _Same:
    """An array as a key: the same object, whatever it holds."""

    def __init__(self, array: np.ndarray):
        self.array = array

    def __hash__(self) -> int:
        return id(self.array)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.array is other.array


def rows_of(step: int, task: Any, settings: dict, seed: int) -> torch.Tensor:
    """Indices of the rows of a batch: its items, each ``copies`` times (a task turns every row by itself)."""
    copies = settings.get("copies", COPIES)
    lengths = getattr(task, "lengths", None)
    items = batch_items(step, task.n_train, settings["batch_size"] // copies, seed, lengths)
    return items.repeat_interleave(copies)


def accumulate_gradient(
    model: torch.nn.Module,
    task: Any,
    items: torch.Tensor,
    step_seed: int,
    micro_batch: int | None = None,
    processes: Processes = ALONE,
) -> tuple[float, dict[str, float]]:
    """Add the gradient of the training loss of a batch, in parts of ``micro_batch`` items where the whole
    does not fit the device, or one for each of several processes; returns loss and log.

    The loss of each part is its own mean, weighted by its share of the items. Parts have seeds of their own,
    also of dropout, so the draws differ from those of the whole batch, and not with who has which part.
    """
    found = {}
    for k, part in enumerate(items.split(micro_batch or math.ceil(len(items) / processes.n))):
        if not processes.has(k):
            continue
        if k > 0:
            torch.manual_seed((step_seed + k * PART_SEED) % 2**63)
        share = len(part) / len(items)
        loss, log = task.training_loss(model, part, step_seed + k * PART_SEED)
        (share * loss).backward()
        found[k] = share, loss.item(), log
    processes.add_gradients(model)
    total, logged = 0.0, {}
    for share, loss, log in processes.joined(found):
        total += share * loss
        for name, value in log.items():
            logged[name] = logged.get(name, 0.0) + share * value
    return total, logged


def advance(
    model: torch.nn.Module,
    ema: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    task: Any,
    step: int,
    settings: dict,
    seed: int,
    run: str,
    processes: Processes = ALONE,
) -> dict[str, float]:
    """One step of training, in place; returns its row of ``metrics.csv``.

    Raises
    ------
    TrainingError
        a loss or gradient that is not finite
    """
    rate = learning_rate(step, settings)
    for group in optimizer.param_groups:
        group["lr"] = rate
    torch.manual_seed((seed * 1_000_003 + step) % 2**63)  # dropout of a step depends on (seed, step) alone
    items = rows_of(step, task, settings, seed)
    optimizer.zero_grad(set_to_none=True)
    micro_batch = settings.get("micro_batch")
    loss, log = accumulate_gradient(model, task, items, seed * 1_000_003 + step, micro_batch, processes)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings["clip"])
    if not math.isfinite(loss) or not math.isfinite(norm.item()):
        raise TrainingError(
            f"run {run}, step {step}: loss {loss}, gradient norm {norm.item()}; lower training.lr "
            f"({settings['lr']}) or training.clip"
        )
    optimizer.step()
    decay = min(settings["ema"], (1 + step) / (10 + step))
    with torch.no_grad():
        torch._foreach_lerp_(list(ema.parameters()), list(model.parameters()), 1 - decay)
    return {"step": step, "lr": rate, "loss": loss, "gradient_norm": norm.item(), **log}


def train(
    model: torch.nn.Module,
    task: Any,
    settings: dict,
    out: Path,
    identity: str,
    seed: int,
    resume_every: float = 15.0,
    processes: Processes = ALONE,
) -> None:
    """Train and publish ``checkpoints/step_*.pt``, ``model.pt``, ``metrics.csv`` and ``summary.json`` in
    ``out``.

    Parameters
    ----------
    settings : the ``training`` section of a run's config
    identity : what the run is (config, code, data); a resume state of another identity is discarded
    resume_every : seconds between resume states; a kill loses at most that much work
    processes : that share every batch; the first of them writes

    Raises
    ------
    TrainingError
        a loss that is not finite
    """
    resume = out / "resume"
    identity = hashlib.sha256(identity.encode()).hexdigest()
    with exclusive(resume, "training") if processes.first else nullcontext():
        _train(model, task, settings, out, resume, identity, seed, resume_every, processes)
        if processes.first:
            _publish(out, resume)
        processes.wait()


def _train(model, task, settings, out, resume, identity, seed, resume_every, processes):
    optimizer, ema = optimizer_for(model, settings), copy.deepcopy(model)
    if not processes.first:
        processes.wait()  # the first one decides whether there is a state to go on from
    state = _restore(resume, identity, model, ema, optimizer)
    if processes.first:
        processes.wait()
    rows, spent = state["rows"], state["seconds"]
    steps, wanted = settings["steps"], set(checkpoint.steps_of(settings))
    started = last_saved = time.monotonic()
    width = len(str(steps))
    model.train()
    all_steps = range(state["step"], steps + 1)
    how = dict(initial=state["step"], total=steps + 1, desc=out.name, mininterval=5)
    for step in tqdm(all_steps, **how, disable=not processes.first):
        if step in wanted and processes.first:
            checkpoint.save(
                resume / "checkpoints" / f"step_{step:0{width}d}.pt",
                {"step": step, "live": model.state_dict(), "ema": ema.state_dict()},
            )
        if step == steps:
            break
        if processes.first and time.monotonic() - last_saved > resume_every:
            last_saved = time.monotonic()
            _store(resume, identity, step, model, ema, optimizer, rows, spent + last_saved - started)
        row = advance(model, ema, optimizer, task, step, settings, seed, out.name, processes)
        if step % settings["log_every"] == 0:
            rows.append(row)
    if not processes.first:
        return
    seconds = spent + time.monotonic() - started
    _store(resume, identity, steps, model, ema, optimizer, rows, seconds)
    checkpoint.save(resume / "model.pt", {"step": steps, "live": model.state_dict(), "ema": ema.state_dict()})
    with open(resume / "metrics.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
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


def _restore(resume, identity, model, ema, optimizer):
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
    shutil.rmtree(resume / "checkpoints", ignore_errors=True)
    return fresh


def _publish(out: Path, resume: Path) -> None:
    """Copy first, delete the resume state last: a kill in between repeats the copy. state.pt goes first of
    what is deleted, because a state without its checkpoints would publish too few of them."""
    for leftover in out.glob(".checkpoints.*"):
        shutil.rmtree(leftover)
    staged = out / f".checkpoints.{os.getpid()}"
    shutil.copytree(resume / "checkpoints", staged, copy_function=os.link)
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    os.replace(staged, out / "checkpoints")
    for name in ("metrics.csv", "summary.json", "model.pt"):
        os.replace(shutil.copy(resume / name, out / f".{name}.part"), out / name)
    for name in ("state.pt", "metrics.csv", "summary.json", "model.pt"):
        (resume / name).unlink()
    shutil.rmtree(resume / "checkpoints")
