"""Decompose the held-out loss at every checkpoint of a run into twirled error and equivariance error; killed
and started again it measures what is left.
"""

from pathlib import Path

from equidyn import processes
from equidyn.defaults import PROCESSES
from equidyn.progress import tqdm
from equidyn.results.columns import DECOMPOSITION
from equidyn.results.tables import write_table
from equidyn.steps.measured import Measured
from equidyn.steps.run import checkpoints_in, load, read_settings

KEPT = "measured"  # folder beside the table, until it is whole


def decompose(
    config: Path,
    data: Path,
    checkpoints: Path,
    out: Path,
    grids: Path | None = None,
    code: str = "",
    threads: int = 1,
) -> None:
    """Write ``decomposition.csv`` of a run; its columns are ``results.columns.DECOMPOSITION``.

    Parameters
    ----------
    code : digest of the code; what another one has measured is measured again
    """
    settings = read_settings(config)
    with processes.started(settings["training"].get("processes", PROCESSES)) as ours:
        run = load(settings, data, grids, threads)
        measured = Measured(run, data, out.parent / KEPT, code, grids, ours)
        paths, rows = checkpoints_in(checkpoints, settings), []
        for path in tqdm(paths, desc="checkpoints", disable=not ours.first):
            rows += measured.rows(path, path == paths[-1])
        if ours.first:
            write_table(out, rows, list(DECOMPOSITION))
            measured.forget()
