"""What the steps of a training run are made of: which items, and their draws, which depend on seed and step
alone. Where a GPU computes, those of coming steps are made ahead, in a thread.
"""

import functools
import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from equidyn.defaults import COPIES
from equidyn.device import on_device
from equidyn.processes import ALONE, Processes

PART_SEED = 10**12  # beyond every seed · 1,000,003 + step of one part
POOL = 16  # batches whose items are sorted by length together
AHEAD = 3  # steps


def step_seed(seed: int, step: int) -> int:
    """Of all that is random in a step."""
    return seed * 1_000_003 + step


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


@dataclass
class Part:
    """A part of a batch: its number, its share of the items, the seed of its draws, the items, and what was
    drawn, None of a task that draws for itself.
    """

    number: int
    share: float
    seed: int
    items: torch.Tensor
    drawn: dict | None


def parts_of(
    task: Any,
    items: torch.Tensor,
    seed: int,
    micro_batch: int | None = None,
    processes: Processes = ALONE,
    few_shapes: bool = False,
) -> list[Part]:
    """A batch in parts of ``micro_batch`` items where the whole does not fit the device, or one for each of
    several processes, of which these are this one's.

    Parts have seeds of their own, so the draws differ from those of the whole batch, and not with who has
    which part.
    """
    size, made = micro_batch or math.ceil(len(items) / processes.n), []
    for k, part in enumerate(items.split(size)):
        if not processes.has(k):
            continue
        of_part = seed + k * PART_SEED
        drawn = task.draw(part, of_part, few_shapes) if hasattr(task, "draw") else None
        made.append(Part(k, len(part) / len(items), of_part, part, drawn))
    return made


class Draws:
    """The parts of the batches of steps, in order, on the device."""

    def __init__(self, task: Any, settings: dict, seed: int, processes: Processes, few_shapes: bool = False):
        self.task, self.settings, self.seed = task, settings, seed
        self.processes, self.few_shapes = processes, few_shapes
        self.device = torch.device(getattr(task, "device", "cpu"))
        if self.device.type == "cuda":  # a new thread's would be the first one
            self.device = torch.device("cuda", torch.cuda.current_device())

    def of_step(self, step: int) -> list[Part]:
        """The parts of one step."""
        items = rows_of(step, self.task, self.settings, self.seed)
        micro_batch = self.settings.get("micro_batch")
        seed = step_seed(self.seed, step)
        parts = parts_of(self.task, items, seed, micro_batch, self.processes, self.few_shapes)
        for part in parts:
            if part.drawn is not None:
                part.drawn = on_device(part.drawn, self.device)
        return parts

    def of_steps(self, first: int, stop: int) -> Iterator[list[Part]]:
        """Those of some steps; on a GPU ``AHEAD`` of what is asked for."""
        if self.device.type != "cuda":
            yield from map(self.of_step, range(first, stop))
            return
        with ThreadPoolExecutor(1, initializer=torch.cuda.set_device, initargs=(self.device,)) as thread:
            coming = deque(thread.submit(self.of_step, s) for s in range(first, min(first + AHEAD, stop)))
            for step in range(first, stop):
                if step + AHEAD < stop:
                    coming.append(thread.submit(self.of_step, step + AHEAD))
                yield coming.popleft().result()
