"""Calculators and structures for the tests of the probe: small, fast, with known answers."""

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes

STRETCH = 0.05
SHARE = ((2 + (1 + STRETCH) ** 2) - (3 + STRETCH) ** 2 / 3) / 3  # of the mean square, decomposition.md
NAMES = ("CH3OH", "H2O", "CH3CH2OH", "C2H6", "NH3", "CO2", "C2H4", "CH3CHO", "HCOOH")


class Springs(Calculator):
    """E = Σ over pairs ½ z_i z_j (r − 1.3)² / 50: invariant; ``change`` may break its forces."""

    implemented_properties = ["energy", "forces", "stress", "dipole"]

    def __init__(self, change=lambda forces, atoms: forces):
        super().__init__()
        self.change, self.calls = change, 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        apart = atoms.positions[:, None] - atoms.positions[None]
        length = np.linalg.norm(apart, axis=-1) + np.eye(len(atoms))
        strength = np.outer(atoms.numbers, atoms.numbers) / 50 * (1 - np.eye(len(atoms)))
        pull = (-strength * (length - 1.3) / length)[..., None] * apart
        forces = self.change(pull.sum(1), atoms)
        self.results = dict(energy=0.25 * (strength * (length - 1.3) ** 2).sum(), forces=forces)
        volume = atoms.get_volume() if atoms.cell.rank == 3 else 1.0
        tensor = (pull[..., :, None] * apart[..., None, :]).sum((0, 1)) / 2 / volume
        self.results["stress"] = tensor[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        self.results["dipole"] = atoms.numbers @ (atoms.positions - atoms.positions.mean(0))


class Offset(Springs):
    """Total energies with an ordinary offset; ``wrong`` adds to them, in eV/atom."""

    def __init__(self, wrong=lambda atoms: 0.0, offset: float = -1000.0):
        super().__init__()
        self.wrong, self.offset = wrong, offset

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results["energy"] += len(atoms) * (self.offset + self.wrong(atoms))


def stretched(forces, atoms):
    """Forces times diag(1, 1, 1.05): all of the error is of degree 2."""
    return forces * np.array([1, 1, 1 + STRETCH])


def frames(n: int = 45, noise: float = 0.1, names=NAMES, seed: int = 0) -> list[Atoms]:
    """Displaced molecules with the labels of ``Springs`` and, relative to their size, some noise."""
    random, found = np.random.default_rng(seed), []
    for k in range(n):
        atoms = molecule(names[k % len(names)])
        atoms.positions += random.normal(scale=0.06, size=atoms.positions.shape)
        atoms.calc = Springs()
        forces, energy = atoms.get_forces(), atoms.get_potential_energy()
        atoms.calc = None
        size = np.sqrt((forces**2).mean())
        atoms.arrays["REF_forces"] = forces + noise * size * random.normal(size=forces.shape)
        atoms.info |= dict(REF_energy=energy + noise * random.normal(), name=f"{names[k % len(names)]}")
        found.append(atoms)
    return found


def crystal(pbc: bool = True) -> Atoms:
    """A skewed cell with an atom that lies outside of it."""
    cell = [[3.0, 0, 0], [0.5, 3.2, 0], [0.1, 0.4, 3.5]]
    return Atoms("CuAuAl", [[0.1, 0, 0], [4.0, 1.0, 1.2], [1.4, 1.7, 5.2]], cell=cell, pbc=pbc)
