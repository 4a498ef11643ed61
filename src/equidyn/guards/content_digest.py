"""HDF5 files of our own carry the SHA-256 digest of their content in front of it, which is compared before
the HDF5 library opens them.

On a damaged file that library may loop without end or end the process that reads it, and it does not notice
changed values at all. The digest stands in HDF5's user block, which every HDF5 tool skips; ``tail -c +513
FILE | sha256sum`` computes it. It guards against accidents: whoever forges a file can forge its digest.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from equidyn.errors import DataError
from equidyn.guards.completeness import HDF5

BLOCK = 512  # bytes in front of the HDF5 file; the least that HDF5 takes
MARK = b"Equidyn HDF5, SHA-256 of all bytes after the first 512:\n"


@contextmanager
def create(path: Path) -> Iterator[h5py.File]:
    """A new HDF5 file, sealed when the block ends."""
    with h5py.File(path, "w", userblock_size=BLOCK) as file:
        yield file
    write_digest(path)


def write_digest(path: Path) -> None:
    """Write the digest of a closed file; also after a change that is meant.

    Raises
    ------
    DataError
        a file without room for it: not made by ``create`` or with another ``userblock_size``
    """
    with open(path, "r+b") as file:
        file.seek(BLOCK)
        if file.read(len(HDF5)) != HDF5:
            raise DataError(
                f"{path}: no HDF5 file begins at byte {BLOCK}, expected one made with userblock_size={BLOCK}"
            )
        file.seek(BLOCK)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        file.write(_head(digest))


@contextmanager
def open_checked(path: str | Path, rule: str) -> Iterator[h5py.File]:
    """The file, open for reading, if it is as it was written.

    Parameters
    ----------
    rule : of the workflow that makes it, for messages

    Raises
    ------
    DataError
        no digest in front of it, or another one than its content has
    OSError
        no such file
    """
    advice = how_to_remake(path, rule)
    with open(path, "rb") as file:
        head = file.read(BLOCK)
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not head.startswith(MARK):
        raise DataError(
            f"{path}: begins with {head[:8]!r}, expected a digest: not a file of this program, or of a "
            f"version whose files had none; {advice}"
        )
    if head != _head(found) and found.encode() in head:
        raise DataError(
            f"{path}: its content has the digest that it should, but its first {BLOCK} bytes are damaged; "
            f"{advice}"
        )
    if head != _head(found):
        expected = head[len(MARK) : len(MARK) + 64].decode("ascii", "replace")
        raise DataError(
            f"{path}: its content has the SHA-256 digest {found}, expected {expected!r}: damaged, cut, or "
            f"changed after it was written; {advice}"
        )
    with h5py.File(path, "r") as file:
        yield file


def how_to_remake(path: str | Path, rule: str) -> str:
    """How to make a file of the workflow again, for messages."""
    return f"make it again: `snakemake {path} --forcerun {rule}` (with the --configfile of its config)"


def has_digest(path: str | Path) -> bool:
    """Whether a file begins as sealed ones do; its content is not looked at."""
    with open(path, "rb") as file:
        return file.read(len(MARK)) == MARK


def stored_digest(path: str | Path) -> str:
    """The digest in front of a file, not compared with its content."""
    with open(path, "rb") as file:
        return file.read(BLOCK)[len(MARK) : len(MARK) + 64].decode("ascii", "replace")


def _head(digest: str) -> bytes:
    return (MARK + digest.encode() + b"\n").ljust(BLOCK, b"\0")
