"""Structures to measure on, with reference labels under explicit keys, and which of them belong together."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from equidyn.errors import ArgumentError, DataError
from equidyn.probe.quantities import label_of

if TYPE_CHECKING:
    from ase import Atoms

COMPOSITIONS = 8  # from that many on, a composition is one cluster; fewer are cut into blocks of frames
BLOCKS = 20


@dataclass
class Structure:
    """``index`` in the file or list; ``atoms`` without a calculator; ``labels`` by quantity."""

    index: int
    atoms: "Atoms"
    labels: dict[str, np.ndarray]
    cluster: str = ""


@dataclass
class Structures:
    """What is measured, what was left out (index → why), and how clusters were made."""

    chosen: list[Structure]
    left_out: dict[int, str]
    n_read: int
    clusters: str
    notes: list[str] = field(default_factory=list)


def read(path: str | Path) -> list["Atoms"]:
    """All frames of a file that ase can read.

    Raises
    ------
    DataError
        no such file, nothing that ase can read, no frame
    """
    import ase.io

    path = Path(path)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise DataError(f"{path}: {found}, expected structures (extended XYZ, or what else ase reads)")
    try:
        frames = ase.io.read(path, index=":")
    except Exception as error:  # ase's readers raise many types on malformed files
        text = f"{type(error).__name__}: {error}"[:300]
        raise DataError(f"{path}: ase cannot read it ({text}), expected structures") from error
    if not frames:
        raise DataError(f"{path}: no frames, expected at least one structure")
    return frames


def prepare(
    frames: Iterable["Atoms"],
    keys: dict[str, str],
    cluster_key: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    where: str = "frames",
) -> Structures:
    """Labels, clusters and a random choice of ``limit`` structures, in the order of the file.

    Parameters
    ----------
    keys : quantity → name under which its reference label stands (an array of the atoms, an entry of
        ``info``, or a result of an attached calculator)
    cluster_key : entry of ``info``; structures that share it are not independent (conformers of a molecule)

    Raises
    ------
    DataError
        no structure, a key that no structure has, no structure left
    ArgumentError
        a limit below 1
    """
    frames = list(frames)
    if not frames:
        raise DataError(f"{where}: no structures, expected at least one")
    if limit is not None and limit < 1:
        raise ArgumentError(f"limit: {limit}, expected a number of structures from 1")
    for name, key in keys.items():
        if not any(key in _entries(atoms) for atoms in frames):
            there = ", ".join(sorted(set().union(*(_entries(atoms) for atoms in frames[:100])))) or "none"
            raise DataError(f"{where}: no structure has {name} under the key {key!r}; keys there: {there}")
    found, left_out = [], {}
    for index, atoms in enumerate(frames):
        try:
            found.append(Structure(index, _bare(atoms), _labels(atoms, keys), _cluster(atoms, cluster_key)))
        except DataError as error:
            left_out[index] = str(error)
    if not found:
        reason = next(iter(left_out.values()))
        raise DataError(f"{where}: none of {len(frames)} structures can be used; the first: {reason}")
    if limit is not None and limit < len(found):
        picked = np.sort(np.random.default_rng(seed).permutation(len(found))[:limit])
        found = [found[i] for i in picked]
    how = f"key {cluster_key}" if cluster_key else _cluster_by_composition(found)
    return Structures(found, left_out, len(frames), how, _notes(frames, keys))


def _entries(atoms: "Atoms") -> dict:
    """Everything that may be a label, by key."""
    results = atoms.calc.results if atoms.calc is not None and hasattr(atoms.calc, "results") else {}
    return {**results, **atoms.info, **{k: v for k, v in atoms.arrays.items() if k not in BARE}}


BARE = ("numbers", "positions")


def _bare(atoms: "Atoms") -> "Atoms":
    """A copy without a calculator; charge, spin, pbc, constraints and everything in ``info`` stay."""
    if not len(atoms):
        raise DataError("no atoms")
    if not np.isfinite(atoms.positions).all():
        raise DataError("a position is not finite")
    copy = atoms.copy()
    copy.calc = None
    return copy


def _labels(atoms: "Atoms", keys: dict[str, str]) -> dict[str, np.ndarray]:
    entries, labels = _entries(atoms), {}
    for name, key in keys.items():
        if key not in entries:
            raise DataError(f"no {name} under the key {key!r}")
        try:
            labels[name] = label_of(name, entries[key], len(atoms))
        except (TypeError, ValueError) as error:
            raise DataError(f"label {key!r}: {error}") from error
    return labels


def _cluster(atoms: "Atoms", key: str | None) -> str:
    if key is None:
        return atoms.get_chemical_formula()
    if key not in atoms.info:
        raise DataError(f"no cluster key {key!r} in info")
    return str(atoms.info[key])


def _cluster_by_composition(found: list[Structure]) -> str:
    """Conformers of a molecule share a composition. Where there are few compositions, frames of each are
    cut into consecutive blocks: neighbours of a trajectory are alike, too.
    """
    sizes = Counter(structure.cluster for structure in found)
    if len(sizes) >= COMPOSITIONS:
        return "compositions"
    length = max(1, -(-len(found) // BLOCKS))
    seen: Counter = Counter()
    for structure in found:
        block = seen[structure.cluster] // length
        seen[structure.cluster] += 1
        structure.cluster = f"{structure.cluster}/{block}"
    return "blocks of consecutive frames"


def _notes(frames: list["Atoms"], keys: dict[str, str]) -> list[str]:
    if keys:
        return []
    there = {key for atoms in frames[:20] for key in _entries(atoms)}
    labels = sorted(key for key in there if "force" in key.lower() or "energy" in key.lower())
    if not labels:
        return []
    return [f"the structures have {', '.join(labels)}, which no key was given for: no share of a loss"]
