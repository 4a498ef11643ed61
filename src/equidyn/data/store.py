"""Write and read dataset files: HDF5, written under a temporary name and renamed, checked on both ways."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from equidyn.data import poses
from equidyn.data.schema import ATTRIBUTES, KINDS, SCHEMA_VERSION, SPLITS
from equidyn.errors import DataError
from equidyn.files import atomic_write, reserve
from equidyn.guards import content_digest

METADATA = 1 << 16  # bytes of a file beside its arrays, at most
ROOM = 800  # bytes of the attribute anisotropy
DEFLATE = 1032  # bytes that one byte of deflate's output can stand for at most


def write(path: str | Path, arrays: dict[str, np.ndarray], attributes: dict) -> None:
    """Write a dataset file; nothing is left under ``path`` unless all of it was written.

    Parameters
    ----------
    arrays : the keys of ``schema.KINDS[attributes["kind"]]``
    attributes : the names in ``schema.ATTRIBUTES`` but for ``schema``, ``units`` and ``splits``, which are
        added here

    Raises
    ------
    DataError
        an unknown kind, a missing or surplus key, a wrong shape, a value that is not finite
    """
    path, keys = Path(path), KINDS.get(attributes.get("kind"))
    if keys is None:
        raise DataError(f"{path}: kind {attributes.get('kind')!r}, expected one of {sorted(KINDS)}")
    _check(path, arrays, keys)
    with writing(path, attributes, len(arrays["positions"]), len(arrays["offsets"]) - 1) as file:
        for name in keys:
            file[name][...] = np.asarray(arrays[name], dtype=keys[name].dtype)


@contextmanager
def writing(path: str | Path, attributes: dict, n_rows: int, n_items: int) -> Iterator[h5py.File]:
    """An HDF5 file with the empty arrays of its kind, to be filled; it gets its name when the block ends
    without an error, else nothing is left.
    """
    path, keys = Path(path), KINDS[attributes["kind"]]
    lengths = {"row": n_rows, "item": n_items, "boundary": n_items + 1}
    attributes = {
        **attributes, "schema": SCHEMA_VERSION, "splits": list(SPLITS),
        "units": " ".join(f"{name}:{key.unit}" for name, key in keys.items()),
    }  # fmt: skip
    early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)  # else HDF5 would cut the file back to what is written
    with atomic_write(path) as temporary:
        reserve(
            temporary, METADATA
        )  # on a full disk HDF5 cannot close its file, says so many times over, and may end the process
        with h5py.File(temporary, "w", userblock_size=content_digest.BLOCK) as file:
            for name, key in keys.items():
                dataset = file.create_dataset(name, (lengths[key.per], *key.trailing), key.dtype, dcpl=early)
                dataset.attrs["unit"], dataset.attrs["meaning"] = key.unit, key.meaning
            file.attrs.update(attributes)
            file.attrs["anisotropy"] = _fixed("null")
        reserve(temporary, temporary.stat().st_size)  # no blocks are behind the empty arrays yet
        with h5py.File(temporary, "r+") as file:
            yield file
            file.attrs.modify("anisotropy", _fixed(_training_poses(file)))
        content_digest.write_digest(temporary)


def _fixed(text: str) -> np.bytes_:
    """An attribute that takes the same room whatever it says: it is asked for before anything is written."""
    return np.bytes_(text.ljust(ROOM))


def _training_poses(file: h5py.File) -> str:
    """``poses.anisotropy`` of the training items as JSON; null where there are none with an extent."""
    blocks = poses.blocks_of(file["positions"], file["offsets"][()], file["split"][()] == 0)
    found = poses.anisotropy(blocks)
    return "null" if found is None else found.to_json()


def kind_of(path: str | Path) -> str:
    """Kind of a dataset file, a key of ``schema.KINDS``; raises DataError on a damaged file."""
    with content_digest.open_checked(path, "dataset") as file:
        return str(file.attrs["kind"])


def poses_of(path: str | Path) -> tuple[str, poses.Anisotropy | None]:
    """Poses of a dataset file, one of ``poses.POSES``, and how far those of its training items are from
    isotropic; raises DataError on a damaged file.
    """
    with content_digest.open_checked(path, "dataset") as file:
        text = bytes(file.attrs["anisotropy"]).decode().strip()
        kind = str(file.attrs["poses"])
    return kind, None if text == "null" else poses.Anisotropy.from_json(text)


def read(path: str | Path, kind: str = "forces") -> tuple[dict[str, np.ndarray], dict]:
    """Arrays and attributes of a dataset file, checked against the schema; a forces file also reads as
    ``molecules``.

    Raises
    ------
    DataError
        not a dataset file, damaged or changed, of another schema version or kind, or with missing or
        ill-shaped keys
    """
    path, keys, advice = Path(path), KINDS[kind], content_digest.how_to_remake(path, "dataset")
    if not path.is_file():
        raise DataError(f"{path}: no such dataset file")
    try:
        with content_digest.open_checked(path, "dataset") as file:
            version = file.attrs.get("schema")
            if version != SCHEMA_VERSION:
                raise DataError(f"{path}: schema version {version}, expected {SCHEMA_VERSION}; {advice}")
            found = file.attrs.get("kind")
            if found != kind and (found, kind) != ("forces", "molecules"):
                raise DataError(f"{path}: a dataset of kind {found!r}, expected {kind!r}")
            missing = [name for name in keys if name not in file] + [
                name for name in ATTRIBUTES if name not in file.attrs
            ]
            if missing:
                raise DataError(
                    f"{path}: missing {missing}, expected in schema version {SCHEMA_VERSION}; {advice}"
                )
            for name, key in keys.items():
                if not stored(file[name], path.stat().st_size) or file[name].dtype != np.dtype(key.dtype):
                    raise DataError(
                        f"{path}: {name} is {file[name]}, expected {key.dtype} values in the file itself; "
                        f"{advice}"
                    )
            arrays = {name: file[name][()] for name in keys}
            attributes = dict(file.attrs)
    except (
        OSError,
        RuntimeError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        MemoryError,
    ) as error:  # what h5py raises where a file is not as expected
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: not readable ({error}); {advice}") from error
    _check(path, arrays, keys)
    return arrays, attributes


def stored(found: Any, file_size: int) -> bool:
    """Whether an HDF5 object is an array whose values lie in its own file, and no more of them than
    compression can have packed into its size.
    """
    here = (
        isinstance(found, h5py.Dataset)
        and found.shape is not None
        and not found.is_virtual
        and not found.external
    )
    return here and found.size * found.dtype.itemsize <= DEFLATE * file_size


def _check(path: Path, arrays: dict[str, np.ndarray], keys: dict) -> None:
    if set(arrays) != set(keys):
        raise DataError(f"{path}: keys {sorted(arrays)}, expected {sorted(keys)}")
    offsets = np.asarray(arrays["offsets"])
    n_items = len(offsets) - 1 if offsets.ndim == 1 else 0
    rows = int(offsets[-1]) if n_items > 0 else 0
    if n_items < 1 or offsets[0] != 0 or (offsets[1:] <= offsets[:-1]).any():  # differences would overflow
        raise DataError(f"{path}: offsets do not describe one or more items of one or more rows")
    lengths = {"row": rows, "item": n_items, "boundary": n_items + 1}
    for name, key in keys.items():
        expected = (lengths[key.per], *key.trailing)
        if arrays[name].shape != expected:
            raise DataError(f"{path}: {name} has shape {arrays[name].shape}, expected {expected}")
        if arrays[name].dtype.kind == "f" and not np.isfinite(arrays[name]).all():
            raise DataError(f"{path}: {name} holds values that are not finite")
    if np.max(arrays["split"]) >= len(SPLITS):
        raise DataError(f"{path}: split holds {np.max(arrays['split'])}, expected an index into {SPLITS}")
