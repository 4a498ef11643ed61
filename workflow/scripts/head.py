"""EScAIP's force head at every checkpoint of a run (live weights): how far its rows are from each other, and what that does to the error.

At fixed features the equivariance error is q(ΔW, G) = tr(ΔW G ΔWᵀ), exact and without sampling: ΔW is the head's deviation from equal rows,
G belongs to the features. From one checkpoint (0) to the next (1) the change of ln q splits into the features' part, G_0 to G_1 at fixed ΔW,

    features_part = ½ ln [q(ΔW_0, G_1) / q(ΔW_0, G_0)] + ½ ln [q(ΔW_1, G_1) / q(ΔW_1, G_0)]

the mean over both fixed heads, and the head's part, the same with the roles exchanged. The two add up to ``change`` = ln q_1 − ln q_0, so that each
summed over rows is its part of the whole training (ln 10 = 2.3 per decade). First row: nan. ``equivariance`` is Ê measured on the same items with the 24
rotations of the cube, which are exact for a linear head: the two must agree to rounding.
"""

import math
from pathlib import Path

import _cli
from tqdm import tqdm

from equidyn import dynamics, groups, runs
from equidyn.config import ConfigError
from equidyn.measure import measure
from equidyn.models import escaip
from equidyn.training import checkpoint

COLUMNS = "run step head_variance head_variance_relative equivariance quadratic_form features_part head_part change".split()


def log_ratio(above: float, below: float) -> float:
    """ln(above / below); nan where either is not positive (a tied head)."""
    return math.log(above / below) if above > 0 and below > 0 else math.nan


def parts(old: tuple, new: tuple) -> dict[str, float]:
    """features_part, head_part and change in ln units, from (ΔW, G) of two checkpoints."""
    (w0, g0), (w1, g1) = old, new
    q = {(i, j): escaip.head_quadratic(w, g) for i, w in enumerate((w0, w1)) for j, g in enumerate((g0, g1))}
    features = (log_ratio(q[0, 1], q[0, 0]) + log_ratio(q[1, 1], q[1, 0])) / 2
    head = (log_ratio(q[1, 0], q[0, 0]) + log_ratio(q[1, 1], q[0, 1])) / 2
    return dict(features_part=features, head_part=head, change=log_ratio(q[1, 1], q[0, 0]))


def main() -> None:
    parser = runs.arguments(__doc__)
    parser.add_argument("--checkpoints", required=True, type=Path)
    args = parser.parse_args()
    settings = runs.read_settings(args)
    if settings["model"]["architecture"] != "escaip":
        raise ConfigError(f"head: run {settings['run']} has architecture {settings['model']['architecture']!r}, expected 'escaip': no other model has this force head")
    dynamic = settings["dynamics"]
    run = runs.build(args, runs.few_items(settings, dynamic["n_items"]))
    task, model = run.task, run.model.double()
    rotations = groups.cube()[:, None].expand(-1, dynamic["n_items"], -1, -1)
    batches = [dynamics.cast(batch) for batch in task.held_out(model)]
    paths = runs.checkpoints(args.checkpoints)
    rows, old = [], None
    for path in tqdm(paths, desc="checkpoints"):
        saved = checkpoint.load(path)
        model.load_state_dict(saved["live"])
        new = escaip.head_deviation(model), escaip.head_gram(model, [batch.inputs for batch in batches], task.force_scale)
        variance, relative = escaip.head_variance(model)
        found = measure(model, task.predict, batches, task.actions, task.output, rotations, groups.CUBE_ORDER)
        row = dict(run=settings["run"], step=saved["step"], head_variance=variance, head_variance_relative=relative)
        change = parts(old, new) if old else dict.fromkeys(("features_part", "head_part", "change"), math.nan)
        rows.append(dict(**row, equivariance=found.equivariance, quadratic_form=escaip.head_quadratic(*new), **change))
        old = new
    runs.write_table(args.out, rows, COLUMNS)


if __name__ == "__main__":
    _cli.run(main)
