"""Force labels from HDF5 files in the layout of the SPICE releases: a group per molecule, with all of its
conformations.

``smiles`` (with atom maps), ``atomic_numbers`` [n], ``conformations`` [k, n, 3], ``dft_total_energy`` [k],
``dft_total_gradient`` [k, n, 3] (force = −gradient); the attribute ``units`` of the last three is believed
and checked (bohr, hartree and hartree/bohr in the releases). Eastman et al., Sci. Data 10, 11 (2023).
"""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from equidyn.data import elements, store
from equidyn.data.checks.catalogue import ACCEPTED, PERIODIC, accepted
from equidyn.data.checks.periodic import CELLS, FLAGS, periodic
from equidyn.data.readers import labels
from equidyn.data.readers.molecules import LONGEST_SMILES
from equidyn.data.readers.records import Item, Rejected
from equidyn.data.units import BOHR, HARTREE, KCAL_PER_MOL
from equidyn.errors import DataError

LENGTHS = {"bohr": BOHR, "angstrom": 1.0}  # Å
ENERGIES = {"hartree": HARTREE, "ev": 1.0, "kcal/mol": KCAL_PER_MOL}  # eV
KEYS = ("smiles", "atomic_numbers", "conformations", "dft_total_energy", "dft_total_gradient")
LINKED = "link to another place"
SLICE = 64  # conformations in a record


def records(path: str | Path) -> Iterator[tuple[str, str, int, int]]:
    """(file, group, first, end) of runs of conformations; nothing but shapes is read.

    Raises
    ------
    DataError
        not an HDF5 file, or one without groups
    """
    import h5py

    try:
        size = Path(path).stat().st_size
        with h5py.File(path, "r") as file:
            if not len(file):
                raise DataError(f"{path}: no groups, expected one per molecule")
            for name in file:
                link = file.get(name, getlink=True)
                if not isinstance(link, h5py.HardLink):  # it may lead to another file
                    yield Rejected(f"{path}, {name}", LINKED, f"{type(link).__name__}, expected the group")
                    continue
                group = file[name]
                shape = (
                    group["conformations"].shape
                    if isinstance(group, h5py.Group) and isinstance(group.get("conformations"), h5py.Dataset)
                    else ()
                )
                missing = (
                    [key for key in KEYS if key not in group] if isinstance(group, h5py.Group) else list(KEYS)
                )
                whole = [key for key in KEYS if key not in missing and not store.stored(group.get(key), size)]
                if missing or whole or len(shape) != 3 or not 0 < shape[1] <= 100_000:
                    yield Rejected(
                        f"{path}, {name}",
                        "not the layout of SPICE",
                        f"no {', '.join(missing + whole)}" if missing or whole else f"conformations {shape}",
                    )
                    continue
                for start in range(0, shape[0], SLICE):
                    yield str(path), name, start, min(start + SLICE, shape[0])
    except (
        OSError,
        RuntimeError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:  # h5py raises many types on damaged files
        if isinstance(error, DataError):
            raise
        if "unable to lock" in str(error).lower():
            raise DataError(
                f"{path}: locked by a program that has it open for writing ({error}), expected none; or "
                f"a file "
                f"system without locks, where HDF5_USE_FILE_LOCKING=FALSE helps"
            ) from error
        raise DataError(f"{path}: not a readable HDF5 file, perhaps truncated ({error})") from error


def parse(record: tuple[str, str, int, int], settings: dict) -> list[Item | Rejected]:
    """Conformations of one molecule; ``settings`` may filter by ``elements`` and ``neutral`` (formal charge
    of the SMILES, all fragments together).

    Raises
    ------
    DataError
        a unit that is not known
    """
    import h5py

    path, name, start, end = record
    where = f"{path}, {name}"
    try:
        with h5py.File(path, "r") as file:
            group = file[name]
            smiles, numbers = np.asarray(group["smiles"][()]).reshape(-1)[0], group["atomic_numbers"][()]
            smiles = smiles.decode() if isinstance(smiles, bytes) else str(smiles)
            cell = _periodic(group)
            if cell and not accepted(settings, "periodic"):
                detail = f"{cell}, expected molecules"
                return [Rejected(f"{where}, conformation {i}", PERIODIC, detail) for i in range(start, end)]
            notes = {f"periodic, {ACCEPTED}": 1} if cell else {}
            charge = formal_charge(smiles)
            if reason := _unwanted(smiles, numbers, settings):
                return [Rejected(f"{where}, conformation {i}", reason) for i in range(start, end)]
            length, energy, force = units(where, group)
            shape = (group["conformations"].shape[0], len(numbers), 3)
            found = {key: group[key].shape for key in KEYS[2:]}
            if found != {"conformations": shape, "dft_total_energy": shape[:1], "dft_total_gradient": shape}:
                return [Rejected(where, "shapes disagree", f"{found} for {len(numbers)} atoms")]
            x, e, g = (np.asarray(group[key][start:end], np.float64) for key in KEYS[2:])
    except (OSError, RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        return [Rejected(where, "not readable", f"{type(error).__name__}: {error}")]
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is rejected
        molecule = labels.perceived(smiles, numbers, x[0] * length, charge=charge)
        places = [f"{where}, conformation {i}" for i in range(start, end)]
        return labels.labelled(places, molecule, numbers, x * length, e, -g, energy, force, notes)


def _periodic(group: Any) -> str | None:
    """What in a group says that its structures are periodic."""
    import h5py

    small = {
        name: group[name][()]
        for name in group
        if name.lower() in (*CELLS, *FLAGS)
        and isinstance(group[name], h5py.Dataset)
        and group[name].size < 10_000
    }
    return periodic(small | dict(group.attrs))


def units(where: str, group: Any) -> tuple[float, float, float]:
    """Factors to Å, eV and eV/Å of the units that a group's attributes name.

    Raises
    ------
    DataError
    """
    text = [group[key].attrs.get("units") for key in KEYS[2:]]
    text = [
        "" if t is None else (t.decode() if isinstance(t, bytes) else str(t)).strip().lower() for t in text
    ]
    energy, _, length = text[2].rpartition("/")
    if text[0] not in LENGTHS or text[1] not in ENERGIES or energy not in ENERGIES or length not in LENGTHS:
        raise DataError(
            f"{where}: units {text} of {', '.join(KEYS[2:])}; expected lengths in {sorted(LENGTHS)}, "
            f"energies in {sorted(ENERGIES)}"
        )
    return LENGTHS[text[0]], ENERGIES[text[1]], ENERGIES[energy] / LENGTHS[length]


def _unwanted(smiles, numbers, settings) -> str | None:
    if not ((numbers > 0) & (numbers < len(elements.SYMBOLS))).all():
        return "unknown element"
    if "elements" in settings:
        foreign = sorted({elements.symbol(int(z)) for z in numbers} - set(settings["elements"]))
        if foreign:
            return f"element that is not wanted: {' '.join(foreign)}"
    if settings.get("neutral") and formal_charge(smiles) != 0:
        return "charged"
    return None


@lru_cache(4096)
def formal_charge(smiles: str) -> int | None:
    """Of all fragments of a SMILES together; None where RDKit does not read it."""
    from rdkit import Chem, RDLogger

    RDLogger.DisableLog("rdApp.*")
    molecule = Chem.MolFromSmiles(smiles, sanitize=False) if len(smiles) <= LONGEST_SMILES else None
    return None if molecule is None else Chem.GetFormalCharge(molecule)
