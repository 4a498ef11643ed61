"""An ASE calculator asked about one structure in many poses.

Positions and cell turn together, in float64; nothing is wrapped or moved to the origin. Every evaluation has
fresh atoms and a reset calculator, because ase's calculators remember their last result.

A calculator that can take many structures at once says so by a method ``calculate_many``, see ``Batched``.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from equidyn.errors import DataError
from equidyn.probe.defaults import BATCH_SIZE
from equidyn.probe.loading import reason
from equidyn.probe.quantities import PER_ATOM, QUANTITIES, checked
from equidyn.symmetry import groups

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

SHIFT = 3.0  # Å, of translations at the identity
KINDS = ("repeats", "translations", "permutations", "rounding")  # of evaluations that should not differ
TIMES = 2  # evaluations of each kind, beside the plain one


class Batched(Protocol):
    """What a calculator may have beside the methods of ase; then poses are evaluated in batches."""

    def calculate_many(self, frames: list["Atoms"], properties: list[str]) -> list[dict]:
        """Results of each structure, in their order: as ``Calculator.results`` has them, so total energies in
        eV, forces [n_atoms, 3] in eV/Å, stresses [6] (Voigt) or [3, 3] in eV/Å³, dipoles [3] in e Å.

        Parameters
        ----------
        frames : at least one; of any sizes, although the poses of one structure are what comes
        properties : names out of energy, forces, stress and dipole; more may be returned
        """


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


def predictions(
    calculator: "Calculator", frames: Sequence["Atoms"], names: Sequence[str], batch_size: int = BATCH_SIZE
) -> Iterator[dict[str, np.ndarray]]:
    """Predictions of each structure, float64, by quantity; in batches where the calculator is ``Batched``.

    Raises
    ------
    DataError
        predictions that are not finite, have another shape or are missing; another number of results than of
        structures
    Exception
        whatever the calculator raises
    """
    if not hasattr(calculator, "calculate_many"):
        for atoms in frames:
            yield evaluate(calculator, atoms, names)
        return
    for start in range(0, len(frames), batch_size):
        batch = list(frames[start : start + batch_size])
        results = calculator.calculate_many(batch, list(names))
        if len(results) != len(batch):
            raise DataError(f"calculate_many: {len(results)} results for {len(batch)} structures")
        for atoms, found in zip(batch, results):
            yield _of_results(atoms, found, names)


def _of_results(atoms: "Atoms", results: dict, names: Sequence[str]) -> dict[str, np.ndarray]:
    """As ``evaluate``, through the same methods of ase, from results that are there already."""
    from ase.calculators.singlepoint import SinglePointCalculator

    missing = [name for name in names if results.get(name) is None]
    if missing:
        raise DataError(f"calculate_many: no {', '.join(missing)} in results {sorted(results)}")
    return _asked(SinglePointCalculator(atoms, **{name: results[name] for name in names}), atoms, names)


def evaluate(calculator: "Calculator", atoms: "Atoms", names: Sequence[str]) -> dict[str, np.ndarray]:
    """Predictions of one structure by the methods of ase, float64, by quantity.

    Raises
    ------
    DataError
        predictions that are not finite or have another shape
    Exception
        whatever the calculator raises
    """
    if hasattr(calculator, "reset"):
        calculator.reset()
    return _asked(calculator, atoms, names)


def _asked(calculator: "Calculator", atoms: "Atoms", names: Sequence[str]) -> dict[str, np.ndarray]:
    atoms.calc = calculator
    return {name: checked(name, QUANTITIES[name].ask(atoms), len(atoms)) for name in names}


def twisted(
    calculator: "Calculator",
    atoms: "Atoms",
    names: Sequence[str],
    rotations: torch.Tensor,
    batch_size: int = BATCH_SIZE,
) -> dict[str, torch.Tensor]:
    """ρ(R)⁻¹ f(R x) by quantity, float64 [n_rotations, 1, ...]; ``rotations`` [n_rotations, 3, 3].

    Raises
    ------
    DataError, Exception
        as ``predictions``, naming the rotation
    """
    stacks: dict[str, list] = {name: [] for name in names}
    frames = [turned(atoms, rotation.numpy()) for rotation in rotations]
    found = predictions(calculator, frames, names, batch_size)
    for number, rotation in enumerate(rotations):
        try:
            values = next(found)
        except DataError as error:
            raise DataError(f"rotation {number}: {error}") from error
        for name, value in values.items():
            stacks[name].append(QUANTITIES[name].action.inverse(rotation, torch.from_numpy(value)))
    return {name: torch.stack(values)[:, None] for name, values in stacks.items()}


@dataclass(frozen=True)
class _Twin:
    """A structure that should give the prediction of another one, when that is brought ``back``."""

    kind: str
    atoms: "Atoms"
    back: Callable[[str, np.ndarray], np.ndarray] = lambda name, value: value


def at_the_identity(
    calculator: "Calculator",
    atoms: "Atoms",
    names: Sequence[str],
    seed: int | list[int],
    batch_size: int = BATCH_SIZE,
) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, str]]:
    """Evaluations that should all agree: kind → quantity → float64 [1 + TIMES, ...]; and of kinds that the
    calculator fails on the reason, such as permutations for a force field with a fixed order of atoms.

    `repeats` of the same atoms, each by itself also where others come in batches; the structure moved
    (`translations`), its atoms in another order (`permutations`), turned by ``groups.SMALL`` on a detour and
    the prediction turned back (`rounding`). Of what breaks symmetry so small a turn sees next to nothing, of
    rounding all: every digit behind the sixth is another.
    """
    twins = list(_twins(atoms, np.random.default_rng(seed), groups.detours(TIMES, seed)))
    alone = [_Twin("repeats", atoms.copy()) for _ in range(TIMES)]
    try:
        return _agreeing(calculator, atoms, names, twins, alone, batch_size), {}
    except Exception:  # of any type: the calculator is not ours
        found, failed = {}, {}
    for kind in KINDS:
        some = [[twin for twin in given if twin.kind == kind] for given in (twins, alone)]
        try:
            found |= _agreeing(calculator, atoms, names, *some, batch_size)
        except Exception as error:
            failed[kind] = reason(error)
    return found, failed


def _agreeing(
    calculator: "Calculator", atoms: "Atoms", names: Sequence[str], twins: list, alone: list, batch_size: int
) -> dict[str, dict[str, torch.Tensor]]:
    """Predictions of a structure and its twins, by kind and quantity; of those ``alone`` not in a batch.

    Raises
    ------
    DataError, Exception
        as ``predictions``
    """
    plain, *others = predictions(
        calculator, [atoms.copy(), *(twin.atoms for twin in twins)], names, batch_size
    )
    for twin in alone:
        others += predictions(calculator, [twin.atoms], names)
    found: dict[str, dict[str, list]] = {}
    for twin, values in zip([*twins, *alone], others):
        of_kind = found.setdefault(twin.kind, {name: [plain[name]] for name in names})
        for name, value in values.items():
            of_kind[name].append(twin.back(name, value))
    return {
        kind: {name: torch.from_numpy(np.stack(values)) for name, values in stacks.items()}
        for kind, stacks in found.items()
    }


def _twins(atoms: "Atoms", random: np.random.Generator, turns: list) -> Iterator[_Twin]:
    for first, second in turns:
        yield _Twin("translations", _moved(atoms, random))
        yield _shuffled(atoms, random)
        yield _detour(atoms, first, second)


def _moved(atoms: "Atoms", random: np.random.Generator) -> "Atoms":
    fresh, direction = atoms.copy(), random.normal(size=3)
    fresh.positions = atoms.positions + SHIFT * direction / np.linalg.norm(direction)
    return fresh


def _shuffled(atoms: "Atoms", random: np.random.Generator) -> _Twin:
    order = random.permutation(len(atoms))
    place = np.argsort(order)

    def back(name: str, value: np.ndarray) -> np.ndarray:
        return value[place] if name in PER_ATOM else value

    return _Twin("permutations", atoms[order], back)


def _detour(atoms: "Atoms", first: torch.Tensor, second: torch.Tensor) -> _Twin:
    def back(name: str, value: np.ndarray) -> np.ndarray:
        inverse = QUANTITIES[name].action.inverse
        return inverse(first, inverse(second, torch.from_numpy(value))).numpy()

    return _Twin("rounding", turned(turned(atoms, first.numpy()), second.numpy()), back)
