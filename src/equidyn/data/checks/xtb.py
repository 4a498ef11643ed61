"""Are forces those of GFN2-xTB, in size and direction? Evidence, not truth: it speaks of molecules made of
nonmetals, and where most of what was compared says the same.
"""

import math
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from equidyn.data.checks.findings import Outcome
from equidyn.data.readers.labels import FORCE_UNITS, likely_unit, unit_name
from equidyn.data.readers.records import Item
from equidyn.data.units import BOHR, HARTREE

ALIKE = 1.6  # forces of two methods differ by a smaller factor, bohr and Å by a larger one
# Cosine between forces of two methods: above 0.75 for forces above 0.5 eV/Å in eleven published files,
# anything for relaxed geometries.
ALIGNED, FAIR = 0.8, 0.7
STRONG = 0.5  # eV/Å, r.m.s.
COMPARED, MOST_ATOMS = 6, 60  # items of a part, and their size
NONMETALS = np.isin(np.arange(256), [1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 33, 34, 35, 53])


@dataclass(frozen=True)
class Compared:
    """Forces of one item against those of GFN2-xTB."""

    cosine: float
    ratio: float  # of the norms
    rms: float  # eV/Å, of the item
    judged: bool  # whether disagreement says anything: three or more atoms, no metals, no noble gases


def compare(items: list[Item]) -> list[Compared]:
    """``COMPARED`` small items: of strong forces some of every size, else the strongest; empty without
    tblite.
    """
    if find_spec("tblite") is None:
        return []
    small = [item for item in items if 1 < len(item.rows["numbers"]) <= MOST_ATOMS]
    small.sort(key=lambda item: -_strength(item))
    small.sort(key=_doubtful)
    plain = [item for item in small if _doubtful(item) == (False, 0) and _strength(item) > STRONG]
    if len(plain) >= COMPARED:
        small = [plain[k] for k in np.linspace(0, len(plain) - 1, COMPARED).astype(int)]
    return [_best(item) for item in small[:COMPARED]]


def _doubtful(item: Item) -> tuple[bool, int]:
    """Items of which less is known come later: what is not judged, then an odd number of electrons without a
    stated charge, which is an ion or a radical.
    """
    return not _judged(item), int(item.rows["numbers"].sum()) % 2 * ("charge" not in item.figures)


def _strength(item: Item) -> float:
    return float(np.sqrt((item.rows["forces"].astype(np.float64) ** 2).mean()))


def _judged(item: Item) -> bool:
    numbers = item.rows["numbers"]
    return len(numbers) > 2 and bool(NONMETALS[numbers].all())


def _best(item: Item) -> Compared:
    """With the charge that the frame states, else the one with which the forces agree best."""
    if "charge" in item.figures:
        charges, more = (int(item.figures["charge"]),), ()
    else:
        odd = bool(item.rows["numbers"].sum() % 2)
        charges, more = ((0, 1, -1), ()) if odd else ((0,), (2, -2))
    found = [_against(item, charge) for charge in charges]
    if not any(1 / ALIKE < ratio < ALIKE and abs(cosine) > ALIGNED for cosine, ratio in found):
        found += [_against(item, charge) for charge in more]
    cosine, ratio = max(found, key=lambda pair: abs(pair[0]))
    return Compared(cosine, ratio, _strength(item), _judged(item))


def _against(item: Item, charge: int) -> tuple[float, float]:
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


def judge(where: str, compared: list[Compared], force_unit: float) -> Outcome:
    """The outcome for some items of a file.

    Parameters
    ----------
    force_unit : eV/Å, the factor that the forces were multiplied with
    """
    if find_spec("tblite") is None:
        return Outcome("xtb", "not checked", where, 0, "tblite is not installed")
    ran = [c for c in compared if c.ratio > 0]
    judged = [c for c in ran if c.judged]
    aligned = [c for c in judged if abs(c.cosine) > ALIGNED]
    usual = np.median([c.ratio for c in aligned]) if aligned else 1.0
    strong = [c for c in judged if c.rms > STRONG]
    against = [c for c in strong if abs(c.cosine) < FAIR or not 1 / ALIKE < c.ratio / usual < ALIKE]
    figures = {
        "cosines": [round(c.cosine, 3) for c in ran],
        "ratios": [float(f"{c.ratio:.3g}") for c in ran],
        "aligned": sum(abs(c.cosine) > ALIGNED for c in ran),
    }

    def outcome(verdict: str, text: str) -> Outcome:
        return Outcome("xtb", verdict, where, len(ran), text, figures)

    if aligned and all(c.cosine < 0 for c in aligned):
        return outcome(
            "refused",
            f"forces point against those of GFN2-xTB ({len(aligned)} items), expected along them; "
            f"likely: they are gradients, the negative of forces",
        )
    if len(against) >= 2 and 2 * len(against) >= len(strong):
        cosine = np.median([c.cosine for c in against])
        return outcome(
            "refused",
            f"strong forces are not those of GFN2-xTB in size and direction ({len(against)} of "
            f"{len(strong)} items, cosine {cosine:.2g}), expected above {ALIGNED}; likely: atomic numbers "
            f"or forces in another order, labels of another frame, or a charge that the file does not state",
        )
    ratios = np.array([c.ratio for c in aligned if c.cosine > 0])
    if not len(ratios):
        text = (
            "nothing to compare: no molecule of nonmetals with at least three atoms, or forces near a minimum"
        )
        return outcome("not checked", text)
    if ratios.max() >= 2 * ratios.min():  # forces of relaxed geometries are noise, in no fixed ratio
        return outcome("noted", f"forces of {len(ratios)} items are those of GFN2-xTB in no fixed ratio")
    ratio = float(np.median(ratios))
    unit = likely_unit(ratio, force_unit)
    fits = abs(math.log(FORCE_UNITS[unit] * ratio / force_unit)) < math.log(ALIKE)
    if abs(math.log(ratio)) > math.log(ALIKE):
        if not fits:
            return outcome("noted", f"forces are {ratio:.3g} times those of GFN2-xTB, which no unit explains")
        return outcome(
            "refused",
            f"forces are {ratio:.3g} times those of GFN2-xTB ({len(ratios)} items) when read as "
            f"{unit_name(force_unit)}, expected about 1; likely: the forces are in {unit}",
        )
    return outcome("passed", f"forces of {len(ratios)} items are {ratio:.2g} times those of GFN2-xTB")
