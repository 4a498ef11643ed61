"""Text files, compressed or in archives, as streams: nothing is extracted, so no name in an archive can lead
out of a folder.
"""

import bz2
import gzip
import lzma
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from equidyn.data.readers.records import Rejected
from equidyn.errors import DataError

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz")
OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
PACKED = {  # how files begin that are no text
    b"\x1f\x8b": "gzip",
    b"BZh91AY&SY": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstandard",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"Rar!\x1a\x07": "RAR",
    b"\x1f\x9d": "compress",
    b"\x04\x22\x4d\x18": "LZ4",
}
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
        an archive without such a member, a file that is compressed under a name that does not say so, or in
        another way; tarfile's, zipfile's, gzip's, bz2's and lzma's own errors where a file is damaged
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
            for member in sorted(archive.infolist(), key=lambda member: member.filename):  # names may recur
                if _wanted(member.filename, endings):
                    found = True
                    with archive.open(member) as stream:
                        yield f"{path}, {_printable(member.filename)}", stream
    else:
        found = True
        with _opened(path) as stream:
            yield str(path), stream
    if not found:
        raise DataError(f"{path}: no {endings[0]} file in it")


def _opened(path: str | Path) -> BinaryIO:
    """A file, unpacked as its name says."""
    opener = OPENERS.get(Path(path).suffix.lower())
    if opener is not None:
        return opener(path, "rb")
    file = open(path, "rb")
    head = file.peek(16)
    if how := next((how for magic, how in PACKED.items() if head.startswith(magic)), ""):
        file.close()
        known = ", ".join((*OPENERS, *TARS, ".zip"))
        raise DataError(f"{path}: packed by {how}, expected plain text, or packed as its name says: {known}")
    return file


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
    number, but for the lines that follow the one frame of a raw QM9 file. A frame that is followed by a
    further line of its kind is a rejection: its number of atoms is too small.
    """
    for where, stream in members(path, endings):
        number, raw_qm9, lost, held = 0, False, False, None  # held: a frame, until what follows is known
        try:
            for part in _parts(lines(stream)):
                if held is not None:
                    lost = isinstance(part, bytes) and not raw_qm9 and _goes_on(held, part)
                    yield _frame(f"{where}, frame {number}", held, lost)
                    held = None
                if isinstance(part, list):
                    number, held = number + 1, part
                    raw_qm9 = number == 1 and len(part) > 1 and part[1].startswith(b"gdb")
                elif part.strip() and not raw_qm9 and not lost:
                    number, lost = number + 1, True
                    word = part.strip()[:40].decode("utf-8", "replace")
                    yield Rejected(f"{where}, frame {number}", "does not parse (no number of atoms)", word)
        except Exception:  # what a damaged file raises halfway, behind a frame that is whole
            if held is not None:
                yield _frame(f"{where}, frame {number}", held, False)
            raise
        if held is not None:
            yield _frame(f"{where}, frame {number}", held, False)


def _parts(source: Iterator[bytes]) -> Iterator[list[bytes] | bytes]:
    """Of the lines of an XYZ file: those of a frame as a list, of one that is too large an empty one; single
    lines between frames.
    """
    for line in source:
        word = line.strip()
        if not word.isdigit() or len(word) > 9 or int(word) > MOST_ATOMS:
            yield line
            continue
        taken, size = [line], 0
        for _ in range(int(word) + 1):
            if not (line := next(source, b"")):
                break
            size += len(line)
            if size <= LARGEST:
                taken.append(line)
        yield taken if size <= LARGEST else []


def _frame(where: str, taken: list[bytes], more: bool) -> tuple[str, str] | Rejected:
    """A frame of these lines; ``more``: an atom line follows it."""
    if not taken:
        return Rejected(where, f"frame of more than {LARGEST} bytes")
    if more:
        stated = taken[0].strip().decode()
        return Rejected(where, "does not parse", f"more atom lines than the stated {stated}")
    return where, b"".join(taken).decode("utf-8", "replace")


def _goes_on(taken: list[bytes], line: bytes) -> bool:
    """Whether the line behind a frame is one more atom's: as many words as in its last, the same of them
    numbers.
    """
    kinds = [[_is_number(word) for word in row.split()] for row in (*taken[2:][-1:], line)]
    return len(kinds) == 2 and kinds[0] == kinds[1] and sum(kinds[1]) >= 3


def _is_number(word: bytes) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
