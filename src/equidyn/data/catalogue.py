"""The table of datasets and its lock file: where files come from, where they belong, and what they must be. Nothing is fetched here.

The driver of the workflow imports this module too, and need not have more than yaml installed: what needs more is imported where it is used.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import threading
from pathlib import Path

import yaml

from equidyn.data.schema import DataError

FIELDS = ("name", "version", "task", "urls", "file", "size", "checksum", "licence", "citation", "purpose", "verified")
OPTIONAL = ("note", "page", "ids", "ids_file", "quoted")
DECIDING = ("version", "urls", "file", "size", "checksum", "quoted")  # which files an entry stands for and what they must be; the other fields are words
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")  # names that cannot leave the folder
CHECKSUM = re.compile(r"(sha256:[0-9a-f]{64}|md5:[0-9a-f]{32})\Z")
_ONE_THREAD = threading.Lock()  # writes a lock file: its temporary name is one per process, and outlives its renaming by a moment


def read_table(path: str | Path) -> dict[str, dict]:
    """Entries of the table of datasets by name, checked; ``ids_file`` becomes a path from here, it is read where the ids are wanted.

    Raises
    ------
    DataError
        no table, unknown or missing fields, a name twice, a file name with a folder in it, an address that is not http(s), a malformed checksum
    """
    try:
        rows = yaml.safe_load(Path(path).read_text())
    except (OSError, ValueError, OverflowError, LookupError, TypeError, AttributeError, RecursionError, yaml.YAMLError) as error:  # of dates, numbers and tags that are none
        raise DataError(f"{path}: not readable as a table of datasets ({error})") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: expected a list of entries")
    table: dict[str, dict] = {}
    for row in rows:
        name = row.get("name")
        if wrong := _wrong(row) or (name in table and "name used twice"):
            raise DataError(f"{path}: entry {name}: {wrong}")
        table[name] = row | ({"ids_file": str(Path(path).parent / row["ids_file"])} if "ids_file" in row else {})
    return table


def _wrong(row: dict) -> str | None:
    """What is wrong with an entry of the table, or None."""
    if missing := [field for field in FIELDS if field not in row]:
        return f"without {missing}"
    if unknown := set(row) - {*FIELDS, *OPTIONAL}:
        return f"unknown fields {sorted(map(str, unknown))}"
    if wrong := [field for field in ("name", "version", "file", "ids_file") if not isinstance(row.get(field, ""), str)]:
        return f"{wrong[0]} {row[wrong[0]]!r}, expected text, in quotes where it looks like a number"
    ids = row.get("ids", ["1abc" if "ids_file" in row else ""])
    if not isinstance(row["urls"], list) or not isinstance(ids, list):
        return "urls and ids must be lists"
    if not ids:
        return "ids [], expected at least one"
    if "ids" in row and "ids_file" in row:
        return "both ids and ids_file, expected at most one of the two"
    for text in [row["name"], row["version"], *(str(row["file"]).replace("{id}", str(i)) for i in ids)]:
        if not PLAIN.match(str(text)):
            return f"{text!r}, expected letters, digits, '.', '_' and '-'"
    if wrong := [url for url in row["urls"] if not str(url).startswith(("https://", "http://"))]:
        return f"urls {wrong}, expected http(s)"
    if wrong := _wrong_amount("", row) or ("quoted" in row and _wrong_quote(row["quoted"])):
        return wrong
    if _many(row) and (row["size"] or row["checksum"] or "quoted" in row or len({str(i) for i in ids}) != len(ids)):
        return "size and checksum must be null and quoted absent where ids make many files, and ids unique"
    try:
        _filled(row, ids if _many(row) else [])
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        return f"placeholder {error} in urls or file, expected {{id}} or {{middle}}"
    if type(row["verified"]) is not bool or not (row["verified"] or row.get("note")):
        return "verified must be true or false, false with a note"
    return None


def _wrong_amount(where: str, row: dict) -> str | None:
    checksum, size = row.get("checksum"), row.get("size")
    if checksum is not None and not CHECKSUM.match(str(checksum)):
        return f"{where}checksum {checksum!r}, expected sha256:<64 hex digits>, md5:<32> or null"
    if size is not None and not (type(size) is int and size > 0):
        return f"{where}size {size!r}, expected a number of bytes or null"
    return None


def _wrong_quote(quoted) -> str | None:
    if not isinstance(quoted, dict) or not quoted or set(quoted) - {"size", "checksum"} or None in quoted.values():
        return f"quoted {quoted!r}, expected size, checksum or both"
    return _wrong_amount("quoted ", quoted)


def _many(entry: dict) -> bool:
    return "ids" in entry or "ids_file" in entry


def ids_of(entry: dict) -> list[str]:
    """Ids of an entry of many files: those in the table, or the lines of its ``ids_file`` (what follows a # is a comment).

    Raises
    ------
    DataError
        no such file, no id in it, one that cannot be part of a file name, one twice
    """
    if "ids" in entry:
        return [str(i) for i in entry["ids"]]
    path, expected = Path(entry["ids_file"]), "expected a text file with one id per line, comments with #"
    try:
        lines = path.read_text().splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{title(entry)}: {path}: no list of ids ({error}), {expected}") from error
    ids, seen = [], set()
    for number, line in enumerate(lines, 1):
        if word := line.split("#")[0].strip():
            if not PLAIN.match(entry["file"].replace("{id}", word)) or word in seen:
                raise DataError(f"{path}: line {number}: {word[:40]!r}{' for the second time' * (word in seen)}, {expected}")
            seen.add(word)
            ids.append(word)
    if not ids:
        raise DataError(f"{path}: no id in it, {expected}")
    return ids


def expand(entry: dict) -> list[dict]:
    """One entry per file: {id} and {middle} (its second and third character, the archive's folder) are filled in. Raises as ``ids_of``."""
    return _filled(entry, ids_of(entry)) if _many(entry) else [entry]


def _filled(entry: dict, ids: list) -> list[dict]:
    common = {field: value for field, value in entry.items() if field != "ids_file"}
    fill = [{"id": str(i), "middle": str(i)[1:3]} for i in ids]
    return [common | {"file": entry["file"].format(**f), "urls": [url.format(**f) for url in entry["urls"]], "ids": [f["id"]]} for f in fill]


def digest(path: str | Path, name: str) -> str:
    """Changes with the files that an entry of the table stands for and with what they must be; not with its other fields, nor with other entries.

    Raises
    ------
    DataError
        see ``read_table``; a list of ids that is not there yet is for the download to complain about
    """
    entry = read_table(path)[name]
    deciding = {field: entry.get(field) for field in DECIDING}
    if _many(entry):
        try:
            deciding["ids"] = ids_of(entry)
        except DataError:
            deciding["ids"] = None
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:16]


def place(entry: dict, folder: str | Path) -> Path:
    """Where the file of an (expanded) entry belongs: folder/name/version/file."""
    return Path(folder) / entry["name"] / str(entry["version"]) / entry["file"]


def key(entry: dict) -> str:
    """Name of the file of an (expanded) entry in the lock file."""
    return f"{entry['name']}/{entry['version']}/{entry['file']}"


def title(entry: dict) -> str:
    """What messages call an entry of the table."""
    return f"{entry['name']} {entry['version']}"


def doubt(entry: dict) -> str:
    """What an error text ends with while nobody has confirmed the entry."""
    return "" if entry["verified"] else f" [this entry of the table is not confirmed: {entry['note']}]"


class Lock:
    """The lock file of checksums, for one run: read once, and written as rows come in, by many threads and processes.

    The more rows it has, the more are written at once: each writing writes them all, and the archive of proteins has some hundred thousand files. What
    is not written yet is at the end of the block; what a kill loses is recorded when the files, which have their names by then, are checked again.
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
        """The row that stands under a name: this one, unless there was one before. Raises DataError where another process records another meanwhile."""
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
        """What the file of an (expanded) entry must be: from the table, and where that does not say, from the lock file."""
        row = self.rows.get(key(entry))
        if entry["checksum"] is None and row:
            origin = f"recorded in {self.path} on {row['date']} from {row['from']}; remove the entry to accept another file"
            return {"size": entry["size"] or row["size"], "algorithm": "sha256", "digest": row["sha256"], "origin": origin}
        algorithm, _, hexadecimal = (entry["checksum"] or "").partition(":")
        return {"size": entry["size"], "algorithm": algorithm, "digest": hexadecimal, "origin": "from the table of datasets"}


def read_lock(path: str | Path) -> dict[str, dict]:
    """Rows of a lock file, each with sha256, size, date and from; none where there is no file.

    Raises
    ------
    DataError
        a file that is no lock file
    """
    try:
        rows = json.loads(Path(path).read_text() or "{}")
        if all(re.fullmatch("[0-9a-f]{64}", row["sha256"]) and type(row["size"]) is int and row["date"] and row["from"] for row in rows.values()):
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
    from equidyn.data.store import whole

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    while True:
        with _ONE_THREAD, open(path, "a+") as file:
            flock(file, fcntl.LOCK_EX)
            if not same_file(file, path):
                continue  # replaced while we waited for it
            rows = read_lock(path)
            for name, row in new.items():
                if rows.setdefault(name, row)["sha256"] != row["sha256"]:
                    raise DataError(f"{path}: {name}: sha256 {row['sha256']}, expected {rows[name]['sha256']}, which another process has recorded meanwhile")
            with whole(Path(path)) as temporary:
                temporary.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n")
            return


def contradicted(lock_path: str | Path, list_path: str | Path) -> list[str]:
    """Files of a list of checked files that the lock file, as it is now, does not admit: edited, or come with another checkout."""
    try:
        listed = {"/".join(Path(row["file"]).parts[-3:]): row["sha256"] for row in json.loads(Path(list_path).read_text())}
    except (OSError, ValueError, LookupError, TypeError):
        return []
    rows = read_lock(lock_path)
    return sorted(name for name, sha256 in listed.items() if rows.get(name, {"sha256": sha256})["sha256"] != sha256)


def flock(file, operation: int) -> None:
    """Lock an open file, where its file system has locks."""
    try:
        fcntl.flock(file, operation)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK):  # file systems of clusters without locks: the workflow's own lock has to do
            raise


def same_file(file, path: str | Path) -> bool:
    """Whether an open file is still the one under its path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
