"""One look for all figures: colour-blind safe (Okabe-Ito), the same colour for the same thing everywhere."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

QUANTITY = {"total": "#000000", "twirled": "#0072B2", "equivariance": "#D55E00", "zero": "#777777", "floor": "#CC79A7"}
UNIT = {"forces": "(eV/Å)²", "voxels": "occupancy²", "flow": "nm²"}
RUN = {"voxels-0.3": "#0072B2", "voxels-0.9": "#D55E00", "forces": "#0072B2", "forces-raw": "#D55E00", "forces-raw-aug": "#009E73", "forces-control": "#CC79A7", "flow": "#0072B2"}
OTHERS = ["#E69F00", "#56B4E9", "#000000", "#F0E442"]
LABEL = {
    "flow": "Proteina-style transformer",
    "voxels-0.3": "VoxMol, σ = 0.3",
    "voxels-0.9": "VoxMol, σ = 0.9",
    "forces": "EScAIP",
    "forces-raw": "raw directions",
    "forces-raw-aug": "raw directions, augmented",
    "forces-control": "EScAIP, tied head (control)",
}

plt.rcParams.update(
    {
        "font.size": 8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "svg.hashsalt": "equidyn",
        "figure.constrained_layout.use": True,
        "lines.linewidth": 1.4,
    }
)


def colour(run: str) -> str:
    """The run's own colour in every figure; runs without one share four more by a stable hash of the name."""
    return RUN.get(run) or OTHERS[sum(run.encode()) % len(OTHERS)]


def sequence(n: int) -> list:
    """n colours in order, for flow times."""
    return [plt.cm.viridis(0.92 * i / max(1, n - 1)) for i in range(n)]


def log_step(axis) -> None:
    """Logarithmic step axis; step 0 is drawn at 0.5."""
    axis.set_xscale("log")
    axis.set_xlabel("training step (step 0 drawn at 0.5)")


def linear(axis, top: float = 25.0) -> None:
    """Linear axes from zero to ``top`` percent: what lies above left the picture early."""
    axis.set_xlabel("training step")
    axis.set_xlim(left=0)
    axis.set_ylim(0, top)


def steps(curve: list[dict]) -> list[float]:
    """Steps as drawn."""
    return [max(r["step"], 0.5) for r in curve]


def at_zero_level(axis, curve: list[dict]) -> None:
    """Shade the steps up to the last one whose total loss is at or above the zero-predictor loss."""
    above = [x for x, r in zip(steps(curve), curve) if r["total"] >= r["zero_loss"]]
    if above:
        axis.axvspan(0.4, max(above), color="0.92", zorder=0, lw=0)


def save(figure, stem: str) -> None:
    """SVG, PNG (200 dpi) and PDF, without dates, so that the same table gives the same file."""
    figure.savefig(f"{stem}.svg", metadata={"Date": None})
    figure.savefig(f"{stem}.png", dpi=200)
    figure.savefig(f"{stem}.pdf", metadata={"CreationDate": None})
    plt.close(figure)
