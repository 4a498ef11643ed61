"""From the settings of a dataset to its HDF5 file: read or generate, cluster, split, write.

A source is generated, or read as a stream. Items that share a cluster key never straddle the split.
"""

import csv
import fcntl
import json
import random
import shutil
import sys
from array import array
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from equidyn.data import conformers, files, geom, molecules, spice, splits, store, stream, structures
from equidyn.data.catalogue import flock
from equidyn.data.schema import KINDS, SPLITS, DataError
from equidyn.data.stream import Item, Reader


@dataclass
class Found:
    """What a generated source gives: arrays but for offsets and split, cluster keys per item, and (where, reason) per rejected record."""

    kind: str
    source: str
    licence: str
    rows: dict[str, list[np.ndarray]]  # per-row arrays, one entry per item
    items: dict[str, list]  # per-item values
    clusters: list
    where: list[str]  # of every item, for the list of the split
    rejected: list[tuple[str, str]]
    split: str = "molecule"
    notes: dict | None = None  # counts beside those of rejections


def build(settings: dict, out: str, code: str = "", workers: int = 2) -> dict[str, int]:
    """Make the dataset file and, in a folder of its name, ``rejected.csv``, ``split.csv`` and ``split.json``.

    Returns counts (kept, and rejected by reason).

    Raises
    ------
    DataError
        see the readers; also when a source gives too little to split
    """
    folder = Path(out).with_suffix("")
    make = _stream if settings["source"] in READERS else _at_once
    with _alone(folder):
        counts = make(settings, out, code, workers, folder)
        shutil.rmtree(folder / "resume", ignore_errors=True)
    return counts


@contextmanager
def _alone(folder: Path):
    """Make the folder and hold its lock; a second conversion into it waits, or the first would delete shards under its hands."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "w")
    except OSError as error:
        raise DataError(f"{folder}: cannot be written to ({error})") from error
    with lock:
        try:
            flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{folder}: another conversion into this folder is running; waiting until it ends", file=sys.stderr, flush=True)
            flock(lock, fcntl.LOCK_EX)
        yield


def _at_once(settings, out, code, workers, folder) -> dict[str, int]:
    """A source that is generated and fits into memory."""
    found = SOURCES[settings["source"]](settings, workers, folder / "resume" / (code or "code"))
    reasons = Counter(reason for _, reason in found.rejected)
    with _rejected(folder) as rejected:
        rejected.writerows(found.rejected)
    if not found.clusters:
        raise DataError(f"{out}: nothing usable in {found.source}; rejected: {dict(reasons)}")
    names = {key: i for i, key in enumerate(dict.fromkeys(found.clusters))}
    split = splits.assign(out, np.array([names[key] for key in found.clusters]), [str(key) for key in names], settings, found.split)
    arrays = dict(
        offsets=np.cumsum([0, *map(len, found.rows["positions"])]), cluster=split.cluster, split=split.split,
        **{name: np.concatenate(values) for name, values in found.rows.items()}, **{name: np.array(values) for name, values in found.items.items()},
    )  # fmt: skip
    with splits.Lists(folder) as lists:
        for where, side, number in zip(found.where, split.split, split.cluster):
            lists.add(side, int(number), split.names(number), where)
        store.write(out, arrays, _attributes(settings, found.kind, found.source, found.licence, split, code))
    return _counts(len(found.where), split, found.notes or {}, reasons)


@dataclass
class _Read:
    """What is known of all items of a streamed source together; arrays are [n]."""

    shards: list[stream.Shard]
    cluster: np.ndarray  # int64, index into keys
    keys: list[str]
    lengths: np.ndarray  # int64, rows
    held_out: np.ndarray  # bool
    copy: np.ndarray  # uint64, digest that copies share, 0 for none


def _stream(settings, out, code, workers, folder) -> dict[str, int]:
    """A source that is read in bounded memory, see ``stream``: shards, then the split from their lists alone, then the arrays."""
    reader, reasons, notes = READERS[settings["source"]], Counter(), Counter()
    inputs = stream.inputs(reader, settings)
    listed = settings.get("split_list")
    sides, sha256 = splits.read_list(listed["file"], listed.get("sha256")) if listed else (None, "")
    found = _read(reader, inputs, settings, folder / "resume" / stream.inputs_digest(settings, inputs, code), workers, notes)
    paths = ", ".join(path for given in inputs for path in given.paths)
    if not len(found.cluster):
        with _rejected(folder) as rejected:
            for shard in found.shards:
                _reject(rejected, reasons, stream.meta_of(shard.path)["rejected"])
        raise DataError(f"{out}: nothing usable in {paths}; rejected: {dict(reasons)}")
    short = splits.short_names([given.name for given in inputs])
    split, first = _split(out, found, reader, settings, sides, short)
    copied = dict.fromkeys(first[first != np.arange(len(first))].tolist(), "")  # items that have copies; where they are, once they are listed
    lengths, squares, start, item, row = found.lengths[split.keep], 0.0, 0, 0, 0
    attributes = _attributes(settings, reader.kind, f"{settings['source']}: {paths}", settings["licence"], split, code) | ({"split_list_sha256": sha256} if listed else {})
    with _rejected(folder) as rejected, splits.Lists(folder) as lists, store.writing(out, attributes, int(lengths.sum()), len(lengths)) as file:
        file["offsets"][...], file["cluster"][...], file["split"][...] = np.concatenate([[0], np.cumsum(lengths)]), split.cluster, split.split
        for shard in found.shards:
            meta, arrays = stream.arrays_of(shard.path)
            keep = split.keep[start : start + len(meta["items"])]
            _reject(rejected, reasons, meta["rejected"] + _dropped(meta["items"], start, split, first, copied))
            keep_rows = np.repeat(keep, found.lengths[start : start + len(keep)])
            arrays = {name: values[keep_rows if KINDS[reader.kind][name].per == "row" else keep] for name, values in arrays.items()}
            for name, values in arrays.items():
                at = row if KINDS[reader.kind][name].per == "row" else item
                if len(values):
                    file[name][at : at + len(values)] = values
            for k, (_, where, _, _, bare, peculiar, _) in enumerate(entry for entry, kept in zip(meta["items"], keep) if kept):
                lists.add(int(split.split[item + k]), int(split.cluster[item + k]), split.names(split.cluster[item + k]), _title(shard, where, arrays, k, short))
                notes.update(peculiar)
                notes.update(["with hydrogens missing"] if bare else [])
            squares += float((arrays["forces"].astype(np.float64) ** 2).sum()) if "forces" in arrays else 0.0
            start, item, row = start + len(keep), item + int(keep.sum()), row + int(keep_rows.sum())
    if reader.kind == "forces":
        notes["force_rms_eV_per_angstrom"] = round((squares / (3 * row)) ** 0.5, 4)
    return _counts(item, split, notes, reasons)


def _read(reader, inputs, settings, resume, workers, notes) -> _Read:
    """Shards of all inputs, and their lists together."""
    shards, numbers, cluster, lengths, held_out, copy = [], {}, array("q"), array("q"), array("b"), array("Q")
    for shard in stream.shards(reader, inputs, settings, resume, workers, notes):
        shards.append(shard)
        for _, _, key, length, _, _, digest in stream.meta_of(shard.path)["items"]:
            cluster.append(numbers.setdefault(key, len(numbers)))
            lengths.append(length)
            held_out.append(shard.held_out)
            copy.append(digest)
    cluster, lengths, held_out, copy, keys = np.array(cluster), np.array(lengths), np.array(held_out, bool), np.array(copy), list(numbers)
    if reader.clusters is not None and keys:
        label = reader.clusters(keys, settings)
        cluster, keys = label[cluster], [str(i) for i in range(label.max() + 1)]
    return _Read(shards, cluster, keys, lengths, held_out, copy)


def _title(shard: stream.Shard, where: str, arrays: dict, k: int, short: dict[str, str]) -> str:
    """What lists call an item: its name, or its place in a file without the file's folder."""
    return arrays["name"][k].decode("utf-8", "replace") if "name" in arrays else short[shard.origin] + where.removeprefix(shard.origin)


def _listed(found: _Read, sides: dict[str, int], reader, settings, short: dict[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Which items the list of a published split names, and which of them it holds out: bool [n] each.

    Raises
    ------
    DataError
        the list names items that the files do not have, or one that several items share, copies apart
    """
    of_item, seen, shared, named = [], {}, set(), "name" in KINDS[reader.kind]
    for shard in found.shards:
        meta, arrays = stream.arrays_of(shard.path) if named else (stream.meta_of(shard.path), {})
        for k, (_, where, *_) in enumerate(meta["items"]):
            title, copy = _title(shard, where, arrays, k, short), int(found.copy[len(of_item)])
            of_item.append(sides.get(title, -1))
            if title in seen and (not copy or seen[title] != copy):
                shared.add(title)
            if title in sides:
                seen.setdefault(title, copy)
    for problem, titles, expected in (("are not in the files or rejected there", set(sides) - set(seen), "all"), ("are names of several items", shared, "one each")):
        if titles:
            some = ", ".join(sorted(titles)[:3])
            raise DataError(f"{settings['split_list']['file']}: {len(titles)} of {len(sides)} items {problem}, e.g. {some}; expected {expected}")
    of_item = np.array(of_item)
    return of_item >= 0, of_item == SPLITS.index("held_out")


def _split(out, found: _Read, reader, settings, sides: dict[str, int] | None, short) -> tuple[splits.Split, np.ndarray]:
    """The split of all items, and int64 [n], the item that each is a copy of, or itself; copies, and what a list does not name, are not kept."""
    listed, held_out = np.ones(len(found.copy), bool), found.held_out
    if sides is not None:
        listed, held_out = _listed(found, sides, reader, settings, short)
    itself = np.arange(len(found.copy))
    first = itself.copy()
    rows = np.flatnonzero(listed & (found.copy != 0))  # copies on the two sides of a published split are leaks, for which see ``splits``
    _, index, inverse = np.unique(found.copy[rows] // 2 * 2 + held_out[rows], return_index=True, return_inverse=True)
    first[rows] = rows[index[inverse]]
    once = listed & (first == itself)
    reason = np.where(listed, 0, splits.REASONS.index(splits.UNLISTED)).astype(np.uint8)
    published = held_out[once] if sides is not None or "held_out_files" in settings else None
    split = splits.assign(out, found.cluster[once], found.keys, settings, reader.unit, published, frames=reader.kind == "forces")
    keep = np.zeros(len(once), bool)
    keep[once], reason[once] = split.keep, split.reason
    return replace(split, keep=keep, reason=reason), first


def _dropped(items: list, start: int, split: splits.Split, first: np.ndarray, copied: dict[int, str]) -> list[list]:
    """Rows of ``rejected``, as those of a shard, for the items of one that are not kept; the first of them is item ``start``."""
    rows = []
    for i, (number, where, *_) in enumerate(items, start):
        if i in copied:
            copied[i] = where
        if not split.keep[i]:
            copy = first[i] != i
            rows.append([number, where, "duplicate" if copy else splits.REASONS[split.reason[i]], f"of {copied[int(first[i])]}" if copy else ""])
    return rows


def _reject(rejected, reasons: Counter, rows: list[list]) -> None:
    """Write and count rows of ``rejected`` of a shard, in the order of its records."""
    for _, where, reason, detail, *_ in sorted(rows, key=lambda row: row[0]):
        rejected.writerow((where, f"{reason} ({detail})" if detail else reason))
        reasons[reason] += 1


def _attributes(settings, kind, source, licence, split, code) -> dict:
    return dict(
        kind=kind, source=source, licence=licence, split=split.label, split_seed=settings["seed"], code=code, settings=json.dumps(settings, sort_keys=True), **split.attributes
    )


def _counts(n_items, split, notes, reasons) -> dict[str, int]:
    counts = {"items": n_items, "held out": int((split.split == 1).sum()), "clusters": int(split.cluster.max()) + 1, **split.attributes, **notes}
    return {**counts, **{f"rejected: {reason}": n for reason, n in sorted(reasons.items())}}


@contextmanager
def _rejected(folder: Path):
    """A writer of ``rejected.csv``, which gets its name when all is written."""
    path = folder / "rejected.csv"
    with store.whole(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["record", "reason"])
        yield writer


def _conformers(settings, workers, resume) -> Found:
    unusable: list[tuple[str, str]] = []
    listed = conformers.read_molecules(settings["molecules"], unusable)
    random.Random(settings["seed"]).shuffle(listed)
    wanted, labels, limit = settings["n_molecules"], settings.get("labels", True), settings["max_atoms"]
    large = [name for name, smiles in listed if conformers.n_atoms(smiles) > limit]
    too_large = set(large)
    listed = [row for row in listed if row[0] not in too_large]
    if wanted > len(listed):
        listed = conformers.recombine(listed, wanted, limit, settings["seed"])
    made, rejected = conformers.build(listed[:wanted], settings["n_conformers"], settings["temperature"], settings["seed"], workers, resume, labels)
    rejected = unusable + [(name, "too many atoms") for name in large] + rejected
    source = f"{'GFN2-xTB (tblite) on ETKDG' if labels else 'ETKDG'} conformers of {settings['molecules']}"
    seen = Counter()
    items = []
    for cluster, numbers, positions, energy, forces in made:
        name = listed[cluster][0]
        item = Item(f"{name}, conformer {seen[name]}", name, {"numbers": numbers, "positions": positions, "forces": forces}, {"energy": energy})
        seen[name] += 1
        items.append(item)
    if not labels:
        admitted = [molecules.admit(item, {"voxels": settings["voxels"]} if "voxels" in settings else {}) for item in items]
        rejected += [(item.cluster, result.reason) for item, result in zip(items, admitted) if not isinstance(result, Item)]
        items = [result for result in admitted if isinstance(result, Item)]
    rows = {name: [item.rows[name] for item in items] for name in (("numbers", "positions", "forces") if labels else ("numbers", "positions"))}
    notes = {}
    if labels:
        squares, n = sum(float((f**2).sum()) for f in rows["forces"]), sum(f.size for f in rows["forces"])
        notes["force_rms_eV_per_angstrom"] = round((squares / max(1, n)) ** 0.5, 4)
    values = {"energy": [item.values["energy"] for item in items]} if labels else {}
    where = [item.where for item in items]
    kind = "forces" if labels else "molecules"
    return Found(kind, source, "Apache-2.0 (generated)", rows, values, [item.cluster for item in items], where, rejected, notes=notes)


def _backbones(settings, workers, resume) -> Found:
    from equidyn.data import backbones

    chains, attempts = backbones.build(settings["n_chains"], settings["min_residues"], settings["max_residues"], settings["seed"], workers)
    rows = dict(positions=chains, residues=[np.full(len(c), 255) for c in chains], breaks=[np.zeros(len(c)) for c in chains])
    notes = {f"attempts discarded: {reason}": n for reason, n in sorted(attempts.items())}
    names = [f"synthetic {i}".encode() for i in range(len(chains))]
    return Found(
        "backbones",
        "synthetic C-alpha traces (no real protein)",
        "Apache-2.0 (generated)",
        rows,
        {"name": names},
        list(range(len(chains))),
        [n.decode() for n in names],
        [],
        "chain",
        notes=notes,
    )


SOURCES = {"backbones": _backbones, "conformers": _conformers}  # those that are generated

READERS = {  # those that are streamed
    "extxyz": Reader("forces", files.extxyz_records, files.parse_extxyz, check=files.check),
    "npz": Reader("forces", files.npz_records, files.parse_npz, check=files.check),
    "spice": Reader("forces", spice.records, spice.parse, check=spice.check, chunk=8, isolated=True, aside=True),
    "geom": Reader("molecules", geom.records, geom.parse, molecules.admit, isolated=True),
    "sdf": Reader("molecules", molecules.sdf_records, molecules.parse_sdf, molecules.admit),
    "xyz": Reader("molecules", molecules.xyz_records, molecules.parse_xyz, molecules.admit),
    "structures": Reader("backbones", structures.records, structures.parse, clusters=structures.clusters, unit="sequence cluster", chunk=32, together=True),
}
