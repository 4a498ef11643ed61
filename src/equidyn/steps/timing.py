"""What a training step and a prediction of compared runs cost, measured side by side.

Runs have a turn each, round after round, so that whatever else the machine does meets all of them alike; the
ratio of two runs is taken within rounds. The step is that of training itself, on real batches, and so is the
prediction.
"""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from equidyn.device import hardware
from equidyn.models import layers
from equidyn.results.columns import TIMING
from equidyn.results.tables import write_table
from equidyn.steps.run import Run, load, read_settings
from equidyn.training.trainer import Trainer

ROUNDS = 9
TURN = 1.0  # s of training and of predictions per turn, no more than training takes; at least one of each


def timing(configs: list[Path], data: list[Path], grids: list[str], out: Path, threads: int = 1) -> None:
    """Write ``timing.csv`` of some runs of one task; its columns are ``results.columns.TIMING``.

    Parameters
    ----------
    configs, data, grids : of every run its settings, dataset file and file of held-out grids (empty: none)
    """
    timed = [
        _Timed.of(load(read_settings(config), file, Path(grid) if grid else None, threads))
        for config, file, grid in zip(configs, data, grids, strict=True)
    ]
    rows = []
    for round_ in range(ROUNDS):
        for k in range(len(timed)):
            rows.append(timed[(k + round_) % len(timed)].turn(round_))
    write_table(out, sorted(rows, key=lambda row: (row["run"], row["round"])), list(TIMING))


@dataclass
class _Timed:
    """A run with what its turns need; steps go on from turn to turn."""

    run: Run
    trainer: Trainer
    batches: list
    about: dict
    step: int = 0
    seconds: float = TURN

    @classmethod
    def of(cls, run: Run) -> "_Timed":
        """With its trainer, its held-out batches, and what a step and a prediction count in operations."""
        training, task, model = run.settings["training"], run.task, run.model
        batches = task.held_out(model, task.conditions[0])
        about = dict(run=run.settings["run"], task=task.name, n_train=task.n_train)
        about |= dict(
            parameters=sum(p.numel() for p in model.parameters()), batch_size=training["batch_size"]
        )
        about |= dict(threads=torch.get_num_threads(), hardware=hardware(next(model.parameters()).device))
        trained = copy.deepcopy(model)  # training may place it otherwise, and compiles it
        trainer = Trainer(trained, task, training, run.settings["seed"], run.settings["run"])
        made = cls(run, trainer, batches, about)
        made.about |= dict(train_flops=_flops(made._advance))
        made.about |= dict(item_flops=_flops(lambda: made._predict(0)) / len(batches[0]))
        one, _ = made._spend(made._advance, 0.0)  # the first of everything is slower
        made.seconds = min(TURN, one * training["steps"] / ROUNDS)
        return made

    def turn(self, round_: int) -> dict:
        """A row of the table."""
        seconds, n_steps = self._spend(self._advance, self.seconds)
        step_seconds, items, spent = seconds / n_steps, 0, 0.0
        for k in range(len(self.batches)):
            spent += self._spend(lambda k=k: self._predict(k), 0.0)[0]
            items += len(self.batches[k])
            if spent > self.seconds:
                break
        return self.about | dict(round=round_, step_seconds=step_seconds, item_seconds=spent / items)

    def _advance(self) -> None:
        step = self.step % self.run.settings["training"]["steps"]
        self.trainer.model.train()
        self.trainer.advance(step, self.trainer.draws().of_step(step))
        self.step += 1

    @torch.no_grad()
    def _predict(self, k: int) -> None:
        self.run.model.eval()
        self.run.task.predict(self.run.model, self.batches[k].inputs)

    def _spend(self, work: Callable[[], None], least: float) -> tuple[float, int]:
        """Seconds, and how often it was done: once, and then until they are more than ``least``."""
        started, n = time.perf_counter(), 0
        while n == 0 or time.perf_counter() - started < least:
            work()
            n += 1
        if self.batches[0].target.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - started, n


def _flops(work: Callable[[], None]) -> int:
    """Counted, in the plain form of attention, whose products are counted on every device, and without the
    zeros of ``layers.folded``.
    """
    counter, layers.Convolution.folds = FlopCounterMode(display=False), False
    try:
        with sdpa_kernel(SDPBackend.MATH), counter:
            work()
    finally:
        layers.Convolution.folds = True
    return counter.get_total_flops()
