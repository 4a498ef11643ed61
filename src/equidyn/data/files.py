"""Force labels from files: extended XYZ (ase) and npz in the rMD17 layout. Units are declared and sanity-checked."""

from pathlib import Path

import numpy as np

from equidyn.data.conformers import HARTREE, KCAL_PER_MOL
from equidyn.data.schema import DataError

ENERGY_UNITS = {"eV": 1.0, "kcal/mol": KCAL_PER_MOL, "hartree": HARTREE}
Structure = tuple[str, np.ndarray, np.ndarray, float, np.ndarray]  # molecule key, numbers, positions, energy, forces


def read_extxyz(path: str | Path, energy_unit: str = "eV") -> list[Structure]:
    """Frames of an extended XYZ file; positions in Å, energies in energy_unit, forces in energy_unit/Å.

    Isolated atoms (one atom, no forces) are skipped. Returns (formula, numbers, positions, energy, forces) in eV and Å.

    Raises
    ------
    DataError
        unreadable file, a frame without energy, forces or atoms, values that are not finite or cannot be in that unit
    """
    import ase.io

    try:
        frames = ase.io.read(path, index=":", format="extxyz")
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except Exception as error:  # ase raises many types on malformed text
        raise DataError(f"{path}: not a readable extended XYZ file ({type(error).__name__}: {error})") from error
    structures = []
    for number, frame in enumerate(frames):
        where = f"{path}, frame {number}"
        if len(frame) == 1 and "forces" not in frame.arrays and (frame.calc is None or "forces" not in frame.calc.results):
            continue
        results = {} if frame.calc is None else frame.calc.results
        energy = results.get("energy", frame.info.get("energy"))
        forces = results.get("forces", frame.arrays.get("forces"))
        if len(frame) == 0:
            raise DataError(f"{where}: no atoms")
        if energy is None or forces is None:
            raise DataError(f"{where}: no {'energy' if energy is None else 'forces'}; expected energy=… in the comment line and a forces:R:3 column")
        structures.append(_checked(where, frame.get_chemical_formula(), frame.numbers, frame.positions, energy, forces, energy_unit))
    if not structures:
        raise DataError(f"{path}: no frame with atoms, energy and forces")
    return structures


def read_npz(path: str | Path, energy_unit: str = "kcal/mol") -> list[Structure]:
    """Configurations of one molecule in the rMD17 layout: nuclear_charges [n], coords [k, n, 3] Å, energies [k], forces [k, n, 3].

    Raises
    ------
    DataError
        unreadable file, missing keys, shapes that disagree, values that are not finite or cannot be in that unit
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            data = {name: file[name] for name in ("nuclear_charges", "coords", "energies", "forces")}
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except KeyError as error:
        raise DataError(f"{path}: {error.args[0]}; expected nuclear_charges, coords, energies, forces") from error
    except Exception as error:  # zipfile and numpy raise many types on a damaged file
        raise DataError(f"{path}: not a readable npz file ({type(error).__name__}: {error})") from error
    numbers, coords, forces = data["nuclear_charges"], data["coords"], data["forces"]
    if len(numbers) == 0 or coords.shape[1:] != (len(numbers), 3) or forces.shape != coords.shape or len(data["energies"]) != len(coords):
        raise DataError(f"{path}: coords {coords.shape}, forces {forces.shape}, energies {data['energies'].shape} for {len(numbers)} atoms")
    name = Path(path).stem
    return [_checked(f"{path}, frame {i}", name, numbers, coords[i], data["energies"][i], forces[i], energy_unit) for i in range(len(coords))]


def _checked(where, key, numbers, positions, energy, forces, unit) -> Structure:
    positions, forces = np.asarray(positions, dtype=np.float64), np.asarray(forces, dtype=np.float64) * ENERGY_UNITS[unit]
    energy = float(energy) * ENERGY_UNITS[unit]
    for name, values in (("positions", positions), ("forces", forces), ("energy", energy)):
        if not np.isfinite(values).all():
            raise DataError(f"{where}: {name} holds NaN or infinity")
    if len(numbers) > 1:
        nearest = np.linalg.norm(positions[:, None] - positions[None], axis=-1) + 1e9 * np.eye(len(numbers))
        if not 0.5 < nearest.min() < 3.0:
            raise DataError(f"{where}: shortest distance {nearest.min():.3g} angstrom, expected 0.5 to 3; are the positions in bohr or nm?")
    if np.sqrt((forces**2).mean()) > 15:
        raise DataError(f"{where}: r.m.s. force {np.sqrt((forces**2).mean()):.3g} eV/angstrom when read as {unit}/angstrom, expected below 15; is the unit kcal/mol?")
    return key, np.asarray(numbers, dtype=np.uint8), positions.astype(np.float32), energy, forces.astype(np.float32)
