"""Both terms of the loss around the weights of a run, with common random numbers and with fresh draws at every point, a row per checkpoint.

What differs between the panels of a term is not the model but how it is evaluated: the scatter is evaluation noise.
"""

import h5py
import numpy as np

from equidyn.figures import style
from equidyn.figures.style import plt

TERMS = {"twirled": "twirled error", "equivariance": "equivariance error"}


def draw(rows, paper, extra):
    """Figure from the first file: per term the grid with one draw of rotations for all points and that with a draw per point.

    Above each panel is what a smooth surface leaves of it, in percent of its level; both panels of a term share their colours.
    """
    with h5py.File(extra[0]) as file:
        found = [({name: values[()] for name, values in file[step].items()}, dict(file[step].attrs)) for step in sorted(file, key=int)]
    attributes = found[-1][1]
    figure, axes = plt.subplots(len(found), 4, figsize=(6.9, 1.75 * len(found) + 1.0), squeeze=False)
    for line, (grid, here) in zip(axes, found):
        a, b = grid["a"], grid["b"]
        for column, name in enumerate(TERMS):
            both = {suffix: grid[name + suffix] for suffix in ("", "_fresh")}
            low, high = min(v.min() for v in both.values()), max(v.max() for v in both.values())
            for axis, (suffix, values) in zip(line[2 * column : 2 * column + 2], both.items()):
                image = axis.pcolormesh(a, b, values.T, vmin=low, vmax=high, cmap="viridis", shading="nearest", rasterized=True)
                axis.plot(0, 0, "+", color="white", ms=7)
                axis.set(xticks=[], yticks=[], aspect=np.ptp(a) / np.ptp(b))
                axis.set_title(f"{'fresh' if suffix else 'same'}: {percent(scatter_of(values, a, b))} scatter", fontsize=7, color=style.QUANTITY[name])
            bar = figure.colorbar(image, ax=list(line[2 * column : 2 * column + 2]), shrink=0.85, aspect=14, pad=0.02)
            bar.ax.tick_params(labelsize=6)
        line[0].set_ylabel(f"step {here['step']:g}\n± {a[-1]:.2g}", fontsize=7)
    for axis in axes[-1]:
        axis.set_xlabel("direction a", fontsize=7)
    for place, (name, title) in zip((0.27, 0.76), TERMS.items()):
        figure.text(place, 0.0, f"{title}, {style.UNIT.get(attributes.get('task'), '')}", fontsize=7, color=style.QUANTITY[name], ha="center", va="bottom")
    run, dropout = attributes.get("run", ""), attributes.get("dropout", 0)
    figure.suptitle(
        f"{style.LABEL.get(run, run)}, {attributes.get('block', '')}; a: {attributes.get('axis_a', '')}, b: {attributes.get('axis_b', '')} (eigenvectors)\n"
        f"same: one draw of {attributes['n_fresh']} rotations per item for all points; fresh: a new one at every point{f', dropout {dropout:g}' if dropout else ''}",
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
    return f"{100 * share:.{1 if share > 0.001 else 3}f} %" if share > 1e-7 else "no"
