"""``Probe``: the equivariance error of a network while it is trained, in a loop of the user's own."""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Unpack

from equidyn.errors import ArgumentError
from equidyn.probe.floors import FLOOR_ROTATIONS
from equidyn.probe.heldout import HeldOut
from equidyn.probe.models import Options, measure
from equidyn.probe.poses import RANDOM, poses
from equidyn.probe.result import write
from equidyn.probe.rows import COLUMNS, Row
from equidyn.symmetry.actions import Action


class Probe:
    """Measures a network every so many steps, on the same held-out items in the same poses.

    It changes nothing in the run: weights are bit for bit those of a run without it. ``history`` has a row
    per measurement, ``forward_passes`` says what one costs.

    Parameters
    ----------
    heldout, inputs, output : as in ``HeldOut``, or one in the place of them all
    rotations, group, seed : poses per item
    every : measure at steps that are a multiple of it
    settings : further arguments of ``measure``, such as ``predict``, ``quantity``, ``unit``

    Examples
    --------
    >>> import torch
    >>> from equidyn.symmetry.actions import Vector
    >>> x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    >>> probe = Probe([({"input": x}, x)], {"input": Vector()}, Vector(), rotations=4, every=50)
    >>> model = torch.nn.Linear(3, 3)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> for step in range(101):
    ...     optimizer.zero_grad()
    ...     (model(x) - x).square().mean().backward()
    ...     optimizer.step()
    ...     _ = probe.step(model, step)
    >>> [row.step for row in probe.history], probe.forward_passes
    ([0, 50, 100], 8)
    """

    def __init__(
        self,
        heldout: Iterable | HeldOut,
        inputs: dict[str, Action] | None = None,
        output: Action | None = None,
        *,
        rotations: int = 4,
        every: int = 500,
        group: str = "so3",
        seed: int = 0,
        predict: Callable | None = None,
        quantity: str = "output",
        unit: str = "",
        **settings: Unpack[Options],
    ):
        if every < 1:
            raise ArgumentError(f"every: {every}, expected a number of steps from 1")
        if not isinstance(heldout, HeldOut):
            if inputs is None or output is None:
                raise ArgumentError("Probe: expected inputs= and output=, how each field turns")
            heldout = HeldOut(heldout, inputs, output, predict, quantity, unit)
        self.heldout, self.every = heldout, every
        self.settings = dict(rotations=rotations, group=group, seed=seed, in_double=False) | settings
        self.history: list[Row] = []

    @property
    def forward_passes(self) -> int:
        """Of batches, per measurement: the rotations, and for the floor two repeats and two poses of the
        first batch.
        """
        how = self.settings
        drawn = poses(how["group"], how["rotations"], 1, how["seed"], how.get("quadrature", RANDOM))
        per_batch = len(drawn.rotations)
        return len(self.heldout.batches) * per_batch + 2 + FLOOR_ROTATIONS

    def step(self, model: Callable, step: int) -> Row | None:
        """Measure if it is time to; returns the row, or None."""
        return self.measure(model, step) if step % self.every == 0 else None

    def measure(self, model: Callable, step: int) -> Row:
        """Measure now."""
        row = measure(model, self.heldout, step=step, **self.settings).rows[0]
        self.history.append(row)
        return row

    def to_csv(self, path: str | Path) -> None:
        """The history; floats read back exactly."""
        write(Path(path), [asdict(row) for row in self.history], COLUMNS)
