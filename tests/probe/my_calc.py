"""A file of a user's own, with functions that make calculators."""

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
