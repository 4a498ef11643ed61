"""What a reader is, and what it makes of a file: items, and rejections that say why."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

RECORDS = 256  # in a chunk, at most
MOLECULE = "molecule (constitution)"  # what a cluster is, unless a reader says otherwise


@dataclass(slots=True)
class Item:
    """One structure, molecule or chain: per-row arrays, per-item values, cluster key (items that share one
    never straddle the split).
    """

    where: str  # file and record, for messages and lists
    cluster: str
    rows: dict[str, np.ndarray]
    values: dict = field(default_factory=dict)
    bare: bool = False  # hydrogens are missing
    notes: dict[str, int] = field(
        default_factory=dict
    )  # counts of peculiarities that are no reason to reject it
    # digest of 64 bits that copies share, of which a dataset, or a side of a published split, keeps the
    # first; 0: kept in any case
    copy: int = 0
    labels: int = 0  # digest of the labels: copies that differ in it are not the same item twice
    graph: str = ""  # atoms in order and the bonds perceived between them, where ``cluster`` comes from these
    alias: str = ""  # another name of the molecule, which frames with these atoms in this order share
    figures: dict[str, float] = field(default_factory=dict)  # measured of it, for checks of a whole file
    force_unit: float | None = None  # eV/Å, the factor that its forces were multiplied with, if it has any


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
    # path (and settings, where ``keyed``) -> iterator of records; a Rejected among them is passed on
    records: Callable
    parse: Callable  # (record, settings) -> list[Item | Rejected]
    admit: Callable | None = None  # (item, settings) -> Item | Rejected: limits that the settings set
    # (path, first items of a part of it, settings) -> list of ``checks.findings.Outcome``
    check: Callable | None = None
    # (records, settings) -> list of what parse gives for each, where that is faster
    parse_all: Callable | None = None
    keyed: bool = False  # what the records of a file are depends on the settings
    pooled: bool = False  # parts are of one make: a file is refused where the check refuses most of them
    clusters: Callable | None = (
        # (distinct keys of all items, settings) -> number of the cluster of each; by default a key is a
        # cluster
        None
    )
    clusterer: Callable | None = None  # settings -> name and version of what made ``clusters``, for the file
    unit: str = MOLECULE  # what a cluster is
    chunk: int = RECORDS
    isolated: bool = False  # parse only in a worker: a crafted record may end the process
    # list records and check items only in a worker: a damaged file may end or stall it already then; they
    # must be few and small
    aside: bool = False
    # files are many and small and share chunks: all of a side are one input, and one that is not readable is
    # a rejection
    together: bool = False


def part(where: str) -> str:
    """Of a file, where an item comes from: the file, a member of the archive, a group."""
    return where.rsplit(", ", 1)[0]
