"""One held-out molecule of each voxel run: clean, noisy, denoised and twirled, as slices and as an
isosurface, early and late.
"""

import numpy as np
from matplotlib.figure import Figure
from skimage.measure import marching_cubes

from equidyn.figures import style
from equidyn.figures.style import plt
from equidyn.guards import content_digest

FIGURES = [
    {
        "name": "slices",
        "task": "voxels",
        "place": 9,
        "claim": "",
        "caption": "One held-out molecule, clean, noisy, denoised (f), twirled (T), f − T magnified, at an"
        " early and the last checkpoint, with the recall of atoms over up to eight of them",
        "extra": "fields.h5",
    },
]

COLUMNS = ("clean", "noisy", "denoised", "twirled")
TITLES = ("clean", "noisy", "denoised, f", "twirled, T")
ELEMENT = (
    "#444444",
    "#bbbbbb",
    "#D55E00",
    "#0072B2",
    "#009E73",
    "#E69F00",
    "#CC79A7",
    "#56B4E9",
)  # channels in order
LEVEL, NOISE = 0.3, 2.5  # occupancy of the surface; on the noisy grid so many σ above it


def draw(rows: list[dict], paper: list[dict], extra: list[str]) -> Figure:
    """Figure with, per run and step, a row of slices (maximum over channels in the fullest plane) and a row
    of surfaces.
    """
    lines = [(path, step, kind) for path in extra for step in _steps(path) for kind in ("slice", "surface")]
    figure = plt.figure(figsize=(style.WIDE, 1.45 * len(lines) + 0.3))
    for i, (path, step, kind) in enumerate(lines):
        with content_digest.open_checked(path, "voxel_fields") as file:
            fields = {name: file[f"{step}/{name}"][()] for name in COLUMNS}
            recall = file[str(step)].attrs["recall"]
        place = (len(lines), 5, 5 * i + 1)
        if kind == "slice":
            first = _slices(figure, place, fields)
            run = path.split("/")[-2]
            first.set_ylabel(f"{style.label(run)}\nstep {step}", fontsize=7.5)
            continue
        sigma = float((fields["noisy"] - fields["clean"]).std())
        for j, name in enumerate(COLUMNS):  # at LEVEL the noisy surface would be everywhere
            axis = figure.add_subplot(*place[:2], place[2] + j, projection="3d")
            _surface(axis, fields[name], fields["clean"], LEVEL + (NOISE * sigma if name == "noisy" else 0))
        text = figure.add_subplot(*place[:2], place[2] + len(COLUMNS))
        text.set_axis_off()
        words = "recall of atoms\n" + recall.replace(", ", "\n")
        text.text(0.1, 0.5, words, va="center", fontsize=7, transform=text.transAxes)
    note = f"surfaces at an occupancy of {LEVEL:g}; noisy: {LEVEL:g} + {NOISE:g} σ"
    figure.supxlabel(note, fontsize=7.5, color="0.35")
    return figure


def _slices(figure: Figure, place: tuple, fields: dict[str, np.ndarray]):
    """Maximum over channels in the fullest plane, and sum over channels of f − T; returns the first axis."""
    plane, axes = fields["clean"].sum((0, 1, 2)).argmax(), []
    for j, (name, title) in enumerate(zip(COLUMNS, TITLES)):
        axes.append(figure.add_subplot(*place[:2], place[2] + j, title=title))
        axes[-1].imshow(fields[name].max(0)[:, :, plane].T, origin="lower", cmap="magma", vmin=0, vmax=1)
    difference = (fields["denoised"] - fields["twirled"]).sum(0)[:, :, plane]
    top = max(float(np.abs(difference).max()), 1e-12)
    title = f"f − T, {1 / top:.2g} × magnified"
    axes.append(figure.add_subplot(*place[:2], place[2] + len(COLUMNS), title=title))
    axes[-1].imshow(difference.T / top, origin="lower", cmap="RdBu_r", vmin=-1, vmax=1)
    for axis in axes:
        axis.set(xticks=[], yticks=[])
    return axes[0]


def _steps(path):
    with content_digest.open_checked(path, "voxel_fields") as file:
        return sorted(int(step) for step in file)


def _surface(axis, field, clean, level):
    """Surfaces at a level, one colour per channel, in the cube around the clean molecule."""
    occupied = np.argwhere(clean.max(0) > LEVEL)
    centre, half = (occupied.max(0) + occupied.min(0)) / 2, (np.ptp(occupied, axis=0).max() / 2 + 1.5)
    if field.max() <= level:
        axis.text2D(
            0.5, 0.5, "nothing so high", ha="center", fontsize=7, color="0.35", transform=axis.transAxes
        )
    for channel, values in enumerate(field):
        if values.max() > level > values.min():
            points, faces, *_ = marching_cubes(np.pad(values, 1), level)
            axis.plot_trisurf(
                *(points.T - 1)[:2],
                faces,
                (points.T - 1)[2],
                color=ELEMENT[channel % len(ELEMENT)],
                lw=0,
                alpha=0.9,
                rasterized=True,
            )
    low, high = centre - half, centre + half
    axis.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
    axis.set_axis_off()
    axis.set_box_aspect((1, 1, 1), zoom=1.3)
