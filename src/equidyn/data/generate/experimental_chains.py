"""Shipped source of protein backbones: fragments of experimental chains, from one small file of C-alpha
traces.

The file is an npz of ``positions`` int16 [n, 3] (0.01 Å, about the centroid of each chain), ``residues``
uint8 [n] (index into ``sequence_clusters.ALPHABET``), ``offsets`` int32 [k + 1] (chain i owns rows
offsets[i]:offsets[i + 1]), ``names`` S [k], ``source`` and ``licence`` (text);
``resources/backbones/make.py`` writes it. A chain break is where consecutive C-alphas are more than
``structures.BREAK`` apart.

A chain is taken whole where its length allows, else one fragment of it is, of random length at a random
place, which depends on the seed and the chain's name alone. All chains of the file are clustered whole, by
sequence: their clusters do not depend on what is kept.
"""

import hashlib
import zipfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from equidyn.data.readers import chains_wheel
from equidyn.data.readers.sequence_clusters import ALPHABET
from equidyn.data.readers.structures import BREAK, LONGEST_NAME
from equidyn.errors import DataError

SCALE = 100  # steps of the stored positions in 1 Å
LONGEST = LONGEST_NAME - len("/12345-12345")  # bytes of a chain's name
TOO_SHORT, BROKEN, BEYOND = "too short", "chain break in the fragment", "beyond n_chains"  # reasons
ARRAYS = {  # kind and trailing shape
    "positions": ("int16", (3,)),
    "residues": ("uint8", ()),
    "offsets": ("int32", ()),
    "names": ("bytes", ()),
}
TEXTS = ("source", "licence")


@dataclass
class Chains:
    """Chains of a file: name, C-alpha positions float64 [n, 3] in Å about the centroid, residues uint8
    [n].
    """

    names: list[str]
    positions: list[np.ndarray]
    residues: list[np.ndarray]
    source: str
    licence: str

    def sequences(self) -> list[str]:
        """One-letter codes of all chains."""
        return ["".join(ALPHABET[i] for i in residues) for residues in self.residues]


@dataclass(frozen=True)
class Fragment:
    """Residues ``start`` to ``stop`` - 1 of a chain, counted from 0; ``name`` counts them from 1, both ends
    included.
    """

    chain: int  # index into Chains
    start: int
    stop: int
    name: str


def read(path: str | Path) -> Chains:
    """Chains of a file, in its order; of the package's own wheel, too.

    Raises
    ------
    DataError
        not such a file, missing arrays, arrays of another type or shape, or that disagree
    """
    if Path(path).suffix == ".whl":
        arrays, _ = chains_wheel.arrays(path, SCALE)
    else:
        arrays = _arrays(path)
    texts = [str(arrays.pop(name)) for name in TEXTS]
    for name, (kind, trailing) in ARRAYS.items():
        found = arrays[name]
        fits = found.dtype.kind == "S" if kind == "bytes" else found.dtype == kind
        if not fits or found.shape[1:] != trailing or found.ndim != 1 + len(trailing):
            raise DataError(
                f"{path}: {name} is {found.dtype} {found.shape}, expected {kind} {('n', *trailing)}"
            )
    positions, residues, offsets, names = arrays.values()
    names = [name.decode("ascii", "replace") for name in names]
    if wrong := _wrong(len(positions), residues, offsets, names):
        raise DataError(f"{path}: {wrong}")
    bounds = list(pairwise(offsets.tolist()))
    return Chains(
        names,
        [positions[a:b] / SCALE for a, b in bounds],
        [residues[a:b] for a, b in bounds],
        *texts,
    )


def _arrays(path: str | Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = sorted({*ARRAYS, *TEXTS} - set(file))
            arrays = {name: file[name] for name in (*ARRAYS, *TEXTS) if name not in missing}
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not readable as npz ({error}), expected a file of chains") from error
    if missing:
        raise DataError(f"{path}: no {', '.join(missing)}; expected a file of chains")
    return arrays


def _wrong(n: int, residues: np.ndarray, offsets: np.ndarray, names: list[str]) -> str | None:
    """What disagrees between the arrays of a file with n positions, or None."""
    if len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != n or (offsets[1:] <= offsets[:-1]).any():
        return f"offsets do not part {n} positions into one or more chains"
    if len(residues) != n or residues.max() >= len(ALPHABET):
        return f"residues are {len(residues)} up to {residues.max()}, expected {n} indices into {ALPHABET}"
    if len(names) != len(offsets) - 1 or len(set(names)) != len(names):
        return (
            f"{len(names)} names, {len(set(names))} distinct, expected one for each of "
            f"{len(offsets) - 1} chains"
        )
    if longest := max(names, key=len)[LONGEST:]:
        return f"a name {LONGEST + len(longest)} bytes long, expected at most {LONGEST}"
    return None


def fragments(chains: Chains, settings: dict) -> tuple[list[Fragment], list[tuple[str, str]]]:
    """One fragment per chain that has one, in the order of the chains; and (name, reason) of every other.

    ``settings``: seed, min_residues, max_residues, and optional n_chains, the most that are kept: of those
    that can be, a random subset, nested in larger ones.

    Raises
    ------
    DataError
        min_residues above max_residues
    """
    low, high = settings["min_residues"], settings["max_residues"]
    if low > high:
        raise DataError(f"chains: min_residues {low} and max_residues {high}, expected min <= max")
    found, reasons = {}, {}
    for i, (name, positions) in enumerate(zip(chains.names, chains.positions)):
        if len(positions) < low:
            reasons[i] = TOO_SHORT
            continue
        start, stop = _place(len(positions), low, high, settings["seed"], name)
        if (np.linalg.norm(np.diff(positions[start:stop], axis=0), axis=1) > BREAK).any():
            reasons[i] = BROKEN
        else:
            found[i] = Fragment(i, start, stop, f"{name}/{start + 1}-{stop}")
    order = np.random.default_rng(settings["seed"]).permutation(len(chains.names)).tolist()
    usable = [i for i in order if i in found]
    for i in usable[settings.get("n_chains", len(usable)) :]:
        reasons[i] = BEYOND
    return (
        [fragment for i, fragment in found.items() if i not in reasons],
        [(chains.names[i], reasons[i]) for i in sorted(reasons)],
    )


def _place(n: int, low: int, high: int, seed: int, name: str) -> tuple[int, int]:
    """First residue of a fragment of a chain of n residues, and the one after its last."""
    if n <= high:
        return 0, n
    digest = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    generator = np.random.default_rng([seed, digest])
    length = int(generator.integers(low, high + 1))
    start = int(generator.integers(n - length + 1))
    return start, start + length
