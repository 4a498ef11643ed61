"""What averaging a prediction over rotations gains: no torch, so that figures and claims may ask."""

SIZES = (1, 2, 4, 8, 24)  # of averages that are measured, as far as there are rotations


def expected(twirled: float, equivariance: float, n: int, order: int | None) -> float:
    """Squared loss P + E/n of the mean over n independent rotations; for n of a finite group without
    replacement, less by the finite population factor.

    Examples
    --------
    >>> expected(1.0, 0.8, 4, None), expected(1.0, 0.8, 24, 24)
    (1.2, 1.0)
    """
    left = 1.0 if order is None else (order - n) / (order - 1)
    return twirled + equivariance / n * left
