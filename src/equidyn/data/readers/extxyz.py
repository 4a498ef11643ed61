"""Force labels from extended XYZ files, plain, compressed or in archives."""

import re
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from equidyn.data import elements
from equidyn.data.checks.catalogue import ACCEPTED, MORE_LABELS, OPEN_SHELL, PERIODIC, TWO_SETS, accepted
from equidyn.data.checks.periodic import periodic
from equidyn.data.readers import archives
from equidyn.data.readers.labels import ENERGY_UNITS, ISOLATED, Molecule, labelled, perceived
from equidyn.data.readers.records import Item, Rejected
from equidyn.defaults import ENERGY_KEY, FORCES_KEY

COLUMNS = 1000  # of an extended XYZ file
PROPERTIES = re.compile(r'\bProperties\s*=\s*"?([^\s"]+)"?', re.IGNORECASE)
PLAIN = "species:S:1:pos:R:3"
SAME = {"positions": "pos", "symbols": "species", "numbers": "Z"}  # other names of columns
TWINS = ("free_energy",)  # which calculators of ASE write beside the energy of the same label
SMILES, NAMES = ("smiles", "SMILES"), ("name", "mol_id", "molecule", "mol_name")
CHARGES, SPINS = ("charge", "total_charge", "net_charge"), ("spin", "multiplicity", "spin_multiplicity")


def records(path: str | Path) -> Iterator[tuple[str, str] | Rejected]:
    """Frames as text, see ``archives.frames``."""
    return archives.frames(path, (".xyz", ".extxyz"))


class Frame(NamedTuple):
    """What labels are made of: a frame as its file has it."""

    where: str
    molecule: Molecule | None
    numbers: np.ndarray  # [n]
    positions: np.ndarray  # [n, 3]
    energy: float
    forces: np.ndarray  # [n, 3]
    notes: dict[str, int]


def parse(record: tuple[str, str], settings: dict) -> list[Item | Rejected]:
    """A frame with its energy in the comment line and its forces in three columns.

    ``settings``: ``energy_unit``; ``energy_key`` and ``forces_key``, their names (energy, forces).
    """
    return parse_all([record], settings)[0]


def parse_all(records: list[tuple[str, str]], settings: dict) -> list[list[Item | Rejected]]:
    """``parse`` of many frames, those of one molecule together."""
    found: list[Frame | Rejected | Item] = [_frame(record, settings) for record in records]
    groups = defaultdict(list)
    for k, frame in enumerate(found):
        if isinstance(frame, Frame):
            groups[frame.molecule, frame.numbers.tobytes(), tuple(frame.notes)].append(k)
    unit = ENERGY_UNITS[settings["energy_unit"]]
    for members in groups.values():
        first, frames = found[members[0]], [found[k] for k in members]
        where = [frame.where for frame in frames]
        positions, forces = np.stack([f.positions for f in frames]), np.stack([f.forces for f in frames])
        energies = np.array([frame.energy for frame in frames])
        labels = positions, energies, forces
        for k, item in zip(
            members, labelled(where, first.molecule, first.numbers, *labels, unit, notes=first.notes)
        ):
            found[k] = item
    return [[result] for result in found]


def _frame(record: tuple[str, str], settings: dict) -> Frame | Rejected:
    where, text = record
    energy_key, forces_key = settings.get("energy_key", ENERGY_KEY), settings.get("forces_key", FORCES_KEY)
    try:
        numbers, positions, forces, info = frame_of(text, forces_key)
        energy = None if info.get(energy_key) is None else float(info[energy_key])
    except Exception as error:  # the comment line's parser raises many types on malformed text
        detail = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
        return Rejected(where, "does not parse", detail[:200])
    if len(numbers) == 1:
        return Rejected(where, ISOLATED)
    columns = info["Properties"].split(":")[::3]
    energies, forces_found = _labels(info, columns, energy_key, forces_key)
    if not len(numbers):
        return Rejected(where, "no atoms")
    if energy is None or forces is None:
        return Rejected(where, *_missing(info, columns, settings, energy, energies, forces_found))
    if energies and forces_found and not {"energy_key", "forces_key"} <= settings.keys():
        found = f"{energy_key} and {', '.join(energies)}; {forces_key} and {', '.join(forces_found)}"
        return Rejected(where, TWO_SETS, f"{found}; expected energy_key and forces_key to name one of each")
    notes = {MORE_LABELS: 1} if energies or forces_found else {}
    if cell := periodic(info):
        if not accepted(settings, "periodic"):
            return Rejected(where, PERIODIC, f'{cell}, expected a molecule: none, or pbc="F F F"')
        notes[f"periodic, {ACCEPTED}"] = 1
    if (_number(info, SPINS) or 0) > 1:
        notes[OPEN_SHELL] = 1
    molecule = None
    if _sound(numbers, positions):
        smiles, name = _text(info, SMILES), _text(info, NAMES)
        molecule = perceived(smiles, numbers, positions, name, _number(info, CHARGES))
    return Frame(where, molecule, numbers, positions, energy, forces, notes)


def _sound(numbers: np.ndarray, positions: np.ndarray) -> bool:
    """Whether bonds may be looked for; what is not sound is rejected later, with a reason."""
    known = ((numbers > 0) & (numbers < len(elements.SYMBOLS))).all()
    return bool(known and (np.abs(positions) < 1e12).all())


def _labels(info: dict, columns: list[str], energy_key: str, forces_key: str) -> tuple[list[str], list[str]]:
    """Keys that look like other energies, and columns that look like other forces."""
    energies = [
        key
        for key, value in info.items()
        if "energy" in key.lower()
        and key not in (energy_key, *TWINS)
        and isinstance(value, (int, float, np.number))
        and not isinstance(value, bool)
    ]
    return energies, [name for name in columns if "force" in name.lower() and name != forces_key]


def _missing(info, columns, settings, energy, energies, forces_found) -> tuple[str, str]:
    """Reason and detail of a frame without energy or forces under the names that were asked for."""
    name, key, others = (
        ("energy", "energy_key", energies) if energy is None else ("forces", "forces_key", forces_found)
    )
    keys = ", ".join(key for key in info if key != "Properties")
    hint = f"; likely: {key}: {others[0]}" if others else ""
    wanted = f"expected {settings.get(key, name)}, or {key} to name another"
    return (
        f"no {name}",
        f"keys of the comment line: {keys[:120]}; columns: {', '.join(columns)[:80]}; {wanted}{hint}",
    )


def _text(info: dict, keys: tuple[str, ...]) -> str:
    return next((info[key] for key in keys if isinstance(info.get(key), str)), "")


def _number(info: dict, keys: tuple[str, ...]) -> float | None:
    for key in keys:
        value = info.get(key)
        if isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and np.isfinite(value):
            return float(value)
    return None


def frame_of(text: str, forces_key: str = "forces") -> tuple[np.ndarray, np.ndarray, np.ndarray | None, dict]:
    """Numbers [n], positions [n, 3], forces [n, 3] or None, and the comment line of an extended XYZ
    frame, with its ``Properties``, by default those of plain XYZ; the comment is read by ase.

    Raises whatever ase or numpy raise on malformed text.
    """
    from ase.io.extxyz import key_val_str_to_dict

    first, comment, *rows = text.splitlines()
    n, comment = int(first), comment.strip()
    properties = PROPERTIES.search(comment)
    rest = comment if properties is None else comment[: properties.start()] + comment[properties.end() :]
    info = key_val_str_to_dict(rest) if rest.strip() else {}
    info["Properties"] = PLAIN if properties is None else properties[1]
    place = columns(info["Properties"])
    if len(rows) != n:
        raise ValueError(f"{len(rows)} atoms, expected {n}")
    width = max(at.stop for at in place.values())
    cells = [row.split() for row in rows]
    if any(len(row) < width for row in cells):
        raise ValueError(f"a row of fewer than {width} columns")
    vectors = {
        name: np.array([row[place[name]] for row in cells], dtype=np.float64).reshape(n, 3)
        for name in ("pos", forces_key)
        if name in place
    }
    if "Z" in place:
        numbers = np.array([int(row[place["Z"].start]) for row in cells], dtype=np.int64)
    else:
        numbers = np.array([elements.number_of(row[place["species"].start]) for row in cells], dtype=np.int64)
    return numbers, vectors["pos"], vectors.get(forces_key), info


@lru_cache
def columns(properties: str) -> dict[str, slice]:
    """Columns of a frame's atoms by name, in their order.

    Raises
    ------
    ValueError
        not name:type:number:…, no positions, or neither symbols nor numbers
    """
    words = properties.split(":")
    counts = words[2::3]
    if (
        len(words) % 3
        or any(not n.isdigit() or len(n) > 3 for n in counts)
        or sum(map(int, counts)) > COLUMNS
    ):
        raise ValueError(
            f"Properties {properties[:60]!r} with a number of columns that is none or above {COLUMNS}, "
            f"expected "
            f"name:type:columns:…"
        )
    place, start = {}, 0
    for name, n in zip(words[::3], map(int, counts)):
        place[SAME.get(name, name)] = slice(start, start + n)
        start += n
    widths = {name: at.stop - at.start for name, at in place.items()}
    if widths.get("pos") != 3 or not {"species", "Z"} & {name for name, n in widths.items() if n == 1}:
        raise ValueError(f"Properties {properties[:60]!r}, expected pos:R:3, and species:S:1 or Z:I:1")
    return place
