"""Train one run; killed and started again it continues where its last resume state was."""

from collections.abc import Callable
from pathlib import Path

import torch

from equidyn import processes
from equidyn.defaults import PROCESSES
from equidyn.guards import content_digest
from equidyn.steps.run import load, read_settings
from equidyn.training import loop


def train(
    config: Path,
    data: Path,
    out: Path,
    code: str = "",
    threads: int = 1,
    at_checkpoint: Callable[[Path], None] | None = None,
    resume_every: float = loop.RESUME_EVERY,
) -> None:
    """Train into the folder ``out``, see ``training.loop.train``.

    Parameters
    ----------
    code : digest of the code; another one discards the resume state
    at_checkpoint, resume_every : see ``training.loop.train``
    """
    settings = read_settings(config)
    with processes.started(settings["training"].get("processes", PROCESSES)) as ours:
        run = load(settings, data, threads=threads)
        device = str(next(run.model.parameters()).device.type)
        identity = [
            config.read_text(),
            code,
            torch.__version__,
            str(threads),
            device,
            content_digest.stored_digest(data),
        ]
        loop.train(
            run.model,
            run.task,
            settings["training"],
            out,
            "\n".join(identity),
            settings["seed"],
            resume_every,
            ours,
            at_checkpoint,
        )
