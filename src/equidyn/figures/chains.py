"""Cα traces: held-out chains above, generated ones below, dark to bright from the first residue to the last,
with the statistics of bonds and hand of all chains.
"""

import csv
from pathlib import Path

import gemmi
import numpy as np
from matplotlib.figure import Figure

from equidyn.figures import style
from equidyn.figures.style import plt

FIGURES = [
    {
        "name": "chains",
        "task": "flow",
        "place": 11,
        "claim": "",
        "caption": "Held-out chains and chains generated from the last checkpoint (Cα traces, dark to bright"
        " along the chain), with bonds and hand of all that were generated, and as many held out",
        "extra": "samples",
    },
]

COLUMNS = 5


def draw(rows: list[dict], paper: list[dict], extra: list[str]) -> Figure:
    """Figure from the first run's folder of PDB files; every chain is turned so that its longest axes lie in
    the page.
    """
    folder = Path(extra[0])
    told = _statistics(folder.with_name("samples.csv"))
    figure, axes = plt.subplots(2, COLUMNS, figsize=(style.WIDE, 2.9), sharex=True, sharey=True)
    for line, kind in zip(axes, ("held_out", "generated")):
        for axis, path in zip(line, sorted(folder.glob(f"{kind}_*.pdb"))):
            structure = gemmi.read_structure(str(path))
            trace = oriented(np.array([residue[0].pos.tolist() for residue in structure[0][0]]))
            if kind == "held_out":
                source = structure.info["_struct.title"].lower()
            depth = (trace[:, 2] - trace[:, 2].min()) / max(np.ptp(trace[:, 2]), 1e-9)
            colours = plt.cm.viridis(np.linspace(0.0, 0.93, len(trace)))
            for i in np.argsort((trace[1:, 2] + trace[:-1, 2]) / 2):  # far bonds first
                axis.plot(
                    *trace[i : i + 2, :2].T, "-", color="white", lw=4.2, solid_capstyle="butt", zorder=1
                )
                axis.plot(
                    *trace[i : i + 2, :2].T,
                    "-",
                    color=colours[i],
                    lw=1.6 + 1.2 * depth[i],
                    solid_capstyle="round",
                    zorder=1,
                )
        line[0].set_ylabel(kind.replace("_", "-"), fontsize=8)
        line[COLUMNS // 2].set_xlabel(told[kind], fontsize=7)
    figure.suptitle(f"run {folder.parent.name}, held-out chains: {source}", fontsize=8)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[], aspect="equal")
        axis.spines[:].set_visible(False)
    return figure


def _statistics(table: Path) -> dict[str, str]:
    """Bonds and hand in words, of the chains of each row; the table is made together with the chains."""
    with open(table, newline="") as file:
        rows = {row.pop("chains").replace(" ", "_"): row for row in csv.DictReader(file)}
    told = {}
    for kind, row in rows.items():
        value = {name: float(text) for name, text in row.items()}
        hands = f"{value['right_handed']:.0f} right-, {value['left_handed']:.0f} left-handed helical turns"
        told[kind] = (
            f"{value['n_chains']:.0f} chains: bonds {value['bond_mean']:.2f} ± {value['bond_std']:.2f} Å, "
            f"{100 * value['bonds_within']:.0f} % within 3.8 ± 0.4 Å; "
            f"{value['clashes']:.2g} clashes a residue; {hands}"
        )
    return told


def oriented(trace: np.ndarray) -> np.ndarray:
    """Principal axes along x, y, z; a rotation, never a mirror image."""
    centred = trace - trace.mean(0)
    axes = np.linalg.svd(centred, full_matrices=False)[2]
    if np.linalg.det(axes) < 0:
        axes[2] *= -1
    return centred @ axes.T
