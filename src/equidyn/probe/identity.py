"""What makes a model the one that was measured before: its code, and the files that it is made from."""

import functools
import hashlib
import json
import os
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

INSTALLED = ("site-packages", "dist-packages")  # what has a version instead
LIBRARY = tuple(os.path.realpath(sysconfig.get_path(name)) + os.sep for name in ("stdlib", "platstdlib"))
NOT_THEIRS = (*LIBRARY, "/proc/", "/sys/", "/dev/", "/etc/")  # beginnings of paths
LARGE = 2**32  # bytes
_open_files: list[set[str]] = []  # of ``opened``; an audit hook cannot be taken away again


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def named_files(given: object, out: Path) -> dict[str, str]:
    """Digests of the files and folders that arguments name: weights that were written anew are another
    model. Folders that hold the working directory or ``out`` are no weights.
    """
    if isinstance(given, dict):
        given = list(given.values())
    if isinstance(given, list):
        return {name: found for one in given for name, found in named_files(one, out).items()}
    if not isinstance(given, str) or not given:
        return {}
    try:
        path = Path(given).resolve()
        if path.is_file():
            return {given: digest(path)}
        if not path.is_dir() or any(place.is_relative_to(path) for place in (Path.cwd(), out.resolve())):
            return {}
        inside = {str(file): digest(file) for file in sorted(path.rglob("*")) if file.is_file()}
    except OSError:  # no path at all, or one that this process may not read
        return {}
    return {given: hashlib.sha256(json.dumps(inside).encode()).hexdigest()}


def code(spec: str) -> dict[str, str]:
    """Digests of the code of a user's own, by module: of what is named, and of all that is imported but
    neither installed nor of Python or this package.
    """
    place = spec.rpartition(":")[0]
    found = {place: digest(Path(place))} if place.endswith(".py") else {}
    for name, module in sorted(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if path and name != "__main__" and name.split(".")[0] != "equidyn" and _of_user(path):
            found[name] = digest(Path(path))
    return found


def _of_user(path: str) -> bool:
    """Whether a file is there that no package or Python itself has installed."""
    real = os.path.realpath(path)  # of a package it may lie in a cache
    if real.startswith(NOT_THEIRS) or set(INSTALLED) & {*path.split(os.sep), *real.split(os.sep)}:
        return False
    hidden = os.path.basename(path).startswith(".") or ".git" in path.split(os.sep)
    return os.path.isfile(real) and not hidden


@contextmanager
def opened() -> Iterator[dict[str, str]]:
    """Filled at the end of the block: digests of the files that code opened to read in it, such as weights.

    Python's own ``open`` is watched, which torch.load and numpy.load use. Code is not among them (see
    ``code``), nor what was written meanwhile: a log or a cache is no part of a model.
    """
    _hook()
    started, names, found = time.time(), set(), {}
    _open_files.append(names)
    try:
        yield found
    finally:
        _open_files.remove(names)
    for name in sorted(names):
        try:
            if _of_user(name) and os.path.getmtime(name) < started:
                found[name] = _content(name)
        except OSError:  # it could not be read, or is gone
            continue


def _content(name: str) -> str:
    """A file's digest, of a large one its size and time instead."""
    about = os.stat(name)
    if about.st_size > LARGE:
        return f"{about.st_size} bytes of {about.st_mtime_ns} ns"
    return digest(Path(name))


@functools.cache
def _hook() -> None:
    sys.addaudithook(_watch)


def _watch(event: str, arguments: tuple) -> None:
    if event != "open" or not _open_files:
        return
    path, mode, flags = arguments
    if isinstance(path, os.PathLike):
        path = os.fspath(path)
    writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)
    if isinstance(path, str) and not writes and not path.endswith((".py", ".pyc")):
        for names in _open_files:
            names.add(os.path.abspath(path))
