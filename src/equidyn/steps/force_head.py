"""EScAIP's force head at every checkpoint of a run (live weights), see ``equidyn.analysis.force_head``."""

from pathlib import Path

from tqdm import tqdm

from equidyn.analysis import force_head as analysis
from equidyn.analysis.gradients import cast
from equidyn.errors import ConfigError
from equidyn.results.columns import HEAD
from equidyn.results.tables import write_table
from equidyn.steps.run import checkpoints_in, load, read_settings
from equidyn.symmetry import groups
from equidyn.symmetry.measure import measure


def force_head(
    config: Path, data: Path, checkpoints: Path, out: Path, grids: Path | None = None, threads: int = 1
) -> None:
    """Write ``head.csv`` of a run; its columns are ``results.columns.HEAD``.

    ``equivariance`` is Ê measured with the 24 rotations of the cube, which are exact for a linear head: it
    must agree with ``quadratic_form`` to rounding.

    Raises
    ------
    ConfigError
        a run of another architecture
    """
    settings = read_settings(config)
    if (architecture := settings["model"].get("architecture")) != "escaip":
        raise ConfigError(
            f"head: run {settings['run']} has architecture {architecture!r}, expected 'escaip': "
            "no other model has this force head"
        )
    n_items = settings["dynamics"]["n_items"]
    run = load(settings, data, grids, threads, n_items)
    task, model = run.task, run.model.double()
    rotations = groups.cube()[:, None].expand(-1, n_items, -1, -1)
    batches = [cast(batch) for batch in task.held_out(model)]
    rows, old = [], None
    for path in tqdm(checkpoints_in(checkpoints, settings), desc="checkpoints"):
        step = run.take(path)
        inputs = [batch.inputs for batch in batches]
        new = analysis.head_deviation(model), analysis.head_gram(model, inputs, task.force_scale)
        variance, relative = analysis.head_variance(model)
        symmetry = task.actions, task.output
        found = measure(model, task.predict, batches, *symmetry, rotations, groups.CUBE_ORDER)
        rows.append(
            dict(
                run=settings["run"],
                step=step,
                head_variance=variance,
                head_variance_relative=relative,
                equivariance=found.equivariance,
                quadratic_form=analysis.head_quadratic(*new),
                **analysis.parts_of_change(old, new),
            )
        )
        old = new
    write_table(out, rows, list(HEAD))
