"""Landscapes of the two terms of the loss along two directions of a block of parameters, with common random
numbers or with fresh draws at every point.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from equidyn.analysis.curvature import Block
from equidyn.errors import ArgumentError
from equidyn.symmetry.actions import Action
from equidyn.symmetry.decomposition import accumulate, summarise
from equidyn.symmetry.measure import Batch, check_eval, chunks, twisted_predictions
from equidyn.symmetry.sums import ItemSums


@dataclass(frozen=True)
class Landscape:
    """P̂ and Ê at the weights + a u + b v, [len(a), len(b)]; ``fresh``: with new rotations, and dropout if
    asked for, at each point.
    """

    a: np.ndarray
    b: np.ndarray
    twirled: np.ndarray
    equivariance: np.ndarray
    twirled_fresh: np.ndarray | None = None
    equivariance_fresh: np.ndarray | None = None


@torch.no_grad()
def landscape(
    model: torch.nn.Module,
    predict: Callable,
    batches: list[Batch],
    actions: dict[str, Action],
    output: Action,
    rotations: torch.Tensor,
    block: Block | str,
    directions: np.ndarray,
    span: float,
    n: int,
    group_order: int | None = None,
    fresh: Callable[[int], torch.Tensor] | None = None,
    dropout: float = 0.0,
) -> Landscape:
    """Both terms on a grid around the weights, with common random numbers: same items, noise and rotations at
    every point.

    So it is deterministic, and its centre is what ``measure`` gives. Drawing anew at each point writes
    evaluation noise into the picture instead. Where predictions are affine in the block (any last linear
    layer) both terms are exact quadratics there, and all scatter is noise.

    Parameters
    ----------
    directions : [2, n_parameters of the block], used as they are;  span : the grid reaches ± span times them;
        n : points per axis, odd
    group_order : of ``rotations`` and of ``fresh``, as in ``measure``
    fresh : rotations of point k, for the grid with fresh draws; None leaves that grid out
    dropout : probability that the model's dropout layers have on that grid, drawn anew at each point

    Raises
    ------
    RuntimeError
        a module in train mode
    ArgumentError
        an even number of points, directions of another size than the block
    """
    check_eval(model)
    block = Block(model, block) if isinstance(block, str) else block
    directions = np.asarray(directions, dtype=np.float64)
    _check(n, directions, block)

    def terms(drawn: torch.Tensor) -> tuple[float, float]:
        return _terms(model, predict, batches, (actions, output), drawn, group_order)

    axis = span * np.arange(-(n // 2), n // 2 + 1) / (n // 2)
    saved = [p.detach().clone() for p in block.parameters]
    values = np.full((4, n, n), np.nan)
    try:
        for k, (i, j) in enumerate(np.ndindex(n, n)):
            steps = block.scatter(axis[i] * directions[0] + axis[j] * directions[1])
            for p, old, step in zip(block.parameters, saved, steps):
                p.copy_(old + step)
            values[:2, i, j] = terms(rotations)
            if fresh is not None:
                with _dropping_out(model, dropout, seed=k):
                    values[2:, i, j] = terms(fresh(k))
    finally:
        for p, old in zip(block.parameters, saved):
            p.copy_(old)
    return Landscape(axis, axis, *values[:2], *(values[2:] if fresh is not None else ()))


def _check(n: int, directions: np.ndarray, block: Block) -> None:
    if n < 3 or n % 2 == 0:
        raise ArgumentError(f"landscape: n = {n}, expected an odd number of points per axis, at least 3")
    if directions.shape != (2, len(block)):
        raise ArgumentError(
            f"landscape: directions have shape {list(directions.shape)}, expected [2, {len(block)}]"
        )


def _terms(model, predict, batches, symmetry, drawn, group_order) -> tuple[float, float]:
    """(P̂, Ê) of the model as it stands."""
    parts = []
    for batch, chunk in chunks(batches, drawn):
        twisted = twisted_predictions(lambda inputs: predict(model, inputs), batch, *symmetry, chunk)
        parts.append(accumulate(twisted, batch.target, batch.mask, group_order))
    result = summarise(ItemSums.join(parts))
    return result.twirled, result.equivariance


@contextmanager
def _dropping_out(model: torch.nn.Module, probability: float, seed: int) -> Iterator[None]:
    """Draws of their own; with a probability, the model's dropout layers have it and are in train mode."""
    layers = [m for m in model.modules() if isinstance(m, torch.nn.modules.dropout._DropoutNd)]
    before = {layer: layer.p for layer in layers if probability > 0}
    try:
        for layer in before:
            layer.p = probability
            layer.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        for layer, p in before.items():
            layer.p = p
            layer.eval()
