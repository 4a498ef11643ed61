"""The lock file of datasets: checksums recorded at the first download and enforced ever after."""

import fcntl
import json
import re
import threading
from pathlib import Path

from equidyn.download.table import key
from equidyn.errors import DataError
from equidyn.files import flock, same_file, write_text

_ONE_THREAD = (
    threading.Lock()
)  # writes a lock file: its temporary name is one per process, and outlives its renaming by a moment


class Lock:
    """The lock file of checksums, for one run: read once, and written as rows come in, by many threads and
    processes.

    The more rows it has, the more are written at once: each writing writes them all, and the archive of
    proteins has some hundred thousand files. What is not written yet is at the end of the block; what a kill
    loses is recorded when the files, which have their names by then, are checked again.
    """

    def __init__(self, path: str | Path):
        self.path, self.rows = path, read_lock(path)
        self._pending, self._guard = {}, threading.Lock()

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *_) -> None:
        with self._guard:
            self._write()

    def add(self, name: str, row: dict) -> dict:
        """The row that stands under a name: this one, unless there was one before.

        Raises DataError where another process records another meanwhile.
        """
        with self._guard:
            if name not in self.rows:
                self.rows[name] = self._pending[name] = row
                if 10 * len(self._pending) > len(self.rows):
                    self._write()
            return self.rows[name]

    def _write(self) -> None:
        if self._pending:
            pending, self._pending = self._pending, {}
            record(self.path, pending)

    def known(self, entry: dict) -> dict:
        """What the file of an (expanded) entry must be: from the table, and where that does not say, from the
        lock file.
        """
        row = self.rows.get(key(entry))
        if entry["checksum"] is None and row:
            origin = (
                f"recorded in {self.path} on {row['date']} from {row['from']}; remove the entry to accept "
                f"another file"
            )
            return {
                "size": entry["size"] or row["size"],
                "algorithm": "sha256",
                "digest": row["sha256"],
                "origin": origin,
            }
        algorithm, _, hexadecimal = (entry["checksum"] or "").partition(":")
        return {
            "size": entry["size"],
            "algorithm": algorithm,
            "digest": hexadecimal,
            "origin": "from the table of datasets",
        }


def read_lock(path: str | Path) -> dict[str, dict]:
    """Rows of a lock file, each with sha256, size, date and from; none where there is no file.

    Raises
    ------
    DataError
        a file that is no lock file
    """
    try:
        rows = json.loads(Path(path).read_text() or "{}")
        if all(
            re.fullmatch("[0-9a-f]{64}", row["sha256"])
            and type(row["size"]) is int
            and row["date"]
            and row["from"]
            for row in rows.values()
        ):
            return rows
        raise ValueError("entries need sha256, size, date and from")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: not readable as a lock file of datasets ({error})") from error


def record(path: str | Path, new: dict[str, dict]) -> None:
    """Add rows to the lock file; many processes may do so at once.

    Raises
    ------
    DataError
        a row that is there already with another sha256, a file that is no lock file or cannot be written
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    while True:
        with _ONE_THREAD, open(path, "a+") as file:
            flock(file, fcntl.LOCK_EX)
            if not same_file(file, path):
                continue  # replaced while we waited for it
            rows = read_lock(path)
            for name, row in new.items():
                if rows.setdefault(name, row)["sha256"] != row["sha256"]:
                    raise DataError(
                        f"{path}: {name}: sha256 {row['sha256']}, expected {rows[name]['sha256']}, which "
                        f"another process has recorded meanwhile"
                    )
            write_text(Path(path), json.dumps(rows, indent=1, sort_keys=True) + "\n")
            return


def contradicted(lock_path: str | Path, list_path: str | Path) -> list[str]:
    """Files of a list of checked files that the lock file, as it is now, does not admit: edited, or come with
    another checkout.
    """
    try:
        listed = {
            "/".join(Path(row["file"]).parts[-3:]): row["sha256"]
            for row in json.loads(Path(list_path).read_text())
        }
    except (OSError, ValueError, LookupError, TypeError):
        return []
    rows = read_lock(lock_path)
    return sorted(
        name for name, sha256 in listed.items() if rows.get(name, {"sha256": sha256})["sha256"] != sha256
    )
