"""Drug-like molecules out of the wheel of molsets 0.3.1 (MOSES), which ships 1.6 million SMILES as a packed
CSV.

Polykovskiy et al., Front. Pharmacol. 11, 565644 (2020): filtered from ZINC, 250 to 350 Da, uncharged.
"""

import gzip
import random
import zipfile
import zlib
from pathlib import Path

from equidyn.data.generate.molecule_lists import canonical_of, n_atoms
from equidyn.errors import DataError

MEMBER = "moses/dataset/data/train.csv.gz"
SOURCE = "MOSES (wheel of molsets 0.3.1)"
LARGEST = 1 << 30  # bytes of the list, unpacked


def drawn(
    wheel: str | Path, n: int, max_atoms: int, seed: int
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """n distinct molecules of at most ``max_atoms`` atoms, hydrogens included, of the list in random order.

    Returns
    -------
    (name, canonical SMILES) of each, and (name, reason) of those that were looked at and left out

    Raises
    ------
    DataError
        no such wheel, no list in it, or fewer molecules that fit
    """
    lines = _lines(wheel)
    kept, left, seen = [], [], {}
    for number in random.Random(seed).sample(range(1, len(lines)), len(lines) - 1):
        name, smiles = f"MOSES {number}", lines[number].split(",")[0].strip()
        canonical, reason = canonical_of(smiles, seen)
        if reason is None and n_atoms(canonical) > max_atoms:
            reason = "too many atoms"
        if reason is not None:
            left.append((name, reason))
            continue
        seen[canonical] = name
        kept.append((name, canonical))
        if len(kept) == n:
            return kept, left
    raise DataError(
        f"{wheel}: {len(kept)} molecules of at most {max_atoms} atoms in {MEMBER}, expected {n} "
        f"(n_molecules, max_atoms)"
    )


def _lines(wheel: str | Path) -> list[str]:
    """Lines of the list, the header first."""
    try:
        with zipfile.ZipFile(wheel) as file, file.open(MEMBER) as packed, gzip.open(packed) as unpacked:
            found = unpacked.read(LARGEST + 1)
        if len(found) > LARGEST:
            raise DataError(f"{wheel}: {MEMBER} is larger than {LARGEST} bytes, expected the list of MOSES")
        lines = found.decode("ascii").splitlines()
    # KeyError: no such member; RuntimeError: an encrypted one, or an unknown compression
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError, ValueError) as error:
        raise DataError(
            f"{wheel}: no {MEMBER} to be read ({error}), expected the wheel of molsets 0.3.1"
        ) from error
    if not lines or not lines[0].upper().startswith("SMILES"):
        raise DataError(f"{wheel}: {MEMBER} begins with {lines[:1]}, expected a column SMILES")
    return lines
