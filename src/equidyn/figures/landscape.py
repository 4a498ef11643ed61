"""Both terms of the loss around the weights of the last checkpoint: the same grid with common random numbers and with fresh draws per point.

What differs between the rows is not the model but how it is evaluated: the scatter below is evaluation noise.
"""

import h5py
import numpy as np

from equidyn.figures import style
from equidyn.figures.style import plt

COLUMNS = {"twirled": "twirled error", "equivariance": "equivariance error"}
ROWS = {"": "same {n_rotations} rotations\nat every point", "_fresh": "{n_fresh} fresh rotations\nat every point"}


def draw(rows, paper, extra):
    """Figure with 2 × 2 panels from the first file; the scatter about a smooth surface is written above each, in percent of its level."""
    with h5py.File(extra[0]) as file:
        group = file[max(file, key=int)]
        grid, attributes = {name: values[()] for name, values in group.items()}, dict(group.attrs)
    figure, axes = plt.subplots(2, 2, figsize=(4.8, 4.6), sharex=True, sharey=True)
    a, b = grid["a"], grid["b"]
    for column, (name, title) in enumerate(COLUMNS.items()):
        both = [grid[name + suffix] for suffix in ROWS]
        low, high = np.min(both), np.max(both)
        for line, (suffix, label) in enumerate(ROWS.items()):
            axis, values = axes[line, column], grid[name + suffix]
            image = axis.pcolormesh(a, b, values.T, vmin=low, vmax=high, cmap="viridis", shading="nearest", rasterized=True)
            axis.contour(a, b, values.T, levels=np.linspace(low, high, 9)[1:-1], colors="white", linestyles="solid", linewidths=0.5, alpha=0.7)
            axis.plot(0, 0, "+", color="white", ms=8)
            for place, ends in ((axis.xaxis, a), (axis.yaxis, b)):
                place.set_ticks([ends[0], 0, ends[-1]], [f"{ends[0]:.2g}", "0", f"{ends[-1]:.2g}"])
            left = f"a smooth surface leaves {percent(scatter_of(values, a, b))}"
            if suffix:  # the two grids differ by the draws alone
                left += f"\n(the draws alone: {percent(scatter_of(values - both[0], a, b) * np.abs(values - both[0]).mean() / np.abs(values).mean())})"
            axis.set_title(f"{title}\n{left}", fontsize=7, color=style.QUANTITY[name])
            box = dict(boxstyle="round,pad=0.2", fc="black", ec="none", alpha=0.55)
            axis.text(0.03, 0.96, label.format(**attributes), transform=axis.transAxes, va="top", fontsize=6, color="white", bbox=box)
            if column == 0:
                axis.set_ylabel("direction b", fontsize=7)
            if line == 1:
                axis.set_xlabel("direction a")
        figure.colorbar(image, ax=axes[:, column], location="bottom", shrink=0.9, aspect=30).set_label(style.UNIT.get(attributes.get("task"), ""), fontsize=7)
    run = attributes.get("run", "")
    figure.suptitle(
        f"{style.LABEL.get(run, run)}, step {attributes.get('step', '')}, {attributes.get('block', '')}\n"
        f"a: {attributes.get('axis_a', '')}, b: {attributes.get('axis_b', '')} (eigenvectors)",
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
    return float(np.sqrt(np.square(residual).sum() / max(1, len(residual) - terms.shape[1])) / np.abs(values).mean())


def percent(share: float) -> str:
    """A share of the level in words; rounding of float64 is nothing."""
    return f"{100 * share:.{1 if share > 0.001 else 3}f} %" if share > 1e-7 else "nothing"
