"""The readers by the name that a config gives as ``source``."""

from equidyn.data.readers import (
    extension,
    extxyz,
    geom,
    label_checks,
    molecules,
    npz,
    sdf,
    sequence_clusters,
    spice,
    structures,
    xyz,
)
from equidyn.data.readers.records import Reader

READERS = {  # those that are streamed
    "extxyz": Reader(
        "forces", extxyz.records, extxyz.parse, check=label_checks.check, parse_all=extxyz.parse_all
    ),
    "npz": Reader("forces", npz.records, npz.parse, check=label_checks.check, keyed=True),
    "spice": Reader(
        "forces",
        spice.records,
        spice.parse,
        check=label_checks.check,
        pooled=True,
        chunk=8,
        isolated=True,
        aside=True,
    ),
    "geom": Reader("molecules", geom.records, geom.parse, admit=molecules.admit, isolated=True),
    "sdf": Reader("molecules", sdf.records, sdf.parse, admit=molecules.admit),
    "xyz": Reader("molecules", xyz.records, xyz.parse, admit=molecules.admit),
    "structures": Reader(
        "backbones",
        structures.records,
        structures.parse,
        clusters=sequence_clusters.clusters,
        clusterer=sequence_clusters.clusterer,
        unit="sequence cluster",
        chunk=32,
        together=True,
    ),
}


def reader_of(settings: dict) -> Reader | None:
    """The reader of a dataset's source, of this package or of a file outside it; None where it is generated.

    Raises
    ------
    DataError
        see ``extension.load``
    """
    if "extension" in settings:
        return extension.load(settings["extension"]["file"])
    return READERS.get(settings["source"])
