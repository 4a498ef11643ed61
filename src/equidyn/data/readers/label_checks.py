"""Are labels in the unit that is declared? Energies against forces along neighbouring frames, forces against
GFN2-xTB.
"""

import math
from importlib.util import find_spec

import numpy as np

from equidyn.data.readers.labels import ENERGY_UNITS, FORCE_UNITS, likely_unit, unit_name
from equidyn.data.readers.records import Item, part
from equidyn.data.units import BOHR, HARTREE
from equidyn.errors import DataError

ALIKE = 1.6  # forces of two methods differ by a smaller factor, bohr and Å by a larger one
# cosine between forces of two methods: 0.95 and more for the strongest of real files, anything for relaxed
# geometries
ALIGNED = 0.8


def check(path: str, items: list[Item], settings: dict) -> dict[str, int]:
    """``check_units`` of a file or a member of an archive, with the unit that the settings declare."""
    default = "eV" if settings.get("source") == "extxyz" else "kcal/mol"
    return check_units(part(items[0].where), items, ENERGY_UNITS[settings.get("energy_unit", default)])


def check_units(where: str, items: list[Item], force_unit: float) -> dict[str, int]:
    """Compare the labels of some items with each other and with GFN2-xTB; returns counts.

    Energies of neighbouring frames of one molecule must differ by the work of their forces; forces of three
    small molecules must be about as strong as those of GFN2-xTB, where tblite is installed and they point the
    same way. GFN2-xTB forces differ from those of density functionals by some 20 %, units by a factor of 1.9
    or more.

    Parameters
    ----------
    force_unit : eV/Å, the factor that the forces were multiplied with

    Raises
    ------
    DataError
        names the likely unit
    """
    ratios = _xtb_ratios(items)
    if len(ratios) and (ratios < 0).all():
        raise DataError(
            f"{where}: forces point against those of GFN2-xTB ({len(ratios)} items), expected along them; "
            f"likely: they are gradients, the negative of forces"
        )
    ratios = ratios[ratios > 0]
    ratio = (
        float(np.median(ratios)) if len(ratios) and ratios.max() < 2 * ratios.min() else 1.0
    )  # forces of relaxed geometries are noise, in no fixed ratio
    unit = likely_unit(ratio, force_unit)
    fits = abs(np.log(FORCE_UNITS[unit] * ratio / force_unit)) < np.log(ALIKE)
    if abs(np.log(ratio)) > np.log(ALIKE) and fits:
        raise DataError(
            f"{where}: forces are {ratio:.3g} times those of GFN2-xTB ({len(ratios)} items) when read as "
            f"{unit_name(force_unit)}, expected about 1; "
            f"likely: the forces are in {unit}"
        )
    slope, pairs = _work_ratio(items)
    if slope < 0:
        raise DataError(
            f"{where}: energies of {pairs} pairs of neighbouring frames rise where their forces do work, "
            f"expected to fall; likely: gradients, the negative of forces"
        )
    if abs(np.log(slope)) > np.log(ALIKE):
        raise DataError(
            f"{where}: energies of {pairs} pairs of neighbouring frames differ by {slope:.3g} times the "
            f"work of their forces, expected about 1; "
            f"forces read as {unit_name(force_unit)}, likely: they are in "
            f"{likely_unit(1 / slope, force_unit)}, or the energies are in another unit"
        )
    counts = {
        "items compared with GFN2-xTB": len(ratios),
        "pairs of frames whose energies were compared with their forces": pairs,
    }
    if not fits or (len(ratios) and ratio == 1.0):
        counts["parts of files whose forces are those of GFN2-xTB in no unit"] = 1
    return counts


def _work_ratio(items) -> tuple[float, int]:
    """Slope of energy differences against the work −½(F₁ + F₂)·Δx, over consecutive frames of a molecule
    closer than 0.15 Å r.m.s.; the number of pairs.

    1 and 0 where the two do not correlate.
    """
    energy, work = [], []
    for a, b in zip(items, items[1:]):
        if a.cluster != b.cluster or not np.array_equal(a.rows["numbers"], b.rows["numbers"]):
            continue
        step = b.rows["positions"].astype(np.float64) - a.rows["positions"]
        if (step**2).mean() < 0.15**2:
            energy.append(b.values["energy"] - a.values["energy"])
            work.append(-0.5 * float(((a.rows["forces"] + b.rows["forces"]) * step).sum()))
    energy, work = np.array(energy), np.array(work)
    if len(work) < 5 or energy.std() == 0 or work.std() == 0 or abs(np.corrcoef(energy, work)[0, 1]) < 0.95:
        return 1.0, 0
    return float(energy @ work / (work @ work)), len(work)


def _xtb_ratios(items, n: int = 3, most_atoms: int = 60) -> np.ndarray:
    """r.m.s. force over that of GFN2-xTB, for those of the n small items of the strongest forces that are
    ``ALIGNED``, negative where they point the other way; empty without tblite."""
    if find_spec("tblite") is None:
        return np.zeros(0)
    ratios = []
    small = sorted(
        (item for item in items if 1 < len(item.rows["numbers"]) <= most_atoms),
        key=lambda item: -float((item.rows["forces"] ** 2).mean()),
    )
    small.sort(
        key=lambda item: int(item.rows["numbers"].sum()) % 2
    )  # an odd number of electrons: an ion or a radical
    for item in small[:n]:
        found = [
            _against_xtb(item, charge) for charge in ((0, 1, -1) if item.rows["numbers"].sum() % 2 else (0,))
        ]
        if len(found) == 1 and not 1 / ALIKE < found[0][1] < ALIKE:
            found += [_against_xtb(item, charge) for charge in (2, -2)]
        cosine, ratio = max(
            found, key=lambda pair: abs(pair[0])
        )  # the charge is not known; with that of the labels the forces agree best
        if abs(cosine) > ALIGNED:
            ratios.append(math.copysign(ratio, cosine))
    return np.array(ratios)


def _against_xtb(item: Item, charge: int) -> tuple[float, float]:
    """Cosine between the forces of an item and those of GFN2-xTB, and ratio of their norms; zeros where there
    are none.
    """
    from tblite.interface import Calculator

    forces = item.rows["forces"].astype(np.float64)
    try:
        calculator = Calculator(
            "GFN2-xTB",
            item.rows["numbers"].astype(int),
            item.rows["positions"].astype(np.float64) / BOHR,
            charge=charge,
        )
        calculator.set("verbosity", 0)
        expected = calculator.singlepoint().get("gradient") * (-HARTREE / BOHR)
    except (RuntimeError, ValueError):  # no convergence, an element without parameters
        return 0.0, 0.0
    one, two = float(np.linalg.norm(forces)), float(np.linalg.norm(expected))
    return (float((forces * expected).sum()) / (one * two), one / two) if min(one, two) > 1e-9 else (0.0, 0.0)
