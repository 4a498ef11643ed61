"""Task ``forces``: central forces between pairs of atoms, linear in their coefficients.

    F_i = Σ_j Σ_k c_{z_i z_j k} φ_k(r_ij) e_ij,     e_ij = (r_i − r_j)/r_ij,     c_{z z' k} = c_{z' z k}

over all pairs within a cutoff: action equals reaction, each pair of elements has a potential of its own, and
the whole is equivariant by construction. It knows bond lengths and stiffness on average, and no angle.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from equidyn.errors import ArgumentError

NEAREST = 0.7  # Å, where radial functions begin: no bond is shorter


def radial_basis(distance: torch.Tensor, n: int, cutoff: float) -> torch.Tensor:
    """n Gaussians in ln r between 0.7 Å and the cutoff, one spacing wide, times ½ (1 + cos(π r/cutoff)).

    In ln r they are dense where bonds are: at 32 to 5 Å their spacing is 0.06 Å at 1 Å and 0.3 Å at 4.5 Å.

    Parameters
    ----------
    distance : [...] Å, positive, below the cutoff

    Returns
    -------
    [..., n] in the dtype of distance, without unit
    """
    first, last = torch.tensor([NEAREST, cutoff], dtype=torch.float64).log().tolist()
    centres = torch.linspace(first, last, n, dtype=distance.dtype, device=distance.device)
    width = (last - first) / (n - 1)
    smooth = 0.5 * (1 + torch.cos(torch.pi * distance / cutoff))
    return torch.exp(-0.5 * ((distance.log()[..., None] - centres) / width) ** 2) * smooth[..., None]


@dataclass(frozen=True, eq=False)
class PairPotential:
    """See the module. Fields: the elements of the fit, and c for each pair of them.

    Atoms of other elements neither feel nor exert a force.
    """

    elements: torch.Tensor  # [e] int64 atomic numbers, ascending
    coefficients: torch.Tensor  # [e, e, k] float64 eV/Å, symmetric in the first two axes
    cutoff: float  # Å

    @classmethod
    def fit(
        cls,
        batches: Iterable[tuple[dict[str, torch.Tensor], torch.Tensor]],
        n_basis: int = 32,
        cutoff: float = 5.0,
        ridge: float = 0.01,
    ) -> "PairPotential":
        """Least squares on training forces, by normal equations in float64: Σ ‖F − y‖² + ridge Σ c² is least.

        Parameters
        ----------
        batches : (inputs as for ``predict``, forces [b, a, 3] eV/Å); one pass, one batch in memory
        n_basis : radial functions per pair of elements;  cutoff : Å
        ridge : of a force that pairs cannot explain, its variance over that of a coefficient

        Raises
        ------
        ArgumentError
            no atoms, forces that do not fit the positions, or n_basis, cutoff or ridge out of bounds
        """
        if n_basis < 2 or not cutoff > NEAREST or not ridge > 0:
            raise ArgumentError(
                f"PairPotential: n_basis = {n_basis}, cutoff = {cutoff}, ridge = {ridge}; expected at least "
                f"2, more than {NEAREST} Å, a positive number"
            )
        products, moments = defaultdict(float), defaultdict(float)  # by pairs of elements, [k, k] and [k]
        for inputs, forces in batches:
            if forces.shape != inputs["positions"].shape:
                raise ArgumentError(
                    f"PairPotential: forces {list(forces.shape)}, expected the shape of positions, "
                    f"{list(inputs['positions'].shape)}"
                )
            _accumulate(inputs, forces, n_basis, cutoff, products, moments)
        if not moments:
            raise ArgumentError("PairPotential: no atoms to fit to, expected at least one")
        return cls(*_solve(products, moments, n_basis, ridge), cutoff)

    def predict(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Forces [b, a, 3] eV/Å, zero on padding, on the device and in the dtype of the positions.

        Parameters
        ----------
        inputs : numbers [b, a], positions [b, a, 3] Å, mask [b, a]; others, such as neighbours, are ignored
        """
        positions, numbers = inputs["positions"], inputs["numbers"].long()
        item, i, j, distance, direction = _pairs(inputs, self.cutoff)
        match = numbers[..., None] == self.elements.to(numbers)  # (b, a, e)
        kind = torch.where(match.any(-1), match.long().argmax(-1), len(self.elements))  # the last is unknown
        coefficients = F.pad(self.coefficients, (0, 0, 0, 1, 0, 1)).to(positions.device)  # of which is zero
        basis = radial_basis(distance, coefficients.shape[-1], self.cutoff)  # (p, k)
        strength = (basis * coefficients[kind[item, i], kind[item, j]]).sum(-1, keepdim=True)  # (p, 1)
        forces = torch.zeros_like(positions, dtype=torch.float64)
        return forces.index_put_((item, i), strength * direction, accumulate=True).to(positions.dtype)


def _pairs(inputs: dict[str, torch.Tensor], cutoff: float) -> tuple[torch.Tensor, ...]:
    """All ordered pairs within the cutoff: item, i, j, r_ij and e_ij, each [p] or [p, 3], float64.

    Atoms in one place have no direction and are no pair.
    """
    positions, mask = inputs["positions"].double(), inputs["mask"].bool()
    offset = positions[:, :, None] - positions[:, None]  # (b, a, a, 3), from j to i
    distance = offset.norm(dim=-1)
    near = mask[:, :, None] & mask[:, None] & (distance > 0) & (distance < cutoff)
    return *near.nonzero(as_tuple=True), distance[near], offset[near] / distance[near][:, None]


def _accumulate(inputs: dict, forces: torch.Tensor, n_basis: int, cutoff: float, products, moments) -> None:
    """Add a batch to the normal equations.

    The force on an atom of element z has features for pairs with z alone, so equations are summed element by
    element: the products are e³ blocks, not e⁴.
    """
    numbers, mask = inputs["numbers"].long(), inputs["mask"].bool()
    (b, a), elements = numbers.shape, numbers[mask].unique()
    item, i, j, distance, direction = _pairs(inputs, cutoff)
    basis = radial_basis(distance, n_basis, cutoff)
    row = (item * a + i) * len(elements) + torch.searchsorted(elements, numbers[item, j])
    features = torch.zeros(b * a * len(elements), 3, n_basis, dtype=torch.float64, device=numbers.device)
    features.index_add_(0, row, direction[:, :, None] * basis[:, None])
    features = features.reshape(b, a, len(elements), 3, n_basis).transpose(2, 3)  # (b, a, 3, e, k)
    for z in elements.tolist():
        own = mask & (numbers == z)
        x, y = features[own].flatten(0, 1).flatten(1), forces[own].double().flatten()  # (3 n, e k), (3 n)
        product = (x.T @ x).reshape(len(elements), n_basis, len(elements), n_basis).cpu()
        moment = (x.T @ y).reshape(len(elements), n_basis).cpu()
        pairs = [(min(z, other), max(z, other)) for other in elements.tolist()]
        for p, pair in enumerate(pairs):
            moments[pair] = moments[pair] + moment[p]
            for q, other in enumerate(pairs):
                products[pair, other] = products[pair, other] + product[p, :, q]


def _solve(products: dict, moments: dict, n_basis: int, ridge: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Elements [e] and coefficients [e, e, k] from the normal equations."""
    pairs = sorted(moments)
    place = {pair: n for n, pair in enumerate(pairs)}
    size = len(pairs) * n_basis
    matrix = torch.zeros(len(pairs), n_basis, len(pairs), n_basis, dtype=torch.float64)
    for (one, other), block in products.items():
        matrix[place[one], :, place[other]] = block
    moment = torch.cat([moments[pair] for pair in pairs])
    # Overlapping functions make it singular to rounding: elimination, which needs no positive pivots.
    system = matrix.reshape(size, size) + ridge * torch.eye(size, dtype=torch.float64)
    solution = torch.linalg.solve(system, moment)
    elements = sorted({z for pair in pairs for z in pair})
    coefficients = torch.zeros(len(elements), len(elements), n_basis, dtype=torch.float64)
    for (z, other), c in zip(pairs, solution.reshape(-1, n_basis)):
        p, q = elements.index(z), elements.index(other)
        coefficients[p, q] = coefficients[q, p] = c
    return torch.tensor(elements), coefficients
