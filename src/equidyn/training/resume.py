"""The folder ``<run>/resume/``: what a training that was stopped goes on from, and what it will publish."""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from equidyn.training import checkpoint
from equidyn.training.trainer import Trainer

PUBLISHED = ("metrics.csv", "summary.json", "model.pt")  # beside checkpoints


@dataclass
class Progress:
    """How far a training is.

    Attributes
    ----------
    rows : of ``metrics.csv``;  seconds : of training, in all its processes so far
    """

    step: int = 0
    rows: list[dict] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class Resume:
    """States of the training with this identity, in this folder."""

    folder: Path
    identity: str

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def restore(self, trainer: Trainer, clear: bool) -> Progress:
        """Give a trainer the state that was stored last, and say how far it is.

        Parameters
        ----------
        clear : delete what belongs to another identity; one process does: another would delete what the first
            has begun to write
        """
        path = self.folder / "state.pt"
        if path.exists():
            state = checkpoint.load(path)
            if state["identity"] == self.identity:
                trainer.model.load_state_dict(state["model"])
                trainer.ema.load_state_dict(state["ema"])
                trainer.optimizer.load_state_dict(state["optimizer"])
                print(f"resuming at step {state['step']}", flush=True)
                return Progress(state["step"], state["rows"], state["seconds"])
            print("resume state belongs to another config, code or dataset: starting anew", flush=True)
        if clear:
            # the state first: asked for again it would go on, with checkpoints of another identity
            path.unlink(missing_ok=True)
            shutil.rmtree(self.checkpoints, ignore_errors=True)
        return Progress()

    def store(self, trainer: Trainer, progress: Progress) -> None:
        """Write the state, whole or not at all."""
        state = {
            "identity": self.identity,
            "model": trainer.model.state_dict(),
            "ema": trainer.ema.state_dict(),
            "optimizer": trainer.optimizer.state_dict(),
            **vars(progress),
        }
        checkpoint.save(self.folder / "state.pt", state)

    def publish(self, out: Path) -> None:
        """Copy first, delete the resume state last: a kill in between repeats the copy. state.pt goes first
        of what is deleted, because a state without its checkpoints would publish too few of them.
        """
        for leftover in out.glob(".checkpoints.*"):
            shutil.rmtree(leftover)
        staged = out / f".checkpoints.{os.getpid()}"
        shutil.copytree(self.checkpoints, staged, copy_function=_link)
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
        os.replace(staged, out / "checkpoints")
        for name in PUBLISHED:
            os.replace(shutil.copy(self.folder / name, out / f".{name}.part"), out / name)
        for name in ("state.pt", *PUBLISHED):
            (self.folder / name).unlink()
        shutil.rmtree(self.checkpoints)


def _link(source: str, target: str) -> None:
    """Another name of the file, or a copy where the file system has no such names."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
