"""How many items a dataset has and how large they are, before or after it is made, and its bytes."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from equidyn.data.generate import experimental_chains
from equidyn.data.schema import KINDS
from equidyn.guards import content_digest

# Items, mean and largest number of atoms or residues of published files, as quoted by others (pdb_small:
# expected); used until the dataset file exists.
QUOTED = {
    "maceoff23_train": (951_005, 30, 150),
    "maceoff23_test": (50_195, 30, 150),
    "geom_drugs_train": (1_100_000, 44, 181),
    "geom_drugs_val": (146_000, 44, 181),
    "geom_drugs_test": (146_000, 44, 181),
    "qm9": (133_885, 18, 29),
    "rmd17": (1_000_000, 16, 24),
    "pdb_small": (300, 153, 256),
}


@dataclass(frozen=True)
class Shape:
    """Items of a dataset: how many (None: not known), rows (atoms, residues) per item, and how that
    is known.
    """

    items: int | None
    mean: float
    longest: int
    basis: str


def shape_of(settings: dict, kind: str, file: Path | None = None) -> Shape:
    """Items of a dataset: from its file where that exists, else from its settings, else as quoted for its
    downloads. Fragments of chains are counted without making the dataset.
    """
    if (
        file is not None and file.is_file() and content_digest.has_digest(file)
    ):  # a dataset of an older version will be made again
        with content_digest.open_checked(file, "dataset") as data:
            lengths = data["offsets"][1:] - data["offsets"][:-1]
        return Shape(len(lengths), float(lengths.mean()), int(lengths.max()), f"counted in {file}")
    if settings["source"] == "conformers":
        return Shape(
            settings["n_conformers"],
            0.7 * settings["max_atoms"],
            settings["max_atoms"],
            "mean atoms assumed 0.7 max_atoms",
        )
    if "chains" in settings and Path(settings["chains"]).is_file():
        kept, _ = experimental_chains.fragments(experimental_chains.read(settings["chains"]), settings)
        lengths = np.array([fragment.stop - fragment.start for fragment in kept] or [0])
        basis = f"fragments of {settings['chains']}, counted"
        return Shape(len(kept), float(lengths.mean()), int(lengths.max()), basis)
    names = [*settings.get("download", []), *settings.get("held_out_download", [])]
    if names and all(name in QUOTED for name in names):
        quoted = [QUOTED[name] for name in names]
        items = sum(q[0] for q in quoted)
        return Shape(
            items,
            sum(q[0] * q[1] for q in quoted) / items,
            max(q[2] for q in quoted),
            f"items and lengths of {', '.join(names)} as quoted or expected, not counted",
        )
    if kind == "backbones":
        low, high = settings["min_residues"], settings["max_residues"]
        basis = "mean residues assumed in the middle of min_residues and max_residues"
        unknown = (
            f"{basis}; number of chains not known before they are read: none is quoted for "
            f"{', '.join(names or settings.get('files', [settings['source']]))}"
        )
        return Shape(
            settings.get("n_chains"), (low + high) / 2, high, basis if "n_chains" in settings else unknown
        )
    return Shape(None, 30, 150, "items not counted before the files are read; assumed 30 atoms, 150 at most")


def download_size(entry: dict | None) -> tuple[int | None, str]:
    """Bytes of a download, or None, and how they are known, from its entry of the table of datasets."""
    if entry is None:
        return None, "not known: no such entry in the table of datasets"
    if "ids" in entry or "ids_file" in entry:
        files = f"{len(entry['ids'])} files" if "ids" in entry else "the files of its list"
        return None, f"not known: sizes of {files} are not in the table of datasets"
    if entry["size"]:
        return entry["size"], "size that the table of datasets states"
    if size := (entry.get("quoted") or {}).get("size"):
        return size, "size as quoted by others (table of datasets), not confirmed"
    return None, "not known: the table of datasets neither states nor quotes a size"


def dataset_bytes(kind: str, shape: Shape) -> int | None:
    """Of a dataset file, uncompressed; None where the number of items is not known."""
    if shape.items is None:
        return None
    per = {"row": shape.items * shape.mean, "item": shape.items, "boundary": shape.items + 1}
    return round(
        sum(
            per[key.per] * math.prod(key.trailing) * np.dtype(key.dtype).itemsize
            for key in KINDS[kind].values()
        )
    )
