"""What is written beside the arrays of every dataset: attributes, counts, the list of rejections."""

import csv
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from equidyn import files
from equidyn.data import splits
from equidyn.defaults import POSES, POSES_OF_CONFORMERS


def attributes_of(
    settings: dict, kind: str, source: str, licence: str, split: splits.Split, code: str
) -> dict:
    """Attributes of a dataset file that all sources share, see ``schema``."""
    return dict(
        kind=kind,
        source=splits.printable(source),
        licence=licence,
        split=split.label,
        split_seed=settings["seed"],
        code=code,
        settings=json.dumps(settings, sort_keys=True),
        poses=poses_of(settings),
        **split.attributes,
    )


def poses_of(settings: dict) -> str:
    """The poses that a dataset's settings ask for: Haar by default of conformers, which RDKit aligns."""
    return settings.get("poses", POSES_OF_CONFORMERS if settings["source"] == "conformers" else POSES)


def counts_of(n_items: int, split: splits.Split, notes: dict, reasons: Counter) -> dict[str, int]:
    """What the step prints of a dataset: items, held out, clusters, and the rejected by reason."""
    counts = {
        "items": n_items,
        "held out": int((split.split == 1).sum()),
        "clusters": int(split.cluster.max()) + 1,
        **split.attributes,
        **notes,
    }
    return {**counts, **{f"rejected: {reason}": n for reason, n in sorted(reasons.items())}}


@contextmanager
def rejections(folder: Path) -> Iterator:
    """A writer of ``rejected.csv``, which gets its name when all is written."""
    path = folder / "rejected.csv"
    with files.atomic_write(path) as temporary, open(temporary, "w", **splits.CSV) as file:
        writer = csv.writer(file)
        writer.writerow(["record", "reason", "detail"])
        yield writer
