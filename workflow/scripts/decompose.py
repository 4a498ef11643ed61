"""Decompose the held-out loss at every checkpoint of a run into twirled error and equivariance error."""

import time
from pathlib import Path

import _cli
from tqdm import tqdm

from equidyn import groups, runs
from equidyn.measure import measure_losses
from equidyn.training import checkpoint

COLUMNS = (
    "run task step condition weights rotations loss total twirled equivariance percent percent_lo percent_hi zero_loss zero_ratio_hi trivial_loss "
    "relative_equivariance floor n_items n_rotations seconds variance_items variance_rotations"
).split()
ROTATION_SEED = 20_251_001  # held-out rotations are the same for every run, seed and checkpoint


def floor(task, model, batches, rotations, losses, order):
    """Decomposition of the exactly equivariant control: one batch and four rotations are enough for the scale of rounding."""
    middle = len(batches) // 2
    start = sum(len(batch) for batch in batches[:middle])
    few = rotations[:4, start : start + len(batches[middle])]
    return measure_losses(model.equivariant_control(), task.predict, [batches[middle]], task.actions, task.output, few, losses, order)


def rotations_for(task, settings, n_items):
    """Rotations [n_rotations, n_items, 3, 3] and the order of their group, by the name that the table gives them.

    Tasks on SO(3): `haar` draws, and `cube`, all 24 rotations of the cube. Tasks on a grid: `cube`, draws without replacement
    from the 24 and different ones for every item, and `cube-24`, all of them.
    """
    n, cube = settings["measure"]["n_rotations"], groups.cube()
    whole = cube[:, None].expand(-1, n_items, -1, -1), len(cube)
    if task.group == "cube":
        return {"cube": (groups.subset_per_item(cube, n, n_items, ROTATION_SEED), len(cube)), "cube-24": whole}
    return {"haar": (groups.haar_per_item(n, n_items, ROTATION_SEED), None), "cube": whole}


def rows_of(path, settings, task, model, rotations, last):
    """Table rows of one checkpoint: live weights on the task's rotations; at the last also EMA weights and the whole cube group."""
    saved = checkpoint.load(path)
    main, whole = list(rotations)
    plans = [("live", main, task.conditions)]
    if last:
        plans += [("ema", main, task.conditions), ("live", main, getattr(task, "conditions_sc", ()))]
        plans += [("live", whole, task.conditions)] if len(task.conditions) == 1 else []  # 24 rotations at every flow time would cost more than all else
    losses = {"mse": None, **task.losses}
    for weights, name, conditions in plans:
        model.load_state_dict(saved[weights])
        drawn, order = rotations[name]
        for condition in conditions:
            started = time.monotonic()
            batches = task.held_out(model, condition)
            measured = measure_losses(model, task.predict, batches, task.actions, task.output, drawn, losses, order)
            seconds = time.monotonic() - started
            floors = floor(task, model, batches, drawn, losses, order)
            for loss, result in measured.items():
                for label, part in {loss: result, **({f"{loss}-plugin": result.plugin} if result.plugin else {})}.items():
                    yield row(settings, task, saved["step"], condition, weights, name, label, part, floors[loss].equivariance, seconds)
    if last and settings["measure"].get("off_grid"):
        model.load_state_dict(saved["live"])
        started = time.monotonic()
        result = task.off_grid(model, settings["measure"]["off_grid"], ROTATION_SEED)
        seconds = time.monotonic() - started
        control = task.off_grid(model.equivariant_control(), settings["measure"]["off_grid"], ROTATION_SEED)
        off_grid = row(settings, task, saved["step"], "", "live", "haar", "mse", result, control.equivariance, seconds)
        yield {**off_grid, "trivial_loss": off_grid["zero_loss"]}  # the rescaled input is not evaluated in the ball


def row(settings, task, step, condition, weights, rotations, loss, r, floor, seconds):
    """One row of the table from a Decomposition r."""
    trivial = task.trivial_loss(condition)
    return dict(
        run=settings["run"], task=task.name, step=step, condition=condition, weights=weights, rotations=rotations, loss=loss,
        total=r.total, twirled=r.twirled, equivariance=r.equivariance, percent=r.percent, percent_lo=r.percent_lo, percent_hi=r.percent_hi,
        zero_loss=r.zero_loss, zero_ratio_hi=r.zero_ratio_hi, trivial_loss=r.zero_loss if trivial is None else trivial, relative_equivariance=r.relative_equivariance,
        floor=floor, n_items=r.n_items, n_rotations=r.n_rotations, seconds=round(seconds, 3),
        variance_items=r.variance_items, variance_rotations=r.variance_rotations,
    )  # fmt: skip


def main() -> None:
    parser = runs.arguments(__doc__)
    parser.add_argument("--checkpoints", required=True, type=Path)
    args = parser.parse_args()
    settings = runs.read_settings(args)
    run = runs.build(args, settings)
    task, model = run.task, run.model
    n_items = sum(len(batch) for batch in task.held_out(model, task.conditions[0]))
    rotations = rotations_for(task, settings, n_items)
    paths = runs.checkpoints(args.checkpoints)
    rows = [row for path in tqdm(paths, desc="checkpoints") for row in rows_of(path, settings, task, model, rotations, path == paths[-1])]
    runs.write_table(args.out, rows, COLUMNS)


if __name__ == "__main__":
    _cli.run(main)
