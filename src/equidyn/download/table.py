"""The table of datasets: where files come from, where they belong, and what they must be.

Nothing is fetched here. The driver of the workflow imports this module too, and need not have more than yaml
installed.
"""

import hashlib
import json
import re
from pathlib import Path

import yaml

from equidyn.errors import DataError

FIELDS = (
    "name",
    "version",
    "task",
    "urls",
    "file",
    "size",
    "checksum",
    "licence",
    "citation",
    "purpose",
    "verified",
)
OPTIONAL = ("note", "page", "package", "ids", "ids_file", "quoted")
DECIDING = (
    "version",
    "urls",
    "package",
    "file",
    "size",
    "checksum",
    "quoted",
)  # which files an entry stands for and what they must be; the other fields are words
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")  # names that cannot leave the folder
PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9._-]*\Z")
CHECKSUM = re.compile(r"(sha256:[0-9a-f]{64}|md5:[0-9a-f]{32})\Z")


def read_table(path: str | Path) -> dict[str, dict]:
    """Entries of the table of datasets by name, checked; ``ids_file`` becomes a path from here, it is read
    where the ids are wanted.

    Raises
    ------
    DataError
        no table, unknown or missing fields, a name twice, a file name with a folder in it, an address that is
        not http(s), a malformed checksum
    """
    try:
        rows = yaml.safe_load(Path(path).read_text())
    except (
        OSError,
        ValueError,
        OverflowError,
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
        yaml.YAMLError,
    ) as error:  # of dates, numbers and tags that are none
        raise DataError(f"{path}: not readable as a table of datasets ({error})") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: expected a list of entries")
    table: dict[str, dict] = {}
    for row in rows:
        name = row.get("name")
        if wrong := _wrong(row) or (name in table and "name used twice"):
            raise DataError(f"{path}: entry {name}: {wrong}")
        table[name] = row | (
            {"ids_file": str(Path(path).parent / row["ids_file"])} if "ids_file" in row else {}
        )
    return table


def names(path: str | Path) -> list[str]:
    """Names of the entries, sorted; otherwise unchecked, for a driver that only needs to know what
    there is.
    """
    return sorted(row["name"] for row in yaml.safe_load(Path(path).read_text()))


def _wrong(row: dict) -> str | None:
    """What is wrong with an entry of the table, or None."""
    if missing := [field for field in FIELDS if field not in row]:
        return f"without {missing}"
    if unknown := set(row) - {*FIELDS, *OPTIONAL}:
        return f"unknown fields {sorted(map(str, unknown))}"
    if wrong := [
        field for field in ("name", "version", "file", "ids_file") if not isinstance(row.get(field, ""), str)
    ]:
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
    if "package" in row and not PACKAGE.match(str(row["package"])):
        return f"package {row['package']!r}, expected name==version"
    if "package" in row and (_many(row) or row["urls"]):
        return "package beside urls, ids or ids_file, expected it alone"
    if wrong := _wrong_amount("", row) or ("quoted" in row and _wrong_quote(row["quoted"])):
        return wrong
    if _many(row) and (
        row["size"] or row["checksum"] or "quoted" in row or len({str(i) for i in ids}) != len(ids)
    ):
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
    if (
        not isinstance(quoted, dict)
        or not quoted
        or set(quoted) - {"size", "checksum"}
        or None in quoted.values()
    ):
        return f"quoted {quoted!r}, expected size, checksum or both"
    return _wrong_amount("quoted ", quoted)


def _many(entry: dict) -> bool:
    return "ids" in entry or "ids_file" in entry


def ids_of(entry: dict) -> list[str]:
    """Ids of an entry of many files: those in the table, or the lines of its ``ids_file`` (what follows a #
    is a comment).

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
                again = " for the second time" if word in seen else ""
                raise DataError(f"{path}: line {number}: {word[:40]!r}{again}, {expected}")
            seen.add(word)
            ids.append(word)
    if not ids:
        raise DataError(f"{path}: no id in it, {expected}")
    return ids


def expand(entry: dict) -> list[dict]:
    """One entry per file: {id} and {middle} (its second and third character, the archive's folder) are filled
    in. Raises as ``ids_of``.
    """
    return _filled(entry, ids_of(entry)) if _many(entry) else [entry]


def _filled(entry: dict, ids: list) -> list[dict]:
    common = {field: value for field, value in entry.items() if field != "ids_file"}
    fill = [{"id": str(i), "middle": str(i)[1:3]} for i in ids]
    return [
        common
        | {
            "file": entry["file"].format(**f),
            "urls": [url.format(**f) for url in entry["urls"]],
            "ids": [f["id"]],
        }
        for f in fill
    ]


def digest(path: str | Path, name: str) -> str:
    """Changes with the files that an entry of the table stands for and with what they must be; not with its
    other fields, nor with other entries.

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
    return "" if entry["verified"] else f" [never tried by us: {entry['note']}]"
