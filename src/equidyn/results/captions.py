"""What stands under every figure of a task: how many items and rotations, on which poses, and how it was
trained.
"""

import math

from equidyn.data.poses import SURE
from equidyn.results import tables
from equidyn.results.claims.rows import range_text

OF_THE_PAPER = {
    "forces": "Points of the paper: its published percentages (not ratios of its mean losses) of 6M on SPICE",
    "voxels": "Points of the paper: its published percentages, σ = 0.9 at 0.25 Å",
    "flow": "Points of the paper: its published percentages of 60M, against rows of its log, not steps",
}
WITH_PAPER = ("percent", "times", "axis_size", "axis_data", "axis_optimizer", "axis_seed", "axis_augment")
WORDS = {"haar": "Haar", "cube": "cube"}


def conditions(rows: list[dict], task: str, settings: dict[str, dict], summaries: dict[str, dict]) -> str:
    """One sentence on the runs of a task, from their tables, settings and summaries, as far as there are any.

    Parameters
    ----------
    settings, summaries : of runs, by name
    """
    runs = tables.runs([r for r in rows if r["task"] == task])
    main = [
        row
        for run in runs
        for condition in tables.conditions(rows, run)
        for row in tables.curve(rows, run, condition=condition)
    ]
    items, rotations = (range_text([r[key] for r in main]) for key in ("n_items", "n_rotations"))
    drawn = WORDS.get(main[0]["rotations"], main[0]["rotations"])
    told = [f"{items} held-out items × {rotations} {drawn} rotations", _poses(main, runs)]
    training = [settings[run]["training"] for run in runs if run in settings]
    if training:
        told.append(f"learning rate {range_text([t['lr'] for t in training])}")
        told.append(f"{range_text([t['steps'] for t in training], figures=6)} steps")
    sizes = [summaries[run]["parameters"] for run in runs if run in summaries]
    if sizes:
        told.append(f"{range_text(sizes)} parameters")
    return ", ".join(told)


def _poses(rows: list[dict], runs: list[str]) -> str:
    """How the training poses of runs without augmentation lie."""
    bare = {r["run"]: r["pose_deviation"] for r in rows if r["augment"] == 0}
    aligned = [run for run in runs if bare.get(run, 0.0) > SURE]
    unknown = any(math.isnan(deviation) for deviation in bare.values())
    if not bare:
        return "augmented"
    told = (
        f"{len(runs) - len(bare)} of {len(runs)} runs augmented, "
        if len(bare) < len(runs)
        else "not augmented, "
    )
    if unknown:
        return f"{told}training poses not known"
    if not aligned:
        return f"{told}training poses isotropic"
    return f"{told}training poses isotropic except for {', '.join(aligned)}"
