"""Small molecules with labels, for tests of readers."""

import numpy as np

from equidyn.data.generate import conformers
from equidyn.data.readers import registry

EXTXYZ = registry.READERS["extxyz"]
EV = {"energy_unit": "eV"}
SETTINGS = dict(source="extxyz", licence="x", n_held_out=2, seed=0, **EV)
MOLECULES = ("H2O", "CH4", "NH3", "CH3OH", "C2H6", "HCN", "C2H2", "H2CO")


def frames(n, seed=0, names=MOLECULES):
    """Displaced small molecules with GFN2-xTB labels."""
    from ase.build import molecule

    rng, result = np.random.default_rng(seed), []
    for i in range(n):
        atoms = molecule(names[i % len(names)])
        atoms.positions += 0.03 * rng.normal(size=atoms.positions.shape)
        energy, forces = conformers.label(atoms.numbers, atoms.positions)
        atoms.info["energy"], atoms.arrays["forces"] = energy, forces
        result.append(atoms)
    return result
