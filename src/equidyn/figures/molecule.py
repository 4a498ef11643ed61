"""One held-out molecule with its forces: predicted beside true, errors before and after twirling, and what
twirling takes away.
"""

import csv
from itertools import combinations

import gemmi
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from equidyn.figures import style
from equidyn.figures.style import plt
from equidyn.results.columns import MOLECULE

FIGURES = [
    {
        "name": "molecule",
        "task": "forces",
        "place": 9,
        "claim": "",
        "caption": "One held-out molecule: forces, their errors before (f) and after (T) twirling, and f − T"
        " magnified, in its principal plane",
        "extra": "molecule.csv",
    },
]

ATOM = {
    1: ("#cccccc", "light"),
    6: ("#444444", "dark"),
    7: ("#0072B2", "blue"),
    8: ("#D55E00", "red"),
    9: ("#009E73", "green"),
    16: ("#E69F00", "yellow"),
    17: ("#009E73", "green"),
}
OTHER = "#CC79A7", "pink"
BOND = 1.2  # × the sum of covalent radii
LENGTH = 1.6  # Å of the longest arrow of a panel
NO_ARROW = 1e-4  # eV/Å: a control's f − T


def draw(rows: list[dict], paper: list[dict], extra: list[str]) -> Figure:
    """Figure with a row of three panels per run that has an f − T."""
    read = [_read(path) for path in extra]
    shown = [m for m in read if np.abs(m["predicted"] - m["twirled"]).max() > NO_ARROW] or read[:1]
    size = (style.WIDE, 1.75 * len(shown) + 0.7)
    figure, axes = plt.subplots(len(shown), 3, figsize=size, squeeze=False, sharex=True, sharey=True)
    for panels, found in zip(axes, shown):
        _panels(panels, found)
    handles = {label: handle for axis in axes[0] for handle, label in zip(*axis.get_legend_handles_labels())}
    there = sorted({number for found in shown for number in found["numbers"]})
    atoms = ", ".join(f"{gemmi.Element(number).name} {ATOM.get(number, OTHER)[1]}" for number in there)
    note = f"twirled over the 24 rotations of the cube; each panel has a scale of its own\natoms: {atoms}"
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=5, title=note)
    return figure


def _read(path: str) -> dict:
    """Run, atomic numbers [n], and positions and forces [n, 3] turned into the principal plane."""
    with open(path, newline="") as file:
        table = list(csv.DictReader(file))

    def vectors(name: str) -> np.ndarray:
        return np.array([[float(row[f"{name}_{axis}"]) for axis in "xyz"] for row in table])

    names = [name.removesuffix("_x") for name in MOLECULE if name.endswith("_x")]
    positions = vectors("position") - vectors("position").mean(0)
    plane = np.linalg.svd(positions)[2]  # rows: longest axis first, with signs
    along = positions @ plane.T  # (n, 3)
    first = (np.abs(along) > np.abs(along).max(0) / 2).argmax(0)  # atom that tells the sign, in any pose
    plane *= np.where(along[first, range(3)] < 0, -1, 1)[:, None]
    found = {name: vectors(name) @ plane.T for name in names}
    found["position"] = positions @ plane.T
    return found | dict(run=table[0]["run"], numbers=[int(row["number"]) for row in table])


def _panels(panels: list[Axes], found: dict) -> None:
    left, middle, right = panels
    true, predicted, twirled = (found[name] for name in ("target", "predicted", "twirled"))
    colour = style.QUANTITY
    _skeleton(left, found, style.label(found["run"]))
    _arrows(left, found, [(true, "0.7", "true force"), (predicted, "0.25", "predicted, f")])
    _skeleton(middle, found, "errors")
    errors = [(predicted - true, colour["total"], "error of f"), (twirled - true, colour["twirled"], "of T")]
    _arrows(middle, found, errors)
    _skeleton(right, found, "f − T, with a scale of its own")
    _arrows(right, found, [(predicted - twirled, colour["equivariance"], "f − T")])


def _skeleton(axis: Axes, found: dict, title: str = "") -> None:
    """Atoms and bonds."""
    positions, numbers = found["position"], found["numbers"]
    for i, j in combinations(range(len(numbers)), 2):
        reach = BOND * sum(gemmi.Element(numbers[k]).covalent_r for k in (i, j))
        if np.linalg.norm(positions[i] - positions[j]) < reach:
            axis.plot(*positions[[i, j], :2].T, color="0.75", lw=1.2, zorder=1)
    sizes = [12 if number == 1 else 26 for number in numbers]
    colours = [ATOM.get(number, OTHER)[0] for number in numbers]
    axis.scatter(*positions[:, :2].T, s=sizes, c=colours, ec="0.3", lw=0.4, zorder=2)
    axis.set(xticks=[], yticks=[], aspect="equal")
    axis.set_title(title, loc="left")
    for side in ("left", "bottom"):
        axis.spines[side].set_visible(False)
    axis.margins(0.05)


def _arrows(axis: Axes, found: dict, fields: list[tuple[np.ndarray, str, str]]) -> None:
    """Arrows of vectors [n, 3] in eV/Å at the atoms, the longest ``LENGTH`` long."""
    longest = max(np.linalg.norm(values[:, :2], axis=1).max() for values, _, _ in fields)
    atoms = found["position"][:, :2]
    for values, colour, label in fields:
        arrows = values[:, :2] * LENGTH / longest
        axis.update_datalim(atoms + arrows)  # of arrows matplotlib counts their tails alone
        axis.quiver(
            *atoms.T,
            *arrows.T,
            color=colour,
            angles="xy",
            scale_units="xy",
            scale=1,
            width=0.008,
            zorder=3,
            label=label,
        )
    axis.autoscale_view()
    axis.set_xlabel(f"longest arrow {longest:.2g} eV/Å", fontsize=7)
