"""The frozen held-out grids of a dataset: every checkpoint of every run is measured on the same ones.

Only molecules that lie in the box in every orientation are taken: of any other, the grid of the rotated atoms
is not the rotated grid. Training grids are never cached; voxelizing from coordinates is faster than reading
them back (benchmarks/cache.py).
"""

import json
from pathlib import Path

import h5py
import numpy as np

from equidyn import files
from equidyn.data import store
from equidyn.data.elements import channel_of
from equidyn.data.select import one_per_cluster
from equidyn.data.voxelize import fits, outside, voxelize_batch
from equidyn.errors import DataError
from equidyn.guards import content_digest

SCHEMA_VERSION = 2


def geometry(attributes: dict, path: str | Path) -> dict:
    """The ``voxels`` section of a dataset's settings: elements, grid, resolution, radius.

    Raises
    ------
    DataError
        a dataset made without it
    """
    settings = json.loads(attributes["settings"]).get("voxels")
    if settings is None:
        raise DataError(
            f"{path}: made without a voxels section; add datasets.<name>.voxels (elements, grid, "
            f"resolution, radius)"
        )
    return settings


def build(dataset: str, out: str, code: str = "") -> dict[str, int]:
    """Write the held-out grids of a dataset file; returns counts.

    Raises
    ------
    DataError
        see ``store.read``; also when no held-out molecule fits
    """
    arrays, attributes = store.read(dataset, "molecules")
    box = geometry(attributes, dataset)
    items, counts = _chosen(arrays, box)
    if not len(items):
        raise DataError(
            f"{dataset}: no held-out molecule lies in a box of {box['grid'] * box['resolution']} Å in "
            f"every orientation; {counts}"
        )
    with files.atomic_write(Path(out)) as temporary, content_digest.create(temporary) as file:
        _write_grids(file, arrays, items, box)
        file["item"], file["cluster"] = items, arrays["cluster"][items]
        file["noise_seed"] = np.random.default_rng(attributes["split_seed"]).integers(0, 2**62, len(items))
        file.attrs.update(
            schema=SCHEMA_VERSION,
            kind="grids",
            code=code,
            settings=attributes["settings"],
            counts=json.dumps(counts),
        )
    return counts


def _chosen(arrays: dict[str, np.ndarray], box: dict) -> tuple[np.ndarray, dict[str, int]]:
    """Held-out items that lie in the box in every orientation, one per molecule; and counts."""
    offsets, positions, held_out = arrays["offsets"], arrays["positions"], arrays["split"] == 1
    whole = fits(positions, offsets, box["grid"], box["resolution"], box["radius"])
    items = whole_held_out(arrays, whole)
    cut = outside(positions, offsets, box["grid"], box["resolution"])
    return items, {
        "held-out structures": int(held_out.sum()),
        "held-out that do not fit in every orientation": int((held_out & ~whole).sum()),
        "molecules kept": len(items),
        "training structures with atoms outside the box": int((cut[~held_out] > 0).sum()),
        "training atoms outside the box": int(cut[~held_out].sum()),
    }


def whole_held_out(arrays: dict[str, np.ndarray], whole: np.ndarray) -> np.ndarray:
    """Held-out items among those that lie in the box in every orientation, one per molecule: indices.

    Parameters
    ----------
    arrays : of the dataset;  whole : [n_items] bool, see ``voxelize.fits``
    """
    return one_per_cluster(arrays, np.flatnonzero((arrays["split"] == 1) & whole))


def _write_grids(file: h5py.File, arrays: dict[str, np.ndarray], items: np.ndarray, box: dict) -> None:
    """The grids of items, one after the other, as ``grid``."""
    shape = {name: box[name] for name in ("grid", "resolution", "radius")}
    shape["n_channels"] = len(box["elements"])
    channels, offsets = channel_of(box["elements"])[arrays["numbers"]], arrays["offsets"]
    one = (shape["n_channels"], *[box["grid"]] * 3)
    grids = file.create_dataset(
        "grid",
        (len(items), *one),
        "float32",
        chunks=(1, *one),
        compression="gzip",
        compression_opts=1,
        shuffle=True,
    )
    for k, item in enumerate(items):
        start, end = offsets[item], offsets[item + 1]
        atoms = arrays["positions"][start:end], channels[start:end]
        grids[k] = voxelize_batch(*atoms, [0, end - start], **shape)[0].numpy()


def read(path: str | None) -> dict[str, np.ndarray]:
    """grid [n, c, g, g, g], item [n] (index into the dataset file), cluster [n], noise_seed [n].

    Raises
    ------
    DataError
        no file, a damaged one, or one of another schema version
    """
    advice = content_digest.how_to_remake(path, "grids")
    if path is None or not Path(path).is_file():
        raise DataError(f"{path}: no such file of held-out grids; rerun the rule `grids`")
    try:
        with content_digest.open_checked(path, "grids") as file:
            if file.attrs.get("schema") != SCHEMA_VERSION or file.attrs.get("kind") != "grids":
                raise DataError(
                    f"{path}: kind {file.attrs.get('kind')}, schema {file.attrs.get('schema')}, expected "
                    f"grids, {SCHEMA_VERSION}; {advice}"
                )
            return {name: file[name][()] for name in ("grid", "item", "cluster", "noise_seed")}
    except (OSError, RuntimeError, KeyError) as error:
        raise DataError(f"{path}: not a readable file of held-out grids ({error}); {advice}") from error
