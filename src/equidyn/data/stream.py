"""Streaming conversion: a molecular file becomes records, records become items in worker processes, items a dataset file.

A reader is a pair of functions. ``records(path)`` splits a file cheaply and in bounded memory into picklable records; ``parse(record, settings)`` does
the work and returns what to keep and what to reject, and why. Records are parsed in chunks, and every finished chunk is a shard file in a resume
folder, so that a killed conversion loses the chunks in flight and no more. The shards are then appended to the HDF5 file one at a time. Only a few
numbers per item (cluster, length, split) and one string per cluster are ever held for all items.
"""

import hashlib
import json
import lzma
import multiprocessing
import os
import struct
import tarfile
import threading
import zipfile
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np

from equidyn.data import store
from equidyn.data.schema import KINDS, DataError

RECORDS, BYTES = 256, 1 << 20  # a chunk is full at either
BREAKS = (OSError, EOFError, RuntimeError, UnicodeDecodeError, tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error)  # what a damaged file raises halfway
EARLY = 20  # records after which a file all of whose records are suspect is refused
TOLERATED = 0.05  # of a file's records that may be suspect


@dataclass(slots=True)
class Item:
    """One structure, molecule or chain: per-row arrays, per-item values, cluster key (items that share one never straddle the split)."""

    where: str  # file and record, for messages and lists
    cluster: str
    rows: dict[str, np.ndarray]
    values: dict = field(default_factory=dict)
    bare: bool = False  # hydrogens are missing
    notes: tuple[str, ...] = ()  # peculiarities that are counted, not rejected


@dataclass(slots=True)
class Rejected:
    """A record that is not kept."""

    where: str
    reason: str  # a phrase that records of the same fate share
    detail: str = ""  # the value found, for the list
    suspect: str = ""  # of a record that no physical structure can be: the likely cause, such as a unit


@dataclass(frozen=True)
class Reader:
    """How one kind of file is read; the functions must be picklable, those of a module are."""

    kind: str  # of dataset, a key of schema.KINDS
    records: Callable  # path -> iterator of records; a Rejected among them is passed on
    parse: Callable  # (record, settings) -> list[Item | Rejected]
    admit: Callable | None = None  # (item, settings) -> Item | Rejected: limits that the settings set
    check: Callable | None = None  # (path, first items, settings) -> counts for the notes; raises DataError where they cannot be
    chunk: int = RECORDS
    isolated: bool = False  # parse only in a worker: a crafted record may end the process


@dataclass
class Shard:
    """A parsed chunk on disk, and what the parent wants to know of it."""

    path: Path
    origin: str  # input file
    held_out: bool
    found: int  # items and rejections
    suspect: int
    leading: int  # rejections as suspect before anything else
    example: list | None  # where, reason, detail, likely cause of the first suspect
    causes: dict[str, int]


def shards(reader: Reader, inputs: list[tuple[str, bool]], settings: dict, folder: Path, workers: int = 1, notes: Counter | None = None) -> Iterator[Shard]:
    """Parse the files of a dataset into shard files; yields them in order, those that exist at once.

    Parameters
    ----------
    inputs : (file, whether its items are a published held-out split)
    folder : of the shards; must belong to these inputs, settings and code alone
    notes : counts of the reader's check are added here

    Raises
    ------
    DataError
        a missing file, one with nothing readable in it, one whose records fail the checks of units (see ``EARLY`` and ``TOLERATED``), one whose reader died
    """
    from tqdm import tqdm  # here: tasks import this module too, on machines without progress bars

    folder.mkdir(parents=True, exist_ok=True)
    pool = None
    try:
        with tqdm(desc="records", unit="", mininterval=5) as bar:
            for number, (path, held_out) in enumerate(inputs):
                tally, pending, checked = _Tally(path), deque(), reader.check is None
                chunks = _chunks(path, reader)
                for index, (chunk, last) in enumerate(chunks):
                    job = (folder / f"{number:04d}-{index:07d}.npz", path, held_out, chunk, reader, settings)
                    if job[0].exists():
                        pending.append(_summary(*job[:3]))
                    elif not reader.isolated and (workers == 1 or (pool is None and index == 0 and last)):
                        pending.append(_work(job))  # not worth a process
                    else:
                        pool = pool or _pool(workers)
                        pending.append(pool.submit(_work, job))
                    bar.update(len(chunk))
                    while pending and (len(pending) > 2 * workers or last or isinstance(pending[0], Shard)):
                        shard = pending.popleft()
                        shard = shard if isinstance(shard, Shard) else shard.result()
                        tally.add(shard)
                        if not checked and (items := [r for r in load(shard.path, reader.kind) if isinstance(r, Item)]):
                            checked = True
                            found = reader.check(path, items, settings)
                            (notes if notes is not None else Counter()).update(found)
                        yield shard
                tally.close()
    except BrokenProcessPool as error:
        raise DataError(
            f"{path}: a worker process died while reading it, expected it to finish: out of memory (fewer workers need less), or a damaged or crafted record "
            "that ended the reader. Finished shards are kept, and the same command goes on after them"
        ) from error
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def read(reader: Reader, path: str | Path, settings: dict | None = None) -> tuple[list[Item], list[Rejected]]:
    """All of one file in memory: for tests and small files; raises as ``shards``."""
    settings, results, tally = settings or {}, [], _Tally(str(path))
    for chunk, _ in _chunks(str(path), reader):
        parsed = _parse(chunk, reader, settings)
        tally.add(_tallied(None, str(path), False, parsed))
        results += parsed
    tally.close()
    items = [r for r in results if isinstance(r, Item)]
    if reader.check is not None and items:
        reader.check(str(path), items[:RECORDS], settings)
    return items, [r for r in results if isinstance(r, Rejected)]


def _pool(workers: int) -> ProcessPoolExecutor:
    # Read by the workers: threads of numerical libraries in every one of them would only fight.
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _leave_with_parent)


def _leave_with_parent() -> None:
    """A worker of a killed parent would wait for work forever."""
    parent = multiprocessing.parent_process().sentinel
    threading.Thread(target=lambda: (wait([parent]), os._exit(1)), daemon=True).start()


def _chunks(path: str, reader: Reader) -> Iterator[tuple[list, bool]]:
    """Lists of records that fill a chunk, and whether it is the last. A file that breaks off ends in a rejection that says so."""
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file")
    ready, chunk, size = None, [], 0
    for record in _unbroken(path, reader.records(path)):
        chunk.append(record)
        size += _size(record)
        if len(chunk) >= reader.chunk or size >= BYTES:
            if ready is not None:
                yield ready, False
            ready, chunk, size = chunk, [], 0
    if ready is None and not chunk:
        raise DataError(f"{path}: no record in it")
    if ready is not None:
        yield ready, not chunk
    if chunk:
        yield chunk, True


def _unbroken(path: str, records: Iterator) -> Iterator:
    n = 0
    try:
        for record in records:
            n += 1
            yield record
    except BREAKS as error:
        if not n:
            raise DataError(f"{path}: not readable, perhaps truncated ({type(error).__name__}: {error})") from error
        yield Rejected(f"{path}, after record {n}", f"file breaks off ({type(error).__name__})", str(error))


def _size(record) -> int:
    """Bytes of a record, about."""
    if isinstance(record, (tuple, list)):
        return sum(map(_size, record))
    return record.nbytes if isinstance(record, np.ndarray) else len(record) if isinstance(record, (str, bytes)) else 64


def _parse(chunk: list, reader: Reader, settings: dict) -> list[Item | Rejected]:
    results = []
    for record in chunk:
        for result in [record] if isinstance(record, Rejected) else reader.parse(record, settings):
            results.append(reader.admit(result, settings) if reader.admit is not None and isinstance(result, Item) else result)
    return results


def _work(job) -> Shard:
    """Runs in a worker: parse a chunk, write its shard."""
    path, origin, held_out, chunk, reader, settings = job
    results = _parse(chunk, reader, settings)
    save(path, results, reader.kind)
    return _tallied(path, origin, held_out, results)


def _tallied(path, origin, held_out, results) -> Shard:
    suspects = [(i, r) for i, r in enumerate(results) if isinstance(r, Rejected) and r.suspect]
    leading = next((k for k, (i, _) in enumerate(suspects) if i != k), len(suspects))
    first = suspects[0][1] if suspects else None
    example = None if first is None else [first.where, first.reason, first.detail, first.suspect]
    return Shard(path, origin, held_out, len(results), len(suspects), leading, example, dict(Counter(r.suspect for _, r in suspects)))


def _summary(path, origin, held_out) -> Shard:
    meta = meta_of(path)
    flags = sorted([(place, None) for place, *_ in meta["items"]] + [(place, Rejected(*rejected)) for place, *rejected in meta["rejected"]], key=lambda row: row[0])
    return _tallied(path, origin, held_out, [rejected for _, rejected in flags])


class _Tally:
    """Counts of one input file; raises DataError where too much of it is suspect."""

    def __init__(self, path: str):
        self.path, self.found, self.suspect, self.leading, self.example, self.causes = path, 0, 0, 0, None, Counter()

    def add(self, shard: Shard) -> None:
        if self.leading == self.found:  # nothing but suspects so far
            self.leading += shard.leading
        self.found += shard.found
        self.suspect += shard.suspect
        self.example = self.example or shard.example
        self.causes.update(shard.causes)
        if self.leading >= EARLY:
            self._refuse(f"all of the first {self.leading} records")

    def close(self) -> None:
        if self.found and self.leading == self.found:
            self._refuse(f"all {self.found} records")
        if self.found >= EARLY and self.suspect > TOLERATED * self.found:
            self._refuse(f"{self.suspect} of {self.found} records")

    def _refuse(self, how_many: str):
        where, reason, detail, _ = self.example
        cause, _ = self.causes.most_common(1)[0]
        raise DataError(f"{self.path}: {how_many} cannot be right; {where}: {reason} ({detail}); likely: {cause}")


def save(path: Path, results: list[Item | Rejected], kind: str) -> None:
    """Write a shard: results in order, rows one after the other; whole or not at all.

    Raises
    ------
    DataError
        an item whose arrays are not those of the schema, or hold values that are not finite
    """
    keys = {name: key for name, key in KINDS[kind].items() if name not in ("offsets", "cluster", "split")}
    items = [(i, r) for i, r in enumerate(results) if isinstance(r, Item)]
    columns = {name: [] for name in keys}
    for _, item in items:
        length = len(item.rows["positions"])
        for name, key in keys.items():
            value = np.asarray(item.rows[name] if key.per == "row" else item.values[name]).astype(key.dtype)
            shape = (length, *key.trailing) if key.per == "row" else ()
            if value.shape != shape or not length or (value.dtype.kind == "f" and not np.isfinite(value).all()):
                raise DataError(f"{item.where}: {name} has shape {value.shape} or values that are not finite, expected {shape}")
            columns[name].append(value)
    stack = {"row": np.concatenate, "item": np.stack}
    arrays = {name: stack[key.per](columns[name]) if items else np.zeros((0, *key.trailing), key.dtype) for name, key in keys.items()}
    meta = {
        "items": [[i, r.where, r.cluster, len(r.rows["positions"]), r.bare, list(r.notes)] for i, r in items],
        "rejected": [[i, r.where, r.reason, r.detail, r.suspect] for i, r in enumerate(results) if isinstance(r, Rejected)],
    }
    with store.whole(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, meta=np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8), **arrays)


def meta_of(path: Path) -> dict:
    with np.load(path, allow_pickle=False) as file:
        return json.loads(file["meta"].tobytes())


def arrays_of(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    with np.load(path, allow_pickle=False) as file:
        return json.loads(file["meta"].tobytes()), {name: file[name] for name in file.files if name != "meta"}


def load(path: Path, kind: str) -> list[Item | Rejected]:
    """Results of a shard, as ``save`` got them."""
    meta, arrays = arrays_of(path)
    results, start = {row[0]: Rejected(*row[1:]) for row in meta["rejected"]}, 0
    for k, (place, where, cluster, length, bare, notes) in enumerate(meta["items"]):
        rows = {name: arrays[name][start : start + length] for name, key in KINDS[kind].items() if key.per == "row"}
        values = {name: arrays[name][k] for name in arrays if name not in rows}
        results[place] = Item(where, cluster, rows, values, bare, tuple(notes))
        start += length
    return [results[i] for i in sorted(results)]


def inputs_digest(settings: dict, inputs: list[tuple[str, bool]], code: str) -> str:
    """Name of the resume folder: shards belong to the code, the settings, and the size and time of every input file."""
    stats = [(path, Path(path).stat().st_size, Path(path).stat().st_mtime_ns) for path, _ in inputs if Path(path).is_file()]
    return hashlib.sha256(json.dumps([settings, stats, code], sort_keys=True).encode()).hexdigest()[:24]
