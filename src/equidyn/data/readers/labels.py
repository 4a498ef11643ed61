"""Energies and forces as files give them, in the units that the settings declare, to eV and Å."""

import numpy as np

from equidyn.data import elements
from equidyn.data.readers import molecules
from equidyn.data.readers.records import Item, Rejected
from equidyn.data.units import BOHR, HARTREE, KCAL_PER_MOL

ENERGY_UNITS = {"eV": 1.0, "kcal/mol": KCAL_PER_MOL, "hartree": HARTREE}
FORCE_UNITS = {  # in eV/Å
    "eV/angstrom": 1.0,
    "kcal/mol/angstrom": KCAL_PER_MOL,
    "kJ/mol/angstrom": KCAL_PER_MOL / 4.184,
    "hartree/angstrom": HARTREE,
    "hartree/bohr": HARTREE / BOHR,
    "eV/bohr": 1 / BOHR,
    "kcal/mol/bohr": KCAL_PER_MOL / BOHR,
}
USUAL = (
    "eV/angstrom",
    "kcal/mol/angstrom",
    "hartree/angstrom",
)  # what a guess from the size of the forces alone can tell apart
TOO_STRONG = "r.m.s. force above 15 eV/angstrom"


def labelled(
    where: str,
    smiles: str | None,
    numbers: np.ndarray,
    positions: np.ndarray,
    energy: float,
    forces: np.ndarray,
    energy_unit: float,
    force_unit: float | None = None,
    key: str | None = None,
) -> Item | Rejected:
    """A frame in eV and Å, or why not; units are factors (force_unit: energy_unit per Å by default)."""
    force_unit = energy_unit if force_unit is None else force_unit
    positions, energy = np.asarray(positions, dtype=np.float64), float(energy) * energy_unit
    forces = np.asarray(forces, dtype=np.float64) * force_unit
    for name, values in (("positions", positions), ("forces", forces), ("energy", energy)):
        if not (np.abs(values) < 1e12).all():
            return Rejected(
                where,
                f"{name} holds NaN, infinity or numbers out of all proportion",
                suspect="broken numbers",
            )
    if ((numbers < 1) | (numbers >= len(elements.SYMBOLS))).any():
        return Rejected(where, "unknown element")
    if wrong := molecules.wrong_unit(where, numbers, positions):
        return wrong
    rms = np.sqrt((forces**2).mean())
    if rms > 15:
        return Rejected(
            where,
            TOO_STRONG,
            f"{rms:.3g} eV/angstrom when read as {unit_name(force_unit)}",
            f"the forces are in {likely_unit(rms, force_unit, USUAL)}",
        )
    pulled = len(numbers) > 1 and np.linalg.norm(forces.sum(0)) > 0.05 * np.linalg.norm(forces) and rms > 1e-3
    notes = {"frames with a net force above 5 % of the norm": 1} if pulled else {}
    rows = {
        "numbers": numbers.astype(np.uint8),
        "positions": positions.astype(np.float32),
        "forces": forces.astype(np.float32),
    }
    return Item(where, key or cluster_key(smiles, numbers, positions), rows, {"energy": energy}, notes=notes)


def cluster_key(smiles: str | None, numbers: np.ndarray, positions: np.ndarray) -> str:
    """Canonical SMILES without atom maps, else that of the connectivity, else the formula."""
    return (
        (smiles and molecules.canonical_smiles(smiles))
        or molecules.connectivity(numbers, positions)
        or elements.formula(numbers)
    )


def unit_name(factor: float) -> str:
    return min(FORCE_UNITS, key=lambda name: abs(np.log(FORCE_UNITS[name] / factor)))


def likely_unit(ratio: float, declared: float, among: tuple[str, ...] = tuple(FORCE_UNITS)) -> str:
    """Unit with which forces ``ratio`` times too large, read with the factor ``declared``, come out right."""
    return min(among, key=lambda name: abs(np.log(FORCE_UNITS[name] * ratio / declared)))
