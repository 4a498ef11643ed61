"""Which figures there are: module, caption, and the file of a run that each needs beside the decomposition
tables.

Literals alone, which the driver of the workflow reads without importing matplotlib.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A module of ``equidyn.figures`` that draws the runs of a task from their tables."""

    module: str
    caption: str
    extra: str | None = None  # file or folder of every shown run
    axes: tuple[
        str, ...
    ] = ()  # of a matrix, by dotted key of the config: drawn where its runs vary one of them


PERCENT = "Percent of held-out loss due to equivariance error"
TERMS = "Total loss, twirled error and equivariance error, with zero-predictor line"
LINEAR = "The same on linear axes, cut at 25 %"

CURVES = {  # by task
    "forces": {
        "percent": Figure("percent", f"{PERCENT}, against training step"),
        "percent_linear": Figure("percent_linear", LINEAR),
        "losses": Figure("losses", f"{TERMS} and numerical floor"),
        "contrast": Figure(
            "contrast", "EScAIP, raw-direction transformer with and without augmentation, and the tied head"
        ),
    },
    "voxels": {
        "percent": Figure("percent", f"{PERCENT} at both noise levels"),
        "percent_linear": Figure("percent_linear", LINEAR),
        "losses": Figure("losses", f"{TERMS}, best baseline and numerical floor"),
        "contrast": Figure(
            "contrast",
            "Percent against what was learned: a constant output sits at 1, learned symmetry left of it",
        ),
        "slices": Figure(
            "slices",
            "One held-out molecule, clean, noisy, denoised and twirled, at an early and the last checkpoint",
            "fields.h5",
        ),
        "elements": Figure("elements", "Equivariance error of each rotation of the cube", "fields.h5"),
    },
    "flow": {
        "times": Figure(
            "times",
            f"{PERCENT} against training step, one line per flow time (raw behind, running mean in front)",
        ),
        "times_linear": Figure("times_linear", LINEAR),
        "time_losses": Figure(
            "time_losses",
            "The three terms of the held-out loss per flow time, beside three that have learned nothing",
        ),
        "final_times": Figure(
            "final_times",
            "Last step by flow time: percent, and how far the loss lies below that of the best baseline",
        ),
        "chains": Figure(
            "chains",
            "Held-out chains and chains generated from the last checkpoint (Cα traces, blue to red along "
            "the chain)",
            "samples",
        ),
    },
}
COST = Figure(
    "cost",
    "Total and twirled loss against training time; dotted: when the twirled loss passes the last total, "
    "hence what an equivariant step may cost at most",
    "summary.json",
)
# of tasks with a run that declares ``dynamics``; the head where one of them has the linear force head
DYNAMICS = {
    "gradients": Figure(
        "gradients",
        "Gradient of the equivariance error against that of the twirled error, and the percentage, over "
        "training",
        "gradients.csv",
    ),
    "curvature": Figure(
        "curvature",
        "Curvature of both terms over a block of parameters: "
        "largest eigenvalue and effective condition number",
        "curvature.csv",
    ),
    "landscape": Figure(
        "landscape",
        "Both terms along two eigenvectors: the same rotations everywhere, and fresh ones (and dropout) at "
        "every point",
        "landscape.h5",
    ),
    "head": Figure(
        "head",
        "Deviation of the force head from the equivariant subspace, and the equivariance error",
        "head.csv",
    ),
}
SIZES = ("model.size", "model.options.hidden", "model.options.width", "model.options.layers")
ALONG = {  # what varies, and the words for it
    "axis_size": (SIZES, "by model size"),
    "axis_data": (("training.n_train",), "by training-set size"),
    "axis_optimizer": (("training.optimizer", "training.lr"), "by optimizer and learning rate"),
    "axis_seed": (("seed",), "of replicates"),
    "axis_augment": (("training.augment",), "by probability of augmentation"),
}
AXES = {
    name: Figure(
        "axes",
        f"{PERCENT} {words}, a thin line per seed: against step (grey: the paper's runs) and against loss",
        axes=keys,
    )
    for name, (keys, words) in ALONG.items()
}


def figures_of(task: str, dynamic: bool, head: bool, varied: Iterable[str]) -> dict[str, Figure]:
    """The figures of a task with runs, by name.

    Parameters
    ----------
    dynamic, head : whether a shown run declares ``dynamics``, and one with the linear force head does
    varied : dotted keys that the task's runs in the matrix vary
    """
    figures = {**CURVES[task], "cost": COST}
    if dynamic:
        figures |= {name: figure for name, figure in DYNAMICS.items() if name != "head" or head}
    varied = set(varied)
    return figures | {name: figure for name, figure in AXES.items() if varied & set(figure.axes)}


def caption_of(stem: str) -> str:
    """Caption of a drawn figure ``<task>-<name>``; its name where it is not one of these."""
    task, _, name = stem.partition("-")
    known = {**CURVES.get(task, {}), "cost": COST, **DYNAMICS, **AXES}
    return known[name].caption if name in known else name
