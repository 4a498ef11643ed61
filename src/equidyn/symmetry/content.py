"""Of which degree is the broken symmetry? The equivariance error, split by irreducible representations.

The twisted predictions f_R of one item are a function on the group, and the equivariance error is the sum of
its contents in all irreducible representations but the trivial one. With χ their characters and d their
dimensions, the content in one of them is d E_{R,S} [χ(R S⁻¹) ⟨f_R, f_S⟩].

- Independent draws: unbiased estimates from pairs of different rotations.
- All 24 rotations of the cube: content by its irreps A2, E, T1, T2, exactly; they sum to the error. (What is
  of degree 2 in SO(3) is in E and T2, of degree 1 in T1, of degree 3 in A2, T1 and T2.)
- A quadrature of degree d: exact for degree l of a model of degree D if l + D ≤ d; beyond, aliases.
"""

import torch

from equidyn.symmetry import groups

IRREPS = {  # of the rotations of the cube: dimension, characters of the classes below
    "A2": (1, (1, 1, 1, -1, -1)),
    "E": (2, (2, -1, 2, 0, 0)),
    "T1": (3, (3, 0, -1, 1, -1)),
    "T2": (3, (3, 0, -1, -1, 1)),
}
ANGLES = 6  # bins of 30° of the angle between two poses


def character(degree: int, rotations: torch.Tensor) -> torch.Tensor:
    """Of the representation of degree l, for rotations [..., 3, 3]: 1 + 2 Σ_{k ≤ l} cos k ω.

    Examples
    --------
    >>> character(2, groups.cube()[:1]), round(float(character(1, groups.haar(1, 0)[0])), 6) == round(
    ...     float(groups.haar(1, 0)[0].trace()), 6)
    (tensor([5.], dtype=torch.float64), True)
    """
    angle = angles(rotations)
    return 1 + 2 * sum((torch.cos(k * angle) for k in range(1, degree + 1)), torch.zeros_like(angle))


def angles(rotations: torch.Tensor) -> torch.Tensor:
    """Angle of rotations [..., 3, 3], 0 to π."""
    trace = rotations.diagonal(dim1=-2, dim2=-1).sum(-1)
    return torch.arccos(((trace - 1) / 2).clamp(-1, 1))


def by_degree(
    stack: torch.Tensor, rotations: torch.Tensor, highest: int = 4, parities: bool = False
) -> dict[str, float]:
    """Unbiased content of one item by degree, from independent uniform draws.

    Parameters
    ----------
    stack : twisted predictions [n, ...], n ≥ 3
    rotations : [n, 3, 3]
    highest : last degree
    parities : the draws are from O(3), whose representations are named by degree and parity, such as `2-`

    Returns
    -------
    degree → content, summed over elements; of single items they scatter widely and may be negative
    """
    n = len(stack)
    products = _centred(stack)
    signs = torch.linalg.det(rotations).sign()
    pure = rotations * signs[:, None, None]
    relative = pure[:, None] @ pure[None].transpose(-1, -2)  # (n, n, 3, 3)
    pairs = ~torch.eye(n, dtype=torch.bool)
    found = {}
    for degree in range(0 if parities else 1, highest + 1):
        values = (2 * degree + 1) * character(degree, relative) * products
        for parity in ("+", "-") if parities else ("",):
            if (degree, parity) != (0, "+"):  # the trivial one is the twirl
                sign = signs[:, None] * signs[None] if parity == "-" else 1.0
                found[f"{degree}{parity}"] = (sign * values)[pairs].mean().item()
    return found


def _centred(stack: torch.Tensor) -> torch.Tensor:
    """⟨f_r − c, f_s − c⟩ with c the mean of all others, [n, n]: it is independent of R_r and R_s, so that
    pairs stay unbiased, and what does not vary drops out.
    """
    n = len(stack)
    centred = (stack - stack.mean(0)).reshape(n, -1)
    gram = centred @ centred.T  # rows sum to zero
    own = gram.diagonal()
    with_others = (-own[:, None] - gram) / (n - 2)  # ⟨f_r, c⟩
    of_others = (own[:, None] + own[None] + 2 * gram) / (n - 2) ** 2  # ⟨c, c⟩
    return gram - with_others - with_others.T + of_others


def by_quadrature(
    stack: torch.Tensor, rotations: torch.Tensor, weights: torch.Tensor, highest: int
) -> dict[str, float]:
    """Content of one item by degree, from all nodes of a quadrature; arguments as in ``by_degree``."""
    centred = stack - (weights.reshape(-1, *[1] * (stack.ndim - 1)) * stack).sum(0)
    centred = centred.reshape(len(stack), -1)
    products = weights[:, None] * weights[None] * (centred @ centred.T)
    relative = rotations[:, None] @ rotations[None].transpose(-1, -2)
    return {
        str(degree): ((2 * degree + 1) * character(degree, relative) * products).sum().item()
        for degree in range(1, highest + 1)
    }


def by_irrep(stack: torch.Tensor, rotations: torch.Tensor) -> dict[str, float]:
    """Content of one item by irreps of the cube, from all of its 24 rotations, in any order.

    Examples
    --------
    >>> stretch = torch.diag(torch.tensor([1.0, 1.0, 1.05], dtype=torch.float64))
    >>> cube = groups.cube()
    >>> found = by_irrep(cube.mT @ stretch @ cube, cube)  # a linear map: degree 2
    >>> {name: round(value, 9) for name, value in found.items()}
    {'A2': 0.0, 'E': 0.001666667, 'T1': 0.0, 'T2': 0.0}
    """
    centred = (stack - stack.mean(0)).reshape(len(stack), -1)
    products = centred @ centred.T / groups.CUBE_ORDER**2
    classes = _class(rotations[:, None] @ rotations[None].transpose(-1, -2))
    found = {}
    for name, (dimension, characters) in IRREPS.items():
        table = torch.tensor(characters, dtype=torch.float64)
        found[name] = (dimension * table[classes] * products).sum().item()
    return found


def _class(rotations: torch.Tensor) -> torch.Tensor:
    """Conjugacy class: 0 identity, 1 thirds of a turn, 2 half turns about axes, 3 quarter turns, 4 half turns
    about edges.
    """
    trace = rotations.diagonal(dim1=-2, dim2=-1).sum(-1).round()
    diagonal = (rotations.diagonal(dim1=-2, dim2=-1).abs().sum(-1) > 2.5) & (trace < 0)
    found = torch.full(trace.shape, 4)
    for value, trace_of in ((0, 3), (1, 0), (3, 1)):
        found[trace == trace_of] = value
    found[diagonal] = 2
    return found


def by_angle(stack: torch.Tensor, rotations: torch.Tensor) -> tuple[list[float], list[int]]:
    """Half the squared differences of predictions of one item, by the angle between the two poses.

    Returns
    -------
    sums over pairs, and numbers of pairs, in ``ANGLES`` equal bins from 0 to 180°
    """
    n = len(stack)
    first, second = torch.triu_indices(n, n, 1)
    angle = angles(rotations[first] @ rotations[second].transpose(-1, -2))
    bins = (angle / torch.pi * ANGLES).long().clamp(max=ANGLES - 1)
    values = (stack[first] - stack[second]).reshape(len(first), -1).square().sum(1) / 2
    sums = torch.zeros(ANGLES, dtype=torch.float64).index_add_(0, bins, values)
    return sums.tolist(), torch.bincount(bins, minlength=ANGLES).tolist()
