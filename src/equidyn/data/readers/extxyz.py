"""Force labels from extended XYZ files, plain, compressed or in archives."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from equidyn.data import elements
from equidyn.data.readers import archives
from equidyn.data.readers.labels import ENERGY_UNITS, labelled
from equidyn.data.readers.records import Item, Rejected

COLUMNS = 1000  # of an extended XYZ file


def records(path: str | Path) -> Iterator[tuple[str, str] | Rejected]:
    """Frames as text, see ``archives.frames``."""
    return archives.frames(path, (".xyz", ".extxyz"))


def parse(record: tuple[str, str], settings: dict) -> list[Item | Rejected]:
    """A frame with energy= in its comment line and a forces:R:3 column."""
    where, text = record
    try:
        numbers, positions, forces, info = frame_of(text)
        energy = None if info.get("energy") is None else float(info["energy"])
    except Exception as error:  # the comment line's parser raises many types on malformed text
        return [Rejected(where, "does not parse", f"{type(error).__name__}: {error}"[:200])]
    if len(numbers) == 1 and forces is None:
        return [Rejected(where, "isolated atom without forces")]
    if not len(numbers) or energy is None or forces is None:
        return [
            Rejected(
                where,
                "no atoms" if not len(numbers) else "no energy" if energy is None else "no forces",
                f"comment line: {', '.join(info)}"[:200],
            )
        ]
    smiles = info.get("smiles", info.get("SMILES"))
    return [
        labelled(
            where,
            smiles if isinstance(smiles, str) else None,
            numbers,
            positions,
            energy,
            forces,
            ENERGY_UNITS[settings.get("energy_unit", "eV")],
        )
    ]


def frame_of(text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, dict]:
    """Numbers [n], positions [n, 3], forces [n, 3] or None, and the comment line of an extended XYZ frame;
    the comment is read by ase.

    Raises whatever ase or numpy raise on malformed text.
    """
    from ase.io.extxyz import key_val_str_to_dict

    first, comment, *rows = text.splitlines()
    n, comment = int(first), comment.strip()
    info = key_val_str_to_dict(comment) if comment else {}
    properties = _columns(info.pop("Properties", "species:S:1:pos:R:3"))
    if len(rows) != n:
        raise ValueError(f"{len(rows)} atoms, expected {n}")
    width, start, place = sum(columns for _, columns in properties.values()), 0, {}
    for name, columns in properties.values():
        place[name], start = slice(start, start + columns), start + columns
    cells = [row.split() for row in rows]
    if any(len(row) < width for row in cells):
        raise ValueError(f"a row of fewer than {width} columns")
    values = {
        name: np.array([row[place[name]] for row in cells], dtype=np.float64).reshape(n, 3)
        for name in ("positions", "forces")
        if name in place
    }
    if "numbers" in place:
        numbers = np.array([int(row[place["numbers"].start]) for row in cells], dtype=np.int64)
    else:
        numbers = np.array(
            [elements.NUMBERS[row[place["symbols"].start].capitalize()] for row in cells], dtype=np.int64
        )
    return numbers, values["positions"], values.get("forces"), info


@lru_cache
def _columns(properties: str) -> dict[str, tuple[str, int]]:
    """ase's name of every property of a frame's atoms -> (name, columns), in the order of the columns."""
    from ase.io.extxyz import parse_properties

    columns = properties.split(":")[2::3]
    if any(not n.isdigit() or len(n) > 3 for n in columns) or sum(map(int, columns)) > COLUMNS:
        raise ValueError(
            f"Properties with a number of columns that is none or above {COLUMNS}, expected "
            f"name:type:columns:…"
        )  # ase would make a list of a million names
    return parse_properties(properties)[0]
