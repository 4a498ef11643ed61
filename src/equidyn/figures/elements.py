"""Equivariance error of each of the 24 rotations of the cube, early and late, one panel per voxel run."""

import numpy as np
from matplotlib.figure import Figure

from equidyn.figures import style
from equidyn.figures.style import plt
from equidyn.guards import content_digest
from equidyn.symmetry import groups

FIGURES = [
    {
        "name": "elements",
        "task": "voxels",
        "place": 10,
        "claim": "",
        "caption": "Equivariance error of each rotation of the cube",
        "extra": "fields.h5",
    },
]


def names() -> list[tuple[str, str]]:
    """(class, axis) of every rotation of ``groups.cube()``: identity, 90°, 120° or 180° about an axis."""
    result = []
    for rotation in groups.cube().numpy():
        angle = round(np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))))
        values, vectors = np.linalg.eig(rotation)
        axis = np.real(vectors[:, np.argmin(np.abs(values - 1))])
        axis = np.round(axis / np.abs(axis).max()).astype(int)
        turn = np.array(
            [
                rotation[2, 1] - rotation[1, 2],
                rotation[0, 2] - rotation[2, 0],
                rotation[1, 0] - rotation[0, 1],
            ]
        )
        axis = axis * (-1 if turn @ axis < 0 or (angle == 180 and axis[np.flatnonzero(axis)[0]] < 0) else 1)
        through = {1: "face", 2: "edge", 3: "corner"}[int(abs(axis).sum())] if angle else ""
        kind = f"{angle}° {through}" if angle else "identity"
        result.append(
            (kind, "" if angle == 0 else "".join(("-" if a < 0 else "") + str(abs(a)) for a in axis))
        )
    return result


def draw(rows: list[dict], paper: list[dict], extra: list[str]) -> Figure:
    """Figure with one panel per run; each bar relative to the mean over the 24, which is the equivariance
    error (in the legend).
    """
    labels = names()
    order = sorted(range(24), key=lambda i: (labels[i][0] != "identity", labels[i]))
    figure, axes = plt.subplots(
        len(extra), 1, figsize=(style.WIDE, 2.1 * len(extra)), squeeze=False, sharex=True
    )
    for axis, path in zip(axes[:, 0], extra):
        run = path.split("/")[-2]
        with content_digest.open_checked(path, "voxel_fields") as file:
            for k, step in enumerate(sorted(file, key=int)):
                values = file[f"{step}/per_rotation"][()]
                axis.bar(
                    np.arange(24) + 0.4 * k - 0.2,
                    values[order] / values.mean(),
                    0.38,
                    color=("#F2B48C", style.QUANTITY["equivariance"])[k],
                    label=f"step {step}, mean {values.mean():.2g}",
                )
        axis.axhline(1, color="0.4", lw=0.7)
        axis.set_ylabel(f"{style.label(run)}\n(f$_R$ − T)² / mean")
        axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    axes[-1, 0].set_xticks(range(24), [" ".join(labels[i]) for i in order], rotation=90, fontsize=7)
    return figure
