"""Datasets from the network: the files of a table, fetched by libcurl, resumed after a cut, checked, and only then given their name.

A file grows as ``<file>.part`` and is renamed once its length, first bytes and checksum are right. A checksum that the table does not know is recorded at
the first download in a lock file, and enforced ever after. What libcurl does: redirects, ranges, lengths, time limits, proxies, certificates.
"""

import errno
import fcntl
import hashlib
import json
import os
import random
import re
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import yaml
from tqdm import tqdm

from equidyn.data.schema import DataError

FIELDS = ("name", "version", "task", "urls", "file", "size", "checksum", "licence", "citation", "purpose", "verified")
OPTIONAL = ("note", "page", "ids")
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")  # names that cannot leave the folder
CHECKSUM = re.compile(r"(sha256:[0-9a-f]{64}|md5:[0-9a-f]{32})\Z")
BEGINS = {".gz": b"\x1f\x8b", ".tgz": b"\x1f\x8b", ".bz2": b"BZh", ".hdf5": b"\x89HDF\r\n\x1a\n", ".zip": b"PK", ".npz": b"PK", ".pickle": b"\x80"}
SPARE = 64 << 20  # bytes of the disk that a download leaves free
PROGRESS = 1 << 20  # bytes gained since the last cut that make the count of retries start again
PASSING = (408, 425, 429, 500, 502, 503, 504)  # HTTP answers worth another try


class _Passing(Exception):
    """Worth another try at the same address; ``after`` seconds at the earliest."""

    def __init__(self, text: str, after: float = 0):
        super().__init__(text)
        self.after = after


class _Refused(Exception):
    """Not worth another try at this address."""


class _Wrong(_Refused):
    """Complete, and not what was expected."""


def read_table(path: str | Path) -> dict[str, dict]:
    """Entries of the table of datasets by name, checked.

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
        table[name] = row
    return table


def _wrong(row: dict) -> str | None:
    """What is wrong with an entry of the table, or None."""
    if missing := [field for field in FIELDS if field not in row]:
        return f"without {missing}"
    if unknown := set(row) - {*FIELDS, *OPTIONAL}:
        return f"unknown fields {sorted(map(str, unknown))}"
    if wrong := [field for field in ("name", "version", "file") if not isinstance(row[field], str)]:
        return f"{wrong[0]} {row[wrong[0]]!r}, expected text, in quotes where it looks like a number"
    ids = row.get("ids", [""])
    if not isinstance(row["urls"], list) or not isinstance(ids, list):
        return "urls and ids must be lists"
    for text in [row["name"], row["version"], *(str(row["file"]).replace("{id}", str(i)) for i in ids)]:
        if not PLAIN.match(str(text)):
            return f"{text!r}, expected letters, digits, '.', '_' and '-'"
    if wrong := [url for url in row["urls"] if not str(url).startswith(("https://", "http://"))]:
        return f"urls {wrong}, expected http(s)"
    if row["checksum"] is not None and not CHECKSUM.match(str(row["checksum"])):
        return f"checksum {row['checksum']!r}, expected sha256:<64 hex digits>, md5:<32> or null"
    if row["size"] is not None and not (type(row["size"]) is int and row["size"] > 0):
        return f"size {row['size']!r}, expected a number of bytes or null"
    if "ids" in row and (row["size"] or row["checksum"] or len(set(ids)) != len(ids)):
        return "size and checksum must be null where ids make many files, and ids unique"
    try:
        expand(row)
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        return f"placeholder {error} in urls or file, expected {{id}} or {{middle}}"
    if type(row["verified"]) is not bool or not (row["verified"] or row.get("note")):
        return "verified must be true or false, false with a note"
    return None


def expand(entry: dict) -> list[dict]:
    """One entry per file: {id} and {middle} (its second and third character, the archive's folder) are filled in."""
    if "ids" not in entry:
        return [entry]
    fill = [{"id": str(i), "middle": str(i)[1:3]} for i in entry["ids"]]
    return [entry | {"file": entry["file"].format(**f), "urls": [url.format(**f) for url in entry["urls"]], "ids": [f["id"]]} for f in fill]


def place(entry: dict, folder: str | Path) -> Path:
    """Where the file of an (expanded) entry belongs: folder/name/version/file."""
    return Path(folder) / entry["name"] / str(entry["version"]) / entry["file"]


def fetch_all(entry: dict, folder: str | Path, lock_path: str | Path, workers: int = 1, **options) -> list[dict]:
    """Fetch every file of an entry, ``workers`` at a time; see ``fetch``. What arrived stays when others fail.

    Raises
    ------
    DataError
        the messages of all files that failed, shortened where they are many
    """
    found, failed = [], []

    def one(part):
        try:
            return fetch(part, folder, lock_path, **options)
        except DataError as error:
            return error

    parts = expand(entry)
    if len(parts) == 1:
        return [fetch(parts[0], folder, lock_path, **options)]
    options["progress"] = False  # one line for all files instead of one each
    pool = ThreadPoolExecutor(workers)
    try:
        for part, result in zip(parts, tqdm(pool.map(one, parts), entry["name"], len(parts), unit="file", mininterval=_interval())):
            (failed if isinstance(result, DataError) else found).append((part["file"], result))
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupt waits for the files at work, not for the list
    if failed:
        more = f"\nand {len(failed) - 3} more files: {' '.join(name for name, _ in failed[3:])}" if len(failed) > 3 else ""
        raise DataError("\n".join(str(error) for _, error in failed[:3]) + more)
    return [result for _, result in found]


def fetch(entry: dict, folder: str | Path, lock_path: str | Path, offline: bool = False, retries: int = 5, backoff: float = 2.0, stall: int = 60, progress: bool = True) -> dict:
    """One file of the table in its place (see ``place``), downloaded unless it is there, and checked in any case: its path, size and sha256.

    Parameters
    ----------
    offline
        never connect: only check a file put there by hand
    retries
        of one address without a mebibye gained in between; then the next address
    backoff
        seconds before the first retry, doubled each time up to a minute, ± a quarter
    stall
        seconds without a kilobyte per second after which a connection counts as dead

    Raises
    ------
    DataError
        no address has the right file, a file that is there is wrong, offline and it is not there, too little room on the disk, another process at it;
        the message names dataset, address, what was found and expected. A file that fails the checks never gets the final name.
    """
    target, known = place(entry, folder), _known(entry, lock_path)
    try:
        if target.exists():
            return _arrived(entry, target, target, known, lock_path, "a file put there by hand")
        if offline or not entry["urls"]:
            raise DataError(_by_hand(entry, target, known, "offline" if offline else "no address that a program can use"))
        target.parent.mkdir(parents=True, exist_ok=True)
        with _part(entry, target) as part:
            return _from_any(entry, target, part, known, lock_path, retries, backoff, stall, progress)
    except _Refused as error:
        raise DataError(f"{_title(entry)}: {target}: {error}; move it away to download it again{_doubt(entry)}") from None
    except OSError as error:
        raise DataError(f"{_title(entry)}: {target}: {error}; what has arrived is kept and continued next time") from error


def _from_any(entry, target, part, known, lock_path, retries, backoff, stall, progress) -> dict:
    """Try the addresses in order; the part file of the last attempt stays for the next run, one that is wrong does not."""
    if known["size"]:
        _room(entry, entry["urls"][0], target.parent, known["size"] - os.fstat(part.fileno()).st_size)
    reasons = []
    for url in entry["urls"]:
        try:
            try:
                begun_before = os.fstat(part.fileno()).st_size
                return _from_one(entry, url, target, part, known, lock_path, retries, backoff, stall, progress)
            except _Wrong:
                if not begun_before:
                    raise
                return _from_one(entry, url, target, part, known, lock_path, retries, backoff, stall, progress)  # what was continued may have been the wrong half
        except _Refused as error:
            reasons.append(f"{url}: {error}")
    listed = "".join(f"\n  {reason}" for reason in reasons)
    raise DataError(f"{_title(entry)}: {entry['file']} could not be downloaded:{listed}\n{_by_hand(entry, target, known, 'by hand')}")


def _from_one(entry, url, target, part, known, lock_path, retries, backoff, stall, progress) -> dict:
    transfer = _Transfer(entry, url, part, known, stall, progress)
    _insist(transfer, retries, backoff)
    os.fsync(part.fileno())
    try:
        return _arrived(entry, Path(part.name), target, known, lock_path, url)
    except _Refused as error:
        part.truncate(0)
        transfer.note.unlink(missing_ok=True)
        raise _Wrong(str(error)) from None


def _insist(transfer: "_Transfer", retries: int, backoff: float) -> None:
    best, attempt = transfer.size(), 0
    while True:
        try:
            return transfer.run()
        except _Passing as error:
            attempt = 1 if transfer.size() >= best + PROGRESS else attempt + 1
            best = max(best, transfer.size())
            if attempt > retries:
                raise _Refused(f"{error}, {retries} retries") from None
            time.sleep(max(error.after, min(60.0, backoff * 2 ** (attempt - 1)) * random.uniform(0.75, 1.25)))


class _Transfer:
    """One address into one part file, begun or continued by every ``run``.

    A part is continued only where it cannot end up as a mixture of two files: the server confirms that its file is the one begun (If-Range with its
    ETag or date), or the checksum is known and tells afterwards. ``<file>.part.json`` remembers what was begun.
    """

    def __init__(self, entry, url, part, known, stall, progress):
        self.entry, self.url, self.part, self.known, self.stall, self.progress = entry, url, part, known, stall, progress
        self.note = Path(f"{part.name}.json")
        self.ranges = True  # until the server refuses one

    def size(self) -> int:
        return os.fstat(self.part.fileno()).st_size

    def run(self) -> None:
        """Returns when the part file is complete as far as the server says.

        Raises _Passing, _Refused, and DataError where the disk is too small.
        """
        import certifi
        import pycurl

        begun, have = self._begun(), self.size()
        same = begun.get("url") == self.url
        if have and have == (self.known["size"] or begun.get("length")) and (same or self.known["digest"]):
            return  # killed between the last byte and the checks
        validator = begun.get("validator") if same else None
        self.start = have if have and self.ranges and (validator or self.known["digest"]) else 0
        self.status, self.headers, self.bar, self.error, self.begun = "", {}, None, None, False
        curl = pycurl.Curl()
        options = {
            "URL": self.url, "FOLLOWLOCATION": 1, "MAXREDIRS": 10, "FAILONERROR": 1, "NOSIGNAL": 1, "CONNECTTIMEOUT": self.stall, "BUFFERSIZE": 1 << 18, "NOPROGRESS": 0,
            "LOW_SPEED_LIMIT": 1000, "LOW_SPEED_TIME": self.stall, "USERAGENT": "equidyn", "RESUME_FROM_LARGE": self.start,
            "PROTOCOLS": pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS, "REDIR_PROTOCOLS": pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
            # wheels of pycurl look for certificates where one distribution keeps them, which fails on others
            "CAINFO": os.environ.get("CURL_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or certifi.where(),
            "HEADERFUNCTION": self._guarded(self._header), "WRITEFUNCTION": self._guarded(self._write), "XFERINFOFUNCTION": self._guarded(lambda *_: None),
        }  # fmt: skip
        for name, value in options.items():
            curl.setopt(getattr(pycurl, name), value)
        if self.start and validator:
            curl.setopt(pycurl.HTTPHEADER, [f"If-Range: {validator}"])
        try:
            curl.perform()
        except pycurl.error as error:
            if self.error is not None:
                raise self.error from None
            self._explain(error.args[0], error.args[1], curl.getinfo(pycurl.RESPONSE_CODE), curl.getinfo(pycurl.RETRY_AFTER))
        else:
            self._complete(curl.getinfo(pycurl.RESPONSE_CODE))
        finally:
            if self.bar is not None:
                self.bar.close()
            curl.close()

    def _guarded(self, call):
        """libcurl cannot carry an exception: keep it for after, and stop."""

        def callback(*arguments):
            try:
                call(*arguments)
            except BaseException as error:
                self.error = error
                return -1
            return None

        return callback

    def _header(self, line: bytes) -> None:
        text = line.decode("latin-1").strip()
        if text.startswith("HTTP/"):
            self.status, self.headers = text, {}  # of the last answer, after redirects
        elif ":" in text:
            name, value = text.split(":", 1)
            self.headers[name.lower()] = value.strip()

    def _write(self, chunk: bytes) -> None:
        if not self.begun:
            self._begin()
        if self.known["size"] and self.part.tell() + len(chunk) > self.known["size"]:
            raise _Refused(f"more than the {self.known['size']} bytes expected")
        self.part.write(chunk)
        self.bar.update(len(chunk))

    def _begin(self) -> None:
        """Before the first byte is written: is it the right length, and is there room?"""
        length = self.headers.get("content-length", "")
        total = self.start + int(length) if length.isdigit() else None
        if total is None and self.status.startswith("HTTP/1") and "chunked" not in self.headers.get("transfer-encoding", "").lower():
            if not self.known["size"] and not self.known["digest"]:
                raise _Refused("the server does not say how long the file is, nor does the table: a cut could not be told from its end")
        if total is not None and self.known["size"] and total != self.known["size"]:
            raise _Refused(f"{total} bytes announced, expected {self.known['size']}")
        _room(self.entry, self.url, Path(self.part.name).parent, (total or self.known["size"] or 0) - self.size())
        etag = self.headers.get("etag", "")
        validator = etag if etag and not etag.startswith("W/") else self.headers.get("last-modified")
        self.part.truncate(self.start)
        self.part.seek(self.start)
        self.note.write_text(json.dumps({"url": self.url, "validator": validator, "length": total}))
        self.begun = True
        self.bar = tqdm(
            desc=self.entry["file"], total=total or self.known["size"], initial=self.start, unit="B", unit_scale=True, disable=not self.progress, mininterval=_interval()
        )

    def _complete(self, code: int) -> None:
        """libcurl is content; are we?"""
        if code == 416:  # our part is as long as the server's file, or longer: not its beginning
            self.ranges = False
            raise _Passing("HTTP 416, the part does not fit the server's file")
        if code not in (200, 206) or not self.begun:
            raise _Refused(f"HTTP {code} without content")
        if self.known["size"] and self.size() != self.known["size"]:
            self.ranges = False
            raise _Passing(f"{self.size()} bytes, expected {self.known['size']}")

    def _explain(self, number: int, text: str, code: int, after: int) -> None:
        import pycurl as c

        if number in (c.E_ABORTED_BY_CALLBACK, c.E_WRITE_ERROR):
            raise KeyboardInterrupt  # only an interrupt at the door of a callback leaves no error behind
        if number == c.E_HTTP_RETURNED_ERROR:
            raise (_Passing(f"HTTP {code}", min(after or 0, 600)) if code in PASSING else _Refused(f"HTTP {code}"))
        if number == c.E_RANGE_ERROR:
            self.ranges = False
            raise _Passing("the server does not continue downloads, or its file has changed")
        passing = (  # 92: a stream of HTTP/2 reset, not named by pycurl
            c.E_PARTIAL_FILE, c.E_RECV_ERROR, c.E_SEND_ERROR, c.E_GOT_NOTHING, c.E_OPERATION_TIMEDOUT, c.E_COULDNT_CONNECT, c.E_COULDNT_RESOLVE_HOST,
            c.E_COULDNT_RESOLVE_PROXY, c.E_SSL_CONNECT_ERROR, c.E_HTTP2, 92,
        )  # fmt: skip
        raise (_Passing if number in passing else _Refused)(text or f"libcurl error {number}")

    def _begun(self) -> dict:
        try:
            found = json.loads(self.note.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def _arrived(entry, path: Path, target: Path, known: dict, lock_path, origin: str) -> dict:
    """Check a complete file, record its checksum where none is known, give it its name. Raises _Refused where it is wrong."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(1024)
        page = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        if page.startswith((b"<!doctype html", b"<html")) or (page.startswith(b"<?xml") and b"<html" in page):
            raise _Refused(f"an HTML page ({size} bytes), expected data")
        begins = BEGINS.get(Path(entry["file"]).suffix, b"")
        if not head.startswith(begins):
            raise _Refused(f"begins with {head[:8]!r}, expected {begins!r} for {Path(entry['file']).suffix}")
        if known["size"] and size != known["size"]:
            raise _Refused(f"{size} bytes, expected {known['size']} ({known['origin']})")
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        found = {"sha256": sha256}
        if known["digest"] and known["algorithm"] != "sha256":
            file.seek(0)
            found[known["algorithm"]] = hashlib.file_digest(file, known["algorithm"]).hexdigest()
    if known["digest"] and found[known["algorithm"]] != known["digest"]:
        raise _Refused(f"{known['algorithm']} {found[known['algorithm']]}, expected {known['digest']} ({known['origin']})")
    if not known["digest"]:
        _record(lock_path, _key(entry), {"sha256": sha256, "size": size, "from": origin, "date": datetime.now(UTC).strftime("%Y-%m-%d")})
    if path != target:
        os.replace(path, target)
        Path(f"{path}.json").unlink(missing_ok=True)
    return {"file": str(target), "size": size, "sha256": sha256}


def _known(entry: dict, lock_path) -> dict:
    """What a file must be: from the table, and where that does not say, from the lock file."""
    row = _read_lock(lock_path).get(_key(entry), {})
    if entry["checksum"] is None and row:
        origin = f"recorded in {lock_path} on {row['date']} from {row['from']}; remove the entry to accept another file"
        return {"size": entry["size"] or row["size"], "algorithm": "sha256", "digest": row["sha256"], "origin": origin}
    algorithm, _, digest = (entry["checksum"] or "").partition(":")
    return {"size": entry["size"], "algorithm": algorithm, "digest": digest, "origin": "from the table of datasets"}


def _read_lock(path) -> dict:
    try:
        rows = json.loads(Path(path).read_text() or "{}")
        if all(re.fullmatch("[0-9a-f]{64}", row["sha256"]) and type(row["size"]) is int and row["date"] and row["from"] for row in rows.values()):
            return rows
        raise ValueError("entries need sha256, size, date and from")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: not readable as a lock file of datasets ({error})") from error


def _record(path, key: str, row: dict) -> None:
    """Add to the lock file; many processes may do so at once."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    while True:
        with open(path, "a+") as file:
            flock(file, fcntl.LOCK_EX)
            if not _is(file, path):
                continue  # replaced while we waited for it
            rows = _read_lock(path)
            if rows.get(key, row)["sha256"] != row["sha256"]:
                raise _Refused(f"sha256 {row['sha256']}, expected {rows[key]['sha256']} (recorded in {path} meanwhile)")
            rows.setdefault(key, row)
            temporary = Path(f"{path}.{os.getpid()}.part")
            temporary.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n")
            os.replace(temporary, path)
            return


@contextmanager
def _part(entry: dict, target: Path) -> Iterator:
    """The part file, opened and ours alone."""
    path = target.with_name(f"{target.name}.part")
    with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b", buffering=0, closefd=True) as opened:
        try:
            flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"{_title(entry)}: {path}: another process downloads it at this moment") from None
        if not _is(opened, path):
            raise DataError(f"{_title(entry)}: {target}: another process has just finished it; start again")
        try:
            yield _Named(opened, path)
        finally:
            if _is(opened, path) and os.fstat(opened.fileno()).st_size == 0:
                path.unlink()


class _Named:
    """An open file that knows its path (a file opened by descriptor does not), and writes whole chunks."""

    def __init__(self, file, path: Path):
        self.name, self._file = str(path), file
        self.fileno, self.truncate, self.seek, self.tell = file.fileno, file.truncate, file.seek, file.tell

    def write(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            view = view[self._file.write(view) :]


def flock(file, operation: int) -> None:
    """Lock an open file, where its file system has locks."""
    try:
        fcntl.flock(file, operation)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK):  # file systems of clusters without locks: the workflow's own lock has to do
            raise


def _is(file, path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _room(entry: dict, url: str, folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed + SPARE > free:
        raise DataError(f"{_title(entry)}: {url}: needs {needed / 1e6:.0f} MB and {SPARE / 1e6:.0f} MB to spare in {folder.resolve()}, which has {free / 1e6:.0f} MB free")


def _by_hand(entry: dict, target: Path, known: dict, why: str) -> str:
    size = f"{known['size']} bytes" if known["size"] else "size not known"
    digest = f"{known['algorithm']} {known['digest']}" if known["digest"] else "checksum not known, recorded at first use"
    source = " or ".join([*entry["urls"], *([entry["page"]] if entry.get("page") else [])])
    return f"{_title(entry)}: {why}: get {entry['file']} ({size}; {digest}) from {source} and put it at {target.resolve()}{_doubt(entry)}"


def _doubt(entry: dict) -> str:
    return "" if entry["verified"] else f" [this entry of the table is not confirmed: {entry['note']}]"


def _title(entry: dict) -> str:
    return f"{entry['name']} {entry['version']}"


def _key(entry: dict) -> str:
    return f"{entry['name']}/{entry['version']}/{entry['file']}"


def _interval() -> float:
    """Seconds between progress lines: few in a log file."""
    return 0.5 if os.isatty(2) else 30.0
