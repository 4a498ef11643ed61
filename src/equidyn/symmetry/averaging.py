"""Averages over rotations: the loss of the mean over n of them, measured and expected.

With P the twirled prediction error and E the equivariance error, the mean over n independent rotations has
an expected squared loss of P + E/n.
"""

import torch

from equidyn.symmetry.decomposition import valid

SIZES = (1, 2, 4, 8, 24)  # of averages that are measured, as far as there are rotations


def losses_of_means(
    stack: torch.Tensor, target: torch.Tensor, mask: torch.Tensor | None = None
) -> dict[int, torch.Tensor]:
    """Size n → squared loss of every item, summed over elements, of means over n twisted predictions; the
    average over as many separate groups of n as there are.

    Parameters
    ----------
    stack : twisted predictions [n_rotations, n_items, ...]
    target, mask : as in ``decompose``

    Returns
    -------
    float64 [n_items] for each of ``SIZES`` up to n_rotations

    Examples
    --------
    >>> found = losses_of_means(torch.tensor([[3.0], [1.0]], dtype=torch.float64), torch.tensor([2.0]))
    >>> {n: losses.tolist() for n, losses in found.items()}
    {1: [1.0], 2: [0.0]}
    """
    weight, found = valid(mask, target), {}
    for n in SIZES:
        groups = len(stack) // n
        if groups:
            means = stack[: groups * n].unflatten(0, (groups, n)).mean(1)  # (groups, n_items, ...)
            squares = torch.where(weight > 0, (means - target).square(), 0.0)
            found[n] = squares.reshape(groups, len(target), -1).sum(2).mean(0)
    return found


def expected(twirled: float, equivariance: float, n: int, order: int | None) -> float:
    """P + E/n for n independent rotations; for n of a finite group without replacement, less by the finite
    population factor.

    Examples
    --------
    >>> expected(1.0, 0.8, 4, None), expected(1.0, 0.8, 24, 24)
    (1.2, 1.0)
    """
    left = 1.0 if order is None else (order - n) / (order - 1)
    return twirled + equivariance / n * left
