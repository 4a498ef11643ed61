"""What is kept of one measured structure, and a file of such records that a later run goes on from."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from equidyn.errors import DataError
from equidyn.files import atomic_write
from equidyn.symmetry.sums import ItemSums

PARTIAL = ("code", "opened")
SUMS = ("count", "total", "equivariance", "zero", "power", "within")  # fields of ItemSums, one item


@dataclass
class Record:
    """One structure: sums by quantity and name, or why there are none.

    The names are ``SUMS``, ``labelled``, ``along`` (mean prediction · label), ``averaged`` (losses of means
    over n rotations), ``content`` (by degree or irrep), ``angle`` (sums and numbers of pairs by angle),
    ``atoms`` (sums and numbers by element and by distance from the centre), ``worst`` (r.m.s.
    deviation of the worst pose), ``worst_rotation`` (its nine numbers), ``special`` (r.m.s. deviation of the
    worst special pose), and of energies ``mean`` (of the predictions) and ``label``.

    ``floor`` has spreads at the identity by quantity and kind, of the structures that it is taken from;
    ``floor_failed`` the kinds that the calculator failed on, and why.
    """

    index: int
    formula: str
    cluster: str
    n_atoms: int
    seconds: float
    quantities: dict[str, dict] = field(default_factory=dict)
    floor: dict[str, dict[str, float]] = field(default_factory=dict)
    floor_failed: dict[str, str] = field(default_factory=dict)
    failed: str = ""


def joined(records: list[Record], name: str, n_rotations: int, order: int | None) -> ItemSums:
    """The sums of one quantity over records, in their order."""
    columns = [
        torch.tensor([record.quantities[name][key] for record in records], dtype=torch.float64)
        for key in SUMS
    ]
    return ItemSums(*columns, n_rotations, order)


def clusters_of(records: list[Record]) -> torch.Tensor:
    """The records' clusters as numbers, int64 [n]; equal where the clusters' names are."""
    _, index = np.unique([record.cluster for record in records], return_inverse=True)
    return torch.from_numpy(index)


class Kept:
    """Records in a file, one a line, under a first line of the settings that they were measured with; of
    structures by their index, or of dataclasses ``made`` by another ``key``.

    A killed run leaves at most a torn last line, which is measured again. Numbers read back exactly.

    Of settings in ``PARTIAL``, digests of files by name, only those count that both have: what a program
    imports and opens depends on what else it does.

    Raises
    ------
    DataError
        records of other settings
    """

    def __init__(self, path: Path, settings: dict, made: type = Record, key: str = "index"):
        self.path, self.key, self.found = path, key, {}
        settings = json.loads(json.dumps(settings))
        before, *lines = [*_whole_lines(path)] or [settings]
        lines = [line for line in lines if not line.get("failed")]  # what failed is measured again
        if lines and (changes := "; ".join(_changes(before, settings))):
            raise DataError(
                f"{path}: records of another command ({changes}); expected the same one, or another --out"
            )
        if lines:
            settings |= {name: before[name] | settings[name] for name in PARTIAL if name in settings}
        self.found |= {line[key]: made(**line) for line in lines}
        self.settings = settings
        write_records(path, settings, self.found.values())

    def add(self, record) -> None:
        """Keep a record; it is on its way to the disk when this returns."""
        self.found[getattr(record, self.key)] = record
        with open(self.path, "a") as file:
            file.write(json.dumps(asdict(record)) + "\n")


def _changes(before: dict, now: dict) -> Iterator[str]:
    """What differs between two settings, by key."""
    for key in sorted({*before, *now}):
        one, two = before.get(key), now.get(key)
        if key in PARTIAL and isinstance(one, dict) and isinstance(two, dict):
            if names := [name for name in one if two.get(name, one[name]) != one[name]]:
                yield f"{key}: {', '.join(names)} changed since"
        elif one != two:
            yield f"{key}: {one!r}, now {two!r}"


class InMemory:
    """Records that are kept for this process alone."""

    def __init__(self):
        self.found: dict[int, Record] = {}

    def add(self, record: Record) -> None:
        """Keep a record."""
        self.found[record.index] = record


def write_records(path: Path, settings: dict, records: Iterable) -> None:
    """Settings and records as ``Kept`` reads them, whole or not at all."""
    text = [settings, *(asdict(record) for record in records)]
    with atomic_write(path) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in text))


def settings_of(path: Path) -> dict | None:
    """The settings that records were measured with; None where there is no such file."""
    return next(_whole_lines(path), None)


def read_records(path: Path) -> list[Record]:
    """The records of a file; none where there is no such file, or where it is not one."""
    lines = list(_whole_lines(path))[1:]
    return [Record(**line) for line in lines if "quantities" in line]


def _whole_lines(path: Path) -> Iterator[dict]:
    if not path.exists():
        return
    for line in path.read_text().splitlines(keepends=True):
        try:
            if line.endswith("\n"):
                yield json.loads(line)
        except json.JSONDecodeError:
            return  # what stands behind a damaged line is measured again
