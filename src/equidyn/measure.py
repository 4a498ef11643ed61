"""Run a model over items × rotations and split its loss.

The loop is over rotations with a batch of items inside, keeping running sums: the cost is that of the same number of
plain forward passes and the memory that of one of them, whatever the number of rotations.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from equidyn.actions import Action
from equidyn.decomposition import Decomposition, ItemSums, accumulate, decompose, summarise


@dataclass
class Batch:
    """Some items: ``inputs`` by name, each [n_items, ...], ``target`` [n_items, ...], ``mask`` and ``clusters`` as in ``decompose``."""

    inputs: dict[str, torch.Tensor]
    target: torch.Tensor
    mask: torch.Tensor | None
    clusters: torch.Tensor

    def __len__(self) -> int:
        return len(self.target)

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on a device."""
        mask = None if self.mask is None else self.mask.to(device)
        return Batch({k: v.to(device) for k, v in self.inputs.items()}, self.target.to(device), mask, self.clusters)


def rotate(inputs: dict[str, torch.Tensor], actions: dict[str, Action], rotation: torch.Tensor) -> dict[str, torch.Tensor]:
    """Rotate every field by its declared action; ``rotation`` is [3, 3] or [n_items, 3, 3].

    Raises
    ------
    KeyError
        a field whose behaviour under rotation is not declared
    """
    undeclared = sorted(set(inputs) - set(actions))
    if undeclared:
        raise KeyError(f"rotate: no action declared for {undeclared}; a field that must not rotate is declared Fixed()")
    return {name: actions[name].apply(rotation, value) for name, value in inputs.items()}


def twisted_predictions(predict: Callable, batch: Batch, actions: dict[str, Action], output: Action, rotations: torch.Tensor) -> Iterable[torch.Tensor]:
    """ρ(R)⁻¹ f(R x) for R in ``rotations`` [n_rotations, n_items, 3, 3] (or [n_rotations, 3, 3]), in float64, one at a time."""
    for rotation in rotations:
        prediction = predict(rotate(batch.inputs, actions, rotation))
        yield output.inverse(rotation, prediction.to(torch.float64))


@torch.no_grad()
def measure(
    model: torch.nn.Module,
    predict: Callable,
    batches: Iterable[Batch],
    actions: dict[str, Action],
    output: Action,
    rotations: torch.Tensor,
    group_order: int | None = None,
    loss: Callable | None = None,
) -> Decomposition:
    """Decompose the held-out loss of a model.

    Parameters
    ----------
    model : put into eval mode by the caller
    predict : ``predict(model, inputs)`` → [n_items, ...]
    batches : the held-out items, in a fixed order
    actions, output : how each input and the output transform
    rotations : float64 [n_rotations, n_items of all batches, 3, 3]; drawn per item so that items are independent
    group_order, loss : as in ``decompose``

    Raises
    ------
    RuntimeError
        if the model, or any module in it, is in train mode: dropout would be counted as equivariance error
    ValueError
        if the number of rotations does not match the number of items
    """
    training = [name or type(model).__name__ for name, module in model.named_modules() if module.training]
    if training:
        raise RuntimeError(f"measure: module {training[0]!r} is in train mode; call model.eval() first")
    parts: list[ItemSums] = []
    clusters, kept, start = [], [], 0
    for batch in batches:
        chunk = rotations[:, start : start + len(batch)]
        start += len(batch)
        twisted = twisted_predictions(lambda inputs: predict(model, inputs), batch, actions, output, chunk)
        clusters.append(batch.clusters)
        if loss is None:
            parts.append(accumulate(twisted, batch.target, batch.mask, group_order))
        else:
            kept.append((torch.stack(list(twisted)), batch.target, batch.mask))
    if start != rotations.shape[1]:
        raise ValueError(f"measure: rotations for {rotations.shape[1]} items, but the batches hold {start}")
    if loss is None:
        return summarise(ItemSums.join(parts), torch.cat(clusters))
    twisted, target, mask = _pad_together(kept)
    return decompose(twisted, target, mask, group_order, torch.cat(clusters), loss)


def _pad_together(kept: list) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Join batches whose second axis (atoms, residues) was padded to different lengths."""
    longest = max(target.shape[1] for _, target, _ in kept)

    def grow(x: torch.Tensor, axis: int) -> torch.Tensor:
        shape = list(x.shape)
        shape[axis] = longest - shape[axis]
        return torch.cat([x, x.new_zeros(shape)], axis)

    twisted = torch.cat([grow(t, 2) for t, _, _ in kept], 1)
    target = torch.cat([grow(y, 1) for _, y, _ in kept])
    return twisted, target, torch.cat([grow(m, 1) for _, _, m in kept])
