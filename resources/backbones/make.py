"""Make chains.npz from the wheel of cgdms 1.0: C-alpha traces of the experimental chains that it ships.

    pip download --no-deps --dest WHEELS cgdms==1.0
    python resources/backbones/make.py WHEELS/cgdms-1.0-py3-none-any.whl resources/backbones/chains.npz

A chain in the wheel is a text file: sequence, predicted secondary structure, and per residue x y z of N, CA,
C and the centroid of the side chain, in Å. The arithmetic is of whole numbers: the same wheel gives the same
bytes.
"""

import argparse
import hashlib
import json
import zipfile
from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np

from equidyn.data.generate.experimental_chains import SCALE
from equidyn.data.readers.sequence_clusters import ALPHABET
from equidyn.data.readers.structures import NEAREST
from equidyn.errors import DataError
from equidyn.files import atomic_write

SHA256 = "8a7a9ea86df276acc7063b1c162cfbb20a8dd380cef345294f85817558798ca0"  # of the wheel
FOLDER = "cgdms/protein_data/train_val/"
SOURCE = "experimental chains of up to 100 residues (PDB; C-alphas as in the wheel of cgdms 1.0)"
LICENCE = "MIT (cgdms 1.0); PDB content CC0"
FEWEST = 20  # residues
CLASH = 3.0  # Å: no two C-alphas that do not follow each other come closer
FINE = 1000  # steps of the wheel's coordinates in 1 Å


class Unusable(Exception):
    """A chain that is dropped: the reason."""


def parse(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Residues uint8 [n] and C-alpha positions int64 [n, 3] in 0.001 Å of a chain's file.

    Raises
    ------
    Unusable
        too short, or not what a chain looks like
    """
    sequence, _, *rows = text.splitlines()
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


def centred(fine: np.ndarray) -> np.ndarray:
    """Positions int64 [n, 3] in 0.001 Å about their centroid, rounded to int16 in 0.01 Å (halves up)."""
    step, n = FINE // SCALE, len(fine)
    scaled = n * fine - fine.sum(0)  # n times the distance from the centroid
    return ((2 * scaled + step * n) // (2 * step * n)).astype(np.int16)


def convert(wheel: Path, out: Path) -> dict:
    """Write the file of chains; returns counts: in the wheel, kept, residues, dropped by reason.

    Raises
    ------
    DataError
        no chains in the wheel, or nothing usable
    """
    names, residues, positions, dropped = [], [], [], Counter()
    with zipfile.ZipFile(wheel) as file:
        members = sorted(
            name for name in file.namelist() if name.startswith(FOLDER) and name.endswith(".txt")
        )
        for member in members:
            try:
                letters, fine = parse(file.read(member).decode("ascii"))
            except Unusable as reason:
                dropped[str(reason)] += 1
                continue
            names.append(PurePosixPath(member).stem)
            residues.append(letters)
            positions.append(centred(fine))
    if not names:
        raise DataError(f"{wheel}: {len(members)} files in {FOLDER}, none usable: {dict(dropped)}")
    with atomic_write(out) as temporary, open(temporary, "wb") as opened:
        np.savez(  # not compressed: a zlib of another version would write other bytes
            opened,
            positions=np.concatenate(positions),
            residues=np.concatenate(residues),
            offsets=np.cumsum([0, *map(len, residues)], dtype=np.int32),
            names=np.array(names, "S"),
            source=np.array(SOURCE),
            licence=np.array(LICENCE),
        )
    return {
        "in the wheel": len(members),
        "kept": len(names),
        "residues": sum(map(len, residues)),
        **{f"dropped: {reason}": n for reason, n in sorted(dropped.items())},
    }


def main() -> None:
    """Check the wheel, make the file, print counts and its digest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    found = hashlib.sha256(arguments.wheel.read_bytes()).hexdigest()
    if found != SHA256:
        raise DataError(f"{arguments.wheel}: sha256 {found}, expected {SHA256}")
    counts = convert(arguments.wheel, arguments.out)
    content = arguments.out.read_bytes()
    print(json.dumps({**counts, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}))


if __name__ == "__main__":
    main()
