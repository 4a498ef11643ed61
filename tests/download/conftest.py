"""A server that misbehaves, and a download from it."""

import threading
from collections import Counter

import pytest
from download_server import DATA, SHA, Handler, Quiet, entry

from equidyn.download import fetch, table


@pytest.fixture(scope="module")
def server():
    server = Quiet(("127.0.0.1", 0), Handler)
    server.seen = Counter()
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def get(server, tmp_path, monkeypatch):
    """Fetch an entry whose addresses misbehave as named; what is under the final name afterwards is right or
    nothing.
    """
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server.seen.clear()

    def get(*hows, checksum=SHA, size=None, options=None, right=DATA, **fields):
        at = f"http://127.0.0.1:{server.server_port}"
        one = entry(urls=[f"{at}/{how}/x" for how in hows], checksum=checksum, size=size, **fields)
        try:
            return fetch.fetch(
                one,
                tmp_path,
                tmp_path / "lock.json",
                **dict(retries=3, backoff=0.01, stall=1, progress=False) | (options or {}),
            )
        finally:
            target = table.place(one, tmp_path)
            assert not target.exists() or target.read_bytes() == right

    return get
