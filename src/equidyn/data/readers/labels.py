"""Energies and forces as files give them, in the units that the settings declare, to eV and Å."""

from dataclasses import dataclass

import numpy as np

from equidyn.data import elements
from equidyn.data.checks import copies, identity, whole_file
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


@dataclass(frozen=True)
class Molecule:
    """What frames of one molecule share: the cluster key, and where it comes from bonds, these; a further name;
    the charge that the file states.
    """

    cluster: str
    graph: str = ""
    alias: str = ""
    charge: float | None = None


def labelled(
    where: str,
    molecule: Molecule | None,
    numbers: np.ndarray,
    positions: np.ndarray,
    energy: float,
    forces: np.ndarray,
    energy_unit: float,
    force_unit: float | None = None,
    notes: dict[str, int] | None = None,
) -> Item | Rejected:
    """A frame in eV and Å, or why not.

    Parameters
    ----------
    molecule : None: that of the bonds between the atoms
    energy_unit, force_unit : factors to eV and eV/Å; by default forces are in the energy unit per Å
    notes : of the frame, for the item
    """
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
    molecule_charge = None if molecule is None else molecule.charge
    figures = whole_file.figures(positions, energy, forces, molecule_charge)
    net, rms = figures["net"], figures["rms"]
    if rms > 15:
        return Rejected(
            where,
            TOO_STRONG,
            f"{rms:.3g} eV/angstrom when read as {unit_name(force_unit)}",
            f"the forces are in {likely_unit(rms, force_unit, USUAL)}",
        )
    notes = dict(notes or {})
    if len(numbers) > 1 and net > 0.05 and rms > 1e-3:
        notes["frames with a net force above 5 % of the norm"] = 1
    molecule = molecule or perceived(None, numbers, positions)
    rows = {
        "numbers": numbers.astype(np.uint8),
        "positions": positions.astype(np.float32),
        "forces": forces.astype(np.float32),
    }
    return Item(
        where,
        molecule.cluster,
        rows,
        {"energy": energy},
        notes=notes,
        copy=copies.of_molecule(numbers, positions, molecule.charge),
        labels=copies.digest(rows["forces"], np.array([energy])),
        graph=molecule.graph,
        alias=molecule.alias,
        figures=figures,
    )


def perceived(
    smiles: str | None,
    numbers: np.ndarray,
    positions: np.ndarray,
    alias: str = "",
    charge: float | None = None,
) -> Molecule:
    """The molecule of a frame: canonical SMILES without atom maps, else that of the bonds between the atoms, else
    the formula.
    """
    if smiles and (canonical := molecules.canonical_smiles(smiles)):
        return Molecule(canonical, charge=charge)
    key, graph = molecules.bonds_of(numbers, positions)
    alias = alias and f"{identity.atoms(numbers)} {alias}"
    return Molecule(key or elements.formula(numbers), graph, alias, charge)


def unit_name(factor: float) -> str:
    return min(FORCE_UNITS, key=lambda name: abs(np.log(FORCE_UNITS[name] / factor)))


def likely_unit(ratio: float, declared: float, among: tuple[str, ...] = tuple(FORCE_UNITS)) -> str:
    """Unit with which forces ``ratio`` times too large, read with the factor ``declared``, come out right."""
    return min(among, key=lambda name: abs(np.log(FORCE_UNITS[name] * ratio / declared)))
