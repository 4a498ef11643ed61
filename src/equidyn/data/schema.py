"""Every key of a dataset file: shape, dtype, unit, meaning. The one table that readers and writers share.

Ragged arrays are flat values plus ``offsets``: item i owns rows offsets[i] to offsets[i + 1].
"""

from dataclasses import dataclass

SCHEMA_VERSION = 3
SPLITS = ("train", "held_out")


@dataclass(frozen=True)
class Key:
    """One array of a dataset file; ``per`` is what its first axis counts."""

    dtype: str
    per: str  # "row" (atom), "item" (structure), "boundary" (items + 1) or "cluster" (molecule)
    trailing: tuple[int, ...]
    unit: str
    meaning: str


FORCES = {
    "offsets": Key("int64", "boundary", (), "1", "item i owns rows offsets[i]:offsets[i+1]"),
    "numbers": Key("uint8", "row", (), "1", "atomic numbers"),
    "positions": Key("float32", "row", (3,), "angstrom", "nuclear positions"),
    "forces": Key("float32", "row", (3,), "eV/angstrom", "minus the gradient of the energy"),
    "energy": Key("float64", "item", (), "eV", "total energy as labelled, references not subtracted"),
    "cluster": Key(
        "int64", "item", (), "1", "molecule the structure belongs to; the unit of splits and intervals"
    ),
    "split": Key("uint8", "item", (), "1", "index into the attribute `splits`"),
}

MOLECULES = {name: FORCES[name] for name in ("offsets", "numbers", "positions", "cluster", "split")}

BACKBONES = {
    "offsets": FORCES["offsets"],
    "positions": Key("float32", "row", (3,), "angstrom", "C-alpha positions"),
    "residues": Key(
        "uint8",
        "row",
        (),
        "1",
        "index into ACDEFGHIKLMNPQRSTVWY; 255 where there is no sequence (synthetic chains)",
    ),
    "breaks": Key(
        "uint8", "row", (), "1", "1 where the next C-alpha of the chain is more than 4 angstrom away"
    ),
    "cluster": Key(
        "int64", "item", (), "1", "sequence cluster of the chain; the unit of splits and intervals"
    ),
    "name": Key("S40", "item", (), "1", "where the chain comes from: entry and chain, or a running number"),
    "split": FORCES["split"],
}

KINDS = {"forces": FORCES, "molecules": MOLECULES, "backbones": BACKBONES}  # attribute `kind` of a file

ATTRIBUTES = (
    "schema",
    "kind",
    "source",
    "licence",
    "units",
    "split",
    "split_seed",
    "splits",
    "code",
    "settings",
    "poses",  # what was done to them, one of ``poses.POSES``
    "anisotropy",  # of the training poses: JSON of ``poses.Anisotropy``, or null
)
