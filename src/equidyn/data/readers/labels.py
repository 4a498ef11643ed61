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
BROKEN = "{} holds NaN, infinity or numbers out of all proportion"
ISOLATED = "isolated atom"  # of which no force says anything
PULLED = "frames with a net force above 5 % of the norm"


@dataclass(frozen=True)
class Molecule:
    """What frames of one molecule share: the cluster key, and where it comes from bonds, these; a further
    name; the charge that the file states.
    """

    cluster: str
    graph: str = ""
    alias: str = ""
    charge: float | None = None


def labelled(
    where: list[str],
    molecule: Molecule | None,
    numbers: np.ndarray,
    positions: np.ndarray,
    energies: np.ndarray,
    forces: np.ndarray,
    energy_unit: float,
    force_unit: float | None = None,
    notes: dict[str, int] | None = None,
) -> list[Item | Rejected]:
    """Frames of the same atoms in eV and Å, positions about their mean, or why not.

    Parameters
    ----------
    where : of each of k frames
    molecule : None: that of the bonds of the first frame
    numbers, positions, energies, forces : [n], [k, n, 3], [k], [k, n, 3]
    energy_unit, force_unit : factors to eV and eV/Å; by default forces are in the energy unit per Å
    notes : of every frame, for the items
    """
    force_unit = energy_unit if force_unit is None else force_unit
    if ((numbers < 1) | (numbers >= len(elements.SYMBOLS))).any():
        return [Rejected(place, "unknown element") for place in where]
    if len(numbers) == 1:
        return [Rejected(place, ISOLATED) for place in where]
    positions, forces = (np.asarray(values, np.float64) for values in (positions, forces))
    forces, energies = forces * force_unit, np.asarray(energies, np.float64) * energy_unit
    broken = [
        (name, ~(np.abs(values.reshape(len(where), -1)) < 1e12).all(1))
        for name, values in (("positions", positions), ("forces", forces), ("energy", energies))
    ]
    sound = ~np.any([bad for _, bad in broken], axis=0)
    found: list[Item | Rejected | None] = [None] * len(where)
    for k in np.flatnonzero(~sound):
        name = next(name for name, bad in broken if bad[k])
        found[k] = Rejected(where[k], BROKEN.format(name), suspect="broken numbers")
    rows = np.flatnonzero(sound)
    places = [where[k] for k in rows]
    frames = positions[rows], energies[rows], forces[rows]
    for k, item in zip(rows, _sound(places, molecule, numbers, *frames, force_unit, notes or {})):
        found[k] = item
    return found


def _sound(where, molecule, numbers, positions, energies, forces, force_unit, notes) -> list[Item | Rejected]:
    """``labelled`` of frames that hold possible numbers, in eV and Å."""
    if not where:
        return []
    n, found = len(numbers), []
    molecule = molecule or perceived(None, numbers, positions[0])
    figures = whole_file.figures(positions, energies, forces, molecule.charge)
    copy = copies.of_molecule(numbers, positions, molecule.charge)
    labels = copies.digests(b"", np.concatenate([forces.reshape(len(where), -1), energies[:, None]], axis=1))
    lengths = (
        zip(*molecules.nearest_bonds(numbers, positions)) if molecules.has_bonds(n) else [None] * len(where)
    )
    short = numbers.astype(np.uint8), molecules.centred(positions), forces.astype(np.float32)
    for k, (place, length) in enumerate(zip(where, lengths)):
        if length and (wrong := molecules.wrong_length(place, n, *map(float, length))):
            found.append(wrong)
            continue
        rms = figures[k]["rms"]
        if rms > 15:
            detail = f"{rms:.3g} eV/angstrom when read as {unit_name(force_unit)}"
            cause = f"the forces are in {likely_unit(rms, force_unit, USUAL)}"
            found.append(Rejected(place, TOO_STRONG, detail, cause))
            continue
        pulled = n > 1 and figures[k]["net"] > 0.05 and rms > 1e-3
        item = Item(
            place,
            molecule.cluster,
            {"numbers": short[0], "positions": short[1][k], "forces": short[2][k]},
            {"energy": figures[k]["energy"]},
            notes=notes | {PULLED: 1} if pulled else notes,
            copy=copy[k],
            labels=labels[k],
            graph=molecule.graph,
            alias=molecule.alias,
            figures=figures[k],
            force_unit=force_unit,
        )
        found.append(item)
    return found


def perceived(
    smiles: str | None,
    numbers: np.ndarray,
    positions: np.ndarray,
    alias: str = "",
    charge: float | None = None,
) -> Molecule:
    """The molecule of a frame: its constitution by the SMILES, else that of the bonds between the
    atoms, else the formula.
    """
    if smiles and (constitution := molecules.constitution_of(smiles)):
        return Molecule(constitution, charge=charge)
    key, graph = molecules.bonds_of(numbers, positions)
    alias = alias and f"{identity.atoms(numbers)} {alias}"
    return Molecule(key or elements.formula(numbers), graph, alias, charge)


def unit_name(factor: float) -> str:
    """The unit of forces whose factor to eV/Å is the nearest."""
    return min(FORCE_UNITS, key=lambda name: abs(np.log(FORCE_UNITS[name] / factor)))


def likely_unit(ratio: float, declared: float, among: tuple[str, ...] = tuple(FORCE_UNITS)) -> str:
    """Unit with which forces ``ratio`` times too large, read with the factor ``declared``, come out right."""
    return min(among, key=lambda name: abs(np.log(FORCE_UNITS[name] * ratio / declared)))
