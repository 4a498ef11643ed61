"""Force labels from files: extended XYZ and npz in the rMD17 layout, plain or in archives. Units are declared, and checked.

Positions are in Å, energies in ``settings["energy_unit"]``, forces in that unit per Å. The cluster key of a frame is its canonical SMILES where the comment
line has one, else that of its connectivity, else its formula.
"""

import math
import tempfile
import tokenize
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from equidyn.data import archives, molecules
from equidyn.data.schema import DataError
from equidyn.data.stream import Item, Rejected, part
from equidyn.data.units import BOHR, HARTREE, KCAL_PER_MOL

ENERGY_UNITS = {"eV": 1.0, "kcal/mol": KCAL_PER_MOL, "hartree": HARTREE}
FORCE_UNITS = {  # in eV/Å
    "eV/angstrom": 1.0, "kcal/mol/angstrom": KCAL_PER_MOL, "kJ/mol/angstrom": KCAL_PER_MOL / 4.184, "hartree/angstrom": HARTREE,
    "hartree/bohr": HARTREE / BOHR, "eV/bohr": 1 / BOHR, "kcal/mol/bohr": KCAL_PER_MOL / BOHR,
}  # fmt: skip
USUAL = ("eV/angstrom", "kcal/mol/angstrom", "hartree/angstrom")  # what a guess from the size of the forces alone can tell apart
TOO_STRONG = "r.m.s. force above 15 eV/angstrom"
ALIKE = 1.6  # forces of two methods differ by a smaller factor, bohr and Å by a larger one
ALIGNED = 0.8  # cosine between forces of two methods: 0.95 and more for the strongest of real files, anything for relaxed geometries
COLUMNS = 1000  # of an extended XYZ file
FRAMES = 100  # of an npz file in one record


def extxyz_records(path: str | Path) -> Iterator[tuple[str, str] | Rejected]:
    """Frames as text, see ``archives.frames``."""
    return archives.frames(path, (".xyz", ".extxyz"))


def parse_extxyz(record: tuple[str, str], settings: dict) -> list[Item | Rejected]:
    """A frame with energy= in its comment line and a forces:R:3 column."""
    where, text = record
    try:
        numbers, positions, forces, info = frame_of(text)
        energy = None if info.get("energy") is None else float(info["energy"])
    except Exception as error:  # the comment line's parser raises many types on malformed text
        return [Rejected(where, "does not parse", f"{type(error).__name__}: {error}"[:200])]
    if len(numbers) == 1 and forces is None:
        return [Rejected(where, "isolated atom without forces")]
    if not len(numbers) or energy is None or forces is None:
        return [Rejected(where, "no atoms" if not len(numbers) else "no energy" if energy is None else "no forces", f"comment line: {', '.join(info)}"[:200])]
    smiles = info.get("smiles", info.get("SMILES"))
    return [labelled(where, smiles if isinstance(smiles, str) else None, numbers, positions, energy, forces, ENERGY_UNITS[settings.get("energy_unit", "eV")])]


def frame_of(text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, dict]:
    """Numbers [n], positions [n, 3], forces [n, 3] or None, and the comment line of an extended XYZ frame; the comment is read by ase.

    Raises whatever ase or numpy raise on malformed text.
    """
    from ase.io.extxyz import key_val_str_to_dict

    first, comment, *rows = text.splitlines()
    n, comment = int(first), comment.strip()
    info = key_val_str_to_dict(comment) if comment else {}
    properties = _columns(info.pop("Properties", "species:S:1:pos:R:3"))
    if len(rows) != n:
        raise ValueError(f"{len(rows)} atoms, expected {n}")
    width, start, place = sum(columns for _, columns in properties.values()), 0, {}
    for name, columns in properties.values():
        place[name], start = slice(start, start + columns), start + columns
    cells = [row.split() for row in rows]
    if any(len(row) < width for row in cells):
        raise ValueError(f"a row of fewer than {width} columns")
    values = {name: np.array([row[place[name]] for row in cells], dtype=np.float64).reshape(n, 3) for name in ("positions", "forces") if name in place}
    if "numbers" in place:
        numbers = np.array([int(row[place["numbers"].start]) for row in cells], dtype=np.int64)
    else:
        numbers = np.array([molecules.NUMBERS[row[place["symbols"].start].capitalize()] for row in cells], dtype=np.int64)
    return numbers, values["positions"], values.get("forces"), info


@lru_cache
def _columns(properties: str) -> dict[str, tuple[str, int]]:
    """ase's name of every property of a frame's atoms -> (name, columns), in the order of the columns."""
    from ase.io.extxyz import parse_properties

    columns = properties.split(":")[2::3]
    if any(not n.isdigit() or len(n) > 3 for n in columns) or sum(map(int, columns)) > COLUMNS:
        raise ValueError(f"Properties with a number of columns that is none or above {COLUMNS}, expected name:type:columns:…")  # ase would make a list of a million names
    return parse_properties(properties)[0]


def npz_records(path: str | Path) -> Iterator[tuple]:
    """Blocks of frames of one molecule in the rMD17 layout: nuclear_charges [n], coords [k, n, 3] Å, energies [k], forces [k, n, 3].

    A record is (where, first frame, numbers, reference positions, coords, energies, forces). Arrays are read a block at a time.

    Raises
    ------
    DataError
        not an npz file, missing keys, shapes that disagree
    """
    for where, stream in archives.members(path, (".npz",)):
        if where == str(path) and str(path).endswith(".npz"):
            yield from _npz(where, stream)
        else:  # an npz must be seekable, which a member of an archive is not, and a compressed one only by reading it from the start again
            with tempfile.TemporaryFile() as copy:
                while block := stream.read(1 << 20):
                    copy.write(block)
                yield from _npz(where, copy)


def _npz(where, stream) -> Iterator[tuple]:
    try:
        with zipfile.ZipFile(stream) as file:
            missing = [name for name in ("nuclear_charges", "coords", "energies", "forces") if f"{name}.npy" not in file.namelist()]
            if missing:
                raise DataError(f"{where}: no {', '.join(missing)}; expected nuclear_charges, coords, energies, forces")
            arrays = [_Array(file.open(f"{name}.npy")) for name in ("nuclear_charges", "coords", "energies", "forces")]
            numbers, coords, energies, forces = arrays
            n, k = numbers.shape[0] if len(numbers.shape) == 1 else 0, coords.shape[0] if coords.shape else 0
            if not 0 < n <= archives.MOST_ATOMS or coords.shape != (k, n, 3) or forces.shape != coords.shape or energies.shape not in ((k,), (k, 1)):
                raise DataError(f"{where}: coords {coords.shape}, forces {forces.shape}, energies {energies.shape} for nuclear_charges {numbers.shape}, expected to agree")
            charges, reference = numbers.take(n).astype(np.int64), None
            block = max(1, min(FRAMES, (1 << 20) // (48 * n)))
            for start in range(0, k, block):
                size = min(block, k - start)
                x, e, f = coords.take(size), energies.take(size), forces.take(size)
                reference = x[0] if reference is None else reference
                yield where, start, charges, reference, x, e.reshape(-1), f
    except (zipfile.BadZipFile, ValueError, RuntimeError) as error:  # RuntimeError: encrypted, or compressed in another way
        if isinstance(error, DataError):
            raise
        raise zipfile.BadZipFile(f"{where}: {error}") from error


class _Array:
    """A .npy file of numbers that is read along its first axis."""

    def __init__(self, stream):
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(np.lib.format.read_magic(stream))
        if header is None:
            raise ValueError("array of another format version, expected 1.0 or 2.0")
        try:
            self.shape, fortran, self.dtype = header(stream)
        except (tokenize.TokenError, SyntaxError, RecursionError, MemoryError) as error:  # what Python's parser raises beside ValueError
            raise ValueError(f"array with a header that is none ({type(error).__name__})") from error
        if self.dtype.kind not in "iuf" or (fortran and len(self.shape) > 1):
            raise ValueError(f"array of {self.dtype}{' in Fortran order' if fortran else ''}, expected numbers in C order")
        self.stream = stream

    def take(self, n: int) -> np.ndarray:
        """The next n entries of the first axis."""
        size = n * math.prod(self.shape[1:]) * self.dtype.itemsize
        data = self.stream.read(size)
        if len(data) != size:
            raise EOFError("array ends early")
        return np.frombuffer(data, self.dtype).reshape(n, *self.shape[1:])


def parse_npz(record: tuple, settings: dict) -> list[Item | Rejected]:
    """Frames of a block; all have the cluster of the file's first frame, as they are the same atoms."""
    where, start, numbers, reference, coords, energies, forces = record
    unit = ENERGY_UNITS[settings.get("energy_unit", "kcal/mol")]
    if not ((numbers > 0) & (numbers < len(molecules.SYMBOLS))).all():
        return [Rejected(f"{where}, frame {start + i}", "unknown element") for i in range(len(coords))]
    key = cluster_key(None, numbers, reference.astype(np.float64))
    return [labelled(f"{where}, frame {start + i}", None, numbers, coords[i], energies[i], forces[i], unit, key=key) for i in range(len(coords))]


def labelled(where, smiles, numbers, positions, energy, forces, energy_unit, force_unit=None, key=None) -> Item | Rejected:
    """A frame in eV and Å, or why not; units are factors (force_unit: energy_unit per Å by default)."""
    force_unit = energy_unit if force_unit is None else force_unit
    positions, energy = np.asarray(positions, dtype=np.float64), float(energy) * energy_unit
    forces = np.asarray(forces, dtype=np.float64) * force_unit
    for name, values in (("positions", positions), ("forces", forces), ("energy", energy)):
        if not (np.abs(values) < 1e12).all():
            return Rejected(where, f"{name} holds NaN, infinity or numbers out of all proportion", suspect="broken numbers")
    if ((numbers < 1) | (numbers >= len(molecules.SYMBOLS))).any():
        return Rejected(where, "unknown element")
    if wrong := molecules.wrong_unit(where, numbers, positions):
        return wrong
    rms = np.sqrt((forces**2).mean())
    if rms > 15:
        return Rejected(where, TOO_STRONG, f"{rms:.3g} eV/angstrom when read as {_unit_name(force_unit)}", f"the forces are in {_likely(rms, force_unit, USUAL)}")
    pulled = len(numbers) > 1 and np.linalg.norm(forces.sum(0)) > 0.05 * np.linalg.norm(forces) and rms > 1e-3
    notes = {"frames with a net force above 5 % of the norm": 1} if pulled else {}
    rows = {"numbers": numbers.astype(np.uint8), "positions": positions.astype(np.float32), "forces": forces.astype(np.float32)}
    return Item(where, key or cluster_key(smiles, numbers, positions), rows, {"energy": energy}, notes=notes)


def cluster_key(smiles: str | None, numbers: np.ndarray, positions: np.ndarray) -> str:
    """Canonical SMILES without atom maps, else that of the connectivity, else the formula."""
    return (smiles and molecules.canonical_smiles(smiles)) or molecules.connectivity(numbers, positions) or molecules.formula(numbers)


def _unit_name(factor: float) -> str:
    return min(FORCE_UNITS, key=lambda name: abs(np.log(FORCE_UNITS[name] / factor)))


def _likely(ratio: float, declared: float, among=tuple(FORCE_UNITS)) -> str:
    """Unit with which forces ``ratio`` times too large, read with the factor ``declared``, come out right."""
    return min(among, key=lambda name: abs(np.log(FORCE_UNITS[name] * ratio / declared)))


def check(path: str, items: list[Item], settings: dict) -> dict[str, int]:
    """``check_units`` of a file or a member of an archive, with the unit that the settings declare."""
    default = "eV" if settings.get("source") == "extxyz" else "kcal/mol"
    return check_units(part(items[0].where), items, ENERGY_UNITS[settings.get("energy_unit", default)])


def check_units(where: str, items: list[Item], force_unit: float) -> dict[str, int]:
    """Compare the labels of some items with each other and with GFN2-xTB; returns counts.

    Energies of neighbouring frames of one molecule must differ by the work of their forces; forces of three small molecules must be about as strong as
    those of GFN2-xTB, where tblite is installed and they point the same way. GFN2-xTB forces differ from those of density functionals by some 20 %, units
    by a factor of 1.9 or more.

    Parameters
    ----------
    force_unit : eV/Å, the factor that the forces were multiplied with

    Raises
    ------
    DataError
        names the likely unit
    """
    ratios = _xtb_ratios(items)
    if len(ratios) and (ratios < 0).all():
        raise DataError(f"{where}: forces point against those of GFN2-xTB ({len(ratios)} items), expected along them; likely: they are gradients, the negative of forces")
    ratios = ratios[ratios > 0]
    ratio = float(np.median(ratios)) if len(ratios) and ratios.max() < 2 * ratios.min() else 1.0  # forces of relaxed geometries are noise, in no fixed ratio
    unit = _likely(ratio, force_unit)
    fits = abs(np.log(FORCE_UNITS[unit] * ratio / force_unit)) < np.log(ALIKE)
    if abs(np.log(ratio)) > np.log(ALIKE) and fits:
        raise DataError(
            f"{where}: forces are {ratio:.3g} times those of GFN2-xTB ({len(ratios)} items) when read as {_unit_name(force_unit)}, expected about 1; "
            f"likely: the forces are in {unit}"
        )
    slope, pairs = _work_ratio(items)
    if slope < 0:
        raise DataError(f"{where}: energies of {pairs} pairs of neighbouring frames rise where their forces do work, expected to fall; likely: gradients, the negative of forces")
    if abs(np.log(slope)) > np.log(ALIKE):
        raise DataError(
            f"{where}: energies of {pairs} pairs of neighbouring frames differ by {slope:.3g} times the work of their forces, expected about 1; "
            f"forces read as {_unit_name(force_unit)}, likely: they are in {_likely(1 / slope, force_unit)}, or the energies are in another unit"
        )
    counts = {"items compared with GFN2-xTB": len(ratios), "pairs of frames whose energies were compared with their forces": pairs}
    if not fits or (len(ratios) and ratio == 1.0):
        counts["parts of files whose forces are those of GFN2-xTB in no unit"] = 1
    return counts


def _work_ratio(items) -> tuple[float, int]:
    """Slope of energy differences against the work −½(F₁ + F₂)·Δx, over consecutive frames of a molecule closer than 0.15 Å r.m.s.; the number of pairs.

    1 and 0 where the two do not correlate.
    """
    energy, work = [], []
    for a, b in zip(items, items[1:]):
        if a.cluster != b.cluster or not np.array_equal(a.rows["numbers"], b.rows["numbers"]):
            continue
        step = b.rows["positions"].astype(np.float64) - a.rows["positions"]
        if (step**2).mean() < 0.15**2:
            energy.append(b.values["energy"] - a.values["energy"])
            work.append(-0.5 * float(((a.rows["forces"] + b.rows["forces"]) * step).sum()))
    energy, work = np.array(energy), np.array(work)
    if len(work) < 5 or energy.std() == 0 or work.std() == 0 or abs(np.corrcoef(energy, work)[0, 1]) < 0.95:
        return 1.0, 0
    return float(energy @ work / (work @ work)), len(work)


def _xtb_ratios(items, n: int = 3, most_atoms: int = 60) -> np.ndarray:
    """r.m.s. force over that of GFN2-xTB, for those of the n small items of the strongest forces that are ``ALIGNED``, negative where they point the other way;
    empty without tblite."""
    if find_spec("tblite") is None:
        return np.zeros(0)
    ratios = []
    small = sorted((item for item in items if 1 < len(item.rows["numbers"]) <= most_atoms), key=lambda item: -float((item.rows["forces"] ** 2).mean()))
    small.sort(key=lambda item: int(item.rows["numbers"].sum()) % 2)  # an odd number of electrons: an ion or a radical
    for item in small[:n]:
        found = [_against_xtb(item, charge) for charge in ((0, 1, -1) if item.rows["numbers"].sum() % 2 else (0,))]
        if len(found) == 1 and not 1 / ALIKE < found[0][1] < ALIKE:
            found += [_against_xtb(item, charge) for charge in (2, -2)]
        cosine, ratio = max(found, key=lambda pair: abs(pair[0]))  # the charge is not known; with that of the labels the forces agree best
        if abs(cosine) > ALIGNED:
            ratios.append(math.copysign(ratio, cosine))
    return np.array(ratios)


def _against_xtb(item: Item, charge: int) -> tuple[float, float]:
    """Cosine between the forces of an item and those of GFN2-xTB, and ratio of their norms; zeros where there are none."""
    from tblite.interface import Calculator

    forces = item.rows["forces"].astype(np.float64)
    try:
        calculator = Calculator("GFN2-xTB", item.rows["numbers"].astype(int), item.rows["positions"].astype(np.float64) / BOHR, charge=charge)
        calculator.set("verbosity", 0)
        expected = calculator.singlepoint().get("gradient") * (-HARTREE / BOHR)
    except (RuntimeError, ValueError):  # no convergence, an element without parameters
        return 0.0, 0.0
    one, two = float(np.linalg.norm(forces)), float(np.linalg.norm(expected))
    return (float((forces * expected).sum()) / (one * two), one / two) if min(one, two) > 1e-9 else (0.0, 0.0)
