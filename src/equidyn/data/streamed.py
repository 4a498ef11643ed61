"""Sources that are read as a stream in bounded memory: shards, then the split from their lists alone, then
the arrays.
"""

from array import array
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np

from equidyn.data import conversion, poses, splits, store
from equidyn.data.checks import copies, identity, whole_file
from equidyn.data.checks.catalogue import CHECKS, COPY_HELD_OUT, DUPLICATE, OTHER_LABELS, accepted
from equidyn.data.checks.findings import Findings, Outcome, advice
from equidyn.data.listing import attributes_of, counts_of, poses_of, rejections
from equidyn.data.readers.records import Reader
from equidyn.data.readers.registry import reader_of
from equidyn.data.schema import KINDS, SPLITS
from equidyn.data.shards import ListedItem, ListedRejection, contents_of, lists_of
from equidyn.defaults import LEAKS
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
    labels: np.ndarray  # uint64, digest of the labels
    dropped: np.ndarray  # uint8, index into ``whole_file.REASONS`` of what checks of labels do not keep


@dataclass
class _Chosen:
    """The split of all items, and which item each is a copy of."""

    split: splits.Split
    first: np.ndarray  # int64 [n], the item that each is a copy of, or itself
    same_labels: np.ndarray  # bool [n], as that item
    leaked: np.ndarray  # bool [n], whether that item is held out and this one is not
    copied: frozenset[int]  # items that have copies


def convert(settings: dict, out: str, code: str, workers: int, folder: Path) -> dict[str, int]:
    """A source that is read in bounded memory, see ``conversion``; returns counts.

    Parameters
    ----------
    folder : of the lists beside the dataset; resume shards go there too

    Raises
    ------
    DataError
        nothing usable in the files; see ``conversion.shards``, ``checks`` and ``splits``
    """
    reader, reasons, notes = reader_of(settings), Counter(), Counter()
    findings = Findings(reader.kind, settings.get("accept", ()))
    inputs = conversion.inputs(reader, settings)
    split_list = settings.get("split_list")
    sides, sha256 = (
        splits.read_list(split_list["file"], split_list.get("sha256")) if split_list else (None, "")
    )
    resume = folder / "resume" / conversion.inputs_digest(settings, inputs, code)
    read = []  # shards, also those of a file that is refused
    try:
        found = _read(reader, inputs, settings, resume, workers, findings, read)
        paths = ", ".join(path for given in inputs for path in given.paths)
        if not len(found.cluster):
            raise DataError(f"{out}: nothing usable in {paths}; {_first_rejected(read)}")
        short = splits.short_names([given.name for given in inputs])
        chosen = _choose(out, found, reader, settings, sides, short)
    except DataError:
        with suppress(DataError):  # a full disk: the first error counts
            _list_refused(folder, read, findings)
        raise
    split, lengths = chosen.split, found.lengths[chosen.split.keep]
    _say_unit(findings, split.label, reader.unit)
    attributes = _attributes(settings, reader, paths, split, code) | (
        {"split_list_sha256": sha256} if split_list else {}
    )
    with (
        rejections(folder) as rejected,
        splits.Lists(folder) as lists,
        store.writing(out, attributes, int(lengths.sum()), len(lengths)) as file,
    ):
        file["offsets"][...] = np.concatenate([[0], np.cumsum(lengths)])
        file["cluster"][...], file["split"][...] = split.cluster, split.split
        rotations = poses.draw(poses_of(settings), len(lengths), settings["seed"])
        writer = _Writer(file, lists, reader.kind, split, short, notes, rotations)
        start, originals = 0, {}
        for shard in found.shards:
            listed, arrays = contents_of(shard.path)
            originals |= _originals(listed.items, start, chosen)
            _reject(rejected, reasons, listed.rejected + _dropped(listed.items, start, chosen, originals))
            writer.add(shard, listed.items, arrays, split.keep[start : start + len(listed.items)])
            start += len(listed.items)
    findings.records(reasons, notes, writer.items + reasons.total())
    findings.add(copies.nearest(out, settings["seed"]))
    findings.write(folder)
    notes.update(_compared(findings))
    if reader.kind == "forces":
        notes["force_rms_eV_per_angstrom"] = round((writer.squares / (3 * writer.rows)) ** 0.5, 4)
    return counts_of(writer.items, split, notes, reasons)


def _attributes(settings: dict, reader: Reader, paths: str, split: splits.Split, code: str) -> dict:
    source = f"{settings['source']}: {paths}"
    attributes = attributes_of(settings, reader.kind, source, settings["licence"], split, code)
    return attributes | ({} if reader.clusterer is None else {"clusterer": reader.clusterer(settings)})


def _say_unit(findings: Findings, label: str, unit: str) -> None:
    """Add to what is said of molecules what the split goes by."""
    (outcome,) = (outcome for outcome in findings.outcomes if outcome.check == "identity")
    told = {
        "frames": "too few of them to hold out: the split's unit is blocks of consecutive frames",
        "published": "the split is the published one",
    }
    outcome.text += f"; {told.get(label, f'the unit of the split is the {unit}')}"


def _list_refused(folder: Path, read: list[conversion.Shard], findings: Findings) -> None:
    """The lists of a dataset that is refused: what was rejected until then, and what the checks found."""
    reasons, n_items = Counter(), 0
    with rejections(folder) as rejected:
        for shard in read:
            lists = lists_of(shard.path)
            _reject(rejected, reasons, lists.rejected)
            n_items += len(lists.items)
    findings.records(reasons, Counter(), n_items + reasons.total())
    findings.write(folder)


def _first_rejected(read: list[conversion.Shard]) -> str:
    """Counts of all rejections, and the first in full."""
    reasons, first, n = Counter(), None, 0
    for shard in read:
        rows = lists_of(shard.path).rejected
        reasons.update(row.reason for row in rows)
        first = first or min(rows, default=None, key=lambda row: row.place)
        n += len(rows)
    text = f"rejected: {dict(reasons)}"
    if first is None:
        return text
    detail = f" ({first.detail})" if first.detail else ""
    checks = [name for name, check in CHECKS.items() if first.reason in check.reasons]
    return f"{text}; the first of {n}: {first.where}: {first.reason}{detail}{''.join(map(advice, checks))}"


def _compared(findings: Findings) -> dict[str, int]:
    """What labels were compared with, for the counts that a conversion prints."""
    if findings.kind != "forces":
        return {}
    xtb, energies = (
        [outcome for outcome in findings.outcomes if outcome.check == check]
        for check in ("xtb", "energy-forces")
    )
    aligned, pairs = sum(o.figures.get("aligned", 0) for o in xtb), sum(o.items for o in energies)
    return {
        "items compared with GFN2-xTB": aligned,
        "pairs of frames whose energies were compared with their forces": pairs,
    }


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
    reader: Reader,
    inputs: list[conversion.Input],
    settings: dict,
    resume: Path,
    workers: int,
    findings: Findings,
    found: list[conversion.Shard],
) -> _Read:
    """Shards of all inputs, which are also appended to ``found``, and their lists together."""
    numbers: dict[tuple[str, str, str], int] = {}
    cluster, lengths, held_out = array("q"), array("q"), array("b")
    copy, labels = array("Q"), array("Q")
    for shard in conversion.shards(reader, inputs, settings, resume, workers, findings):
        found.append(shard)
        for item in lists_of(shard.path).items:
            names = item.cluster, item.graph, item.alias
            cluster.append(numbers.setdefault(names, len(numbers)))
            lengths.append(item.length)
            held_out.append(shard.held_out)
            copy.append(item.copy)
            labels.append(item.labels)
    cluster, keys = _molecules(np.array(cluster, np.int64), list(numbers), findings)
    if reader.clusters is not None and keys:
        label = reader.clusters(keys, settings)
        cluster, keys = label[cluster], [str(i) for i in range(label.max() + 1)]
    return _Read(
        found,
        cluster,
        keys,
        np.array(lengths),
        np.array(held_out, bool),
        np.array(copy, np.uint64),
        np.array(labels, np.uint64),
        np.concatenate([np.zeros(0, np.uint8), *findings.dropped]),
    )


def _molecules(cluster: np.ndarray, names: list, findings: Findings) -> tuple[np.ndarray, list[str]]:
    """Cluster [n] and keys once frames of one molecule are together; ``names`` as for ``identity.merged``."""
    if not names:
        return cluster, []
    label = identity.merged(names, np.bincount(cluster, minlength=len(names)).tolist())
    roots, number = np.unique(label, return_inverse=True)
    fewer = len({key for key, _, _ in names}) - len(roots)
    by_bonds = [i for i, (_, graph, _) in enumerate(names) if graph]
    n_by_bonds = int(np.isin(cluster, by_bonds).sum())
    text = f"{len(roots)} molecules or sequences, {n_by_bonds} of {len(cluster)} items known by their bonds"
    if fewer > 0:
        text += f"; frames of one molecule with different bonds: {fewer} fewer than bonds alone make"
    figures = {"items known by their bonds": n_by_bonds, "clusters": len(roots), "joined": fewer}
    verdict = "noted" if fewer > 0 else "passed"
    findings.add(Outcome("identity", verdict, "", len(cluster), text, figures))
    return number[cluster], [names[i][0] for i in roots]


def _title(shard: conversion.Shard, where: str, arrays: dict, k: int, short: dict[str, str]) -> str:
    """What lists call an item: its name, or its place in a file without the file's folder."""
    if "name" in arrays:
        return arrays["name"][k].decode("utf-8", "replace")
    return splits.printable(short[shard.origin] + where.removeprefix(shard.origin))


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
    belongs = listed & (found.dropped == 0)
    published = sides is not None or "held_out_files" in settings
    first = np.arange(len(found.copy))
    if not accepted(settings, "copies"):
        first = _firsts(found.copy, belongs, held_out, published and settings.get("leaks", LEAKS) != "keep")
    once = belongs & (first == np.arange(len(first)))
    reason = np.where(listed, 0, splits.REASONS.index(splits.UNLISTED)).astype(np.uint8)
    for code in np.unique(found.dropped[found.dropped > 0]).tolist():
        reason[listed & (found.dropped == code)] = splits.REASONS.index(whole_file.REASONS[code])
    if not once.any():
        counts = {splits.REASONS[code]: int((reason == code).sum()) for code in np.unique(reason) if code}
        raise DataError(f"{out}: none of {len(once)} items is left; rejected: {counts}")
    split = splits.assign(
        out,
        found.cluster[once],
        found.keys,
        settings,
        reader.unit,
        held_out[once] if published else None,
        frames=reader.kind == "forces",
    )
    keep = np.zeros(len(once), bool)
    keep[once], reason[once] = split.keep, split.reason
    copied = frozenset(first[first != np.arange(len(first))].tolist())
    same = found.labels[first] == found.labels
    leaked = held_out[first] & ~held_out
    return _Chosen(replace(split, keep=keep, reason=reason), first, same, leaked, copied)


def _firsts(copy: np.ndarray, belongs: np.ndarray, held_out: np.ndarray, by_side: bool) -> np.ndarray:
    """The item [n] that each item is a copy of: the first one, a held-out one before those to train on.

    ``by_side``: copies on the two sides of a published split are left to its test for leaks.
    """
    first = np.arange(len(copy))
    rows = np.flatnonzero(belongs & (copy != 0))
    rows = rows[np.argsort(~held_out[rows], kind="stable")]  # held-out ones first
    digest = copy[rows] // 2 * 2 + held_out[rows] if by_side else copy[rows]
    _, index, inverse = np.unique(digest, return_index=True, return_inverse=True)
    first[rows] = rows[index[inverse]]
    return first


def _originals(items: list[ListedItem], start: int, chosen: _Chosen) -> dict[int, str]:
    """Where those items of a shard are that have copies; the first of the shard is item ``start`` of all."""
    return {i: item.where for i, item in enumerate(items, start) if i in chosen.copied}


def _dropped(
    items: list[ListedItem], start: int, chosen: _Chosen, originals: dict[int, str]
) -> list[ListedRejection]:
    """Rejections for the items of a shard that are not kept; the first of them is item ``start`` of all.

    ``originals`` are those of this shard and all before it: where the original of a copy comes after it, it
    is not named.
    """
    rows, split = [], chosen.split
    for i, item in enumerate(items, start):
        if split.keep[i]:
            continue
        original = int(chosen.first[i])
        if original == i:
            rows.append(ListedRejection(item.place, item.where, splits.REASONS[split.reason[i]]))
            continue
        reason = OTHER_LABELS if not chosen.same_labels[i] else DUPLICATE
        reason = COPY_HELD_OUT if chosen.leaked[i] else reason
        detail = f"of {originals[original]}" if original < i else ""
        rows.append(ListedRejection(item.place, item.where, reason, detail))
    return rows


def _reject(rejected, reasons: Counter, rows: list[ListedRejection]) -> None:
    """Write and count rejections of a shard, in the order of its records."""
    for row in sorted(rows, key=lambda row: row.place):
        rejected.writerow((row.where, row.reason, row.detail))
        reasons[row.reason] += 1
