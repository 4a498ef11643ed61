"""data/conformers.py: the harmonic modes that conformers are drawn from are those of the force field,
whatever RDKit caches.
"""

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from equidyn.data.generate import conformers
from equidyn.data.units import KCAL_PER_MOL


def relaxed(smiles):
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(molecule, randomSeed=1)
    field = AllChem.MMFFGetMoleculeForceField(molecule, AllChem.MMFFGetMoleculeProperties(molecule))
    field.Initialize()
    field.Minimize(maxIts=2000, forceTol=1e-8)
    return field, np.array(field.Positions()).ravel()


@pytest.mark.parametrize(
    "smiles, rigid", [("O", 6), ("CS", 6), ("Nc1ccc(Cl)cc1", 6), ("CC(=O)O", 6), ("C#N", 5), ("C#C", 5)]
)
def test_modes_are_internal_and_have_the_energies_of_their_force_constants(smiles, rigid):
    field, x = relaxed(smiles)
    values, vectors = conformers.modes(field, x)
    assert vectors.shape == (len(x), len(x) - rigid) and np.allclose(
        vectors.T @ vectors, np.eye(len(values)), atol=1e-9
    )
    assert np.abs(vectors.reshape(-1, 3, len(values)).sum(0)).max() < 1e-9  # no translation
    assert (
        np.abs(
            np.cross(
                (x.reshape(-1, 3) - x.reshape(-1, 3).mean(0))[..., None],
                vectors.reshape(-1, 3, len(values)),
                axis=1,
            ).sum(0)
        ).max()
        < 1e-3
    )  # no rotation
    step, start = 0.003, field.CalcEnergy(x.tolist())
    for value, vector in zip(values, vectors.T):
        energies = [field.CalcEnergy((x + sign * step * vector).tolist()) for sign in (1, -1)]
        assert value > 0 and (sum(energies) / 2 - start) * KCAL_PER_MOL / (step**2 / 2) == pytest.approx(
            value, rel=2e-3, abs=2e-3
        )


def test_displacements_have_the_temperature_that_was_asked_for():
    """Equipartition, by the force field's own energy: kT/2 per internal mode, at a temperature at which the
    molecule is harmonic.
    """
    field, x = relaxed("C1CC1")
    values, _ = conformers.modes(field, x)
    assert values.min() > conformers.SOFTEST  # none is raised
    kelvin = []
    for seed in range(40):
        cold, warm = (
            conformers.displaced("C1CC1", temperature, seed)[1].astype(np.float64).ravel().tolist()
            for temperature in (0.0, 1.0)
        )
        kelvin.append(
            (field.CalcEnergy(warm) - field.CalcEnergy(cold))
            * KCAL_PER_MOL
            / (len(values) * conformers.BOLTZMANN / 2)
        )
    deviation = (2 / (40 * len(values))) ** 0.5  # of the mean of a chi-squared per mode
    assert np.mean(kelvin) == pytest.approx(1, abs=4 * deviation)
