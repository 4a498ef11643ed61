"""Molecules without labels from XYZ files: plain, QM9's and archived.

The cluster key of a record is its connectivity's canonical SMILES.
"""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from equidyn.data.readers import archives
from equidyn.data.readers.molecules import centred, connectivity, unusable, wrong_unit
from equidyn.data.readers.records import Item, Rejected


def records(path: str | Path) -> Iterator[tuple[str, str] | Rejected]:
    """Frames as text, see ``archives.frames``."""
    return archives.frames(path)


def parse(record: tuple[str, str], settings: dict) -> list[Item | Rejected]:
    """One frame. QM9's raw files are understood: numbers such as 1.2*^-6, a charge column.

    Whether hydrogens are missing cannot be told.
    """
    import ase.io

    where, text = record
    try:
        atoms = ase.io.read(io.StringIO(text.replace("*^", "e")), format="xyz", index=0)
    except Exception as error:  # ase raises many types on malformed text
        return [Rejected(where, f"does not parse ({type(error).__name__})")]
    numbers = atoms.numbers.astype(np.uint8)
    if reason := unusable(numbers, atoms.positions, True):
        return [Rejected(where, reason)]
    if wrong := wrong_unit(where, numbers, atoms.positions):
        return [wrong]
    return [
        Item(
            where,
            connectivity(numbers, atoms.positions) or where,
            {"numbers": numbers, "positions": centred(atoms.positions)},
        )
    ]
