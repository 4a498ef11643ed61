"""Small files in the layout of SPICE."""

import h5py
import numpy as np

from equidyn.data.generate import conformers
from equidyn.data.readers import spice
from equidyn.data.units import BOHR, HARTREE

MOLECULES = {
    "water": "[H:2][O:1][H:3]",
    "methane": "[C:1]([H:2])([H:3])([H:4])[H:5]",
    "ammonium": "[N+:1]([H:2])([H:3])([H:4])[H:5]",
    "methyl chloride": "CCl",
}


def write(path, n=6, length=BOHR, energy=HARTREE, names=("bohr", "hartree", "hartree/bohr")):
    """GFN2-xTB labels in the layout of SPICE; ``names`` are the stated units, ``length`` and ``energy`` the
    true ones.
    """
    from ase.build import molecule

    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for name, formula in zip(MOLECULES, ("H2O", "CH4", "CH4", "CH3Cl")):
            atoms = molecule(formula)
            if name == "ammonium":
                atoms.numbers[0] = 7
            positions = np.float32(atoms.positions + 0.05 * rng.normal(size=(n, len(atoms), 3)))
            labels = [conformers.label(atoms.numbers, x) for x in positions]
            group = file.create_group(name)
            group["smiles"], group["atomic_numbers"] = [MOLECULES[name]], atoms.numbers.astype(np.int16)
            group["conformations"], group["dft_total_energy"] = (
                positions / length,
                np.array([e for e, _ in labels]) / energy,
            )
            group["dft_total_gradient"] = np.array([-f for _, f in labels], np.float32) / (energy / length)
            for key, unit in zip(spice.KEYS[2:], names):
                group[key].attrs["units"] = unit
    return path
