"""What readers of forces ask of some items of every part of a file: do energies follow forces, are these
those of GFN2-xTB?
"""

from equidyn.data.checks import energies, xtb
from equidyn.data.checks.findings import Outcome
from equidyn.data.readers.records import Item, part
from equidyn.errors import DataError


def check(path: str, items: list[Item], settings: dict) -> list[Outcome]:
    """``outcomes`` of a file, a member of an archive or a group, with the unit that its items were read in.

    Raises
    ------
    DataError
        items that do not say in which unit their forces were read
    """
    first = items[0]
    if first.force_unit is None:
        raise DataError(
            f"{first.where}: an item without force_unit, expected the factor to eV/Å that its reader "
            f"multiplied the forces with, as ``labels.labelled`` notes it"
        )
    return outcomes(part(first.where), items, first.force_unit)


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
