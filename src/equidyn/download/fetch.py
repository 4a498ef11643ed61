"""Datasets from the network: the files of a table, fetched by libcurl, resumed after a cut, checked, and only
then given their name.

A file grows as ``<file>.part`` and is renamed once its length, first bytes and checksum are right. A checksum
that the table does not know is recorded at the first download, of a file that is complete in itself, and
enforced ever after.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tqdm import tqdm

from equidyn.download import table
from equidyn.download.lockfile import Lock
from equidyn.download.table import title
from equidyn.download.transfer import Refused, Transfer, insist, interval, room
from equidyn.errors import DataError
from equidyn.files import flock, same_file
from equidyn.guards import completeness


@dataclass(frozen=True)
class DownloadOptions:
    """How to download, see ``fetch``."""

    offline: bool = False
    retries: int = 5
    backoff: float = 2.0
    stall: int = 60
    progress: bool = True
    mirror: str | None = None
    proxy: str | None = None


class _Wrong(Refused):
    """Complete, and not what was expected."""


def fetch_all(
    entry: dict, folder: str | Path, lock_path: str | Path, workers: int = 1, **options
) -> list[dict]:
    """Fetch every file of an entry, ``workers`` at a time; see ``fetch``.

    What arrived stays when others fail.

    Raises
    ------
    DataError
        the messages of all files that failed, shortened where they are many
    """
    with _explained(entry, folder):
        parts = table.expand(entry)
    if len(parts) == 1:
        return [fetch(parts[0], folder, lock_path, **options)]
    found, failed = [], []
    how = DownloadOptions(**options | {"progress": False})  # one line for all files instead of one each

    def one(part):
        try:
            with _explained(part, folder):
                return _Fetch(part, folder, lock, how).run()
        except DataError as error:
            return error

    with _explained(entry, folder), Lock(lock_path) as lock:
        pool = ThreadPoolExecutor(workers)
        try:
            for part, result in zip(
                parts,
                tqdm(pool.map(one, parts), entry["name"], len(parts), unit="file", mininterval=interval()),
            ):
                (failed if isinstance(result, DataError) else found).append((part["file"], result))
        finally:
            pool.shutdown(cancel_futures=True)  # an interrupt waits for the files at work, not for the list
    if failed:
        more = (
            f"\nand {len(failed) - 3} more files: {' '.join(name for name, _ in failed[3:])}"
            if len(failed) > 3
            else ""
        )
        raise DataError("\n".join(str(error) for _, error in failed[:3]) + more)
    return [result for _, result in found]


def fetch(entry: dict, folder: str | Path, lock_path: str | Path, **options) -> dict:
    """One file of the table in its place (see ``table.place``), downloaded unless it is there, and
    checked in any case.

    Parameters
    ----------
    offline : bool, False
        never connect: only check a file put there by hand
    retries : int, 5
        of one address without a mebibye gained in between; then the next address
    backoff : float, 2
        seconds before the first retry, doubled each time up to a minute, ± a quarter
    stall : int, 60
        seconds without a kilobyte per second after which a connection counts as dead
    progress : bool, True
        a progress bar on stderr
    mirror : str, None
        address under which ``name/version/file`` is asked for first, but of packages, which come from pip's
        index; what comes from there is checked like any other
    proxy : str, None
        address that all connections go through, those of pip included; default: as the environment says

    Returns
    -------
    dict
        file (path), size (bytes), sha256; ``quoted``: "agrees" or "differs", where the table has what others
        quote

    Raises
    ------
    DataError
        no address has the right file, a file that is there is wrong, offline and it is not there, too little
        room on the disk, another process at it; the message names dataset, address, what was found and
        expected, and says where the entry is not confirmed. A file that fails the checks never gets the final
        name.
    """
    with _explained(entry, folder), Lock(lock_path) as lock:
        return _Fetch(entry, folder, lock, DownloadOptions(**options)).run()


@contextmanager
def _explained(entry: dict, folder: str | Path) -> Iterator[None]:
    """Whatever goes wrong with an entry is a DataError, which says so where the entry itself may be wrong."""
    target = table.place(entry, folder)
    try:
        yield
        return
    except Refused as error:
        text, cause = f"{title(entry)}: {target}: {error}; move it away to download it again", None
    except OSError as error:
        text = f"{title(entry)}: {target}: {error}; what has arrived is kept and continued next time"
        cause = error
    except DataError as error:
        text, cause = str(error), error.__cause__
    raise DataError(text + table.doubt(entry)) from cause


class _Fetch:
    """One file of the table on its way to its place."""

    def __init__(self, entry: dict, folder: str | Path, lock: Lock, how: DownloadOptions):
        self.lock, self.how, self.known = lock, how, lock.known(entry)
        self.target = table.place(entry, folder)
        self.entry = entry
        if how.mirror and not how.offline and "package" not in entry:
            place = self.target.relative_to(folder).as_posix()
            self.entry = {**entry, "urls": [f"{how.mirror.rstrip('/')}/{place}", *entry["urls"]]}

    def run(self) -> dict:
        """The file, downloaded unless it is there, and checked; see ``fetch``."""
        entry, target = self.entry, self.target
        if target.exists():
            return self._arrived(target, "a file put there by hand")
        if self.how.offline or not (entry["urls"] or "package" in entry):
            raise DataError(
                self._by_hand("offline" if self.how.offline else "no address that a program can use")
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        if "package" in entry:
            return self._from_package_index()
        with _part(entry, target) as part:
            return self._from_any(part)

    def _from_package_index(self) -> dict:
        """The wheel of an entry's ``package``, from the package index that pip is configured with.

        Raises Refused where it is another file than expected.
        """
        package, proxy = self.entry["package"], self.how.proxy
        with tempfile.TemporaryDirectory(dir=self.target.parent, prefix=".pip.") as folder:
            options = ["--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--quiet"]
            options += ["--proxy", proxy] if proxy else []
            command = [sys.executable, "-m", "pip", "download", *options, "--dest", folder, package]
            done = subprocess.run(command, capture_output=True, text=True)
            arrived = Path(folder) / self.entry["file"]
            if done.returncode or not arrived.is_file():
                found = sorted(path.name for path in Path(folder).iterdir())
                said = " ".join(done.stderr.split())[-300:] or f"it brought {', '.join(found) or 'nothing'}"
                raise DataError(self._by_hand(f"pip could not download {package}: {said}"))
            return self._arrived(arrived, f"package {package}")

    def _from_any(self, part: "_Named") -> dict:
        """Try the addresses in order; the part file of the last attempt stays for the next run, one that is
        wrong does not.
        """
        entry, reasons = self.entry, []
        if self.known["size"]:
            room(entry, entry["urls"][0], self.target.parent, self.known["size"] - _size(part))
        for url in entry["urls"]:
            try:
                return self._from(url, part)
            except Refused as error:
                reasons.append(f"{url}: {error}")
        listed = "".join(f"\n  {reason}" for reason in reasons)
        raise DataError(
            f"{title(entry)}: {entry['file']} could not be downloaded:{listed}\n{self._by_hand('by hand')}"
        )

    def _from(self, url: str, part: "_Named") -> dict:
        """From one address; once more from the start where what was continued may be the wrong half."""
        continued = _size(part) > 0
        try:
            return self._once_from(url, part)
        except _Wrong:
            if not continued:
                raise
        return self._once_from(url, part)

    def _once_from(self, url: str, part: "_Named") -> dict:
        how = self.how
        transfer = Transfer(self.entry, url, part, self.known, how.stall, how.progress, how.proxy)
        insist(transfer, how.retries, how.backoff)
        os.fsync(part.fileno())
        try:
            return self._arrived(Path(part.name), url)
        except Refused as error:
            part.truncate(0)
            transfer.note.unlink(missing_ok=True)
            raise _Wrong(str(error)) from None

    def _arrived(self, path: Path, origin: str) -> dict:
        """Check a complete file, record its checksum where none is known, give it its name.

        Raises Refused where it is wrong.
        """
        entry, known = self.entry, self.known
        size = path.stat().st_size
        if reason := completeness.wrong_beginning(path, entry["file"]):
            raise Refused(reason)
        if known["size"] and size != known["size"]:
            raise Refused(f"{size} bytes, expected {known['size']} ({known['origin']})")
        sha256 = _hash(path, "sha256")
        if known["digest"]:
            found = sha256 if known["algorithm"] == "sha256" else _hash(path, known["algorithm"])
            if found != known["digest"]:
                raise Refused(f"{known['algorithm']} {found}, expected {known['digest']} ({known['origin']})")
        elif reason := completeness.missing_end(path, entry["file"]):
            raise Refused(reason)  # recorded, it would be the right file ever after
        quoted = _as_quoted(entry, path, size)
        if not known["digest"]:
            self._record(sha256, size, origin, quoted)
        if path != self.target:
            os.replace(path, self.target)
            Path(f"{path}.json").unlink(missing_ok=True)
        return {"file": str(self.target), "size": size, "sha256": sha256, **quoted}

    def _record(self, sha256: str, size: int, origin: str, quoted: dict) -> None:
        """Note a checksum that the table does not know; raises Refused where there is another meanwhile."""
        date = datetime.now(UTC).strftime("%Y-%m-%d")
        row = {"sha256": sha256, "size": size, "from": origin, "date": date, **quoted}
        there = self.lock.add(table.key(self.entry), row)["sha256"]
        if there != sha256:
            raise Refused(f"sha256 {sha256}, expected {there} (recorded in {self.lock.path} meanwhile)")

    def _by_hand(self, why: str) -> str:
        entry, known = self.entry, self.known
        size = f"{known['size']} bytes" if known["size"] else "size not known"
        digest = (
            f"{known['algorithm']} {known['digest']}"
            if known["digest"]
            else "checksum not known, recorded at first use"
        )
        package = [f"`pip download --no-deps {entry['package']}`"] if "package" in entry else []
        source = " or ".join([*package, *entry["urls"], *([entry["page"]] if entry.get("page") else [])])
        return (
            f"{title(entry)}: {why}: get {entry['file']} ({size}; {digest}) from {source} and put it at "
            f"{self.target.resolve()}"
        )


def _as_quoted(entry: dict, path: Path, size: int) -> dict:
    """Whether a file is the one that others quote: a warning where it is not, no more, because nobody has
    confirmed the quotation.
    """
    if "quoted" not in entry:
        return {}
    differs, quoted = [], entry["quoted"]
    if quoted.get("size", size) != size:
        differs.append(f"{size} bytes, quoted {quoted['size']}")
    algorithm, _, digest = quoted.get("checksum", "").partition(":")
    if algorithm and (found := _hash(path, algorithm)) != digest:
        differs.append(f"{algorithm} {found}, quoted {digest}")
    if differs:
        print(
            f"WARNING: {title(entry)}: {entry['file']} is not the file that others quote: "
            f"{'; '.join(differs)}; kept all the same{table.doubt(entry)}",
            file=sys.stderr,
        )
    return {"quoted": "differs" if differs else "agrees"}


def _hash(path: Path, algorithm: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


@contextmanager
def _part(entry: dict, target: Path) -> Iterator:
    """The part file, opened and ours alone."""
    path = target.with_name(f"{target.name}.part")
    with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b", buffering=0, closefd=True) as opened:
        try:
            flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"{title(entry)}: {path}: another process downloads it at this moment") from None
        if not same_file(opened, path):
            raise DataError(f"{title(entry)}: {target}: another process has just finished it; start again")
        try:
            yield _Named(opened, path)
        finally:
            if same_file(opened, path) and os.fstat(opened.fileno()).st_size == 0:
                path.unlink()


def _size(part: "_Named") -> int:
    return os.fstat(part.fileno()).st_size


class _Named:
    """An open file that knows its path (a file opened by descriptor does not), and writes whole chunks."""

    def __init__(self, file, path: Path):
        self.name, self._file = str(path), file
        self.fileno, self.truncate, self.seek, self.tell = file.fileno, file.truncate, file.seek, file.tell

    def write(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            view = view[self._file.write(view) :]
