"""``Twirled``: a model averaged over rotations, which is again a model, or a calculator."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from equidyn.errors import ArgumentError, UnknownNameError, optional_packages
from equidyn.probe import calculators
from equidyn.probe.quantities import QUANTITIES
from equidyn.symmetry import groups
from equidyn.symmetry.actions import Action
from equidyn.symmetry.measure import rotate

if TYPE_CHECKING:
    from ase import Atoms

STREAM = 4  # other draws than those that a model is measured with
WHOLE = {"cube": groups.cube, "icosahedron": groups.icosahedron}


def Twirled(
    model: Callable,
    over: int | str = 8,
    inputs: dict[str, Action] | None = None,
    output: Action | None = None,
    *,
    seed: int = 0,
    fresh: bool = False,
):
    """The average of a model over rotations: T f(x) = mean over R of ρ(R)⁻¹ f(R x).

    Of squared loss the expected total of n random rotations is P + E/n, with P the twirled prediction error
    and E the equivariance error of ``measure``; cost is n evaluations.

    Parameters
    ----------
    model : an ASE calculator, or a torch module (or other callable) of named tensors
    over : that many uniform random rotations, or a whole group: ``cube`` (24), ``icosahedron`` (60)
    inputs, output : how the fields of a torch model turn, as in ``HeldOut``
    seed : of the rotations
    fresh : draw new rotations at every evaluation; by default they are the same always, so that energies and
        forces belong together

    Returns
    -------
    an ASE calculator, or a torch module

    Raises
    ------
    ArgumentError, UnknownNameError
        no rotation, an unknown group, a torch model without ``inputs`` and ``output``

    Examples
    --------
    A network that stretches one axis becomes a scaling by the mean of its diagonal:

    >>> from equidyn.symmetry.actions import Vector
    >>> stretch = torch.diag(torch.tensor([1.0, 1.0, 1.3]))
    >>> model = Twirled(lambda x: x @ stretch, "cube", {"x": Vector()}, Vector())
    >>> model(x=torch.tensor([[0.0, 0.0, 1.0]])).round(decimals=6)
    tensor([[0.0000, 0.0000, 1.1000]])
    """
    draw = _drawing(over, seed, fresh)
    if hasattr(model, "get_potential_energy"):
        with optional_packages():
            return _calculator_class()(model, draw)
    if inputs is None or output is None:
        raise ArgumentError("Twirled: expected inputs= and output=, how each field of the model turns")
    return TwirledModel(model, draw, inputs, output)


def _drawing(over: int | str, seed: int, fresh: bool) -> Callable[[], torch.Tensor]:
    """A function that gives the rotations [n, 3, 3] of the next evaluation."""
    if isinstance(over, str):
        if over not in WHOLE:
            raise UnknownNameError(f"Twirled: over {over!r}, expected a number or one of {', '.join(WHOLE)}")
        group = WHOLE[over]()
        return lambda: group
    if over < 1:
        raise ArgumentError(f"Twirled: over {over}, expected at least 1 rotation")
    if not fresh:
        drawn = groups.haar(over, [seed, STREAM])
        return lambda: drawn
    random = np.random.default_rng([seed, STREAM])
    return lambda: groups.from_quaternions(random.normal(size=(over, 4)))


class TwirledModel(torch.nn.Module):
    """See ``Twirled``; keyword arguments are the inputs of the model, by name."""

    def __init__(self, model: Callable, draw: Callable, inputs: dict[str, Action], output: Action):
        super().__init__()
        self.model, self.draw, self.inputs, self.output = model, draw, inputs, output

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        """The mean prediction, accumulated in float64, in the dtype of a prediction."""
        total, rotations = 0.0, self.draw()
        for rotation in rotations:
            turned = rotate(inputs, self.inputs, rotation)
            prediction = self.model(**{name: value.clone() for name, value in turned.items()})
            total = total + self.output.inverse(rotation, prediction.to(torch.float64))
        return (total / len(rotations)).to(prediction.dtype)


def _calculator_class() -> type:
    """Made when it is asked for: ase is needed by calculators alone."""
    from ase.calculators.calculator import Calculator, all_changes

    class TwirledCalculator(Calculator):
        """See ``Twirled``."""

        def __init__(self, inner, draw):
            super().__init__()
            self.inner, self.draw = inner, draw
            has = getattr(inner, "implemented_properties", ("energy", "forces"))
            self.implemented_properties = [name for name in QUANTITIES if name in has]
            self.evaluations = 0

        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
            super().calculate(atoms, properties, system_changes)
            cheap = ("energy", "forces")  # of which calculators return both at once
            names = [n for n in self.implemented_properties if n in cheap or n in properties]
            self.results = mean_over_poses(self.inner, self.atoms, names, self.draw())
            self.evaluations += 1

    return TwirledCalculator


def mean_over_poses(inner, atoms: "Atoms", names: list[str], rotations: torch.Tensor) -> dict:
    """Means of twisted predictions, in the forms of ase's results."""
    stacks = calculators.twisted(inner, atoms, names, rotations)
    means = {name: stack.mean(0)[0].numpy() for name, stack in stacks.items()}
    if "energy" in means:
        means["energy"] = float(means["energy"]) * len(atoms)
    if "stress" in means:
        tensor = means["stress"]
        means["stress"] = tensor[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    return means
