"""Processes that share the work of a job: those that torchrun starts, by torch.distributed, or one alone.

Each has a rank; work is dealt out by its number, number k to rank k mod n, and joined in order, so that sums
over it have one order whatever n is. Only the first process writes.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from equidyn.errors import ConfigError

if TYPE_CHECKING:
    import torch

Part = TypeVar("Part")


@dataclass(frozen=True)
class Processes:
    """This process, ``rank`` of ``n``."""

    rank: int = 0
    n: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def has(self, k: int) -> bool:
        """Whether piece of work number k is this process's."""
        return k % self.n == self.rank

    def wait(self) -> None:
        """Until all have come so far."""
        if self.n > 1:
            import torch

            torch.distributed.barrier()

    def joined(self, parts: dict[int, Part]) -> list[Part]:
        """The pieces of all processes by their numbers, in order; each gives its own."""
        if self.n > 1:
            import torch

            gathered: list = [None] * self.n
            torch.distributed.all_gather_object(gathered, parts)
            parts = {k: part for some in gathered for k, part in some.items()}
        return [parts[k] for k in sorted(parts)]

    def as_first(self, value: Part) -> Part:
        """The first process's value, for all."""
        return self.joined({self.rank: value})[0]

    def add_gradients(self, model: "torch.nn.Module") -> None:
        """Sum the gradients of all processes into each of them."""
        if self.n == 1:
            return
        import torch

        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in gradients])
        torch.distributed.all_reduce(flat)
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients])):
            gradient.copy_(part.view_as(gradient))


ALONE = Processes()


@contextmanager
def started(expected: int) -> Iterator[Processes]:
    """The processes of this job within the block; several where torchrun has started them, on a GPU each
    where there are any.

    Raises
    ------
    ConfigError
        as many as the run does not expect: its draws depend on their number
    """
    n = int(os.environ.get("WORLD_SIZE", "1"))
    if n != expected:
        raise ConfigError(
            f"config, training.processes: {expected}, but {n} started; expected torchrun --nproc-per-node "
            f"{expected}, as the workflow does"
        )
    if n == 1:
        yield ALONE
        return
    import torch

    on_gpus = torch.cuda.is_available()
    if on_gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("nccl" if on_gpus else "gloo")
    try:
        yield Processes(torch.distributed.get_rank(), n)
    finally:
        torch.distributed.destroy_process_group()
