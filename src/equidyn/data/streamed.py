"""Sources that are read as a stream in bounded memory: shards, then the split from their lists alone, then
the arrays.
"""

from array import array
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np

from equidyn.data import conversion, poses, splits, store
from equidyn.data.listing import attributes_of, counts_of, poses_of, rejections
from equidyn.data.readers.records import Reader
from equidyn.data.readers.registry import READERS
from equidyn.data.schema import KINDS, SPLITS
from equidyn.data.shards import ListedItem, ListedRejection, contents_of, lists_of
from equidyn.errors import DataError


@dataclass
class _Read:
    """What is known of all items of a streamed source together; arrays are [n]."""

    shards: list[conversion.Shard]
    cluster: np.ndarray  # int64, index into keys
    keys: list[str]
    lengths: np.ndarray  # int64, rows
    held_out: np.ndarray  # bool
    copy: np.ndarray  # uint64, digest that copies share, 0 for none


@dataclass
class _Chosen:
    """The split of all items, and which item each is a copy of."""

    split: splits.Split
    first: np.ndarray  # int64 [n], the item that each is a copy of, or itself
    copied: dict[int, str]  # items that have copies; where they are, once they are listed


def convert(settings: dict, out: str, code: str, workers: int, folder: Path) -> dict[str, int]:
    """A source that is read in bounded memory, see ``conversion``; returns counts.

    Parameters
    ----------
    folder : of the lists beside the dataset; resume shards go there too

    Raises
    ------
    DataError
        nothing usable in the files; see ``conversion.shards`` and ``splits``
    """
    reader, reasons, notes = READERS[settings["source"]], Counter(), Counter()
    inputs = conversion.inputs(reader, settings)
    listed = settings.get("split_list")
    sides, sha256 = splits.read_list(listed["file"], listed.get("sha256")) if listed else (None, "")
    resume = folder / "resume" / conversion.inputs_digest(settings, inputs, code)
    found = _read(reader, inputs, settings, resume, workers, notes)
    paths = ", ".join(path for given in inputs for path in given.paths)
    if not len(found.cluster):
        with rejections(folder) as rejected:
            for shard in found.shards:
                _reject(rejected, reasons, lists_of(shard.path).rejected)
        raise DataError(f"{out}: nothing usable in {paths}; rejected: {dict(reasons)}")
    short = splits.short_names([given.name for given in inputs])
    chosen = _choose(out, found, reader, settings, sides, short)
    split, lengths = chosen.split, found.lengths[chosen.split.keep]
    source = f"{settings['source']}: {paths}"
    attributes = attributes_of(settings, reader.kind, source, settings["licence"], split, code)
    attributes |= {"split_list_sha256": sha256} if listed else {}
    attributes |= {} if reader.clusterer is None else {"clusterer": reader.clusterer(settings)}
    with (
        rejections(folder) as rejected,
        splits.Lists(folder) as lists,
        store.writing(out, attributes, int(lengths.sum()), len(lengths)) as file,
    ):
        file["offsets"][...] = np.concatenate([[0], np.cumsum(lengths)])
        file["cluster"][...], file["split"][...] = split.cluster, split.split
        rotations = poses.draw(poses_of(settings), len(lengths), settings["seed"])
        writer = _Writer(file, lists, reader.kind, split, short, notes, rotations)
        start = 0
        for shard in found.shards:
            items, arrays, rejected_rows = _contents(shard)
            _reject(rejected, reasons, rejected_rows + _dropped(items, start, chosen))
            writer.add(shard, items, arrays, split.keep[start : start + len(items)])
            start += len(items)
    if reader.kind == "forces":
        notes["force_rms_eV_per_angstrom"] = round((writer.squares / (3 * writer.rows)) ** 0.5, 4)
    return counts_of(writer.items, split, notes, reasons)


def _contents(
    shard: conversion.Shard,
) -> tuple[list[ListedItem], dict[str, np.ndarray], list[ListedRejection]]:
    lists, arrays = contents_of(shard.path)
    return lists.items, arrays, lists.rejected


class _Writer:
    """Writes the kept items of shard after shard into the arrays of a dataset file and into the list of the
    split.
    """

    def __init__(
        self,
        file: h5py.File,
        lists: splits.Lists,
        kind: str,
        split: splits.Split,
        short: dict,
        notes: Counter,
        rotations: np.ndarray | None,
    ):
        self.rotations = rotations  # [n, 3, 3] of all kept items
        self.file, self.lists, self.split, self.short, self.notes = file, lists, split, short, notes
        self.per = {name: key.per for name, key in KINDS[kind].items()}
        self.items = self.rows = 0  # written so far
        self.squares = 0.0  # of the forces

    def add(self, shard: conversion.Shard, items: list[ListedItem], arrays: dict, keep: np.ndarray) -> None:
        """The items of a shard, of which ``keep`` [n] are kept."""
        keep_rows = np.repeat(keep, [item.length for item in items]) if items else np.zeros(0, bool)
        kept = {
            name: values[keep_rows if self.per[name] == "row" else keep] for name, values in arrays.items()
        }
        self._turn(kept, [item.length for item, kept_here in zip(items, keep) if kept_here])
        for name, values in kept.items():
            at = self.rows if self.per[name] == "row" else self.items
            if len(values):
                self.file[name][at : at + len(values)] = values
        for k, item in enumerate(item for item, kept_here in zip(items, keep) if kept_here):
            number = int(self.split.cluster[self.items + k])
            title = _title(shard, item.where, kept, k, self.short)
            self.lists.add(int(self.split.split[self.items + k]), number, self.split.names(number), title)
            self.notes.update(item.notes)
            self.notes.update(["with hydrogens missing"] if item.bare else [])
        if "forces" in kept:
            self.squares += float((kept["forces"].astype(np.float64) ** 2).sum())
        self.items, self.rows = self.items + int(keep.sum()), self.rows + int(keep_rows.sum())

    def _turn(self, arrays: dict, lengths: list[int]) -> None:
        """Turn the next structures as their poses ask for."""
        if self.rotations is None or not lengths:
            return
        rotations = self.rotations[self.items : self.items + len(lengths)]
        for name in ("positions", "forces"):
            if name in arrays:
                arrays[name] = poses.turn(arrays[name], np.array(lengths), rotations)


def _read(
    reader: Reader, inputs: list[conversion.Input], settings: dict, resume: Path, workers: int, notes: Counter
) -> _Read:
    """Shards of all inputs, and their lists together."""
    found, numbers = [], {}
    cluster, lengths, held_out, copy = array("q"), array("q"), array("b"), array("Q")
    for shard in conversion.shards(reader, inputs, settings, resume, workers, notes):
        found.append(shard)
        for item in lists_of(shard.path).items:
            cluster.append(numbers.setdefault(item.cluster, len(numbers)))
            lengths.append(item.length)
            held_out.append(shard.held_out)
            copy.append(item.copy)
    cluster, keys = np.array(cluster), list(numbers)
    if reader.clusters is not None and keys:
        label = reader.clusters(keys, settings)
        cluster, keys = label[cluster], [str(i) for i in range(label.max() + 1)]
    return _Read(found, cluster, keys, np.array(lengths), np.array(held_out, bool), np.array(copy))


def _title(shard: conversion.Shard, where: str, arrays: dict, k: int, short: dict[str, str]) -> str:
    """What lists call an item: its name, or its place in a file without the file's folder."""
    if "name" in arrays:
        return arrays["name"][k].decode("utf-8", "replace")
    return short[shard.origin] + where.removeprefix(shard.origin)


def _listed(
    found: _Read, sides: dict[str, int], reader: Reader, settings: dict, short: dict[str, str]
) -> tuple[np.ndarray, np.ndarray]:
    """Which items the list of a published split names, and which of them it holds out: bool [n] each.

    Raises
    ------
    DataError
        the list names items that the files do not have, or one that several items share, copies apart
    """
    of_item, seen, shared, named = [], {}, set(), "name" in KINDS[reader.kind]
    for shard in found.shards:
        lists, arrays = contents_of(shard.path) if named else (lists_of(shard.path), {})
        for k, item in enumerate(lists.items):
            title, copy = _title(shard, item.where, arrays, k, short), int(found.copy[len(of_item)])
            of_item.append(sides.get(title, -1))
            if title in seen and (not copy or seen[title] != copy):
                shared.add(title)
            if title in sides:
                seen.setdefault(title, copy)
    _refuse_list(settings, sides, set(sides) - set(seen), "are not in the files or rejected there", "all")
    _refuse_list(settings, sides, shared, "are names of several items", "one each")
    of_item = np.array(of_item)
    return of_item >= 0, of_item == SPLITS.index("held_out")


def _refuse_list(settings: dict, sides: dict, titles: set[str], problem: str, expected: str) -> None:
    if titles:
        where, some = settings["split_list"]["file"], ", ".join(sorted(titles)[:3])
        raise DataError(
            f"{where}: {len(titles)} of {len(sides)} items {problem}, e.g. {some}; expected {expected}"
        )


def _choose(
    out: str,
    found: _Read,
    reader: Reader,
    settings: dict,
    sides: dict[str, int] | None,
    short: dict[str, str],
) -> _Chosen:
    """The split of all items; copies, and what a list does not name, are not kept."""
    listed, held_out = np.ones(len(found.copy), bool), found.held_out
    if sides is not None:
        listed, held_out = _listed(found, sides, reader, settings, short)
    itself = np.arange(len(found.copy))
    first = itself.copy()
    # copies on the two sides of a published split are leaks, for which see ``splits``
    rows = np.flatnonzero(listed & (found.copy != 0))
    sided = found.copy[rows] // 2 * 2 + held_out[rows]
    _, index, inverse = np.unique(sided, return_index=True, return_inverse=True)
    first[rows] = rows[index[inverse]]
    once = listed & (first == itself)
    reason = np.where(listed, 0, splits.REASONS.index(splits.UNLISTED)).astype(np.uint8)
    published = held_out[once] if sides is not None or "held_out_files" in settings else None
    frames = reader.kind == "forces"
    split = splits.assign(
        out, found.cluster[once], found.keys, settings, reader.unit, published, frames=frames
    )
    keep = np.zeros(len(once), bool)
    keep[once], reason[once] = split.keep, split.reason
    copied = dict.fromkeys(first[first != itself].tolist(), "")
    return _Chosen(replace(split, keep=keep, reason=reason), first, copied)


def _dropped(items: list[ListedItem], start: int, chosen: _Chosen) -> list[ListedRejection]:
    """Rejections for the items of a shard that are not kept; the first of them is item ``start`` of all."""
    rows, split = [], chosen.split
    for i, item in enumerate(items, start):
        if i in chosen.copied:
            chosen.copied[i] = item.where
        if split.keep[i]:
            continue
        if chosen.first[i] != i:
            original = chosen.copied[int(chosen.first[i])]
            rows.append(ListedRejection(item.place, item.where, "duplicate", f"of {original}"))
        else:
            rows.append(ListedRejection(item.place, item.where, splits.REASONS[split.reason[i]]))
    return rows


def _reject(rejected, reasons: Counter, rows: list[ListedRejection]) -> None:
    """Write and count rejections of a shard, in the order of its records."""
    for row in sorted(rows, key=lambda row: row.place):
        rejected.writerow((row.where, f"{row.reason} ({row.detail})" if row.detail else row.reason))
        reasons[row.reason] += 1
