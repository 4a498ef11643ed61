"""One held-out molecule of each voxel run: clean, noisy, denoised and twirled, as slices and as an isosurface, early and late."""

import h5py
import numpy as np
from skimage.measure import marching_cubes

from equidyn.figures import style
from equidyn.figures.style import plt

COLUMNS = ("clean", "noisy", "denoised", "twirled")
ELEMENT = ("#444444", "#bbbbbb", "#D55E00", "#0072B2", "#009E73", "#E69F00", "#CC79A7", "#56B4E9")  # channels in order
LEVEL = 0.3  # occupancy of the surface


def draw(rows, paper, extra):
    """Figure with, per run and step, a row of slices (maximum over channels in the fullest plane) and a row of surfaces."""
    stages = [(path, step) for path in extra for step in _steps(path)]
    height = 2 * len(stages)
    figure = plt.figure(figsize=(6.6, 1.65 * height))
    for i, (path, step) in enumerate(stages):
        with h5py.File(path) as file:
            fields = {name: file[f"{step}/{name}"][()] for name in COLUMNS}
        plane = fields["clean"].sum((0, 1, 2)).argmax()
        run = path.split("/")[-2]
        for j, name in enumerate(COLUMNS):
            axis = figure.add_subplot(height, 4, 8 * i + j + 1)
            axis.imshow(fields[name].max(0)[:, :, plane].T, origin="lower", cmap="magma", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
            axis.set_title(name, fontsize=8)
            if j == 0:
                axis.set_ylabel(f"{style.LABEL.get(run, run)}\nstep {step}", fontsize=7)
            if name != "noisy":  # its surface is everywhere
                _surface(figure.add_subplot(height, 4, 8 * i + 5 + j, projection="3d"), fields[name])
    return figure


def _steps(path):
    with h5py.File(path) as file:
        return sorted(int(step) for step in file)


def _surface(axis, field):
    grid = field.shape[-1]
    for channel, values in enumerate(field):
        if values.max() > LEVEL > values.min():
            points, faces, *_ = marching_cubes(np.pad(values, 1), LEVEL)
            axis.plot_trisurf(*(points.T - 1)[:2], faces, (points.T - 1)[2], color=ELEMENT[channel % len(ELEMENT)], lw=0, alpha=0.9, rasterized=True)
    axis.set(xlim=(0, grid), ylim=(0, grid), zlim=(0, grid), xticks=[], yticks=[], zticks=[])
    axis.set_box_aspect((1, 1, 1), zoom=1.25)
