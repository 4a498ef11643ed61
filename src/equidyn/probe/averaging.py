"""What averaging over n rotations gains and costs: the measured loss beside P + E/n, and a choice of n."""

import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch

from equidyn.probe.records import clusters_of
from equidyn.probe.result import Result, write
from equidyn.probe.rows import number
from equidyn.symmetry.decomposition import ratio_interval
from equidyn.symmetry.expected_loss import SIZES, expected

TOLERANCE = 0.01  # excess of the loss over that of the whole average


@dataclass(frozen=True)
class Average:
    """One line of the table: loss of the mean over n rotations, its 95 % interval, and what is expected of
    it; losses in the square of the unit, ``excess`` over the twirled prediction error, as a share of it.
    """

    run: str
    quantity: str
    rotations: str
    n: int
    total: float
    total_lo: float
    total_hi: float
    expected: float
    excess: float
    seconds: float

    def __str__(self) -> str:
        interval = f"[{number(self.total_lo)}, {number(self.total_hi)}]"
        return (
            f"{self.quantity}, mean over {self.n}: loss {number(self.total)} {interval}, expected "
            f"{number(self.expected)}, {number(100 * self.excess)} % above the whole average; "
            f"{number(self.seconds)} s a structure"
        )


COLUMNS = [column.name for column in fields(Average)]


def recommended(share: float, tolerance: float = TOLERANCE) -> int:
    """Least n whose expected loss exceeds the twirled prediction error by at most ``tolerance`` times it.

    Parameters
    ----------
    share : equivariance error over total loss, 0 to 1

    Examples
    --------
    >>> recommended(0.05), recommended(0.005), recommended(0.05, tolerance=0.1)
    (6, 1, 1)
    """
    if not share < 1:
        return 0  # no average is enough of a model whose whole loss is broken symmetry
    return max(1, math.ceil(share / (1 - share) / tolerance - 1e-9))


def table(result: Result, order: int | None = None) -> list[Average]:
    """Lines for every quantity with labels, from the records of a measurement."""
    good, lines = [record for record in result.records if not record.failed], []
    for row in result.rows:
        if math.isnan(row.total):
            continue
        kept = [record.quantities[row.quantity] for record in good]
        count = torch.tensor([sums["count"] for sums in kept], dtype=torch.float64)
        for n in (n for n in SIZES if str(n) in kept[0]["averaged"]):
            sums = torch.tensor([one["averaged"][str(n)] for one in kept], dtype=torch.float64)
            total, low, high, _ = ratio_interval(sums, 100 * count, clusters_of(good))
            excess = total / row.twirled - 1 if row.twirled > 0 else float("nan")
            hope = expected(row.twirled, row.equivariance, n, order)
            cost = n * row.seconds / len(good) / row.n_rotations
            lines.append(
                Average(row.run, row.quantity, row.rotations, n, total, low, high, hope, excess, cost)
            )
    return lines


def advice(result: Result, tolerance: float = TOLERANCE) -> list[str]:
    """A sentence per quantity: how many rotations to average over; by the upper end of the interval."""
    lines = []
    for row in result.rows:
        share = row.percent if math.isnan(row.percent_hi) else row.percent_hi
        if math.isnan(share):
            continue
        n = recommended(share / 100, tolerance)
        choice = f"mean over {n}" if n else "no number of rotations"
        what = f"brings the loss within {100 * tolerance:g} % of the whole average"
        lines.append(
            f"{row.quantity}: {choice} {what} ({number(share)} % of the loss at most is broken symmetry)"
        )
    return lines


def to_csv(lines: list[Average], path: Path) -> None:
    """The table as a file."""
    write(path, [asdict(line) for line in lines], COLUMNS)
