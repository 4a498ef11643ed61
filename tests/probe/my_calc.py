"""A file of a user's own, with functions that make calculators."""

import os

from probe.stand_ins import Springs, stretched


def make(stretch: bool = True):
    return Springs(stretched) if stretch else Springs()


def stop_after(calls: int):
    def counted(forces, atoms):
        if calculator.calls > calls:
            raise KeyboardInterrupt
        return stretched(forces, atoms)

    calculator = Springs(counted)
    return calculator


NOT_A_CALCULATOR = 3


def of_file(path: str):
    """Forces stretched along z by the number that a file holds."""
    stretch = float(open(path).read())
    return Springs(lambda forces, atoms: forces * [1, 1, 1 + stretch])


def failing():
    """Fails on larger structures while the machine is short of memory."""

    def forces_of(forces, atoms):
        if len(atoms) > 5 and "SHORT_OF_MEMORY" in os.environ:
            raise RuntimeError("out of memory")
        return stretched(forces, atoms)

    return Springs(forces_of)
