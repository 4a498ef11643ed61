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
import resource
import struct
import tarfile
import threading
import zipfile
import zlib
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np

from equidyn.data import store
from equidyn.data.schema import KINDS, DataError

RECORDS, BYTES = 256, 1 << 20  # a chunk is full at either
BREAKS = (OSError, EOFError, RuntimeError, UnicodeDecodeError, tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error)  # what a damaged file raises halfway
CPU_SECONDS, MEMORY = 600, 2 << 30  # of a worker for one chunk, beyond what it has used before
EARLY = 20  # records after which a file all of whose records are suspect is refused
TOLERATED = 0.05  # of a file's records that may be suspect
PARTS, FEW = 10, 3  # parts of a file that its reader checks, such as members of an archive, and items that one needs for it


@dataclass(slots=True)
class Item:
    """One structure, molecule or chain: per-row arrays, per-item values, cluster key (items that share one never straddle the split)."""

    where: str  # file and record, for messages and lists
    cluster: str
    rows: dict[str, np.ndarray]
    values: dict = field(default_factory=dict)
    bare: bool = False  # hydrogens are missing
    notes: dict[str, int] = field(default_factory=dict)  # counts of peculiarities that are no reason to reject it
    copy: int = 0  # digest of 64 bits that copies share, of which a dataset, or a side of a published split, keeps the first; 0: kept in any case


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
    check: Callable | None = None  # (path, first items of a part of it, settings) -> counts for the notes; raises DataError where they cannot be
    clusters: Callable | None = None  # (distinct keys of all items, settings) -> number of the cluster of each; by default a key is a cluster
    unit: str = "molecule"  # what a cluster is
    chunk: int = RECORDS
    isolated: bool = False  # parse only in a worker: a crafted record may end the process
    aside: bool = False  # list records and check items only in a worker: a damaged file may end or stall it already then; they must be few and small
    together: bool = False  # files are many and small and share chunks: all of a side are one input, and one that is not readable is a rejection


@dataclass(frozen=True)
class Input:
    """What is read in one go: a file, or many small ones."""

    paths: tuple[str, ...]
    held_out: bool = False  # whether its items are those of a published held-out split

    @property
    def name(self) -> str:
        return self.paths[0] if len(self.paths) == 1 else f"{self.paths[0]} and {len(self.paths) - 1} more"


def inputs(reader: Reader, settings: dict) -> list[Input]:
    """Those of the ``files`` and ``held_out_files`` of the settings, in this order."""
    sides = [(tuple(settings[key]), held_out) for key, held_out in (("files", False), ("held_out_files", True)) if settings.get(key)]
    if reader.together:
        return [Input(paths, held_out) for paths, held_out in sides]
    return [Input((path,), held_out) for paths, held_out in sides for path in paths]


@dataclass
class Shard:
    """A parsed chunk on disk, and what the parent wants to know of it."""

    path: Path
    origin: str  # name of the input
    held_out: bool
    found: int  # items and rejections
    suspect: int
    leading: int  # rejections as suspect before anything else
    example: list | None  # where, reason, detail, likely cause of the first suspect
    causes: dict[str, int]


def shards(reader: Reader, inputs: list[Input], settings: dict, folder: Path, workers: int = 1, notes: Counter | None = None) -> Iterator[Shard]:
    """Parse the inputs of a dataset into shard files; yields them in order, those that exist at once. A damaged one is made again.

    Parameters
    ----------
    folder : of the shards; must belong to these inputs, settings and code alone
    notes : counts of the reader's check are added here

    Raises
    ------
    DataError
        a missing file, one with nothing readable in it, one whose records fail the checks of units (see ``EARLY`` and ``TOLERATED``), one whose reader died
    """
    from tqdm import tqdm  # here: tasks import this module too, on machines without progress bars

    _require(inputs)
    folder.mkdir(parents=True, exist_ok=True)
    pool = None
    try:
        with tqdm(desc="records", unit="", mininterval=5) as bar:
            for number, given in enumerate(inputs):
                if reader.aside:
                    pool = pool or _pool(workers)
                tally, checks, pending = _Tally(given.name), _Checks(reader, given.name, settings, notes, pool), deque()
                for index, (chunk, last) in enumerate(_chunks(given, reader, pool)):
                    job = (folder / f"{number:04d}-{index:07d}.npz", given, chunk, reader, settings)
                    if (done := store.undamaged(job[0], lambda path, given=given: _summary(path, given))) is not None:
                        pending.append(done)
                    elif not reader.isolated and (workers == 1 or (pool is None and index == 0 and last)):
                        pending.append(_work(job))  # not worth a process
                    else:
                        pool = pool or _pool(workers)
                        pending.append(pool.submit(_bounded, CPU_SECONDS, _work, job))
                    bar.update(len(chunk))
                    while pending and (len(pending) > 2 * workers or last or isinstance(pending[0], Shard)):
                        shard = pending.popleft()
                        shard = shard if isinstance(shard, Shard) else shard.result()
                        tally.add(shard)
                        checks.add(shard)
                        yield shard
                tally.close()
    except (BrokenProcessPool, MemoryError) as error:
        raise DataError(
            f"{given.name}: a worker process died while reading it, expected it to finish: out of memory (fewer workers need less), or a damaged or crafted record "
            f"that ended the reader, asked for more than {MEMORY >> 30} GiB or kept it busy for {CPU_SECONDS} s. Finished shards are kept, and the same command goes on after them"
        ) from error
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def read(reader: Reader, path: str | Path, settings: dict | None = None) -> tuple[list[Item], list[Rejected]]:
    """All of one file in memory, copies included: for tests and small files; raises as ``shards``."""
    given, settings, results = Input((str(path),)), settings or {}, []
    _require([given])
    tally, checks = _Tally(given.name), _Checks(reader, given.name, settings)
    for chunk, _ in _chunks(given, reader):
        parsed = _parse(chunk, reader, settings)
        tally.add(_tallied(None, given, parsed))
        checks.look([r for r in parsed if isinstance(r, Item)])
        results += parsed
    tally.close()
    return [r for r in results if isinstance(r, Item)], [r for r in results if isinstance(r, Rejected)]


def _require(inputs: list[Input]) -> None:
    missing = [path for given in inputs for path in given.paths if not Path(path).exists()]
    if missing:
        raise DataError(f"{', '.join(missing[:5])}: no such file")


def _pool(workers: int) -> ProcessPoolExecutor:
    # Read by the workers: threads of numerical libraries in every one of them would only fight.
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _leave_with_parent)


def _leave_with_parent() -> None:
    """A worker of a killed parent would wait for work forever."""
    parent = multiprocessing.parent_process().sentinel
    threading.Thread(target=lambda: (wait([parent]), os._exit(1)), daemon=True).start()


def _bounded(seconds: int, function: Callable, *arguments):
    """Runs in a worker, which the kernel ends after so many more seconds of CPU time, and refuses ``MEMORY`` more bytes: a C library that loops ends no other way."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limits = {resource.RLIMIT_CPU: int(used.ru_utime + used.ru_stime) + seconds}
    with suppress(OSError):  # no /proc
        limits[resource.RLIMIT_AS] = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + MEMORY
    for kind, soft in limits.items():
        with suppress(OSError, ValueError):  # a lower hard limit, or a system without
            resource.setrlimit(kind, (soft, resource.getrlimit(kind)[1]))
    return function(*arguments)


def _listed(given: Input, reader: Reader) -> list:
    return [record for path in given.paths for record in _unbroken(path, reader.records(path))]


def _chunks(given: Input, reader: Reader, pool: ProcessPoolExecutor | None = None) -> Iterator[tuple[list, bool]]:
    """Lists of records that fill a chunk, and whether it is the last. A file that breaks off ends in a rejection that says so."""
    if reader.aside and pool is not None:
        records = pool.submit(_bounded, CPU_SECONDS, _listed, given, reader).result()
    else:
        records = (record for path in given.paths for record in _unbroken(path, reader.records(path)))
    ready, chunk, size = None, [], 0
    for record in records:
        chunk.append(record)
        size += _size(record)
        if len(chunk) >= reader.chunk or size >= BYTES:
            if ready is not None:
                yield ready, False
            ready, chunk, size = chunk, [], 0
    if ready is None and not chunk:
        raise DataError(f"{given.name}: no record in it")
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
    path, given, chunk, reader, settings = job
    results = _parse(chunk, reader, settings)
    save(path, results, reader.kind)
    return _tallied(path, given, results)


def _tallied(path, given, results) -> Shard:
    suspects = [(i, r) for i, r in enumerate(results) if isinstance(r, Rejected) and r.suspect]
    leading = next((k for k, (i, _) in enumerate(suspects) if i != k), len(suspects))
    first = suspects[0][1] if suspects else None
    example = None if first is None else [first.where, first.reason, first.detail, first.suspect]
    return Shard(path, given.name, given.held_out, len(results), len(suspects), leading, example, dict(Counter(r.suspect for _, r in suspects)))


def _summary(path, given) -> Shard:
    meta, _ = arrays_of(path)  # all of it is read: damage may be anywhere
    flags = sorted([(place, None) for place, *_ in meta["items"]] + [(place, Rejected(*rejected)) for place, *rejected in meta["rejected"]], key=lambda row: row[0])
    return _tallied(path, given, [rejected for _, rejected in flags])


class _Checks:
    """Has a reader check the first items of every part of an input, up to ``PARTS``: one member of an archive may be in other units than the one before."""

    def __init__(self, reader: Reader, path: str, settings: dict, notes: Counter | None = None, pool: ProcessPoolExecutor | None = None):
        self.reader, self.path, self.settings, self.seen, self.pool = reader, path, settings, set(), pool
        self.notes = Counter() if notes is None else notes

    def add(self, shard: Shard) -> None:
        """``look`` at the items of a shard; its arrays are read only where they are wanted."""
        if self.reader.check is not None and len(self.seen) < PARTS and not self.seen.issuperset(part(row[1]) for row in meta_of(shard.path)["items"]):
            self.look([result for result in load(shard.path, self.reader.kind) if isinstance(result, Item)])

    def look(self, items: list[Item]) -> None:
        """Check parts that are new and have ``FEW`` items here; if there are none at first, all items together."""
        if self.reader.check is None or not items:
            return
        parts = defaultdict(list)
        for item in items:
            parts[part(item.where)].append(item)
        fresh = [name for name, found in parts.items() if name not in self.seen and len(found) >= FEW]
        groups = [parts[name] for name in fresh[: PARTS - len(self.seen)]] if fresh or self.seen else [items]
        self.seen.update(fresh or parts)
        for group in groups:
            aside, arguments = self.reader.aside and self.pool is not None, (self.path, group, self.settings)
            self.notes.update(self.pool.submit(_bounded, CPU_SECONDS, self.reader.check, *arguments).result() if aside else self.reader.check(*arguments))


def part(where: str) -> str:
    """Of a file, where an item comes from: the file, a member of the archive, a group."""
    return where.rsplit(", ", 1)[0]


class _Tally:
    """Counts of one input; raises DataError where too much of it is suspect."""

    def __init__(self, path: str):
        self.path, self.found, self.suspect, self.leading, self.example, self.causes = path, 0, 0, 0, None, Counter()

    def add(self, shard: Shard) -> None:
        """Count a shard; raises DataError where all of the first ``EARLY`` records are suspect."""
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
        "items": [[i, r.where, r.cluster, len(r.rows["positions"]), r.bare, r.notes, r.copy] for i, r in items],
        "rejected": [[i, r.where, r.reason, r.detail, r.suspect] for i, r in enumerate(results) if isinstance(r, Rejected)],
    }
    with store.whole(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, meta=np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8), **arrays)


def meta_of(path: Path) -> dict:
    """Lists of a shard, without its arrays: items (place, where, cluster key, rows, bare, notes, copy) and rejections (place, where, reason, detail, suspect)."""
    with np.load(path, allow_pickle=False) as file:
        return json.loads(file["meta"].tobytes())


def arrays_of(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """Lists of a shard as ``meta_of``, and the arrays of its items one after the other, by the keys of the schema."""
    with np.load(path, allow_pickle=False) as file:
        return json.loads(file["meta"].tobytes()), {name: file[name] for name in file.files if name != "meta"}


def load(path: Path, kind: str) -> list[Item | Rejected]:
    """Results of a shard, as ``save`` got them."""
    meta, arrays = arrays_of(path)
    results, start = {row[0]: Rejected(*row[1:]) for row in meta["rejected"]}, 0
    for k, (place, where, cluster, length, *rest) in enumerate(meta["items"]):
        rows = {name: arrays[name][start : start + length] for name, key in KINDS[kind].items() if key.per == "row"}
        values = {name: arrays[name][k] for name in arrays if name not in rows}
        results[place] = Item(where, cluster, rows, values, *rest)
        start += length
    return [results[i] for i in sorted(results)]


def inputs_digest(settings: dict, inputs: list[Input], code: str) -> str:
    """Name of the resume folder: shards belong to the code, the settings, and the size and time of every file."""
    found = [path for given in inputs for name in given.paths for path in ([Path(name), *sorted(Path(name).rglob("*"))] if Path(name).is_dir() else [Path(name)])]
    stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in found if path.is_file()]
    settings = {key: value for key, value in settings.items() if key not in ("split_list", "leaks")}  # no shard depends on them
    return hashlib.sha256(json.dumps([settings, stats, code], sort_keys=True).encode()).hexdigest()[:24]
