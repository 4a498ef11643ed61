"""A server that misbehaves, and entries of a table of datasets that point to it."""

import hashlib
import os
import random
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from common import REPOSITORY

DATA = random.Random(0).randbytes(3_000_000)
SHA = "sha256:" + hashlib.sha256(DATA).hexdigest()
TEXT = random.Random(1).randbytes(20_000)
ENVIRONMENT = os.environ | {"PYTHONPATH": str(REPOSITORY / "src"), "no_proxy": "127.0.0.1"}
PAGE = b"\n<!DOCTYPE html><html><body>Sign in to continue</body></html>" + b" " * 5000


class Handler(BaseHTTPRequestHandler):
    """What it does is the first part of the path: /cut,etag/anything.

    ``server.seen`` counts requests and ranges.
    """

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        how = self.path.split("/")[1].split(",")
        self.server.seen[self.path] += 1
        nth, asked, data = self.server.seen[self.path], self.headers.get("Range"), DATA
        if asked:
            self.server.seen[f"{self.path} range"] += 1
        if "404" in how:
            return self.plain(404, b"no such file")
        if "500" in how and (nth <= 2 or "always" in how):
            return self.plain(500, b"oh no")
        if "moved" in how:
            self.send_response(302)
            self.send_header("Location", "/good/x")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if "file" in how:
            self.send_response(302)
            self.send_header("Location", "file:///etc/hostname")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if "html" in how:
            return self.plain(200, PAGE)
        if "empty" in how:
            return self.plain(200, b"")
        if "body" in how:
            return self.plain(200, self.server.body)
        if "other" in how or ("changes" in how and nth > 1):
            data = DATA[::-1]
        tag = f'"{hashlib.md5(data).hexdigest()}"'
        start = 0
        if asked and "norange" not in how and self.headers.get("If-Range", tag) == tag:
            start = int(asked.split("=")[1].split("-")[0])
            if start >= len(data):
                return self.plain(416, b"")
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if "etag" in how:
            self.send_header("ETag", tag)
        body = data[start:]
        length = len(body) + (1000 if "long" in how else -1000 if "short" in how else 0)
        if "nolength" in how:
            self.send_header("Connection", "close")
        elif "chunked" in how:
            self.send_header("Transfer-Encoding", "chunked")
            body = (
                b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:1_000_000], body[1_000_000:]))
                + b"0\r\n\r\n"
            )
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if "cut" in how and (nth == 1 or "always" in how):
            body = body[: len(body) // 2]
        if "stall" in how and (nth == 1 or "always" in how):
            self.wfile.write(body[: 100 if "always" in how else len(body) // 2])
            self.wfile.flush()
            time.sleep(30)
        elif "slow" in how:
            for i in range(10):
                self.wfile.write(body[i * len(body) // 10 : (i + 1) * len(body) // 10])
                time.sleep(0.05)
        else:
            self.wfile.write(body)
        self.close_connection = True

    def plain(self, code, body):
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Quiet(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_):
        pass  # clients that hang up are the point


def entry(**fields):
    common = dict(
        name="set",
        version="1",
        task="forces",
        file="data.bin",
        size=None,
        checksum=None,
        licence="CC0-1.0",
        citation="none",
        purpose="test",
        verified=True,
    )
    return common | {"urls": []} | fields


def no_file(tmp_path):
    return not (tmp_path / "set/1/data.bin").exists()
