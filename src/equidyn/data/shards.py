"""Shards: the parsed chunks of a file on disk, each whole or absent."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np

from equidyn.data.readers.records import Item, Rejected
from equidyn.data.schema import KINDS
from equidyn.errors import DataError
from equidyn.files import atomic_write

ARRAYS = ("rows", "values")  # fields of an item that stand in the shard's arrays
LISTED = tuple(field.name for field in fields(Item) if field.name not in ARRAYS)


class ListedItem(NamedTuple):
    """What a shard's list says of an item: its fields but for ``ARRAYS``, ``place`` among all results, and
    number of rows.
    """

    place: int
    where: str
    cluster: str
    length: int
    bare: bool
    notes: dict[str, int]
    copy: int
    labels: int
    graph: str
    alias: str
    figures: dict[str, float]
    force_unit: float | None

    @classmethod
    def of(cls, place: int, item: Item) -> "ListedItem":
        """The row of an item."""
        listed = {name: getattr(item, name) for name in LISTED}
        return cls(place=place, length=len(item.rows["positions"]), **listed)

    def item(self, rows: dict[str, np.ndarray], values: dict) -> Item:
        """The item of this row, with its arrays."""
        return Item(rows=rows, values=values, **{name: getattr(self, name) for name in LISTED})


class ListedRejection(NamedTuple):
    """What a shard's list says of a rejection: its fields, and ``place`` as in ``ListedItem``."""

    place: int
    where: str
    reason: str
    detail: str = ""
    suspect: str = ""

    @classmethod
    def of(cls, place: int, rejected: Rejected) -> "ListedRejection":
        """The row of a rejection."""
        return cls(place, **{field.name: getattr(rejected, field.name) for field in fields(Rejected)})

    def rejected(self) -> Rejected:
        """The rejection of this row."""
        return Rejected(**{field.name: getattr(self, field.name) for field in fields(Rejected)})


@dataclass
class Shard:
    """A parsed chunk on disk, and what the parent wants to know of it."""

    path: Path
    origin: str  # name of the input
    held_out: bool
    records: int  # that were parsed
    found: int  # items and rejections
    items: int
    suspect: int
    leading: int  # rejections as suspect before anything else
    example: list | None  # where, reason, detail, likely cause of the first suspect
    causes: dict[str, int]


@dataclass(frozen=True)
class Lists:
    """The lists of a shard, each in the order of its results."""

    items: list[ListedItem]
    rejected: list[ListedRejection]


def save(path: Path, results: list[Item | Rejected], kind: str) -> None:
    """Write a shard: results in order, rows one after the other; whole or not at all.

    Raises
    ------
    DataError
        an item whose arrays are not those of the schema, or hold values that are not finite
    """
    keys = {name: key for name, key in KINDS[kind].items() if name not in ("offsets", "cluster", "split")}
    items = [(i, r) for i, r in enumerate(results) if isinstance(r, Item)]
    rejected = [(i, r) for i, r in enumerate(results) if isinstance(r, Rejected)]
    columns = {name: [] for name in keys}
    for _, item in items:
        length = len(item.rows["positions"])
        for name, key in keys.items():
            value = np.asarray(item.rows[name] if key.per == "row" else item.values[name]).astype(key.dtype)
            shape = (length, *key.trailing) if key.per == "row" else ()
            if (
                value.shape != shape
                or not length
                or (value.dtype.kind == "f" and not np.isfinite(value).all())
            ):
                found = f"shape {value.shape} or values that are not finite"
                raise DataError(f"{item.where}: {name} has {found}, expected {shape}")
            columns[name].append(value)
    stack = {"row": np.concatenate, "item": np.stack}
    empty = {name: np.zeros((0, *key.trailing), key.dtype) for name, key in keys.items()}
    arrays = {name: stack[key.per](columns[name]) if items else empty[name] for name, key in keys.items()}
    lists = {
        "items": [ListedItem.of(place, item) for place, item in items],
        "rejected": [ListedRejection.of(place, one) for place, one in rejected],
    }
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, meta=np.frombuffer(json.dumps(lists).encode(), dtype=np.uint8), **arrays)


def lists_of(path: Path) -> Lists:
    """The lists of a shard, without its arrays."""
    with np.load(path, allow_pickle=False) as file:
        return _lists(file)


def contents_of(path: Path) -> tuple[Lists, dict[str, np.ndarray]]:
    """The lists of a shard, and the arrays of its items one after the other, by the keys of the schema."""
    with np.load(path, allow_pickle=False) as file:
        return _lists(file), {name: file[name] for name in file.files if name != "meta"}


def _lists(file) -> Lists:
    found = json.loads(file["meta"].tobytes())
    return Lists(
        [ListedItem(*row) for row in found["items"]], [ListedRejection(*row) for row in found["rejected"]]
    )


def load(path: Path, kind: str) -> list[Item | Rejected]:
    """Results of a shard, as ``save`` got them."""
    lists, arrays = contents_of(path)
    results = {row.place: row.rejected() for row in lists.rejected}
    start = 0
    for k, listed in enumerate(lists.items):
        end = start + listed.length
        rows = {name: arrays[name][start:end] for name, key in KINDS[kind].items() if key.per == "row"}
        values = {name: arrays[name][k] for name in arrays if name not in rows}
        results[listed.place] = listed.item(rows, values)
        start = end
    return [results[i] for i in sorted(results)]
