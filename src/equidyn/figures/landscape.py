"""Both terms of the loss around the weights of a run, with common random numbers and with fresh draws at
every point, a row per checkpoint.

What differs between the panels of a term is not the model but how it is evaluated: the scatter is evaluation
noise.
"""

import numpy as np
from matplotlib.figure import Figure

from equidyn.figures import style
from equidyn.figures.style import plt
from equidyn.guards import content_digest

FIGURES = [
    {
        "name": "landscape",
        "task": "",
        "place": 15,
        "claim": "C7",
        "caption": "Both terms along two eigenvectors: the same rotations everywhere, and fresh ones"
        " (and dropout) at every point",
        "extra": "landscape.h5",
    },
]

TERMS = {"twirled": "twirled error", "equivariance": "equivariance error"}


def draw(rows: list[dict], paper: list[dict], extra: list[str]) -> Figure:
    """Figure from the first file: per term the grid with one draw of rotations for all points and that with a
    draw per point.

    Each panel has its own colours; above it are its range and what a smooth surface leaves of it, in percent
    of its level.
    """
    with content_digest.open_checked(extra[0], "curvature") as file:
        found = [
            ({name: values[()] for name, values in file[step].items()}, dict(file[step].attrs))
            for step in sorted(file, key=int)
        ]
    attributes = found[-1][1]
    figure, axes = plt.subplots(len(found), 4, figsize=(style.WIDE, 1.95 * len(found) + 0.7), squeeze=False)
    for line, (grid, here) in zip(axes, found):
        a, b = grid["a"], grid["b"]
        panels = [(name, suffix) for name in TERMS for suffix in ("", "_fresh")]
        for axis, (name, suffix) in zip(line, panels):
            values = grid[name + suffix]
            axis.pcolormesh(a, b, values.T, cmap="viridis", shading="nearest", rasterized=True)
            axis.plot(0, 0, "+", color="white", ms=7)
            axis.set(xticks=[], yticks=[], aspect=np.ptp(a) / np.ptp(b))
            text = (
                f"{'fresh' if suffix else 'same'}: {values.min():.3g} to "
                f"{values.max():.3g}\n{percent(scatter_of(values, a, b))} scatter"
            )
            axis.set_title(text, fontsize=7, color=style.QUANTITY[name])
        line[0].set_ylabel(f"step {here['step']:g}\ndirection b, ± {b[-1]:.2g}", fontsize=7)
    for axis, (name, suffix) in zip(axes[-1], panels):
        axis.set_xlabel(f"direction a\n{TERMS[name]}" + (", fresh" if suffix else ""), fontsize=7)
    run, dropout = attributes.get("run", ""), attributes.get("dropout", 0)
    unit = style.unit(attributes.get("task"))
    figure.suptitle(
        f"{style.label(run)}, {attributes.get('block', '')}, {unit}; a: "
        f"{attributes.get('axis_a', '')}, b: {attributes.get('axis_b', '')} (eigenvectors)\n"
        f"same: one draw of {attributes['n_fresh']} rotations per item for all points; fresh: a new one at "
        f"every point{f', dropout {dropout:g}' if dropout else ''}",
        fontsize=7.5,
    )
    return figure


def scatter_of(values: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """Standard deviation of what the best polynomial surface leaves of values [a, b], over their mean size.

    Of degree 6 at most, less on coarse grids: enough for a wide valley, far too little for white noise.
    """
    degree = min(6, (len(a) + 1) // 2)
    x, y = (axis / np.abs(axis).max() for axis in np.meshgrid(a, b, indexing="ij"))
    terms = np.stack([(x**i * y**j).ravel() for i in range(degree + 1) for j in range(degree + 1 - i)], 1)
    residual = values.ravel() - terms @ np.linalg.lstsq(terms, values.ravel(), rcond=None)[0]
    return float(
        np.sqrt(np.square(residual).sum() / max(1, len(residual) - terms.shape[1])) / np.abs(values).mean()
    )


def percent(share: float) -> str:
    """A share of the level in words; rounding of float64 is nothing."""
    return f"{100 * share:.{1 if share > 0.001 else 3}f} %" if share > 1e-7 else "no"
