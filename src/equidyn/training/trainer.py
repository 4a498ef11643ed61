"""A step of training: learning rate, gradients of the parts of a batch, clipping, optimizer, EMA."""

import copy
import math
from typing import Any

import torch

from equidyn.defaults import COPIES, EXECUTION, PRECISION
from equidyn.device import placed_for_training
from equidyn.errors import ConfigError, TrainingError
from equidyn.processes import ALONE, Processes
from equidyn.training.draws import Draws, Part
from equidyn.training.execution import passes_of, products
from equidyn.training.optimizers import optimizer_for


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
        model = placed_for_training(model, settings.get("precision", PRECISION))
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

    def weights(self) -> dict[str, dict]:
        """State of the model (``live``) and of its average (``ema``), which has the model's buffers: running
        statistics are averages already.
        """
        for averaged, live in zip(self.ema.buffers(), self.model.buffers()):
            averaged.copy_(live)
        return {"live": self.model.state_dict(), "ema": self.ema.state_dict()}

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
