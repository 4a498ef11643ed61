"""Streaming conversion: a molecular file becomes records, records become items in worker processes, items a
dataset file.

A reader is a pair of functions. ``records(path)`` splits a file cheaply and in bounded memory into picklable
records; ``parse(record, settings)`` does the work and returns what to keep and what to reject, and why.
Records are parsed in chunks, and every finished chunk is a shard file in a resume folder, so that a killed
conversion loses the chunks in flight and no more. The shards are then appended to the HDF5 file one at a
time. Only a few numbers per item (cluster, length, split) and one string per cluster are ever held for all
items.
"""

import hashlib
import json
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from equidyn.data.checks.findings import Findings
from equidyn.data.checks.whole_file import REASONS
from equidyn.data.file_checks import Checks, Tally
from equidyn.data.readers.records import Item, Reader, Rejected
from equidyn.data.shards import Shard, contents_of, save
from equidyn.errors import DataError
from equidyn.files import undamaged
from equidyn.guards import workers as limits

BYTES = 1 << 20  # of the records of a chunk, which is full at this or at the reader's number of records
BREAKS = (  # what a damaged file raises halfway
    OSError, EOFError, RuntimeError, UnicodeDecodeError,
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error,
)  # fmt: skip


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
    sides = [
        (tuple(settings[key]), held_out)
        for key, held_out in (("files", False), ("held_out_files", True))
        if settings.get(key)
    ]
    if reader.together:
        return [Input(paths, held_out) for paths, held_out in sides]
    return [Input((path,), held_out) for paths, held_out in sides for path in paths]


def shards(
    reader: Reader,
    inputs: list[Input],
    settings: dict,
    folder: Path,
    workers: int = 1,
    findings: Findings | None = None,
) -> Iterator[Shard]:
    """Parse the inputs of a dataset into shard files; yields them in order, those that exist at once.

    A damaged one is made again.

    Parameters
    ----------
    folder : of the shards; must belong to these inputs, settings and code alone
    findings : what the checks find is added here, and after the last shard of an input ``dropped``, which of
        its items are not to be kept

    Raises
    ------
    DataError
        a missing file, one with nothing readable in it, one whose records fail the checks of units (see
        ``file_checks.EARLY`` and ``TOLERATED``) or of labels, one whose reader died
    """
    from tqdm import tqdm  # here: tasks import this module too, on machines without progress bars

    _require(inputs)
    folder.mkdir(parents=True, exist_ok=True)
    findings = Findings(reader.kind) if findings is None else findings
    with closing(_Pool(workers)) as pool, tqdm(desc="records", unit="", mininterval=5) as bar:
        for number, given in enumerate(inputs):
            with _deaths_told(given):
                aside = pool.started() if reader.aside else None
                tally, checks = Tally(given.name), Checks(reader, given.name, settings, findings, aside)
                chunks = _chunks(given, reader, settings, aside)
                jobs = (
                    (_Job(folder / f"{number:04d}-{index:07d}.npz", given, chunk, reader, settings), last)
                    for index, (chunk, last) in enumerate(chunks)
                )
                for shard in _shards_of(jobs, pool, bar.update):
                    yield shard  # before it may be refused, so that it can be listed
                    tally.add(shard)
                    checks.add(shard)
                tally.close()
                findings.add(tally.outcome())
                findings.dropped.append(checks.close())


class _Pool:
    """Worker processes, which are started when the first is wanted."""

    def __init__(self, workers: int):
        self.workers = workers
        self.pool: ProcessPoolExecutor | None = None

    def started(self) -> ProcessPoolExecutor:
        """The processes, from now on if not before."""
        self.pool = self.pool or limits.pool_of(self.workers)
        return self.pool

    def close(self) -> None:
        """End the processes, and what none of them has begun."""
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Job:
    """A chunk to parse, and the shard that it becomes."""

    path: Path
    given: Input
    chunk: list
    reader: Reader
    settings: dict


def _shards_of(
    jobs: Iterator[tuple[_Job, bool]], pool: _Pool, update: Callable[[int], object]
) -> Iterator[Shard]:
    """Shards of the jobs of an input, in order; not many jobs are taken before their turn.

    Parameters
    ----------
    jobs : with each, whether it is the last
    update : is told the records of every job that was taken
    """
    pending: deque[Shard | Future] = deque()
    for number, (job, last) in enumerate(jobs):
        pending.append(_begun(job, pool, alone=number == 0 and last))
        update(len(job.chunk))
        while pending and (len(pending) > 2 * pool.workers or last or isinstance(pending[0], Shard)):
            shard = pending.popleft()
            yield shard if isinstance(shard, Shard) else shard.result()


def _begun(job: _Job, pool: _Pool, alone: bool) -> Shard | Future:
    """The shard of a job where there is one, or where it is made at once; else what will be it.

    ``alone``: it is the only job of its input.
    """
    done = undamaged(job.path, partial(_summary, given=job.given, records=len(job.chunk)))
    if done is not None:
        return done
    here = pool.workers == 1 or (alone and pool.pool is None)  # not worth a process
    if here and not job.reader.isolated:
        return _work(job)
    return pool.started().submit(limits.bounded, limits.CPU_SECONDS, _work, job)


@contextmanager
def _deaths_told(given: Input) -> Iterator[None]:
    """The end of a worker process is a DataError that says what it may come from."""
    try:
        yield
    except (BrokenProcessPool, MemoryError) as error:
        raise DataError(
            f"{given.name}: a worker process died while reading it, expected it to finish: out of memory "
            f"(fewer workers need less), or a damaged or crafted record that ended the reader, asked for "
            f"more than {limits.MEMORY >> 30} GiB or kept it busy for {limits.CPU_SECONDS} s. Finished "
            f"shards are kept, and the same command goes on after them"
        ) from error


def read(reader: Reader, path: str | Path, settings: dict | None = None) -> tuple[list[Item], list[Rejected]]:
    """All of one file in memory, copies included: for tests and small files; raises as ``shards``."""
    given, settings, results = Input((str(path),)), settings or {}, []
    _require([given])
    findings = Findings(reader.kind, settings.get("accept", ()))
    tally, checks = Tally(given.name), Checks(reader, given.name, settings, findings)
    for chunk, _ in _chunks(given, reader, settings):
        parsed = _parse(chunk, reader, settings)
        tally.add(_tallied(None, given, parsed, len(chunk)))
        items = [r for r in parsed if isinstance(r, Item)]
        checks.gather(items, [len(item.rows["positions"]) for item in items])
        checks.look(items)
        results += parsed
    tally.close()
    dropped = iter(checks.close().tolist())
    results = [r if isinstance(r, Rejected) else _kept(r, next(dropped)) for r in results]
    return [r for r in results if isinstance(r, Item)], [r for r in results if isinstance(r, Rejected)]


def _kept(item: Item, reason: int) -> Item | Rejected:
    return Rejected(item.where, REASONS[reason]) if reason else item


def _require(inputs: list[Input]) -> None:
    missing = [path for given in inputs for path in given.paths if not Path(path).exists()]
    if missing:
        raise DataError(f"{', '.join(missing[:5])}: no such file")


def _records(given: Input, reader: Reader, settings: dict) -> Iterator:
    arguments = (settings,) if reader.keyed else ()
    for path in given.paths:
        yield from _unbroken(path, reader.records(path, *arguments))


def _listed(given: Input, reader: Reader, settings: dict) -> list:
    return list(_records(given, reader, settings))


def _chunks(
    given: Input, reader: Reader, settings: dict, pool: ProcessPoolExecutor | None = None
) -> Iterator[tuple[list, bool]]:
    """Lists of records that fill a chunk, and whether it is the last.

    A file that breaks off ends in a rejection that says so.
    """
    if reader.aside and pool is not None:
        records = pool.submit(limits.bounded, limits.CPU_SECONDS, _listed, given, reader, settings).result()
    else:
        records = _records(given, reader, settings)
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
            raise DataError(
                f"{path}: not readable, perhaps truncated ({type(error).__name__}: {error})"
            ) from error
        yield Rejected(f"{path}, after record {n}", f"file breaks off ({type(error).__name__})", str(error))


def _size(record) -> int:
    """Bytes of a record, about."""
    if isinstance(record, (tuple, list)):
        return sum(map(_size, record))
    if isinstance(record, np.ndarray):
        return record.nbytes
    return len(record) if isinstance(record, (str, bytes)) else 64


def _parse(chunk: list, reader: Reader, settings: dict) -> list[Item | Rejected]:
    """Items and rejections of the records of a chunk, in their order.

    Raises
    ------
    DataError
        a record that became neither
    """
    results, wanted = [], [record for record in chunk if not isinstance(record, Rejected)]
    if reader.parse_all is not None:
        parsed = iter(reader.parse_all(wanted, settings))
    else:
        parsed = (reader.parse(record, settings) for record in wanted)
    for record in chunk:
        found = [record] if isinstance(record, Rejected) else next(parsed)
        if not found:
            raise DataError(f"{_place(record)}: read, but neither kept nor rejected; a fault of the reader")
        for result in found:
            if reader.admit is not None and isinstance(result, Item):
                result = reader.admit(result, settings)
            results.append(result)
    return results


def _place(record) -> str:
    """Where a record is from, about: its text up to the first thing that is long or no text."""
    first = record[0] if isinstance(record, (tuple, list)) and record else record
    return str(first)[:200]


def _work(job: _Job) -> Shard:
    """Runs in a worker: parse a chunk, write its shard."""
    results = _parse(job.chunk, job.reader, job.settings)
    save(job.path, results, job.reader.kind)
    return _tallied(job.path, job.given, results, len(job.chunk))


def _tallied(path: Path | None, given: Input, results: list[Item | Rejected], records: int) -> Shard:
    suspects = [(i, r) for i, r in enumerate(results) if isinstance(r, Rejected) and r.suspect]
    leading = next((k for k, (i, _) in enumerate(suspects) if i != k), len(suspects))
    first = suspects[0][1] if suspects else None
    return Shard(
        path=path,
        origin=given.name,
        held_out=given.held_out,
        records=records,
        found=len(results),
        items=sum(isinstance(r, Item) for r in results),
        suspect=len(suspects),
        leading=leading,
        example=None if first is None else [first.where, first.reason, first.detail, first.suspect],
        causes=dict(Counter(r.suspect for _, r in suspects)),
    )


def _summary(path: Path, given: Input, records: int) -> Shard:
    lists, _ = contents_of(path)  # all of it is read: damage may be anywhere
    results: dict[int, Item | Rejected] = {row.place: row.item({}, {}) for row in lists.items}
    results |= {row.place: row.rejected() for row in lists.rejected}
    return _tallied(path, given, [results[place] for place in sorted(results)], records)


def inputs_digest(settings: dict, inputs: list[Input], code: str) -> str:
    """Name of the resume folder: shards belong to the code, the settings, and the size and time of every
    file.
    """
    found = []
    for path in (Path(name) for given in inputs for name in given.paths):
        found += [path, *sorted(path.rglob("*"))] if path.is_dir() else [path]
    stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in found if path.is_file()]
    independent = ("split_list", "leaks")  # no shard depends on them
    settings = {key: value for key, value in settings.items() if key not in independent}
    return hashlib.sha256(json.dumps([settings, stats, code], sort_keys=True).encode()).hexdigest()[:24]
