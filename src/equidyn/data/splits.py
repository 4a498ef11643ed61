"""Which items are held out: drawn by cluster or published (as files of their own or as a list), tested for
leaks, and listed so that two users can compare or share.

``split.csv`` (item, split, cluster, where) and ``split.json`` (per split: items, clusters, sha256 of its
sorted ``where`` lines) lie beside ``rejected.csv``.
"""

import csv
import hashlib
import heapq
import io
import json
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from equidyn import files
from equidyn.data.checks import whole_file
from equidyn.data.schema import SPLITS
from equidyn.defaults import LEAKS
from equidyn.errors import DataError

LEAKED = "molecule is also held out"
SURPLUS = "held-out molecule beyond n_held_out"
UNLISTED = "not in the list of the split"
# How lists are opened: names of files, which they hold, may be any bytes.
CSV = dict(newline="", encoding="utf-8", errors="backslashreplace")
SPILL = 200_000  # lines sorted in memory
SCRATCH = ".lists-"  # folder of sorted lines, beside the lists


@dataclass
class Split:
    """Of n items as they were found: those kept, and for these cluster number and split."""

    keep: np.ndarray  # bool [n]
    reason: np.ndarray  # uint8 [n], index into REASONS
    cluster: np.ndarray  # int64 [n kept], numbered by first appearance
    split: np.ndarray  # uint8 [n kept], index into schema.SPLITS
    names: Callable[[int], str]  # cluster number -> key
    label: str  # attribute `split` of the file
    attributes: dict = field(default_factory=dict)


REASONS = ("", LEAKED, SURPLUS, UNLISTED, *whole_file.REASONS[1:])


def read_list(path: str, sha256: str | None = None) -> tuple[dict[str, int], str]:
    """Side (index into schema.SPLITS) of every item that a ``split.csv`` names, by its ``where``; and the
    sha256 of the file.

    Raises
    ------
    DataError
        not such a file, another one than the checksum says, or an item on both sides
    """
    try:
        content = Path(path).read_bytes()
        rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""))
        columns, sides = rows.fieldnames or [], {}
        found = hashlib.sha256(content).hexdigest()
        if sha256 not in (None, found):
            raise DataError(f"{path}: sha256 {found}, expected split_list.sha256 = {sha256}")
        if not {"split", "where"} <= set(columns):
            raise DataError(f"{path}: columns {columns or 'none'}, expected split and where")
        for number, row in enumerate(rows, 2):
            if row["split"] not in SPLITS or not row["where"]:
                raise DataError(
                    f"{path}, row {number}: split {row['split']!r}, where {row['where']!r}, expected split "
                    f"to be one of {', '.join(SPLITS)}, and an item"
                )
            if sides.setdefault(row["where"], SPLITS.index(row["split"])) != SPLITS.index(row["split"]):
                raise DataError(f"{path}, row {number}: {row['where']!r} is on both sides, expected on one")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a readable list of a split ({error})") from error
    if not sides:
        raise DataError(f"{path}: no rows, expected the items of a split")
    return sides, found


def assign(
    out: str,
    cluster: np.ndarray,
    keys: list[str],
    settings: dict,
    label: str,
    held_out: np.ndarray | None = None,
    frames: bool = False,
) -> Split:
    """Draw the held-out clusters, or take the published ones.

    Parameters
    ----------
    out : name of the dataset, for messages
    cluster : int64 [n], index into keys
    label : what a cluster is
    held_out : bool [n], a published split; ``settings["leaks"]`` says what becomes of clusters on both sides,
        ``n_held_out`` draws from the held-out ones
    frames : where there are too few clusters to hold some out, blocks of consecutive items take their place

    Raises
    ------
    DataError
        nothing left on one side, or leaks where they are refused
    """
    if held_out is not None:
        return _published(out, cluster, keys, settings, held_out, frames)
    n = settings["n_held_out"]
    if frames and len(keys) <= n:
        cluster, label = np.arange(len(cluster)) // max(1, len(cluster) // (4 * n)), "frames"
        keys = [f"frames block {i}" for i in range(cluster.max() + 1)]
    split = split_by_cluster(cluster, n, settings["seed"])
    return Split(
        np.ones(len(cluster), bool), np.zeros(len(cluster), np.uint8), cluster, split, keys.__getitem__, label
    )


def _published(out, cluster, keys, settings, held_out, frames) -> Split:
    leaks, n = settings.get("leaks", LEAKS), settings.get("n_held_out")
    reason = np.zeros(len(cluster), np.uint8)
    names = np.unique(cluster[held_out])
    if n is not None and len(names) > n:
        names = np.random.default_rng(settings["seed"]).permutation(names)[:n]
        reason[held_out & ~np.isin(cluster, names)] = REASONS.index(SURPLUS)
    leaked = np.intersect1d(names, cluster[~held_out])
    if len(leaked) and leaks == "refuse":
        raise DataError(
            f"{out}: {len(leaked)} clusters are in both splits, e.g. "
            f"{', '.join(keys[i] for i in leaked[:3])}; expected none with leaks: refuse (drop, keep)"
        )
    if leaks == "drop":
        reason[~held_out & np.isin(cluster, leaked)] = REASONS.index(LEAKED)
    keep = reason == 0
    _require_sides(out, held_out, keep)
    split, found = held_out[keep].astype(np.uint8), cluster[keep]
    if frames and leaks == "keep" and n is not None and len(names) < n:
        # the same few molecules on both sides: blocks are the unit of intervals
        found = _blocks(split, n)
        keys = {c: f"frames block {i}" for i, c in enumerate(np.unique(found))}
    number, original = _numbered(found)
    return Split(
        keep,
        reason,
        number,
        split,
        lambda i: keys[int(original[i])],
        "published",
        {"leaks": len(leaked) if leaks == "keep" else 0},
    )


def _require_sides(out: str, held_out: np.ndarray, keep: np.ndarray) -> None:
    """Raises DataError where a side of a published split has no items left."""
    for side, text in ((held_out, "held out"), (~held_out, "to train on")):
        if (side & keep).any():
            continue
        hint = ""
        if side.any():
            hint = (
                f"; all {side.sum()} items are of held-out molecules "
                "(leaks: keep would let them pass, and say so)"
            )
        raise DataError(f"{out}: no items {text}, expected some on either side of a published split{hint}")


def _blocks(split: np.ndarray, n: int) -> np.ndarray:
    """Blocks of consecutive items of either side, as clusters int64 [n kept]; n whole ones are held out at
    least.
    """
    found = np.empty(len(split), np.int64)
    trained, held_out = np.flatnonzero(split == 0), np.flatnonzero(split == 1)
    for side, items, n_blocks in ((0, trained, 4 * n), (1, held_out, n)):
        size = max(1, len(items) // n_blocks)
        found[items] = side * len(split) + np.arange(len(items)) // size
    return found


def _numbered(found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Clusters [n] numbered by first appearance, and what each number stands for."""
    appeared, first, inverse = np.unique(found, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return np.argsort(order)[inverse], appeared[order]


class Lists:
    """Writes split.csv and split.json of a folder, item by item in bounded memory; a context manager, nothing
    is left half-written.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.lines = [[] for _ in SPLITS]
        self.spilled = [[] for _ in SPLITS]
        self.items = [0] * len(SPLITS)
        self.clusters = [set() for _ in SPLITS]

    def __enter__(self):
        # of a killed conversion: the folder is locked, so that no other is at work
        for left in self.folder.glob(f"{SCRATCH}*"):
            shutil.rmtree(left, ignore_errors=True)
        with ExitStack() as stack:
            temporary = stack.enter_context(files.atomic_write(self.folder / "split.csv"))
            self.scratch = Path(
                stack.enter_context(tempfile.TemporaryDirectory(dir=self.folder, prefix=SCRATCH))
            )
            self.writer = csv.writer(stack.enter_context(open(temporary, "w", **CSV)))
            self.writer.writerow(["item", "split", "cluster", "where"])
            stack.push(self._count)
            self.stack = stack.pop_all()
        return self

    def add(self, split: int, number: int, key: str, where: str) -> None:
        """The next item of the dataset: index into SPLITS, number and key of its cluster, what lists
        call it.
        """
        where = printable(where)
        self.writer.writerow([sum(self.items), SPLITS[split], key, where])
        self.items[split] += 1
        self.clusters[split].add(number)
        self.lines[split].append(" ".join(where.splitlines()) + "\n")
        if len(self.lines[split]) >= SPILL:
            self._spill(split)

    def _spill(self, split):
        path = Path(self.scratch, f"{split}-{len(self.spilled[split])}")
        path.write_text("".join(sorted(self.lines[split])), newline="\n", encoding="utf-8")
        self.spilled[split].append(path)
        self.lines[split] = []

    def _digest(self, split) -> str:
        self._spill(split)
        digest = hashlib.sha256()
        files = [open(path, newline="\n", encoding="utf-8") for path in self.spilled[split]]
        for line in heapq.merge(*files):
            digest.update(line.encode())
        for file in files:
            file.close()
        return digest.hexdigest()

    def _count(self, kind, *_) -> None:
        """Write split.json, unless there was an error."""
        if kind is None:
            table = {
                name: {
                    "items": self.items[i],
                    "clusters": len(self.clusters[i]),
                    "sha256 of the sorted column where": self._digest(i),
                }
                for i, name in enumerate(SPLITS)
            }
            files.write_text(self.folder / "split.json", json.dumps(table, indent=1) + "\n")

    def __exit__(self, *error):
        return self.stack.__exit__(*error)


def printable(text: str) -> str:
    """A text with escapes for what is no character: names of files may be any bytes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def short_names(paths: list[str]) -> dict[str, str]:
    """Paths without their folders where that leaves them distinct, so that lists do not depend on where the
    files lie.
    """
    names = [Path(path).name for path in paths]
    return {path: name if names.count(name) == 1 else path for path, name in zip(paths, names)}


def split_by_cluster(cluster: np.ndarray, n_held_out: int, seed: int) -> np.ndarray:
    """Split indices [n_items] (0 train, 1 held out): n_held_out whole clusters, drawn with a seed, are held
    out.

    Raises
    ------
    DataError
        if that leaves no cluster to train on
    """
    names = np.unique(cluster)
    if not 0 < n_held_out < len(names):
        raise DataError(
            f"split: {n_held_out} clusters to hold out of {len(names)}; expected at least one on either side"
        )
    held_out = np.random.default_rng(seed).permutation(names)[:n_held_out]
    return np.isin(cluster, held_out).astype(np.uint8)
