"""Chemical elements: symbols, numbers, formulas, and the channel of a grid that each has."""

from collections import Counter
from functools import lru_cache

import numpy as np

from equidyn.errors import DataError

SYMBOLS = (
    "X H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr "
    "Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe "
    "Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn"
).split()
HEAVIER = (  # which no model and no grid here knows
    "Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og"
).split()
NUMBERS = {element: number for number, element in enumerate(SYMBOLS + HEAVIER)}


def channel_of(elements: list[str]) -> np.ndarray:
    """Channel of every atomic number, 255 where it has none: uint8 [256].

    Raises
    ------
    DataError
        an unknown element symbol
    """
    unknown = [e for e in elements if e not in SYMBOLS[1:]]
    if unknown:
        raise DataError(f"voxels.elements: {unknown}, expected element symbols such as C or Cl")
    table = np.full(256, 255, dtype=np.uint8)
    for channel, element in enumerate(elements):
        table[SYMBOLS.index(element)] = channel
    return table


def symbol(number: int) -> str:
    """Element symbol of an atomic number, or the number where it has none here."""
    return SYMBOLS[number] if number < len(SYMBOLS) else str(number)


@lru_cache(1024)
def number_of(word: str) -> int:
    """Atomic number of an element symbol, in any case, or of a number.

    Raises
    ------
    ValueError
        neither of the two
    """
    number = NUMBERS.get(word.capitalize(), int(word) if word.isdecimal() and len(word) < 4 else None)
    if number is None:
        raise ValueError(f"atom {word[:20]!r}, expected an element symbol or an atomic number")
    return number


def formula(numbers: np.ndarray) -> str:
    """Elements in alphabetical order with their counts."""
    return "".join(f"{element}{n}" for element, n in sorted(Counter(symbol(int(z)) for z in numbers).items()))
