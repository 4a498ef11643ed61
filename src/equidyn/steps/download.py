"""Download the files of one dataset of the table, check them, and list them with sizes and checksums."""

import json
from pathlib import Path

from equidyn.download import fetch
from equidyn.download.table import read_table
from equidyn.errors import DataError
from equidyn.files import write_text


def download(
    table: Path,
    name: str,
    folder: Path,
    lock: Path,
    out: Path,
    offline: bool = False,
    retries: int = 5,
    workers: int = 1,
    mirror: str | None = None,
    proxy: str | None = None,
) -> None:
    """Fetch the entry ``name`` into ``folder`` and write the list of its checked files (JSON).

    Parameters
    ----------
    lock : checksums recorded at first download;  offline : never connect, say which file to put where
    workers : files at a time, where an entry has many;  mirror, proxy : see ``download.fetch``

    Raises
    ------
    DataError
        no such entry; see ``download.fetch``
    """
    entries = read_table(table)
    if name not in entries:
        raise DataError(f"{table}: no dataset {name}, expected one of {', '.join(sorted(entries))}")
    how = dict(offline=offline, retries=retries, mirror=mirror, proxy=proxy)
    if not entries[name]["verified"]:
        print(f"{name}: never tried by us: {entries[name]['note']}", flush=True)
    found = fetch.fetch_all(entries[name], folder, lock, workers, **how)
    write_text(out, json.dumps(found, indent=1) + "\n")
