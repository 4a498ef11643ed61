"""What a calculator predicts: how each quantity turns with the structure, its unit, and how it is asked for.

Conventions. Rotating a structure multiplies positions and cell vectors (rows) by Rᵀ from the right; energies
stay, forces and dipoles turn as vectors, stresses as second-rank tensors. Energies are per atom, so that
structures of different sizes count alike.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from equidyn.errors import DataError
from equidyn.symmetry.actions import Action, Scalar, Tensor2, Vector

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True)
class Quantity:
    """``ask`` takes atoms with a calculator, ``shape`` the number of atoms; ``extensive`` ones are divided by
    it.
    """

    action: Action
    unit: str
    ask: Callable[["Atoms"], np.ndarray]
    shape: Callable[[int], tuple[int, ...]]
    extensive: bool = False


QUANTITIES = {
    "energy": Quantity(Scalar(), "eV/atom", lambda a: a.get_potential_energy(), lambda n: (), extensive=True),
    "forces": Quantity(Vector(), "eV/Å", lambda a: a.get_forces(apply_constraint=False), lambda n: (n, 3)),
    "stress": Quantity(
        Tensor2(), "eV/Å³", lambda a: a.get_stress(voigt=False, apply_constraint=False), lambda n: (3, 3)
    ),
    "dipole": Quantity(Vector(), "e Å", lambda a: a.get_dipole_moment(), lambda n: (3,)),
}
PER_ATOM = ("forces",)


def checked(name: str, value: object, n_atoms: int) -> np.ndarray:
    """A prediction or a label as float64 in the shape and unit that it should have.

    Raises
    ------
    DataError
        another shape (flat ones and further axes of length 1 are reshaped), NaN, infinity, numbers out of
        all proportion
    """
    value = np.asarray(value, dtype=np.float64)
    expected = QUANTITIES[name].shape(n_atoms)
    flat = value.ndim == 1 and value.size == int(np.prod(expected))
    if not flat and [n for n in value.shape if n != 1] != [n for n in expected if n != 1]:
        raise DataError(f"{name}: shape {list(value.shape)}, expected {list(expected)}")
    if not (np.abs(value) < 1e12).all():
        raise DataError(f"{name}: NaN, infinity or numbers out of all proportion, expected finite ones")
    value = value.reshape(expected)
    return np.asarray(value / n_atoms) if QUANTITIES[name].extensive else value


def label_of(name: str, value: object, n_atoms: int) -> np.ndarray:
    """A reference label as files have it: total energies, stresses with six (Voigt) or nine components."""
    value = np.asarray(value, dtype=np.float64)
    if name == "stress" and value.size == 6:
        xx, yy, zz, yz, xz, xy = value.reshape(6)
        value = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    return checked(name, value, n_atoms)
