"""Write and read dataset files: HDF5, written under a temporary name and renamed, checked on both ways."""

import os
from pathlib import Path

import h5py
import numpy as np

from equidyn.data.schema import ATTRIBUTES, KINDS, SCHEMA_VERSION, SPLITS, DataError


def write(path: str | Path, arrays: dict[str, np.ndarray], attributes: dict) -> None:
    """Write a dataset file; nothing is left under ``path`` unless all of it was written.

    Parameters
    ----------
    arrays : the keys of ``schema.KINDS[attributes["kind"]]``
    attributes : the names in ``schema.ATTRIBUTES`` but for ``schema``, ``units`` and ``splits``, which are added here

    Raises
    ------
    DataError
        an unknown kind, a missing or surplus key, a wrong shape, a value that is not finite
    """
    path, keys = Path(path), KINDS.get(attributes.get("kind"))
    if keys is None:
        raise DataError(f"{path}: kind {attributes.get('kind')!r}, expected one of {sorted(KINDS)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    _check(path, arrays, keys)
    attributes = {
        **attributes, "schema": SCHEMA_VERSION, "splits": list(SPLITS),
        "units": " ".join(f"{name}:{key.unit}" for name, key in keys.items()),
    }  # fmt: skip
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with h5py.File(temporary, "w") as file:
            for name, key in keys.items():
                dataset = file.create_dataset(name, data=np.asarray(arrays[name], dtype=key.dtype))
                dataset.attrs["unit"], dataset.attrs["meaning"] = key.unit, key.meaning
            file.attrs.update(attributes)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read(path: str | Path, kind: str = "forces") -> tuple[dict[str, np.ndarray], dict]:
    """Arrays and attributes of a dataset file, checked against the schema; a forces file also reads as ``molecules``.

    Raises
    ------
    DataError
        not an HDF5 file, truncated, of another schema version or kind, or with missing or ill-shaped keys
    """
    path, keys = Path(path), KINDS[kind]
    if not path.is_file():
        raise DataError(f"{path}: no such dataset file")
    try:
        with h5py.File(path, "r") as file:
            version = file.attrs.get("schema")
            if version != SCHEMA_VERSION:
                raise DataError(f"{path}: schema version {version}, expected {SCHEMA_VERSION}; delete the file and rerun the rule `dataset`")
            found = file.attrs.get("kind")
            if found != kind and (found, kind) != ("forces", "molecules"):
                raise DataError(f"{path}: a dataset of kind {found!r}, expected {kind!r}")
            missing = [name for name in keys if name not in file] + [name for name in ATTRIBUTES if name not in file.attrs]
            if missing:
                raise DataError(f"{path}: missing {missing}; delete the file and rerun the rule `dataset`")
            arrays = {name: file[name][()] for name in keys}
            attributes = dict(file.attrs)
    except (OSError, RuntimeError) as error:
        raise DataError(f"{path}: not a readable HDF5 file, perhaps truncated ({error}); delete it and rerun the rule `dataset`") from error
    _check(path, arrays, keys)
    return arrays, attributes


def _check(path: Path, arrays: dict[str, np.ndarray], keys: dict) -> None:
    if set(arrays) != set(keys):
        raise DataError(f"{path}: keys {sorted(arrays)}, expected {sorted(keys)}")
    n_items = len(arrays["offsets"]) - 1
    rows = int(arrays["offsets"][-1]) if n_items > 0 else 0
    if n_items < 1 or (np.diff(arrays["offsets"]) < 1).any():
        raise DataError(f"{path}: offsets do not describe one or more items of one or more rows")
    lengths = {"row": rows, "item": n_items, "boundary": n_items + 1}
    for name, key in keys.items():
        expected = (lengths[key.per], *key.trailing)
        if arrays[name].shape != expected:
            raise DataError(f"{path}: {name} has shape {arrays[name].shape}, expected {expected}")
        if arrays[name].dtype.kind == "f" and not np.isfinite(arrays[name]).all():
            raise DataError(f"{path}: {name} holds values that are not finite")


def split_by_cluster(cluster: np.ndarray, n_held_out: int, seed: int) -> np.ndarray:
    """Split indices [n_items] (0 train, 1 held out): n_held_out whole clusters, drawn with a seed, are held out.

    Raises
    ------
    DataError
        if that leaves no cluster to train on
    """
    names = np.unique(cluster)
    if not 0 < n_held_out < len(names):
        raise DataError(f"split: {n_held_out} clusters to hold out of {len(names)}; expected at least one on either side")
    held_out = np.random.default_rng(seed).permutation(names)[:n_held_out]
    return np.isin(cluster, held_out).astype(np.uint8)
