"""Molecules without labels from XYZ files: plain, QM9's, with the columns of extended XYZ, and archived.

The cluster key of a record is its connectivity's canonical SMILES.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from equidyn.data import elements
from equidyn.data.checks.catalogue import ACCEPTED, PERIODIC, accepted
from equidyn.data.checks.periodic import periodic
from equidyn.data.readers import archives, extxyz
from equidyn.data.readers.molecules import bonds_of, molecule_of
from equidyn.data.readers.records import Item, Rejected

EXTENDED = re.compile(r"\b(properties|lattice|pbc|cell)\s*=", re.IGNORECASE)


def records(path: str | Path) -> Iterator[tuple[str, str] | Rejected]:
    """Frames as text, see ``archives.frames``."""
    return archives.frames(path)


def parse(record: tuple[str, str], settings: dict) -> list[Item | Rejected]:
    """One frame. QM9's raw files are understood: numbers such as 1.2*^-6, a charge column.

    Whether hydrogens are missing cannot be told.
    """
    where, text = record
    try:
        numbers, positions, stated = _frame(text.replace("*^", "e"))
    except Exception as error:  # the comment line's parser raises many types on malformed text
        return [Rejected(where, "does not parse", f"{type(error).__name__}: {error}"[:200])]
    notes = {}
    if cell := periodic(stated):
        if not accepted(settings, "periodic"):
            return [Rejected(where, PERIODIC, f'{cell}, expected a molecule: none, or pbc="F F F"')]
        notes[f"periodic, {ACCEPTED}"] = 1
    found = molecule_of(where, numbers, positions, True, settings, notes=notes)
    if isinstance(found, Rejected):
        return [found]
    key, found.graph = bonds_of(found.rows["numbers"], positions)
    found.cluster = key or where
    return [found]


def _frame(text: str) -> tuple[np.ndarray, np.ndarray, dict]:
    """Numbers [n], positions [n, 3], and what the comment line states of columns and cell."""
    first, comment, *rows = text.splitlines()
    if EXTENDED.search(comment):
        numbers, positions, _, stated = extxyz.frame_of(text)
        return numbers.astype(np.uint8), positions, stated
    n, cells = int(first), [row.split() for row in rows]
    if len(cells) != n:
        raise ValueError(f"{len(cells)} atoms, expected {n}")
    numbers = np.array([elements.number_of(row[0]) for row in cells], dtype=np.uint8)
    positions = np.array([row[1:4] for row in cells], dtype=np.float64).reshape(n, 3)
    if n > 3:
        for what, column in (
            ("atomic", numbers),
            ("running", np.arange(n)),
            ("running", np.arange(1, n + 1)),
        ):
            if np.array_equal(positions[:, 0], column):
                raise ValueError(
                    f"{what} numbers in the second column, expected x; likely: Properties is missing"
                )
    return numbers, positions, {}
