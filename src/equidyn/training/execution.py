"""How forward and backward passes are run: op by op, compiled, or as CUDA graphs, recorded once per shape
of a batch and replayed; and in which precision. Measuring is always op by op, in float32.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from equidyn.defaults import EXECUTION, PRECISION
from equidyn.device import tf32

Result = tuple[torch.Tensor, dict[str, torch.Tensor]]
WARM = 3  # batches of a shape that run op by op before they are recorded
FEW = 4  # kernels of a convolution that are tried, the likeliest first: of grids some take seconds
MOST = 24  # recorded shapes, each with gradients of its own; batches of others run op by op


@contextmanager
def products(settings: dict) -> Iterator[None]:
    """TF32 for matrix products and convolutions of training, where ``training.precision`` asks for it, and
    the fastest kernels of convolutions, whose shapes recur; as it was afterwards.
    """
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.benchmark_limit
    cudnn.benchmark, cudnn.benchmark_limit = True, FEW
    try:
        with tf32(True) if settings.get("precision", PRECISION) != "float32" else nullcontext():
            yield
    finally:
        cudnn.benchmark, cudnn.benchmark_limit = before


def passes_of(task: Any, model: torch.nn.Module, settings: dict) -> Callable[[dict, float], Result]:
    """What adds the gradient of a share of the loss of a batch, and returns loss and log; see ``execution``
    and ``precision`` of the settings ``training``.
    """
    bf16 = settings.get("precision", PRECISION) == "bf16"
    execution = settings.get("execution", EXECUTION)
    device = next(model.parameters()).device
    if execution.startswith("compiled"):
        compile_parts(model)

    def run(batch: dict, share: float) -> Result:
        # no cache of cast weights: those of self-conditioning's first pass have no gradient, and torch gave
        # them to the second up to 2.9 (pytorch #112583); not tried with 2.11
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16, cache_enabled=False):
            loss, log = task.loss(model, batch)
        (share * loss).backward()
        return loss.detach(), log

    return Graphs(run, model) if execution.endswith("graphs") and device.type == "cuda" else run


def compile_parts(model: torch.nn.Module) -> None:
    """Compile a model: the members of the lists that it names in ``repeated``, which are alike and so need to
    be compiled once, or the whole.
    """
    lists = [getattr(model, name) for name in getattr(model, "repeated", ())]
    for part in [part for parts in lists for part in parts] or [model]:
        part.compile()


@dataclass
class _Recorded:
    """A graph, the tensors that it reads, and those that it writes."""

    graph: "torch.cuda.CUDAGraph"
    batch: dict
    result: Result
    gradients: list[torch.Tensor | None]


class Graphs:
    """Passes as CUDA graphs, one per shape. Gradients are written, not added: a batch has one part."""

    def __init__(self, run: Callable[[dict, float], Result], model: torch.nn.Module):
        self.run, self.parameters = run, list(model.parameters())
        self.seen: dict[tuple, int] = {}
        self.recorded: dict[tuple, _Recorded] = {}
        self.pool, self.stream = torch.cuda.graph_pool_handle(), None

    def __call__(self, batch: dict, share: float) -> Result:
        key = _shape(batch)
        if key not in self.recorded:
            self.seen[key] = self.seen.get(key, 0) + 1
            if self.seen[key] <= WARM or len(self.recorded) == MOST:
                return self._aside(batch, share)
            self.recorded[key] = self._record(batch, share)
        recorded = self.recorded[key]
        _copy(recorded.batch, batch)
        recorded.graph.replay()
        for parameter, gradient in zip(self.parameters, recorded.gradients):
            parameter.grad = gradient
        return recorded.result

    def _aside(self, batch: dict, share: float) -> Result:
        """On a stream of its own, as recording asks of what comes before."""
        self.stream = stream = self.stream or torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            result = self.run(batch, share)
        torch.cuda.current_stream().wait_stream(stream)
        return result

    def _record(self, batch: dict, share: float) -> _Recorded:
        batch = _like(batch)
        for parameter in self.parameters:
            parameter.grad = None
        graph = torch.cuda.CUDAGraph()
        # the thread of draws goes on allocating meanwhile
        with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
            result = self.run(batch, share)
        return _Recorded(graph, batch, result, [p.grad for p in self.parameters])


def _shape(batch: dict) -> tuple:
    """Names, shapes and dtypes of the tensors of a batch, and its other values."""
    return tuple(
        (name, _shape(value))
        if isinstance(value, dict)
        else (name, value.shape, value.dtype)
        if isinstance(value, torch.Tensor)
        else (name, value)
        for name, value in sorted(batch.items())
    )


def _like(batch: dict) -> dict:
    return {
        name: _like(value)
        if isinstance(value, dict)
        else value.clone(memory_format=torch.preserve_format)
        if isinstance(value, torch.Tensor)
        else value
        for name, value in batch.items()
    }


def _copy(into: dict, batch: dict) -> None:
    for name, value in batch.items():
        if isinstance(value, dict):
            _copy(into[name], value)
        elif isinstance(value, torch.Tensor):
            into[name].copy_(value, non_blocking=True)
