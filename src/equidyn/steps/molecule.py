"""Forces on one held-out molecule before and after twirling, for a picture: a run's last checkpoint."""

from pathlib import Path

import torch

from equidyn.results.columns import MOLECULE
from equidyn.results.tables import write_table
from equidyn.steps.run import checkpoints_in, load, read_settings
from equidyn.symmetry import groups
from equidyn.symmetry.measure import twisted_by

AXES = "xyz"


@torch.no_grad()
def molecule(
    config: Path, data: Path, checkpoints: Path, out: Path, grids: Path | None = None, threads: int = 1
) -> None:
    """Write ``molecule.csv`` of a run of the task forces; its columns are ``results.columns.MOLECULE``.

    The molecule is the held-out one of middle size; the twirl is over all 24 rotations of the cube.

    Raises
    ------
    ConfigError, DataError
        see ``steps.run.load`` and ``checkpoints_in``
    """
    run = load(read_settings(config), data, grids, threads)
    step = run.take(checkpoints_in(checkpoints, run.settings)[-1])
    batches = run.task.held_out(run.model)
    batch = batches[len(batches) // 2][:1]
    turned = twisted_by(run.task, run.model, batch, groups.cube()[:, None])
    forces = torch.stack(list(turned))[:, 0]  # (24, a, 3); the first rotation is none
    rows = []
    for atom in batch.mask[0].nonzero().flatten().tolist():
        row = dict(run=run.settings["run"], step=step, atom=atom)
        row["number"] = int(batch.inputs["numbers"][0, atom])
        for name, values in (
            ("position", batch.inputs["positions"][0]),
            ("target", batch.target[0]),
            ("predicted", forces[0]),
            ("twirled", forces.mean(0)),
        ):
            row |= {f"{name}_{axis}": value for axis, value in zip(AXES, values[atom].tolist())}
        rows.append(row)
    write_table(out, rows, list(MOLECULE))
