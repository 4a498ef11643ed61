"""What poses alone do to a linear force head: the prediction beside ``config/poses.yaml``.

At the fixed, invariant features of a trained EScAIP the best head for the training poses of a dataset is a
least-squares problem, row by row (``analysis.force_head.least_squares_head``). Its equivariance error on
held-out items, as part of its loss there, is what second moments of directions predict without any training.

    python benchmarks/linear_head.py --results results/poses --run escaip-poses-haar-0 --out linear_head.csv
"""

import argparse
import csv
from pathlib import Path

import torch

from equidyn.analysis.force_head import least_squares_head
from equidyn.data import store
from equidyn.data.padding import Ragged
from equidyn.steps.measure_run import load_last
from equidyn.symmetry import groups
from equidyn.symmetry.measure import measure

COLUMNS = (
    "features",
    "dataset",
    "n_train",
    "pose_second",
    "pose_fourth",
    "total_over_zero",
    "percent",
    "lo",
    "hi",
)


def doubled(ragged: Ragged) -> Ragged:
    """Arrays of a task in float64."""
    return Ragged(ragged.values.double(), ragged.offsets)


def predicted(run: Path, data: Path, n_train: int | None = None) -> dict:
    """The decomposition of the least-squares head, held-out items, all 24 rotations of the cube (exact for a
    linear head).
    """
    loaded, _ = load_last(run, data)
    task, model = loaded.task, loaded.model.double()
    task.positions, task.forces = doubled(task.positions), doubled(task.forces)
    items = task.by_size(task.train[:n_train])
    batches = (task.inputs_of(model, part) for part in items.split(64))
    scaled = ((inputs, forces / task.force_scale) for inputs, forces in batches)
    model.force.weight.data = least_squares_head(model, scaled)
    held_out = task.held_out(model)
    n = sum(len(batch) for batch in held_out)
    drawn, order = groups.draw_per_item("cube", groups.CUBE_ORDER, n, 0)
    found = measure(model, task.predict, held_out, task.actions, task.output, drawn, order)
    _, poses = store.poses_of(data)
    return dict(
        features=run.name,
        dataset=data.stem,
        n_train=len(items),
        pose_second=max(poses.gyration),
        pose_fourth=poses.fourth,
        total_over_zero=found.total / found.zero_loss,
        percent=found.percent,
        lo=found.percent_lo,
        hi=found.percent_hi,
    )


def main() -> None:
    """Read the arguments and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--run", action="append", required=True)
    parser.add_argument("--n-train", type=int, nargs="*", default=[])
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with open(asked.out, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for run in asked.run:
            for data in sorted((asked.results / "data").glob("*.h5")):
                for n_train in [*asked.n_train, None]:
                    row = predicted(asked.results / "runs" / run, data, n_train)
                    writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
                    print(row, flush=True)


if __name__ == "__main__":
    main()
