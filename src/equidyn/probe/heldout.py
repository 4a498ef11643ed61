"""``HeldOut``: items that a torch model is measured on, and how their fields turn."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch

from equidyn.errors import ArgumentError
from equidyn.symmetry.actions import Action
from equidyn.symmetry.measure import Batch

PARTS_OF_GRAPHS = ("batch", "ptr")  # what PyTorch Geometric calls the structure of each atom


@dataclass
class HeldOut:
    """Held-out items of a torch model, and how their fields turn; what ``--data`` names returns one.

    An item is a structure, and is turned as a whole: the first axis of everything runs over structures, not
    over the atoms of graphs that are joined. Structures of several sizes are padded, with a mask.

    Attributes
    ----------
    batches : each a ``Batch``, or (inputs, target) or (inputs, target, mask) with inputs a dict of tensors
        [n_items, ...]; a fixed list, so that every measurement sees the same. Target None, of all batches,
        where it is not known: then there is an equivariance error, but no share of a loss. The mask,
        [n_items] or the leading axes of the target, is true where an element counts
    inputs : how each input turns, by name; one that must not turn is ``Fixed()``
    output : how the prediction and the target turn
    predict : ``predict(model, inputs)`` → prediction [n_items, ...], in the shape of the target; None calls
        ``model(**inputs)``

    Raises
    ------
    ArgumentError
        batches, tensors or actions that are something else, or of different lengths
    """

    batches: list
    inputs: dict[str, Action]
    output: Action
    predict: Callable | None = None
    quantity: str = "output"
    unit: str = ""

    def __post_init__(self):
        for name, action in {**self.inputs, "output": self.output}.items():
            if not isinstance(action, Action):
                raise ArgumentError(f"{name}: {action!r}, expected how it turns, such as Vector() or Fixed()")
        if isinstance(self.batches, Batch):
            raise ArgumentError("batches: a single Batch, expected a list of them")
        given = [_checked(one, number) for number, one in enumerate(self.batches)]
        known = [isinstance(one, Batch) or one[1] is not None for one in given]
        if any(known) and not all(known):
            raise ArgumentError("batches: some with a target and some without, expected all or none")
        self.labelled, self.batches = all(known), list(_batches(given))
        if self.predict is None:
            self.predict = lambda model, inputs: model(**inputs)

    def ask(self, model: Callable, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """The prediction; of copies, as a model may change its inputs in place."""
        return self.predict(model, {name: value.clone() for name, value in inputs.items()})

    def sha256(self) -> str:
        """Digest of the items, whatever they were read from."""
        found = hashlib.sha256()
        for batch in self.batches:
            given = batch.inputs | {" target": batch.target, " mask": batch.mask, " clusters": batch.clusters}
            for name, value in sorted(given.items()):
                found.update(repr((name, None if value is None else (value.shape, value.dtype))).encode())
                if value is not None:
                    found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return found.hexdigest()

    def __len__(self) -> int:
        return sum(len(batch) for batch in self.batches)


def _checked(one: object, number: int) -> object:
    """A batch of the user's, if it is one; ``number`` counts from 0."""
    where, what, inputs = f"batch {number}", f"a {type(one).__name__}", None
    if isinstance(one, Batch):
        inputs, rest = one.inputs, [one.target, one.mask]
    elif isinstance(one, tuple | list) and len(one) in (2, 3):
        what += f" that begins with a {type(one[0]).__name__}"
        inputs, rest = one[0], list(one[1:])
    if not isinstance(inputs, Mapping) or not inputs:
        raise ArgumentError(
            f"{where}: {what}, expected a list of (inputs, target) or (inputs, target, mask), inputs a dict "
            f"of tensors by name"
        )
    for name, value in inputs.items():
        _check_tensor(f"{where}, {name}", value)
    for name, value in zip(("target", "mask"), rest):
        if value is not None:
            _check_tensor(f"{where}, {name}", value)
    for name in PARTS_OF_GRAPHS:
        if name in inputs and not inputs[name].is_floating_point():
            raise ArgumentError(
                f"{where}, {name}: integers as of graphs that are joined, whose first axis runs over atoms; "
                f"expected an item to be a structure: padded ones, which predict may join (or another name)"
            )
    return one


def _check_tensor(where: str, value: object) -> None:
    if isinstance(value, torch.Tensor) and value.ndim:
        return
    found = "a tensor without axes" if isinstance(value, torch.Tensor) else f"a {type(value).__name__}"
    raise ArgumentError(f"{where}: {found}, expected a tensor [n_items, ...]")


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
