"""A disk that fills up while a run trains or is measured: a clear error, and afterwards the same table."""

import csv
import os
import subprocess
import sys

import yaml
from common import REPOSITORY, TRAINING

LIMITED = (
    "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2); "
    "sys.argv = sys.argv[2:]; runpy.run_path(sys.argv[0], run_name='__main__')"
)
PLENTY, TRAINING_ROOM, MEASURING_ROOM = 1 << 30, 60_000, 2_000  # bytes that a file may have


def call(script, room, folder, dataset, *more):
    path = str(REPOSITORY / f"workflow/scripts/{script}.py")
    asked = [path, "--config", folder / "run.yaml", "--data", dataset, *more]
    return subprocess.run(
        [sys.executable, "-c", LIMITED, str(room), *map(str, asked)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def made(folder, dataset, training_room=PLENTY, measuring_room=PLENTY):
    """Train and measure into a folder: what each said, and the rows of the table without seconds."""
    folder.mkdir(exist_ok=True)
    run = dict(run="r", seed=0, device="cpu", task="forces", dataset="d", training=TRAINING)
    run |= dict(model={"architecture": "escaip", "size": "tiny"})
    run |= dict(measure=dict(n_items=6, n_rotations=3, batch_size=6))
    (folder / "run.yaml").write_text(yaml.safe_dump(run))
    trained = call("train", training_room, folder, dataset, "--out", folder)
    if trained.returncode:
        return trained, None
    table = folder / "table.csv"
    measured = call(
        "decompose", measuring_room, folder, dataset, "--checkpoints", folder / "checkpoints", "--out", table
    )
    if measured.returncode:
        return measured, None
    with open(table, newline="") as file:
        return measured, [{**row, "seconds": ""} for row in csv.DictReader(file)]


def test_a_full_disk_is_named_and_spoils_nothing(dataset, tmp_path):
    _, expected = made(tmp_path / "clean", dataset)
    folder = tmp_path / "full"
    for rooms in ((TRAINING_ROOM, PLENTY), (PLENTY, MEASURING_ROOM)):
        done, table = made(folder, dataset, *rooms)
        assert table is None and done.returncode == 1
        said = done.stderr.strip().splitlines()[-1]
        assert said.startswith("error: ") and str(folder) in said and "could not be written" in said
        assert not (folder / "table.csv").exists() and not list(folder.rglob("*.part"))
    assert expected and made(folder, dataset)[1] == expected
