"""C-alpha traces out of the wheel of cgdms 1.0, which ships experimental chains of up to 100 residues.

A chain in the wheel is a text file: sequence, predicted secondary structure, and per residue x y z of N, CA,
C and the centroid of the side chain, in Å. The arithmetic is of whole numbers: the same wheel gives the same
arrays.
"""

import zipfile
import zlib
from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np

from equidyn.data.readers.sequence_clusters import ALPHABET
from equidyn.data.readers.structures import NEAREST
from equidyn.errors import DataError

FOLDER = "cgdms/protein_data/train_val/"
SOURCE = "experimental chains of up to 100 residues (PDB; C-alphas as in the wheel of cgdms 1.0)"
LICENCE = "MIT (cgdms 1.0); PDB content CC0"
FEWEST = 20  # residues
CLASH = 3.0  # Å: no two C-alphas that do not follow each other come closer
FINE = 1000  # steps of the wheel's coordinates in 1 Å
LARGEST = 1 << 20  # bytes of a chain's file


class Unusable(Exception):
    """A chain that is dropped: the reason."""


def arrays(wheel: str | Path, scale: int) -> tuple[dict[str, np.ndarray], dict]:
    """Arrays of all usable chains, as ``generate.experimental_chains`` has them, and counts: in the wheel,
    kept, residues, dropped by reason.

    Parameters
    ----------
    scale : steps of the positions in 1 Å

    Raises
    ------
    DataError
        no wheel, no chains in it, or nothing usable
    """
    names, residues, positions, dropped = [], [], [], Counter()
    try:
        with zipfile.ZipFile(wheel) as file:
            members = sorted(
                info.filename
                for info in file.infolist()
                if info.filename.startswith(FOLDER) and info.filename.endswith(".txt")
            )
            for member in members:
                try:
                    letters, fine = parse(_text(file, member))
                except Unusable as reason:
                    dropped[str(reason)] += 1
                    continue
                names.append(PurePosixPath(member).stem)
                residues.append(letters)
                positions.append(centred(fine, scale))
    # RuntimeError: an encrypted member, or an unknown compression
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise DataError(f"{wheel}: not readable as a wheel ({error}), expected that of cgdms 1.0") from error
    if not names:
        raise DataError(f"{wheel}: {len(members)} files in {FOLDER}, none usable: {dict(dropped)}")
    counts = {"in the wheel": len(members), "kept": len(names), "residues": sum(map(len, residues))}
    counts |= {f"dropped: {reason}": n for reason, n in sorted(dropped.items())}
    return {
        "positions": np.concatenate(positions),
        "residues": np.concatenate(residues),
        "offsets": np.cumsum([0, *map(len, residues)], dtype=np.int32),
        "names": np.array(names, "S"),
        "source": np.array(SOURCE),
        "licence": np.array(LICENCE),
    }, counts


def _text(file: zipfile.ZipFile, member: str) -> str:
    if file.getinfo(member).file_size > LARGEST:
        raise Unusable("too large for a chain")
    return file.read(member).decode("ascii", "replace")


def parse(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Residues uint8 [n] and C-alpha positions int64 [n, 3] in 0.001 Å of a chain's file.

    Raises
    ------
    Unusable
        too short, or not what a chain looks like
    """
    lines = text.splitlines()
    if len(lines) < 2:
        raise Unusable("rows that are no coordinates")
    sequence, _, *rows = lines
    try:
        atoms = np.array([row.split() for row in rows], np.float64).reshape(-1, 4, 3)
    except ValueError:
        raise Unusable("rows that are no coordinates") from None
    if len(atoms) != len(sequence):
        raise Unusable("sequence and coordinates differ in length")
    if set(sequence) - set(ALPHABET):
        raise Unusable("other letters than the twenty")
    if not np.isfinite(atoms).all():
        raise Unusable("coordinates not finite")
    if len(sequence) < FEWEST:
        raise Unusable(f"fewer than {FEWEST} residues")
    alphas = atoms[:, 1]
    distance = np.linalg.norm(alphas[:, None] - alphas, axis=-1)
    if np.diagonal(distance, 1).min() < NEAREST:
        raise Unusable(f"consecutive CA less than {NEAREST:g} angstrom apart")
    if distance[np.triu_indices(len(alphas), 2)].min() < CLASH:
        raise Unusable(f"other CA less than {CLASH:g} angstrom apart")
    return (
        np.array([ALPHABET.index(letter) for letter in sequence], np.uint8),
        np.rint(alphas * FINE).astype(np.int64),
    )


def centred(fine: np.ndarray, scale: int) -> np.ndarray:
    """Positions int64 [n, 3] in 0.001 Å about their centroid, rounded to int16 in 1/scale Å (halves up)."""
    step, n = FINE // scale, len(fine)
    scaled = n * fine - fine.sum(0)  # n times the distance from the centroid
    return ((2 * scaled + step * n) // (2 * step * n)).astype(np.int16)
