"""Force labels from npz files in the layout of rMD17, plain or in archives."""

import math
import tempfile
import tokenize
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from equidyn.data import elements
from equidyn.data.readers import archives
from equidyn.data.readers.labels import ENERGY_UNITS, cluster_key, labelled
from equidyn.data.readers.records import Item, Rejected
from equidyn.errors import DataError

FRAMES = 100  # of an npz file in one record


def records(path: str | Path) -> Iterator[tuple]:
    """Blocks of frames of one molecule in the rMD17 layout: nuclear_charges [n], coords [k, n, 3] Å, energies
    [k], forces [k, n, 3].

    A record is (where, first frame, numbers, reference positions, coords, energies, forces). Arrays are read
    a block at a time.

    Raises
    ------
    DataError
        not an npz file, missing keys, shapes that disagree
    """
    for where, stream in archives.members(path, (".npz",)):
        if where == str(path) and str(path).endswith(".npz"):
            yield from _npz(where, stream)
        # an npz must be seekable, which a member of an archive is not, and a compressed one only by reading
        # it from the start again
        else:
            with tempfile.TemporaryFile() as copy:
                while block := stream.read(1 << 20):
                    copy.write(block)
                yield from _npz(where, copy)


def _npz(where, stream) -> Iterator[tuple]:
    try:
        with zipfile.ZipFile(stream) as file:
            missing = [
                name
                for name in ("nuclear_charges", "coords", "energies", "forces")
                if f"{name}.npy" not in file.namelist()
            ]
            if missing:
                raise DataError(
                    f"{where}: no {', '.join(missing)}; expected nuclear_charges, coords, energies, forces"
                )
            arrays = [
                _Array(file.open(f"{name}.npy"))
                for name in ("nuclear_charges", "coords", "energies", "forces")
            ]
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
            charges, reference = numbers.take(n).astype(np.int64), None
            block = max(1, min(FRAMES, (1 << 20) // (48 * n)))
            for start in range(0, k, block):
                size = min(block, k - start)
                x, e, f = coords.take(size), energies.take(size), forces.take(size)
                reference = x[0] if reference is None else reference
                yield where, start, charges, reference, x, e.reshape(-1), f
    except (
        zipfile.BadZipFile,
        ValueError,
        RuntimeError,
    ) as error:  # RuntimeError: encrypted, or compressed in another way
        if isinstance(error, DataError):
            raise
        raise zipfile.BadZipFile(f"{where}: {error}") from error


class _Array:
    """A .npy file of numbers that is read along its first axis."""

    def __init__(self, stream):
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
        if self.dtype.kind not in "iuf" or (fortran and len(self.shape) > 1):
            raise ValueError(
                f"array of {self.dtype}{' in Fortran order' if fortran else ''}, expected numbers in C order"
            )
        self.stream = stream

    def take(self, n: int) -> np.ndarray:
        """The next n entries of the first axis."""
        size = n * math.prod(self.shape[1:]) * self.dtype.itemsize
        data = self.stream.read(size)
        if len(data) != size:
            raise EOFError("array ends early")
        return np.frombuffer(data, self.dtype).reshape(n, *self.shape[1:])


def parse(record: tuple, settings: dict) -> list[Item | Rejected]:
    """Frames of a block; all have the cluster of the file's first frame, as they are the same atoms."""
    where, start, numbers, reference, coords, energies, forces = record
    unit = ENERGY_UNITS[settings.get("energy_unit", "kcal/mol")]
    if not ((numbers > 0) & (numbers < len(elements.SYMBOLS))).all():
        return [Rejected(f"{where}, frame {start + i}", "unknown element") for i in range(len(coords))]
    key = cluster_key(None, numbers, reference.astype(np.float64))
    return [
        labelled(
            f"{where}, frame {start + i}", None, numbers, coords[i], energies[i], forces[i], unit, key=key
        )
        for i in range(len(coords))
    ]
