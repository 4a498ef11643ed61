"""Where in a molecule the equivariance error sits: by element, and by distance from the centre."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from equidyn.probe.poses import Poses
from equidyn.symmetry.sums import finite_factor

if TYPE_CHECKING:
    from ase import Atoms

STEP, FARTHEST = 2.0, 10.0  # Å, of the shells around the centroid


def by_atom(stack: torch.Tensor, atoms: "Atoms", drawn: Poses) -> dict[str, dict[str, list[float]]]:
    """Equivariance error of the vectors of every atom, summed over components, and their number, by `element`
    and by `distance` (not of periodic structures, which have no centre).

    The sums over either are that of the structure.

    Parameters
    ----------
    stack : twisted predictions of one structure [n, 1, n_atoms, 3]
    """
    squares = (stack - drawn.mean(stack)).square()[:, 0].sum(-1)  # (n, n_atoms)
    if drawn.weights is None:
        error = finite_factor(drawn.order) * squares.sum(0) / (len(stack) - 1)
    else:
        error = torch.einsum("n,na->a", drawn.weights, squares)
    groups = {"element": atoms.get_chemical_symbols()}
    if not atoms.pbc.any():
        distance = np.linalg.norm(atoms.positions - atoms.positions.mean(0), axis=1)
        groups["distance"] = [shell(d) for d in distance]
    found: dict[str, dict[str, list[float]]] = {}
    for kind, names in groups.items():
        sums = found.setdefault(kind, {})
        for name, value in zip(names, error.tolist()):
            total = sums.setdefault(name, [0.0, 0])
            total[0], total[1] = total[0] + value, total[1] + stack.shape[-1]
    return found


def shell(distance: float) -> str:
    """Name of the shell that a distance in Å lies in.

    Examples
    --------
    >>> shell(0.3), shell(2.0), shell(12.0)
    ('0-2 Å', '2-4 Å', '10 Å and more')
    """
    if distance >= FARTHEST:
        return f"{FARTHEST:g} Å and more"
    start = STEP * int(distance / STEP)
    return f"{start:g}-{start + STEP:g} Å"
