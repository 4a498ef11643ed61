"""Force labels from npz files in the layout of rMD17, plain or in archives."""

import io
import math
import tempfile
import tokenize
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from equidyn.data import elements
from equidyn.data.checks.catalogue import ACCEPTED, MORE_LABELS, PERIODIC, accepted
from equidyn.data.checks.periodic import CELLS, FLAGS, periodic
from equidyn.data.readers import archives
from equidyn.data.readers.labels import ENERGY_UNITS, labelled, perceived
from equidyn.data.readers.records import Item, Rejected
from equidyn.defaults import ENERGIES_KEY, FORCES_KEY
from equidyn.errors import DataError

FRAMES = 100  # of an npz file in one record


KEYS = ("nuclear_charges", "coords", ENERGIES_KEY, FORCES_KEY)
SGDML = {"z": "nuclear_charges", "R": "coords", "E": "energies", "F": "forces"}  # keys of MD17 and sGDML
IN_MEMORY = 1 << 30  # bytes of an array in Fortran order, which is read as a whole
SMALL = 1 << 20  # bytes of an array that says what the cell is


def records(path: str | Path, settings: dict | None = None) -> Iterator[tuple | Rejected]:
    """Blocks of frames of one molecule in the rMD17 layout: nuclear_charges [n], coords [k, n, 3] Å, energies
    [k], forces [k, n, 3].

    A record is (where, first frame, numbers, reference positions, coords, energies, forces, notes).
    Arrays are read a block at a time. ``settings``: ``energy_key`` and ``forces_key`` name other arrays
    of labels.

    Raises
    ------
    DataError
        not an npz file, missing keys, arrays of anything but numbers, shapes that disagree
    """
    settings = settings or {}
    for where, stream in archives.members(path, (".npz",)):
        if where == str(path) and str(path).endswith(".npz"):
            yield from _npz(where, stream, settings)
        # an npz must be seekable, which a member of an archive is not, and a compressed one only by reading
        # it from the start again
        else:
            with tempfile.TemporaryFile() as copy:
                while block := stream.read(1 << 20):
                    copy.write(block)
                yield from _npz(where, copy, settings)


def _names(settings: dict) -> tuple[str, ...]:
    """Keys of numbers, positions, energies and forces."""
    return *KEYS[:2], settings.get("energy_key", KEYS[2]), settings.get("forces_key", KEYS[3])


def _require(where: str, names: tuple[str, ...], found: list[str]) -> None:
    missing = [name for name in names if name not in found]
    if not missing:
        return
    hint = ""
    if set(SGDML) <= set(found):
        pairs = ", ".join(f"{ours} from {theirs}" for theirs, ours in SGDML.items())
        hint = f"; these are the keys of MD17 and sGDML: save {pairs}"
    elif names[:2] == tuple(name for name in names[:2] if name in found):
        hint = "; energy_key and forces_key name other arrays of labels"
    raise DataError(
        f"{where}: no {', '.join(missing)}; expected {', '.join(names)}, found {', '.join(found)[:200]}{hint}"
    )


def _cell(file: zipfile.ZipFile, found: list[str]) -> str | None:
    """What in the file says that its structures are periodic."""
    stated = {}
    for name in found:
        if name.lower() in (*CELLS, *FLAGS) and file.getinfo(f"{name}.npy").file_size < SMALL:
            with file.open(f"{name}.npy") as stream:
                stated[name] = np.lib.format.read_array(stream, allow_pickle=False)
    return periodic(stated)


def _npz(where, stream, settings) -> Iterator[tuple | Rejected]:
    try:
        with zipfile.ZipFile(stream) as file:
            found = [name.removesuffix(".npy") for name in file.namelist() if name.endswith(".npy")]
            names = _names(settings)
            _require(where, names, found)
            cell = _cell(file, found)
            if cell and not accepted(settings, "periodic"):
                yield Rejected(where, PERIODIC, f"{cell}, expected molecules")
                return
            notes = {f"periodic, {ACCEPTED}": 1} if cell else {}
            notes |= {MORE_LABELS: 1} if any(_labels(name) for name in set(found) - set(names)) else {}
            arrays = [_Array(file.open(f"{name}.npy"), f"{where}: {name}") for name in names]
            numbers, coords, energies, forces = arrays
            n, k = numbers.shape[0] if len(numbers.shape) == 1 else 0, coords.shape[0] if coords.shape else 0
            if (
                not 0 < n <= archives.MOST_ATOMS
                or coords.shape != (k, n, 3)
                or forces.shape != coords.shape
                or energies.shape not in ((k,), (k, 1))
            ):
                raise DataError(
                    f"{where}: coords {coords.shape}, forces {forces.shape}, energies {energies.shape} for "
                    f"nuclear_charges {numbers.shape}, expected to agree"
                )
            charges, reference = _whole(numbers.take(n), f"{where}: {names[0]}"), None
            block = max(1, min(FRAMES, (1 << 20) // (48 * n)))
            for start in range(0, k, block):
                size = min(block, k - start)
                x, e, f = coords.take(size), energies.take(size), forces.take(size)
                reference = x[0] if reference is None else reference
                yield where, start, charges, reference, x, e.reshape(-1), f, notes
    except (
        zipfile.BadZipFile,
        ValueError,
        RuntimeError,
    ) as error:  # RuntimeError: encrypted, or compressed in another way
        if isinstance(error, DataError):
            raise
        raise zipfile.BadZipFile(f"{where}: {error}") from error


def _labels(name: str) -> bool:
    """Whether an array looks like energies or forces."""
    return "energ" in name.lower() or "force" in name.lower()


class _Array:
    """A .npy file of numbers that is read along its first axis."""

    def __init__(self, stream, called: str):
        header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(np.lib.format.read_magic(stream))
        if header is None:
            raise ValueError("array of another format version, expected 1.0 or 2.0")
        try:
            self.shape, fortran, self.dtype = header(stream)
        except (
            tokenize.TokenError,
            SyntaxError,
            RecursionError,
            MemoryError,
        ) as error:  # what Python's parser raises beside ValueError
            raise ValueError(f"array with a header that is none ({type(error).__name__})") from error
        if self.dtype.kind not in "iuf":
            raise DataError(f"{called} is an array of {self.dtype}, expected numbers")
        self.stream = stream
        if fortran and len(self.shape) > 1:  # its first axis is spread over all of it
            size = math.prod(self.shape) * self.dtype.itemsize
            if size > IN_MEMORY:
                raise ValueError(
                    f"array of {size} bytes in Fortran order, expected C order above {IN_MEMORY}"
                )
            data = stream.read(size)
            if len(data) != size:
                raise EOFError("array ends early")
            values = np.frombuffer(data, self.dtype).reshape(self.shape, order="F")
            self.stream = io.BytesIO(np.ascontiguousarray(values).data)

    def take(self, n: int) -> np.ndarray:
        """The next n entries of the first axis."""
        size = n * math.prod(self.shape[1:]) * self.dtype.itemsize
        data = self.stream.read(size)
        if len(data) != size:
            raise EOFError("array ends early")
        return np.frombuffer(data, self.dtype).reshape(n, *self.shape[1:])


def _whole(numbers: np.ndarray, called: str) -> np.ndarray:
    """Atomic numbers as integers [n]."""
    broken = numbers[~np.isfinite(numbers) | (numbers != np.rint(numbers))]
    if len(broken):
        raise DataError(f"{called} holds {broken[0]:g}, expected whole numbers")
    return numbers.astype(np.int64)


def parse(record: tuple, settings: dict) -> list[Item | Rejected]:
    """Frames of a block; all have the cluster of the file's first frame, as they are the same atoms."""
    where, start, numbers, reference, coords, energies, forces, notes = record
    unit = ENERGY_UNITS[settings["energy_unit"]]
    if not ((numbers > 0) & (numbers < len(elements.SYMBOLS))).all():
        return [Rejected(f"{where}, frame {start + i}", "unknown element") for i in range(len(coords))]
    molecule = perceived(None, numbers, reference.astype(np.float64))
    places = [f"{where}, frame {start + i}" for i in range(len(coords))]
    return labelled(places, molecule, numbers, coords, energies, forces, unit, notes=notes)
