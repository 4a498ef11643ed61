"""Atomic writes and locks: whatever is written is whole or absent, and two processes never write the same
thing.
"""

import errno
import fcntl
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from equidyn.errors import DataError

STALE = 3600  # seconds
OF_DISKS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM}
OF_TORCH = "PytorchStreamWriter", "inline_container"  # in what it says of a failed write
NO_LOCKS = (
    errno.ENOSYS,
    errno.EOPNOTSUPP,
    errno.ENOLCK,
)  # of file systems that have none, as on some clusters


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path``, which becomes ``path`` when the block ends without an error.

    Else nothing is left and ``path`` is as it was.

    The content is on the disk before it gets its name, so that a power cut does not leave an empty file under
    it.

    Raises
    ------
    DataError
        a full disk, a folder that cannot be written to
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear(path)
    except OSError as error:
        raise _unwritten(path, error) from error
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        if not _of_writing(error, temporary):
            raise
        raise _unwritten(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _unwritten(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:300]
    kept = "nothing was left under that name but what was there before"
    return DataError(f"{path}: could not be written ({reason}){_room(path.parent)}; {kept}")


def _of_writing(error: Exception, temporary: Path) -> bool:
    """Whether an error within a block that writes is the file system's, of that file: HDF5 and torch raise
    RuntimeError too, and what is written may be read from other files.
    """
    text = str(error)
    if temporary.name in text:
        return True
    if isinstance(error, OSError) and error.filename is not None:
        return Path(error.filename) == temporary.parent
    of_hdf5 = re.search(r"errno = (\d+)", text)
    number = int(of_hdf5[1]) if of_hdf5 else getattr(error, "errno", None)
    return number in OF_DISKS or any(word in text for word in OF_TORCH)


def write_text(path: Path, text: str) -> None:
    """Text into a file as by ``atomic_write``."""
    with atomic_write(path) as temporary:
        temporary.write_text(text)


def undamaged(path: Path, load: Callable[[Path], object]) -> object:
    """``load(path)`` of a file that can be made again; None where there is none, or a damaged one, which is
    removed.
    """
    if not path.exists():
        return None
    try:
        return load(path)
    except Exception:  # numpy, zipfile, zlib and json raise many types
        path.unlink(missing_ok=True)
        return None


def reserve(path: Path, size: int) -> None:
    """Have the file system set ``size`` bytes aside for a file, whose content stays as it is."""
    with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "rb") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (
                errno.EOPNOTSUPP,
                errno.EINVAL,
                errno.ENOSYS,
            ):  # file systems that cannot tell
                raise


def _clear(path: Path) -> None:
    """Remove what killed writers left: of processes that are no more, and untouched for an hour.

    The hour is for those that are at work on another machine.
    """
    for left in path.parent.glob(f".{path.name}.*.part"):
        with suppress(OSError, ValueError, OverflowError):
            pid, age = int(left.name.split(".")[-2]), time.time() - left.stat().st_mtime
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                if age > STALE:
                    left.unlink()


def _room(folder: Path) -> str:
    try:
        return f", {shutil.disk_usage(folder).free / 1e6:.0f} MB are free there"
    except OSError:
        return ""


def flock(file: IO, operation: int) -> None:
    """Lock an open file, where its file system has locks."""
    try:
        fcntl.flock(file, operation)
    except OSError as error:
        if error.errno not in NO_LOCKS:  # there the workflow's own lock has to do
            raise


@contextmanager
def exclusive(folder: Path, work: str) -> Iterator[None]:
    """Make a folder and hold its lock; wait for a process that already does (an orphan of a killed workflow,
    say).

    Parameters
    ----------
    work : what is done in the folder, for the message to who waits

    Raises
    ------
    DataError
        a folder that cannot be written to
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "w")
    except OSError as error:
        raise DataError(f"{folder}: cannot be written to ({error})") from error
    with lock:
        try:
            flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(
                f"{folder}: another process is at work here ({work}); waiting for it",
                file=sys.stderr,
                flush=True,
            )
            flock(lock, fcntl.LOCK_EX)
        yield


def same_file(file: IO, path: str | Path) -> bool:
    """Whether an open file is still the one under its path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
