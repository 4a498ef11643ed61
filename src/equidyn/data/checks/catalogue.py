"""The checks by name: what each asks, which kinds of dataset it is asked of, and the reasons and notes of
single records that belong to it.
"""

from dataclasses import dataclass

# Reasons of rejected records, and notes of kept ones, that belong to a check.
NET_TORQUE = "forces that turn the molecule (net torque)"
ZERO_FORCES, ZERO_ENERGY = "all forces are zero", "energy is exactly zero beside forces"
TWO_SETS = "two sets of labels"
PERIODIC = "periodic structure"
NO_3D = "no 3D coordinates"
MIRROR = "mirror image under L names"
DUPLICATE, OTHER_LABELS = "duplicate", "geometry of an earlier item with other labels"
COPY_HELD_OUT = "copy of a held-out item"
BEYOND = "conformers beyond n_conformers"
LATER_MODELS = "later models"
MIXED_CHAIN = "two chains under one name"
ACCEPTED = "accepted"  # in a note: what was found would have been refused
SEVERAL = "of several fragments"
OPEN_SHELL = "frames that state unpaired electrons"
MORE_LABELS = "frames with further label columns"


@dataclass(frozen=True)
class Check:
    """A question to a dataset."""

    asks: str
    kinds: tuple[str, ...]  # keys of ``schema.KINDS`` that it is asked of
    acceptable: bool = False  # whether a refusal can be overridden by its name under ``accept``
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


CHECKS = {
    "lost-records": Check(
        "are all records of every file items or rejections?",
        ("forces", "molecules", "backbones"),
        reasons=(BEYOND, LATER_MODELS, MIXED_CHAIN),
    ),
    "label-sets": Check(
        "is there one set of labels?", ("forces",), reasons=(TWO_SETS,), notes=(MORE_LABELS,)
    ),
    "zero-labels": Check(
        "are there forces and energies that are not all the same?",
        ("forces",), True, (ZERO_FORCES, ZERO_ENERGY),
    ),
    "net-torque": Check("do forces belong to their geometry?", ("forces",), True, (NET_TORQUE,)),
    "energy-forces": Check("do energies of neighbouring frames follow their forces?", ("forces",), True),
    "xtb": Check("are forces those of GFN2-xTB, in size and direction?", ("forces",), True),
    "charges": Check(
        "do the frames of a molecule have one charge?", ("forces",), notes=(OPEN_SHELL,)
    ),
    "periodic": Check(
        "are the structures molecules, not cells?", ("forces", "molecules"), True, (PERIODIC,)
    ),
    "three-dimensional": Check(
        "are the coordinates those of a structure in space?", ("molecules",), True, (NO_3D,)
    ),
    "fragments": Check("is every structure one molecule?", ("molecules",), notes=(SEVERAL,)),
    "hand": Check("do chains of L residues have the hand of L residues?", ("backbones",), True, (MIRROR,)),
    "identity": Check("which items are the same molecule?", ("forces", "molecules", "backbones")),
    "copies": Check(
        "is every structure there once, and none on both sides of the split?",
        ("forces", "molecules", "backbones"),
        True,
        (DUPLICATE, OTHER_LABELS, COPY_HELD_OUT),
    ),
}  # fmt: skip
ACCEPTABLE = tuple(name for name, check in CHECKS.items() if check.acceptable)


def of_kind(kind: str) -> list[str]:
    """Names of the checks that a kind of dataset is asked."""
    return [name for name, check in CHECKS.items() if kind in check.kinds]


def accepted(settings: dict, name: str) -> bool:
    """Whether the settings of a dataset override a refusal by this check."""
    return name in settings.get("accept", ())
