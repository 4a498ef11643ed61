"""Placeholders in place of labels: forces that are all zero, energies that are all the same."""

import numpy as np

from equidyn.data.checks.catalogue import ZERO_ENERGY, ZERO_FORCES
from equidyn.data.checks.findings import Outcome
from equidyn.data.checks.net_torque import STRONG

FEWEST = 3  # frames that "all" needs
DIFFERENT = 0.01  # relative range of the forces of frames that are not copies


def reason(n_atoms: int, energy: float, rms: float) -> str | None:
    """Why the labels of a frame are placeholders, or None; ``rms`` of the forces in eV/Å."""
    if n_atoms > 1 and rms == 0:
        return ZERO_FORCES
    if energy == 0 and rms > STRONG:
        return ZERO_ENERGY
    return None


def judge(where: str, energies: np.ndarray, rms: np.ndarray) -> Outcome:
    """The outcome for a file: energies [n] in eV, r.m.s. forces [n] in eV/Å."""
    n, strong = len(rms), int((rms > STRONG).sum())
    if n >= FEWEST and not rms.any():
        text = f"the forces of all {n} frames are zero, expected labels"
        return Outcome("zero-labels", "refused", where, n, text)
    different = n and np.ptp(rms) > DIFFERENT * rms.max()  # frames that are copies have one energy
    if n >= FEWEST and strong >= FEWEST and different and np.ptp(energies) == 0:
        text = (
            f"the energies of all {n} frames are {energies[0]:g} eV beside different forces, expected labels"
        )
        return Outcome("zero-labels", "refused", where, n, text)
    return Outcome("zero-labels", "passed", where, n)
