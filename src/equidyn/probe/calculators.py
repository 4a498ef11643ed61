"""An ASE calculator asked about one structure in many poses.

Positions and cell turn together, in float64; nothing is wrapped or moved to the origin. Every evaluation has
fresh atoms and a reset calculator, because ase's calculators remember their last result.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from equidyn.errors import DataError
from equidyn.probe.quantities import PER_ATOM, QUANTITIES, checked
from equidyn.symmetry import groups

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

SHIFT = 3.0  # Å, of translations at the identity
KINDS = ("repeats", "translations", "permutations", "rounding")  # of evaluations that should not differ
TIMES = 2  # evaluations of each kind, beside the plain one


def turned(atoms: "Atoms", rotation: np.ndarray) -> "Atoms":
    """The structure in another pose; ``rotation`` float64 [3, 3], proper or not.

    Examples
    --------
    >>> from ase import Atoms
    >>> quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # about z
    >>> found = turned(Atoms("H", [[1, 0, 5]], cell=[2, 3, 4], pbc=True), quarter)
    >>> found.positions.tolist(), found.cell.array.tolist()[0]  # outside of the cell before and after
    ([[0.0, 1.0, 5.0]], [0.0, 2.0, 0.0])
    """
    fresh = atoms.copy()
    fresh.set_cell(atoms.cell.array @ rotation.T, scale_atoms=False)
    fresh.positions = atoms.positions @ rotation.T
    if "momenta" in fresh.arrays:
        fresh.arrays["momenta"] = atoms.arrays["momenta"] @ rotation.T
    return fresh


def evaluate(calculator: "Calculator", atoms: "Atoms", names: Sequence[str]) -> dict[str, np.ndarray]:
    """Predictions of one structure, float64, by quantity.

    Raises
    ------
    DataError
        predictions that are not finite or have another shape
    Exception
        whatever the calculator raises
    """
    return {name: checked(name, value, len(atoms)) for name, value in raw(calculator, atoms, names).items()}


def raw(calculator: "Calculator", atoms: "Atoms", names: Sequence[str]) -> dict:
    """What the calculator itself returns, by quantity."""
    if hasattr(calculator, "reset"):
        calculator.reset()
    atoms.calc = calculator
    return {name: QUANTITIES[name].ask(atoms) for name in names}


def twisted(
    calculator: "Calculator", atoms: "Atoms", names: Sequence[str], rotations: torch.Tensor
) -> dict[str, torch.Tensor]:
    """ρ(R)⁻¹ f(R x) by quantity, float64 [n_rotations, 1, ...]; ``rotations`` [n_rotations, 3, 3].

    Raises
    ------
    DataError, Exception
        as ``evaluate``, naming the rotation
    """
    stacks: dict[str, list] = {name: [] for name in names}
    for number, rotation in enumerate(rotations):
        try:
            found = evaluate(calculator, turned(atoms, rotation.numpy()), names)
        except DataError as error:
            raise DataError(f"rotation {number}: {error}") from error
        for name, value in found.items():
            stacks[name].append(QUANTITIES[name].action.inverse(rotation, torch.from_numpy(value)))
    return {name: torch.stack(values)[:, None] for name, values in stacks.items()}


def at_the_identity(
    calculator: "Calculator", atoms: "Atoms", names: Sequence[str], seed: int | list[int]
) -> dict[str, dict[str, torch.Tensor]]:
    """Evaluations that should all agree: kind → quantity → float64 [1 + TIMES, ...].

    `repeats` of the same atoms; the structure moved (`translations`), its atoms in another order
    (`permutations`), turned by ``groups.SMALL`` on a detour and the prediction turned back (`rounding`). Of
    what breaks symmetry so small a turn sees next to nothing, of rounding all: every digit behind the sixth
    is another.
    """
    plain = evaluate(calculator, atoms.copy(), names)
    random = np.random.default_rng(seed)
    turns = groups.detours(TIMES, seed)
    found = {kind: {name: [plain[name]] for name in names} for kind in KINDS}
    for first, second in turns:
        makers: dict[str, Callable] = {
            "repeats": lambda: (atoms.copy(), None),
            "translations": lambda: (_moved(atoms, random), None),
            "permutations": lambda: _shuffled(atoms, random),
        }
        for kind, make in makers.items():
            changed, order = make()
            for name, value in evaluate(calculator, changed, names).items():
                if order is not None and name in PER_ATOM:
                    value = value[np.argsort(order)]
                found[kind][name].append(value)
        for name, value in twisted(calculator, turned(atoms, first.numpy()), names, second[None]).items():
            found["rounding"][name].append(QUANTITIES[name].action.inverse(first, value[0, 0]).numpy())
    return {
        kind: {name: torch.from_numpy(np.stack(values)) for name, values in stacks.items()}
        for kind, stacks in found.items()
    }


def _moved(atoms: "Atoms", random: np.random.Generator) -> "Atoms":
    fresh, direction = atoms.copy(), random.normal(size=3)
    fresh.positions = atoms.positions + SHIFT * direction / np.linalg.norm(direction)
    return fresh


def _shuffled(atoms: "Atoms", random: np.random.Generator) -> tuple["Atoms", np.ndarray]:
    order = random.permutation(len(atoms))
    return atoms[order], order
