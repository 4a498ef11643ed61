"""Whether a file is what its name says, and all of it: the only check there is on files whose checksum nobody
knows.

By the last suffix of the name. Everything is read in pieces; an .xz takes the memory that its own header asks
for, a zip that of its directory.
"""

import bz2
import errno
import gzip
import lzma
import os
import struct
import zipfile
import zlib
from pathlib import Path

PIECE = 1 << 20  # bytes
GZIP = b"\x1f\x8b"
BZIP2 = b"BZh"
XZ = b"\xfd7zXZ\x00"
ZIP = b"PK"
HDF5 = b"\x89HDF\r\n\x1a\n"
PICKLE = b"\x80"
BEGINS = {
    ".gz": GZIP,
    ".tgz": GZIP,
    ".bz2": BZIP2,
    ".tbz2": BZIP2,
    ".xz": XZ,
    ".txz": XZ,
    ".zip": ZIP,
    ".npz": ZIP,
    ".whl": ZIP,
    ".hdf5": HDF5,
    ".h5": HDF5,
    ".pickle": PICKLE,
    ".pkl": PICKLE,
}
SUPERBLOCK = {
    0: (24, 13),
    1: (28, 13),
    2: (12, 9),
    3: (12, 9),
}  # of HDF5, by version: where its addresses begin, and where their width is stated


def wrong_beginning(path: Path, name: str) -> str | None:
    """What is wrong with the beginning of a file that is to be called ``name``, or None: a web page, or the
    first bytes of another format.
    """
    with open(path, "rb") as file:
        head = file.read(1024)
    page = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if page.startswith((b"<!doctype html", b"<html")) or (page.startswith(b"<?xml") and b"<html" in page):
        return f"an HTML page ({path.stat().st_size} bytes), expected data"
    suffix = Path(name).suffix
    if not head.startswith(begins := BEGINS.get(suffix, b"")):
        return f"begins with {head[:8]!r}, expected {begins!r} for {suffix}"
    return None


def missing_end(path: Path, name: str) -> str | None:
    """What says that a file that is to be called ``name`` is not all there, or None; text and formats without
    an end of their own pass.

    Compressed files are read to their end (a cut exactly between two members of a file of several is not
    seen), archives member by member, pickles have a full stop for a last byte (as one cut in 256 has).

    Raises
    ------
    OSError
        the disk's own errors
    """
    suffix = Path(name).suffix
    if suffix not in BEGINS:
        return None
    try:
        reason = ENDS[BEGINS[suffix]](path)
    except (
        EOFError,
        OSError,
        zlib.error,
        lzma.LZMAError,
        zipfile.BadZipFile,
        struct.error,
        ValueError,
        LookupError,
        RuntimeError,
    ) as error:
        if isinstance(error, OSError) and error.errno not in (
            None,
            errno.EINVAL,
        ):  # a damaged directory of a zip makes it seek before the start
            raise
        reason = str(error)
    return reason and f"incomplete or damaged {suffix} of {path.stat().st_size} bytes: {reason}"


def _gzip(path: Path) -> None:
    with gzip.open(path) as stream:
        _read(stream)


def _bzip2(path: Path) -> None:
    with bz2.open(path) as stream:
        _read(stream)


def _xz(path: Path) -> None:
    with lzma.open(path) as stream:
        _read(stream)


def _read(stream) -> None:
    """Decompress and forget: the decompressor compares checksums, and complains where the end is missing."""
    while stream.read(PIECE):
        pass


def _zip(path: Path) -> str | None:
    with zipfile.ZipFile(path) as archive:
        return (bad := archive.testzip()) and f"member {bad[:100]!r} fails its checksum"


def _hdf5(path: Path) -> str | None:
    """Its first bytes alone: on a damaged file the HDF5 library may loop without end."""
    with open(path, "rb") as file:
        head = file.read(64)
    if head[8] not in SUPERBLOCK:
        return f"its superblock has version {head[8]}, expected one of {sorted(SUPERBLOCK)}"
    start, width_at = SUPERBLOCK[head[8]]
    width = head[width_at]
    end = int.from_bytes(head[start + 2 * width : start + 3 * width], "little")  # third of the addresses
    return None if end == os.path.getsize(path) else f"its superblock says that it ends after {end} bytes"


def _pickle(path: Path) -> str | None:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read()
    return None if last == b"." else f"the last byte is {last!r}, expected the b'.' that ends a pickle"


ENDS = {GZIP: _gzip, BZIP2: _bzip2, XZ: _xz, ZIP: _zip, HDF5: _hdf5, PICKLE: _pickle}  # by first bytes
