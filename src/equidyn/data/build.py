"""From the settings of a dataset to its HDF5 file: read or generate, cluster, split, write.

A source returns items and rejections. Items that share a cluster key never straddle the split.
"""

import csv
import fcntl
import json
import random
import shutil
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from equidyn.data import conformers, download, files, geom, molecules, spice, splits, store, stream
from equidyn.data.schema import KINDS, DataError
from equidyn.data.stream import Item, Reader


@dataclass
class Found:
    """What a source gives: arrays but for offsets and split, cluster keys per item, and (where, reason) per rejected record."""

    kind: str
    source: str
    licence: str
    rows: dict[str, list[np.ndarray]]  # per-row arrays, one entry per item
    items: dict[str, list]  # per-item values
    clusters: list
    where: list[str]  # of every item, for the list of the split
    rejected: list[tuple[str, str]]
    split: str = "molecule"
    held_out: np.ndarray | None = None  # of a published split
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
        download.flock(lock, fcntl.LOCK_EX)
        yield


def _at_once(settings, out, code, workers, folder) -> dict[str, int]:
    """A source whose items fit into memory."""
    found = SOURCES[settings["source"]](settings, workers, folder / "resume" / (code or "code"))
    reasons = Counter(reason.split(":")[0] if found.kind == "backbones" else reason for _, reason in found.rejected)
    with _rejected(folder) as rejected:
        rejected.writerows(found.rejected)
    if not found.clusters:
        raise DataError(f"{out}: nothing usable in {found.source}; rejected: {dict(reasons)}")
    names = {key: i for i, key in enumerate(dict.fromkeys(found.clusters))}
    cluster = np.array([names[key] for key in found.clusters])
    split = splits.assign(out, cluster, [str(key) for key in names], settings, found.split, found.held_out)
    kept = np.flatnonzero(split.keep)
    rows = {name: [values[i] for i in kept] for name, values in found.rows.items()}
    lengths = [len(positions) for positions in rows["positions"]]
    arrays = dict(
        offsets=np.cumsum([0, *lengths]), cluster=split.cluster, split=split.split,
        **{name: np.concatenate(values) for name, values in rows.items()}, **{name: np.array([values[i] for i in kept]) for name, values in found.items.items()},
    )  # fmt: skip
    with splits.Lists(folder) as lists:
        for k, i in enumerate(kept):
            lists.add(split.split[k], int(split.cluster[k]), split.names(split.cluster[k]), found.where[i])
        store.write(out, arrays, _attributes(settings, found.kind, found.source, found.licence, split, code))
    dropped = Counter(splits.REASONS[i] for i in split.reason[~split.keep])
    if dropped:
        with _rejected(folder) as rejected:
            rejected.writerows(found.rejected + [(found.where[i], splits.REASONS[split.reason[i]]) for i in np.flatnonzero(~split.keep)])
    return _counts(len(kept), split, found.notes or {}, reasons + dropped)


def _stream(settings, out, code, workers, folder) -> dict[str, int]:
    """A source that is read in bounded memory, see ``stream``: shards, then the split from their lists alone, then the arrays."""
    reader = READERS[settings["source"]]
    inputs = [(path, False) for path in settings["files"]] + [(path, True) for path in settings.get("held_out_files", [])]
    resume = folder / "resume" / stream.inputs_digest(settings, inputs, code)
    names, cluster, lengths, held_out, notes, shards = {}, [], [], [], Counter(), []
    for shard in stream.shards(reader, inputs, settings, resume, workers, notes):
        items = stream.meta_of(shard.path)["items"]
        shards.append((shard.path, shard.origin))
        cluster.append(np.array([names.setdefault(row[2], len(names)) for row in items], np.int64))
        lengths.append(np.array([row[3] for row in items], np.int64))
        held_out.append(np.full(len(items), shard.held_out))
    cluster, lengths, held_out = map(np.concatenate, (cluster, lengths, held_out))
    reasons = Counter()
    if not len(cluster):
        with _rejected(folder) as rejected:
            for path, _ in shards:
                rows = stream.meta_of(path)["rejected"]
                reasons.update(row[2] for row in rows)
                rejected.writerows(_row(*row[1:4]) for row in rows)
        raise DataError(f"{out}: nothing usable in {', '.join(path for path, _ in inputs)}; rejected: {dict(reasons)}")
    published = held_out if "held_out_files" in settings else None
    split = splits.assign(out, cluster, list(names), settings, "molecule", published, frames=reader.kind == "forces")
    source = f"{settings['source']}: {', '.join(path for path, _ in inputs)}"
    attributes = _attributes(settings, reader.kind, source, settings["licence"], split, code)
    short, item, row, squares = splits.short_names([path for path, _ in inputs]), 0, 0, 0.0
    offsets = np.concatenate([[0], np.cumsum(lengths[split.keep])])
    with _rejected(folder) as rejected, splits.Lists(folder) as lists, store.writing(out, attributes, int(offsets[-1]), len(offsets) - 1) as file:
        file["offsets"][...], file["cluster"][...], file["split"][...] = offsets, split.cluster, split.split
        start = 0
        for path, origin in shards:
            meta, arrays = stream.arrays_of(path)
            keep = split.keep[start : start + len(meta["items"])]
            order = [(r[0], _row(*r[1:4]), r[2]) for r in meta["rejected"]]
            first, place = item, short[origin]
            for k, (number, where, _, _, bare, peculiar) in enumerate(meta["items"]):
                if not keep[k]:
                    reason = splits.REASONS[split.reason[start + k]]
                    order.append((number, (where, reason), reason))
                    continue
                lists.add(int(split.split[item]), int(split.cluster[item]), split.names(split.cluster[item]), place + where.removeprefix(origin))
                notes.update([*peculiar, *(["with hydrogens missing"] if bare else [])])
                item += 1
            order.sort(key=lambda entry: entry[0])
            rejected.writerows(entry[1] for entry in order)
            reasons.update(entry[2] for entry in order)
            keep_rows = np.repeat(keep, lengths[start : start + len(keep)])
            for name, values in arrays.items():
                per_row = KINDS[reader.kind][name].per == "row"
                values = values[keep_rows if per_row else keep]
                at = row if per_row else first
                if len(values):
                    file[name][at : at + len(values)] = values
            squares += float((arrays["forces"][keep_rows].astype(np.float64) ** 2).sum()) if "forces" in arrays else 0.0
            row += int(keep_rows.sum())
            start += len(keep)
    if reader.kind == "forces":
        notes["force_rms_eV_per_angstrom"] = round((squares / (3 * row)) ** 0.5, 4)
    return _counts(item, split, notes, reasons)


def _attributes(settings, kind, source, licence, split, code) -> dict:
    return dict(
        kind=kind, source=source, licence=licence, split=split.label, split_seed=settings["seed"], code=code, settings=json.dumps(settings, sort_keys=True), **split.attributes
    )


def _counts(n_items, split, notes, reasons) -> dict[str, int]:
    counts = {"items": n_items, "held out": int((split.split == 1).sum()), "clusters": int(split.cluster.max()) + 1, **split.attributes, **notes}
    return {**counts, **{f"rejected: {reason}": n for reason, n in sorted(reasons.items())}}


def _row(where, reason, detail) -> tuple[str, str]:
    return where, f"{reason} ({detail})" if detail else reason


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
    listed = [row for row in listed if row[0] not in set(large)]
    if wanted > len(listed):
        listed = conformers.recombine(listed, wanted, limit, settings["seed"])
    structures, rejected = conformers.build(listed[:wanted], settings["n_conformers"], settings["temperature"], settings["seed"], workers, resume, labels)
    rejected = unusable + [(name, "too many atoms") for name in large] + rejected
    source = f"{'GFN2-xTB (tblite) on ETKDG' if labels else 'ETKDG'} conformers of {settings['molecules']}"
    seen = Counter()
    items = []
    for cluster, numbers, positions, energy, forces in structures:
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


def _structures(settings, workers, resume) -> Found:
    from equidyn.data import structures

    limits = (settings["min_residues"], settings["max_residues"], settings.get("max_resolution"))
    chains, rejections = structures.read_structures(settings["files"], *limits)
    n_files = len(chains)
    if "held_out_files" in settings:
        more, rejections_more = structures.read_structures(settings["held_out_files"], *limits)
        chains, rejections = chains + more, rejections + rejections_more
    label = structures.cluster_by_sequence([chain.sequence for chain in chains], settings["identity"]) if chains else []
    rows, items, clusters, held_out, short, unused = dict(positions=[], residues=[], breaks=[]), {"name": []}, [], [], [], 0
    for number, (chain, cluster) in enumerate(zip(chains, label)):
        length = settings.get("fragment", len(chain.positions))
        if len(chain.positions) < length:
            short.append((chain.name, f"shorter than the fragment: {len(chain.positions)} residues"))
        unused += len(chain.positions) % length
        for start in range(0, len(chain.positions) - length + 1, length):
            piece = slice(start, start + length)
            rows["positions"].append(chain.positions[piece])
            rows["residues"].append(chain.residues[piece])
            rows["breaks"].append(np.append(chain.breaks[piece][:-1], 0))  # what follows the last residue of a piece is not in it
            items["name"].append(f"{chain.name}/{start + 1}".encode() if "fragment" in settings else chain.name.encode())
            clusters.append(int(cluster))
            held_out.append(number >= n_files)
    rejected = [(f"{r.file}, chain {r.chain}" if r.chain else r.file, r.reason) for r in rejections] + short
    source = f"structures: {', '.join(settings['files'] + settings.get('held_out_files', []))}"
    notes = {"chains": len(chains), "residues left over by fragments": unused}
    where, published = [name.decode() for name in items["name"]], np.array(held_out, bool) if "held_out_files" in settings else None
    return Found("backbones", source, settings["licence"], rows, items, clusters, where, rejected, "sequence cluster", published, notes)


SOURCES = {"backbones": _backbones, "structures": _structures, "conformers": _conformers}  # those that fit into memory

READERS = {  # those that are streamed
    "extxyz": Reader("forces", files.extxyz_records, files.parse_extxyz, check=files.check),
    "npz": Reader("forces", files.npz_records, files.parse_npz, check=files.check),
    "spice": Reader("forces", spice.records, spice.parse, check=spice.check, chunk=8),
    "geom": Reader("molecules", geom.records, geom.parse, molecules.admit, isolated=True),
    "sdf": Reader("molecules", molecules.sdf_records, molecules.parse_sdf, molecules.admit),
    "xyz": Reader("molecules", molecules.xyz_records, molecules.parse_xyz, molecules.admit),
}
