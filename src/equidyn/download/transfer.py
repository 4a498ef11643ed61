"""One address into one part file, by libcurl: redirects, ranges, lengths, time limits, proxies and
certificates are its business.
"""

import json
import os
import random
import shutil
import time
from pathlib import Path

from tqdm import tqdm

from equidyn.download.table import title
from equidyn.errors import DataError

SPARE = 64 << 20  # bytes of the disk that a download leaves free
PROGRESS = 1 << 20  # bytes gained since the last cut that make the count of retries start again
PASSING = (408, 425, 429, 500, 502, 503, 504)  # HTTP answers worth another try


class Passing(Exception):
    """Worth another try at the same address; ``after`` seconds at the earliest."""

    def __init__(self, text: str, after: float = 0):
        super().__init__(text)
        self.after = after


class Refused(Exception):
    """Not worth another try at this address."""


def insist(transfer: "Transfer", retries: int, backoff: float) -> None:
    """Run a transfer until it is complete, with growing pauses.

    Raises Refused after ``retries`` without a mebibye gained, else as ``Transfer.run``.
    """
    best, attempt = transfer.size(), 0
    while True:
        try:
            return transfer.run()
        except Passing as error:
            attempt = 1 if transfer.size() >= best + PROGRESS else attempt + 1
            best = max(best, transfer.size())
            if attempt > retries:
                raise Refused(f"{error}, {retries} retries") from None
            time.sleep(max(error.after, min(60.0, backoff * 2 ** (attempt - 1)) * random.uniform(0.75, 1.25)))


class Transfer:
    """One address into one part file, begun or continued by every ``run``.

    A part is continued only where it cannot end up as a mixture of two files: the server confirms that its
    file is the one begun (If-Range with its ETag or date), or the checksum is known and tells afterwards.
    ``<file>.part.json`` remembers what was begun.
    """

    def __init__(self, entry, url, part, known, stall, progress, proxy=None):
        self.entry = entry
        self.url = url
        self.part = part
        self.known = known
        self.stall = stall
        self.progress = progress
        self.note = Path(f"{part.name}.json")
        self.ranges, self.proxy = True, proxy  # ranges until the server refuses one

    def size(self) -> int:
        """Bytes that are there."""
        return os.fstat(self.part.fileno()).st_size

    def run(self) -> None:
        """Returns when the part file is complete as far as the server says.

        Raises Passing, Refused, and DataError where the disk is too small.
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
            "URL": self.url,
            "FOLLOWLOCATION": 1,
            "MAXREDIRS": 10,
            "FAILONERROR": 1,
            "NOSIGNAL": 1,
            "CONNECTTIMEOUT": self.stall,
            "BUFFERSIZE": 1 << 18,
            "NOPROGRESS": 0,
            "LOW_SPEED_LIMIT": 1000,
            "LOW_SPEED_TIME": self.stall,
            "USERAGENT": "equidyn",
            "RESUME_FROM_LARGE": self.start,
            "PROTOCOLS": pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
            "REDIR_PROTOCOLS": pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
            # wheels of pycurl look for certificates where one distribution keeps them, which fails on others
            "CAINFO": os.environ.get("CURL_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or certifi.where(),
            "HEADERFUNCTION": self._guarded(self._header),
            "WRITEFUNCTION": self._guarded(self._write),
            "XFERINFOFUNCTION": self._guarded(lambda *_: None),
        }
        options |= {"PROXY": self.proxy} if self.proxy else {}
        for name, value in options.items():
            curl.setopt(getattr(pycurl, name), value)
        if self.start and validator:
            curl.setopt(pycurl.HTTPHEADER, [f"If-Range: {validator}"])
        try:
            curl.perform()
        except pycurl.error as error:
            if self.error is not None:
                raise self.error from None
            self._explain(
                error.args[0],
                error.args[1],
                curl.getinfo(pycurl.RESPONSE_CODE),
                curl.getinfo(pycurl.RETRY_AFTER),
            )
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
            raise Refused(f"more than the {self.known['size']} bytes expected")
        self.part.write(chunk)
        self.bar.update(len(chunk))

    def _begin(self) -> None:
        """Before the first byte is written: is it the right length, and is there room?"""
        length = self.headers.get("content-length", "")
        total = self.start + int(length) if length.isdigit() else None
        if (
            total is None
            and self.status.startswith("HTTP/1")
            and "chunked" not in self.headers.get("transfer-encoding", "").lower()
        ):
            if not self.known["size"] and not self.known["digest"]:
                raise Refused(
                    "the server does not say how long the file is, nor does the table: a cut could not be "
                    "told from its end"
                )
        if total is not None and self.known["size"] and total != self.known["size"]:
            raise Refused(f"{total} bytes announced, expected {self.known['size']}")
        room(
            self.entry,
            self.url,
            Path(self.part.name).parent,
            (total or self.known["size"] or 0) - self.size(),
        )
        etag = self.headers.get("etag", "")
        validator = etag if etag and not etag.startswith("W/") else self.headers.get("last-modified")
        self.part.truncate(self.start)
        self.part.seek(self.start)
        self.note.write_text(json.dumps({"url": self.url, "validator": validator, "length": total}))
        self.begun = True
        self.bar = tqdm(
            desc=self.entry["file"],
            total=total or self.known["size"],
            initial=self.start,
            unit="B",
            unit_scale=True,
            disable=not self.progress,
            mininterval=interval(),
        )

    def _complete(self, code: int) -> None:
        """libcurl is content; are we?"""
        if code == 416:  # our part is as long as the server's file, or longer: not its beginning
            self.ranges = False
            raise Passing("HTTP 416, the part does not fit the server's file")
        if code not in (200, 206) or not self.begun:
            raise Refused(f"HTTP {code} without content")
        if self.known["size"] and self.size() != self.known["size"]:
            self.ranges = False
            raise Passing(f"{self.size()} bytes, expected {self.known['size']}")

    def _explain(self, number: int, text: str, code: int, after: int) -> None:
        import pycurl as c

        if number in (c.E_ABORTED_BY_CALLBACK, c.E_WRITE_ERROR):
            raise KeyboardInterrupt  # only an interrupt at the door of a callback leaves no error behind
        if number == c.E_HTTP_RETURNED_ERROR:
            raise (
                Passing(f"HTTP {code}", min(after or 0, 600)) if code in PASSING else Refused(f"HTTP {code}")
            )
        if number == c.E_RANGE_ERROR:
            self.ranges = False
            raise Passing("the server does not continue downloads, or its file has changed")
        passing = (  # 92: a stream of HTTP/2 reset, not named by pycurl
            c.E_PARTIAL_FILE,
            c.E_RECV_ERROR,
            c.E_SEND_ERROR,
            c.E_GOT_NOTHING,
            c.E_OPERATION_TIMEDOUT,
            c.E_COULDNT_CONNECT,
            c.E_COULDNT_RESOLVE_HOST,
            c.E_COULDNT_RESOLVE_PROXY,
            c.E_SSL_CONNECT_ERROR,
            c.E_HTTP2,
            92,
        )
        raise (Passing if number in passing else Refused)(text or f"libcurl error {number}")

    def _begun(self) -> dict:
        try:
            found = json.loads(self.note.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def room(entry: dict, url: str, folder: Path, needed: int) -> None:
    """DataError where the disk has no room for ``needed`` more bytes."""
    free = shutil.disk_usage(folder).free
    if needed + SPARE > free:
        raise DataError(
            f"{title(entry)}: {url}: needs {needed / 1e6:.0f} MB and {SPARE / 1e6:.0f} MB to spare in "
            f"{folder.resolve()}, which has {free / 1e6:.0f} MB free"
        )


def interval() -> float:
    """Seconds between progress lines: few in a log file."""
    return 0.5 if os.isatty(2) else 30.0
