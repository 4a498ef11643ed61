"""EScAIP's head: variance of its rows against equivariance error over training, and what part of the change
is due to the features.
"""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from equidyn.figures import style
from equidyn.figures.style import plt
from equidyn.results import tables
from equidyn.results.verdicts import counted

FIGURES = [
    {
        "name": "head",
        "task": "",
        "place": 16,
        "claim": "C9",
        "caption": "Deviation of the force head from the equivariant subspace, and the equivariance error",
        "extra": "head.csv",
    },
]

PARTS = {
    "features_part": ("#0077BB", "features"),
    "head_part": ("#EE7733", "head (ΔW)"),
    "change": (style.QUANTITY["equivariance"], "both"),
}
TIED = 1e-20  # a variance below it is rounding: the head's rows are equal


def draw(rows: list[dict], paper: list[dict], extra: list[str]) -> Figure:
    """Figure from head.csv files: left log-log with the slope fitted to the checkpoints that count, right the
    two parts of ln(error / first error) along training.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.WIDE, 3.2))
    found, names = tables.read(extra), tables.runs(rows)
    for run in tables.runs(found):
        table = sorted(
            (r for r in found if r["run"] == run and r["head_variance"] > TIED and r["quadratic_form"] > 0),
            key=lambda r: r["step"],
        )
        if len(table) < 2:
            continue
        colour = style.colour(run, names)
        x, y, measured = (
            np.array([r[key] for r in table]) for key in ("head_variance", "quadratic_form", "equivariance")
        )
        counts = {r["step"] for r in tables.curve(rows, run) if counted(r)}
        used = np.array([r["step"] in counts for r in table])
        slope = f": slope {fitted_slope(x[used], y[used]):.3g}" if used.sum() > 2 else ""
        left.plot(x, y, "-", lw=0.6, color=colour)
        left.plot(x[~used], y[~used], "o", ms=3.5, color=colour, mfc="white", label="does not count")
        left.plot(x[used], y[used], "o", ms=3.5, color=colour, label=f"{style.label(run)}{slope}")
        left.plot(x, measured, "x", ms=5, mew=0.8, color="0.45", label="measured (24 rotations)")
        style.star(left, x[-1], y[-1], used[-1], colour)
        left.plot(x, y[0] * x / x[0], ":", color="0.5", lw=1, label="head alone: slope 1")
        steps = style.steps(table)
        for key, (shade, name) in PARTS.items():
            right.plot(
                steps,
                np.cumsum([0.0] + [r[key] for r in table[1:]]) / np.log(10),
                "o-",
                ms=2.5,
                color=shade,
                label=name,
            )
    left.set_xscale("log")
    left.set_yscale("log")
    low, high = left.get_xlim()
    ticks = np.geomspace(low, high, 6)[1:-1]
    left.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])  # the range is often far less than a decade
    left.xaxis.set_minor_locator(NullLocator())
    left.set_xlabel("variance of the head over x, y, z (star: last step)")
    left.set_ylabel("equivariance error, (eV/Å)²")
    left.legend()
    style.log_step(right)
    right.axhline(0, color="0.6", lw=0.6)
    right.set_ylabel("change of equivariance error since its first\ncheckpoint, decades, due to")
    handles, labels = right.get_legend_handles_labels()
    right.legend(handles[:3], labels[:3])
    return figure


def fitted_slope(x: np.ndarray, y: np.ndarray) -> float:
    """Least-squares slope of log y against log x; nan where x does not vary."""
    x, y = np.log(x), np.log(y)
    return float(np.polyfit(x, y, 1)[0]) if np.ptp(x) > 1e-9 else float("nan")
