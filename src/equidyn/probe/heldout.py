"""``HeldOut``: items that a torch model is measured on, and how their fields turn."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch

from equidyn.errors import ArgumentError
from equidyn.symmetry.actions import Action
from equidyn.symmetry.measure import Batch


@dataclass
class HeldOut:
    """Held-out items of a torch model, and how their fields turn; what ``--data`` names returns one.

    Attributes
    ----------
    batches : each a ``Batch``, or (inputs, target) or (inputs, target, mask) with inputs a dict of tensors
        [n_items, ...]; a fixed list, so that every measurement sees the same. Target None, of all batches,
        where it is not known: then there is an equivariance error, but no share of a loss
    inputs : how each input turns, by name; one that must not turn is ``Fixed()``
    output : how the prediction and the target turn
    predict : ``predict(model, inputs)`` → prediction; None calls ``model(**inputs)``
    """

    batches: list
    inputs: dict[str, Action]
    output: Action
    predict: Callable | None = None
    quantity: str = "output"
    unit: str = ""

    def __post_init__(self):
        given = list(self.batches)
        known = [isinstance(one, Batch) or one[1] is not None for one in given]
        if any(known) and not all(known):
            raise ArgumentError("batches: some with a target and some without, expected all or none")
        self.labelled, self.batches = all(known), list(_batches(given))
        if self.predict is None:
            self.predict = lambda model, inputs: model(**inputs)

    def ask(self, model: Callable, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """The prediction; of copies, as a model may change its inputs in place."""
        return self.predict(model, {name: value.clone() for name, value in inputs.items()})

    def __len__(self) -> int:
        return sum(len(batch) for batch in self.batches)


def _batches(given: Iterable) -> Iterator[Batch]:
    seen = 0
    for one in given:
        if not isinstance(one, Batch):
            inputs, target, mask = (*one, None) if len(one) == 2 else one
            if target is None:  # stands for the number of items alone
                target = torch.full((len(next(iter(inputs.values()))),), float("nan"))
            one = Batch(dict(inputs), target, mask, torch.arange(seen, seen + len(target)))
        lengths = {name: len(value) for name, value in one.inputs.items() if len(value) != len(one)}
        if lengths:
            raise ArgumentError(f"batch of {len(one)} targets: inputs of other lengths, {lengths}")
        seen += len(one)
        yield one
    if not seen:
        raise ArgumentError("heldout: no items, expected batches of inputs and targets")
