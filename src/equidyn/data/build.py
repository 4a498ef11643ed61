"""From the settings of a dataset to its HDF5 file: read or generate, cluster, split, write.

A source is generated, or read as a stream. Items that share a cluster key never straddle the split.
"""

import shutil
from pathlib import Path

from equidyn.data.generated import generate
from equidyn.data.readers.registry import reader_of
from equidyn.data.streamed import convert
from equidyn.data.turned import turn
from equidyn.files import exclusive

MAKERS = {"turned": turn}  # those that are neither generated nor read


def build(settings: dict, out: str, code: str = "", workers: int = 2) -> dict[str, int]:
    """Make the dataset file and, in a folder of its name, ``rejected.csv``, ``split.csv`` and ``split.json``.

    Returns counts (kept, and rejected by reason).

    Raises
    ------
    DataError
        see the readers; also when a source gives too little to split
    """
    folder = Path(out).with_suffix("")
    make = MAKERS.get(settings["source"], generate if reader_of(settings) is None else convert)
    with exclusive(
        folder, "making a dataset"
    ):  # a second one would delete shards under the hands of the first
        counts = make(settings, out, code, workers, folder)
        shutil.rmtree(folder / "resume", ignore_errors=True)
    return counts
