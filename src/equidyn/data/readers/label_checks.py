"""What readers of forces ask of some items of every part of a file: do energies follow forces, are these
those of GFN2-xTB?
"""

from equidyn.data.checks import energies, xtb
from equidyn.data.checks.findings import Outcome
from equidyn.data.readers.labels import ENERGY_UNITS
from equidyn.data.readers.records import Item, part


def check(path: str, items: list[Item], settings: dict) -> list[Outcome]:
    """``outcomes`` of a file or a member of an archive, with the unit that the settings declare."""
    default = "eV" if settings.get("source") == "extxyz" else "kcal/mol"
    return outcomes(part(items[0].where), items, ENERGY_UNITS[settings.get("energy_unit", default)])


def outcomes(where: str, items: list[Item], force_unit: float) -> list[Outcome]:
    """Of items of one part of a file.

    Parameters
    ----------
    force_unit : eV/Å, the factor that the forces were multiplied with
    """
    return [
        xtb.judge(where, xtb.compare(items), force_unit),
        energies.judge(where, items, force_unit),
    ]
