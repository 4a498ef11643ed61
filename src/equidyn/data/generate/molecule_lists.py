"""Lists of molecules as SMILES, and new molecules from fragments of the listed ones."""

import csv
import gzip
import random
import re
import zlib
from collections.abc import Container, Iterator
from pathlib import Path
from typing import IO

from equidyn.data.readers.molecules import LONGEST_SMILES
from equidyn.errors import DataError

UNPARSED = "SMILES does not parse"
SEPARATOR = re.compile(r"[\s,;]+")  # of the fields of a .smi line: no SMILES holds one
TRIPLETS = (
    "O=O",
    "O=S",
    "S=S",
)  # canonical SMILES of molecules whose ground state has two unpaired electrons
ELEMENTS = {"H": 1, "C": 6, "N": 7, "O": 8, "F": 9, "P": 15, "S": 16, "Cl": 17, "Br": 35}


def read_molecules(path: str | Path, rejected: list[tuple[str, str]] | None = None) -> list[tuple[str, str]]:
    """(name, canonical SMILES) of a list of molecules: a CSV with a column smiles (name or another identifier
    optional), or .smi lines; also .gz.

    Fields of a .smi line end at a blank, a tab, a comma or a semicolon; a first line that begins with the
    word smiles is a header. A molecule that cannot be used (SMILES that does not parse, charge,
    fragments, unpaired electrons, elements outside ``ELEMENTS``, a duplicate) is appended to ``rejected``
    as (where, reason), or, without such a list, refused.

    Raises
    ------
    DataError
        no such file or column, no usable molecule; without ``rejected`` also any molecule that cannot be used
    """
    rows, seen, names = [], {}, set()
    for where, name, smiles in _listed(Path(path)):
        canonical, reason = canonical_of(smiles, seen)
        if reason is None:
            seen[canonical] = name = name if name not in names else f"{name} ({where.rsplit(', ', 1)[1]})"
            names.add(name)
            rows.append((name, canonical))
        elif rejected is not None:
            rejected.append((where, reason))
        else:
            raise DataError(
                f"{where} ({name}): {reason}{f' {seen[canonical]!r}' if canonical in seen else ''}, found "
                f"{smiles!r}"
            )
    if not rows:
        raise DataError(f"{path}: no usable molecules")
    return rows


def canonical_of(smiles: str, seen: Container[str] = ()) -> tuple[str | None, str | None]:
    """Canonical SMILES of a molecule, and why it cannot be used, None where it can; ``seen`` are the
    canonical ones that there are.
    """
    from rdkit import Chem, RDLogger

    RDLogger.DisableLog("rdApp.*")
    if (
        len(smiles.split()) != 1 or len(smiles) > LONGEST_SMILES
    ):  # RDKit would take what follows a space as a name
        return None, UNPARSED
    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None or molecule.GetNumAtoms() == 0:
        return None, UNPARSED
    if (
        {atom.GetSymbol() for atom in Chem.AddHs(molecule).GetAtoms()} - set(ELEMENTS)
        or "." in smiles
        or Chem.GetFormalCharge(molecule)
    ):
        return None, "not one neutral molecule of the elements " + " ".join(ELEMENTS)
    if _open_shell(molecule):
        return None, "open shell (unpaired electrons), expected closed-shell molecules"
    canonical = Chem.MolToSmiles(molecule)
    return canonical, "same molecule as an earlier one" if canonical in seen else None


def _open_shell(molecule) -> bool:
    """Whether a molecule has unpaired electrons, which a label of a closed shell is none of."""
    from rdkit import Chem
    from rdkit.Chem import Descriptors

    return Descriptors.NumRadicalElectrons(molecule) > 0 or Chem.MolToSmiles(molecule) in TRIPLETS


def _listed(path: Path) -> Iterator[tuple[str, str, str]]:
    """(where, name, SMILES) of every line of a list."""
    if not path.is_file():
        raise DataError(f"{path}: no such molecules file")
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", newline="", encoding="utf-8-sig") as file:
            yield from _lines(path, file) if ".smi" in path.suffixes else _rows(path, file)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise DataError(
            f"{path}: not a readable list of molecules ({type(error).__name__}: {error})"
        ) from error


def _lines(path: Path, file: IO[str]) -> Iterator[tuple[str, str, str]]:
    for number, line in enumerate(file, 1):
        smiles, *rest = SEPARATOR.split(line.strip(), maxsplit=1)
        if not smiles or (number == 1 and smiles.lower() in ("smiles", "canonical_smiles")):
            continue
        separated = rest and line.strip()[len(smiles)] in ",;"
        name = SEPARATOR.split(rest[0])[0] if separated else "".join(rest)
        yield f"{path}, line {number}", name.strip() or f"line {number}", smiles


def _rows(path: Path, file: IO[str]) -> Iterator[tuple[str, str, str]]:
    header = file.readline()
    file.seek(0)
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(file, delimiter=delimiter)
    columns = {column.strip().lower(): column for column in reader.fieldnames or () if column}
    if "smiles" not in columns:
        raise DataError(f"{path}: columns {reader.fieldnames}, expected at least smiles")
    named = next((columns[c] for c in ("name", "id", "mol_id", "compound id") if c in columns), None)
    for row in reader:
        yield (
            f"{path}, line {reader.line_num}",
            (row[named] or "" if named else "").strip() or f"line {reader.line_num}",
            (row[columns["smiles"]] or "").strip(),
        )


def recombine(molecules: list[tuple[str, str]], n: int, max_atoms: int, seed: int) -> list[tuple[str, str]]:
    """``molecules`` and, up to n in all, new distinct ones from BRICS fragments of theirs (RDKit), with at
    most max_atoms atoms; what ``canonical_of`` refuses, such as the ion of half a zwitterion, is none.

    Raises
    ------
    DataError
        if the fragments do not give n molecules
    """
    from rdkit import Chem
    from rdkit.Chem import BRICS

    parents = [Chem.MolFromSmiles(smiles) for _, smiles in molecules]
    fragments = sorted({f for parent in parents for f in BRICS.BRICSDecompose(parent, minFragmentSize=2)})
    random.seed(seed)  # BRICSBuild shuffles with the global generator
    known, result = {smiles for _, smiles in molecules}, list(molecules)
    for product in BRICS.BRICSBuild(
        [Chem.MolFromSmiles(f) for f in fragments], scrambleReagents=True, maxDepth=2
    ):
        if len(result) >= n:
            break
        product.UpdatePropertyCache()
        smiles = Chem.MolToSmiles(product)
        canonical, reason = canonical_of(smiles, known)
        if reason is None and n_atoms(smiles) <= max_atoms:
            known.add(canonical)
            result.append((f"BRICS {len(result)}", smiles))
    if len(result) < n:
        raise DataError(f"recombine: {len(result)} molecules of at most {max_atoms} atoms, expected {n}")
    return result


def n_atoms(smiles: str) -> int:
    """Number of atoms, hydrogens included."""
    from rdkit import Chem

    return Chem.AddHs(Chem.MolFromSmiles(smiles)).GetNumAtoms()
