"""Text files, compressed or in archives, as streams: nothing is extracted, so no name in an archive can lead
out of a folder.
"""

import bz2
import gzip
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from equidyn.data.readers.records import Rejected
from equidyn.errors import DataError

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
LONGEST = 1 << 20  # bytes of a line
MOST_ATOMS = 100_000  # of a frame
LARGEST = 64 << 20  # bytes of a frame


def members(path: str | Path, endings: tuple[str, ...]) -> Iterator[tuple[str, BinaryIO]]:
    """(where, stream) of a file, or of every member of an archive whose name ends so; a stream must be read
    before the next is asked for.

    Raises
    ------
    DataError
        an archive without such a member; tarfile's, zipfile's, gzip's and bz2's own errors where a file is
        damaged
    """
    name, found = str(path).lower(), False
    if name.endswith(TARS):
        with _tar(path) as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # tarfile would keep them all
                if member.isfile() and _wanted(member.name, endings):
                    found = True
                    yield f"{path}, {_printable(member.name)}", archive.extractfile(member)
    elif name.endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            for member in sorted(archive.namelist()):
                if _wanted(member, endings):
                    found = True
                    with archive.open(member) as stream:
                        yield f"{path}, {_printable(member)}", stream
    else:
        found = True
        opener = gzip.open if name.endswith(".gz") else bz2.open if name.endswith(".bz2") else open
        with opener(path, "rb") as stream:
            yield str(path), stream
    if not found:
        raise DataError(f"{path}: no {endings[0]} file in it")


def _tar(path) -> tarfile.TarFile:
    try:
        return tarfile.open(path, "r|*")
    except TypeError as error:  # tarfile's on a gzip header that is cut short
        raise tarfile.ReadError(str(error)) from error


def _wanted(name: str, endings: tuple[str, ...]) -> bool:
    """Members of that ending, but for the companions that macOS puts beside them."""
    return name.lower().endswith(endings) and not name.rsplit("/", 1)[-1].startswith("._")


def _printable(name: str) -> str:
    return " ".join(name.encode("utf-8", "replace").decode().splitlines())


def lines(stream: BinaryIO) -> Iterator[bytes]:
    """Lines of a stream, without a byte order mark; EOFError at one of more than ``LONGEST`` bytes, which
    is no text.
    """
    first = True
    while line := stream.readline(LONGEST):
        line, first = line.removeprefix(BYTE_ORDER_MARK) if first else line, False
        if len(line) == LONGEST and not line.endswith(b"\n"):
            raise EOFError(f"a line of more than {LONGEST} bytes")
        yield line


def frames(path: str | Path, endings: tuple[str, ...] = (".xyz",)) -> Iterator[tuple[str, str] | Rejected]:
    """(where, text) of the frames of XYZ files: a line with the number of atoms, a comment, a line per atom;
    frames are counted from 1.

    Blank lines between frames are skipped. What is no frame is one rejection, up to the next line that is a
    number, but for the lines that follow the one frame of a raw QM9 file.
    """
    for where, stream in members(path, endings):
        source, number, raw_qm9, lost = lines(stream), 0, False, False
        for line in source:
            word = line.strip()
            if not word:
                continue
            if not word.isdigit() or len(word) > 9 or int(word) > MOST_ATOMS:
                if not raw_qm9 and not lost:
                    number, lost = number + 1, True
                    yield Rejected(
                        f"{where}, frame {number}",
                        "does not parse (no number of atoms)",
                        word[:40].decode("utf-8", "replace"),
                    )
                continue
            number, lost, taken, size = number + 1, False, [line], 0
            for _ in range(int(word) + 1):
                if not (line := next(source, b"")):
                    break
                size += len(line)
                if size <= LARGEST:
                    taken.append(line)
            if size > LARGEST:
                yield Rejected(f"{where}, frame {number}", f"frame of more than {LARGEST} bytes")
                continue
            raw_qm9 = number == 1 and len(taken) > 1 and taken[1].startswith(b"gdb")
            yield f"{where}, frame {number}", b"".join(taken).decode("utf-8", "replace")
