"""What all readers of molecules share: limits, units of length, constitution, connectivity."""

import hashlib
from functools import lru_cache
from typing import Any

import numpy as np

from equidyn.data.checks import copies, flat, identity
from equidyn.data.checks.catalogue import ACCEPTED, NO_3D, accepted
from equidyn.data.elements import channel_of, formula, symbol
from equidyn.data.readers.records import Item, Rejected
from equidyn.data.units import BOHR

# characters; RDKit's time to read and write SMILES grows with the square of the size, and faster with many
# rings
LONGEST_SMILES = 4000
MOST_ATOMS, MOST_RINGS = 1000, 200  # of a structure whose connectivity is written as SMILES
MOST_PAIRS = 1 << 20  # of atoms, whose distances are held at once
SHORTEST = 0.85  # of the sum of radii, the shortest bond of many molecules
NOT_POSITIONS = "shortest distance is not that of a structure in angstrom"
LENGTHS = {"angstrom": 1.0, "bohr": 1 / BOHR, "nm": 0.1, "pm": 100.0}  # per Å


@lru_cache
def covalent_radii() -> np.ndarray:
    """Å, by atomic number 0 to 255 (RDKit's table, which ends at 118)."""
    from rdkit import Chem

    return np.array([1.0, *map(Chem.GetPeriodicTable().GetRcovalent, range(1, 119)), *[1.5] * 137])


def nearest_bonds(numbers: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shortest distance of every frame, positions [k, n, 3], in units of the sum of the two covalent
    radii (about 0.8 to 1.1 where there are bonds), and in Å: [k] each.
    """
    i, j = _pairs(len(numbers))
    radii = covalent_radii()[numbers]
    at_once = max(1, MOST_PAIRS // len(i))
    if len(positions) > at_once:
        parts = [
            nearest_bonds(numbers, positions[k : k + at_once]) for k in range(0, len(positions), at_once)
        ]
        return tuple(np.concatenate(columns) for columns in zip(*parts))
    step = positions[:, i] - positions[:, j]  # [k, pairs, 3]
    distance = np.sqrt(np.einsum("kpx,kpx->kp", step, step))
    ratio = distance / (radii[i] + radii[j])
    nearest, frames = ratio.argmin(1), np.arange(len(positions))
    return ratio[frames, nearest], distance[frames, nearest]


@lru_cache(16)
def _pairs(n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.triu_indices(n, 1)


def nearest_bond(numbers: np.ndarray, positions: np.ndarray) -> tuple[float, float]:
    """``nearest_bonds`` of one frame [n, 3]."""
    ratio, distance = nearest_bonds(numbers, positions[None])
    return float(ratio[0]), float(distance[0])


def wrong_unit(where: str, numbers: np.ndarray, positions: np.ndarray) -> Rejected | None:
    """What no structure [n, 3] in Å can be; the likely unit is a guess from the shortest distance, in bonds,
    alone.
    """
    if not has_bonds(len(numbers)):
        return None
    return wrong_length(where, len(numbers), *nearest_bond(numbers, positions))


def has_bonds(n: int) -> bool:
    """Whether n atoms are looked at: more are not worth the time, and it takes two."""
    return 1 < n <= 2000


def wrong_length(where: str, n: int, ratio: float, distance: float) -> Rejected | None:
    """``wrong_unit`` of n atoms with that shortest distance."""
    if 0.55 < ratio < 1.4 or (ratio >= 1.4 and n == 2):  # two ions or noble gas atoms may well be apart
        return None
    unit = min(LENGTHS, key=lambda name: abs(np.log(max(ratio, 1e-9) / (0.9 * LENGTHS[name]))))
    cause = f"the positions are in {unit}" if unit != "angstrom" else "broken positions"
    return Rejected(where, NOT_POSITIONS, f"{distance:.3g} angstrom, {ratio:.2g} of a bond", cause)


def constitution(molecule: Any) -> str:
    """Canonical SMILES of an RDKit molecule without stereo marks, isotopes, atom maps and explicit hydrogens:
    a model that has trained on a stereoisomer or an isotopologue has as good as seen the molecule.

    Raises
    ------
    ValueError, RuntimeError
        RDKit's, of a valence that shows only now and of broken invariants
    """
    from rdkit import Chem

    molecule = Chem.Mol(molecule)
    Chem.RemoveStereochemistry(molecule)
    for atom in molecule.GetAtoms():  # hydrogens with a map number or an isotope would stay
        atom.SetAtomMapNum(0)
        atom.SetIsotope(0)
    return Chem.MolToSmiles(Chem.RemoveHs(molecule), isomericSmiles=False)


@lru_cache(4096)
def constitution_of(smiles: str) -> str | None:
    """``constitution`` of a SMILES; None where RDKit cannot read it or finds no atom in it."""
    from rdkit import Chem, RDLogger

    RDLogger.DisableLog("rdApp.*")
    try:
        molecule = Chem.MolFromSmiles(smiles) if len(smiles) <= LONGEST_SMILES else None
        return constitution(molecule) if molecule is not None and molecule.GetNumAtoms() else None
    except (ValueError, RuntimeError):  # half a character, which pickle can write; RDKit's invariants
        return None


def admit(item: Item, settings: dict) -> Item | Rejected:
    """The limits that the settings set: ``max_atoms``, and the elements that have a channel in ``voxels``."""
    if len(item.rows["numbers"]) > settings.get("max_atoms", np.inf):
        return Rejected(item.where, "too many atoms")
    if box := settings.get("voxels"):
        numbers = item.rows["numbers"]
        foreign = sorted({symbol(z) for z in numbers[_channels(tuple(box["elements"]))[numbers] == 255]})
        if foreign:
            return Rejected(item.where, f"element outside the channels: {' '.join(foreign)}")
    return item


@lru_cache
def _channels(elements: tuple[str, ...]) -> np.ndarray:
    return channel_of(list(elements))


def unusable(numbers: np.ndarray, positions: np.ndarray) -> str | None:
    """Why atomic numbers [n] and positions [n, 3] are no molecule; None where they may be one."""
    if len(numbers) == 0:
        return "no atoms"
    if (numbers == 0).any():
        return "dummy atom or unknown element"
    if not (np.abs(positions) < 1e9).all():  # also what would overflow in single precision
        return "positions that are not finite"
    if len(numbers) > 1 and (positions == positions[0]).all():
        return NO_3D
    return None


def molecule_of(
    where: str,
    numbers: np.ndarray,
    positions: np.ndarray,
    three_dimensional: bool,
    settings: dict,
    molecule: Any = None,
    notes: dict[str, int] | None = None,
) -> Item | Rejected:
    """A structure without labels, still without its cluster, or why not.

    Parameters
    ----------
    three_dimensional : what the file says of itself
    molecule : RDKit's, with the bonds that the file states
    notes : for the item
    """
    if reason := unusable(numbers, positions):
        return Rejected(where, reason)
    notes, drawing = dict(notes or {}), "the file says so"
    wrong = wrong_unit(where, numbers, positions)
    if three_dimensional:  # drawings have units of their own
        scale = nearest_bond(numbers, positions)[0] / SHORTEST if wrong else 1.0
        drawing = _flat(numbers, positions / max(scale, 1e-9), molecule)
    if drawing and not accepted(settings, "three-dimensional"):
        return Rejected(where, NO_3D, drawing)
    if drawing:
        notes[f"three-dimensional, {ACCEPTED}"] = 1
    if wrong:
        return wrong
    rows = {"numbers": numbers, "positions": centred(positions)}
    (copy,) = copies.digests(numbers.tobytes(), rows["positions"][None])
    return Item(where, "", rows, notes=notes, copy=copy)


def _flat(numbers: np.ndarray, positions: np.ndarray, molecule: Any) -> str | None:
    """Why a structure is a drawing; None where it is one in space."""
    if len(numbers) < 3 or not flat.in_plane(positions):
        return None
    if found := flat.crowded(numbers, positions, covalent_radii()):
        return found
    return None if molecule is None else flat.drawn(molecule, positions, covalent_radii())


def centred(positions: np.ndarray) -> np.ndarray:
    """Positions [..., n, 3] about their mean, float32: far from the origin that has no digits for them."""
    return (positions - positions.mean(-2, keepdims=True)).astype(np.float32)


def bonds_of(numbers: np.ndarray, positions: np.ndarray) -> tuple[str | None, str]:
    """Canonical SMILES of the bonds that RDKit perceives, all single, and ``checks.identity.graph`` of them.

    The formula in place of the SMILES where that would take too long; None where it cannot.
    """
    from rdkit import Chem
    from rdkit.Chem import rdDetermineBonds

    if len(numbers) > MOST_ATOMS:
        return formula(numbers), ""
    try:
        molecule = Chem.Mol(_unbound(numbers.astype(np.uint8).tobytes()))
        molecule.GetConformer().SetPositions(np.round(np.asarray(positions, np.float64), 6))
        rdDetermineBonds.DetermineConnectivity(molecule)
        if molecule.GetNumBonds() - molecule.GetNumAtoms() > MOST_RINGS:
            return formula(numbers), ""
        bonds = Chem.GetAdjacencyMatrix(molecule)
        key = hashlib.sha256(numbers.tobytes() + bonds.tobytes()).digest()
        if key not in _SMILES:  # frames of a trajectory share one, and writing SMILES takes longest
            if len(_SMILES) >= 4096:
                _SMILES.clear()
            _SMILES[key] = Chem.MolToSmiles(molecule), identity.graph(numbers, bonds)
        return _SMILES[key]
    except (
        ValueError,
        RuntimeError,
        TypeError,
    ):  # TypeError: no molecule, for an element that RDKit's reader does not know
        return None, ""


@lru_cache(256)
def _unbound(numbers: bytes) -> Any:
    """An RDKit molecule of these atoms, somewhere, without bonds."""
    from rdkit import Chem

    return Chem.MolFromXYZBlock(
        "\n".join([str(len(numbers)), "", *(f"{symbol(z)} 0 0 0" for z in numbers), ""])
    )


_SMILES: dict[bytes, tuple[str, str]] = {}
