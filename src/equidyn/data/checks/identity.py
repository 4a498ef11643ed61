"""Which items are the same molecule? Names and SMILES of the file say so, and atoms in the same order whose
bonds differ only as those of one molecule in motion do.

A stretched bond is lost to perception, a short contact becomes one: the bonds of one frame are then part
of those of another. Two closed-shell isomers with the same atoms in the same order have bonds that the
other lacks, both of them; but for ring openings, so that only bonds seen in several frames stand for a
molecule in motion.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable

import numpy as np

RARE, MOVED = 0.05, 2  # of the frames of another pattern; bonds that a rare pattern may have moved
FRAMES = 3  # with the same bonds, that a molecule in motion has
PATTERNS = 2000  # of the same atoms that are compared with each other


def graph(numbers: np.ndarray, bonds: np.ndarray) -> str:
    """Atoms in order, as a digest, and the bonds between them, from a matrix [n, n] of zeros and ones."""
    i, j = np.nonzero(np.triu(bonds, 1))
    return f"{atoms(numbers)}:{','.join(f'{a}-{b}' for a, b in zip(i.tolist(), j.tolist()))}"


def atoms(numbers: np.ndarray) -> str:
    """Digest of atomic numbers in their order."""
    return hashlib.blake2b(np.asarray(numbers, np.uint8).tobytes(), digest_size=9).hexdigest()


def merged(entries: list[tuple[str, str, str]], counts: list[int]) -> np.ndarray:
    """Label [k] of the molecule of each distinct (cluster key, graph, alias), of which there are ``counts``
    items; a label is the index of the entry with the most items.
    """
    parent = list(range(len(entries)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    def join(i: int, j: int) -> None:
        i, j = root(i), root(j)
        if i != j:
            large, small = (i, j) if (counts[i], -i) >= (counts[j], -j) else (j, i)
            parent[small] = large

    weights = list(counts)
    first: dict[Hashable, int] = {}
    by_atoms = defaultdict(list)
    for i, (key, bonds, alias) in enumerate(entries):
        for name in (("key", key), ("alias", alias), ("graph", bonds)):
            if name[1]:
                join(first.setdefault(name, i), i)
        if bonds:
            by_atoms[bonds.partition(":")[0]].append(i)
    for members in by_atoms.values():
        if len(members) > 1:
            _join_frames(members, entries, weights, join)
    return np.array([root(i) for i in range(len(entries))], dtype=np.int64)


def _join_frames(members: list[int], entries: list, weights: list[int], join) -> None:
    """Join the graphs of one list of atoms that may be frames of one molecule."""
    share, holder = Counter(), {}
    for i in members:
        bonds = frozenset(entries[i][1].partition(":")[2].split(",")) - {""}
        share[bonds] += weights[i]
        holder.setdefault(bonds, i)
    patterns = [bonds for bonds, _ in share.most_common(PATTERNS)]
    for k, one in enumerate(patterns):
        if share[one] < FRAMES:
            break
        for other in patterns[k + 1 :]:  # which has no more frames
            rare = share[other] < RARE * share[one]
            if one <= other or other <= one or (rare and len(one ^ other) <= MOVED):
                join(holder[one], holder[other])
