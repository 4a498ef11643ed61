"""Embedded source of protein backbones: synthetic C-alpha traces of globular shape, no real protein among
them.

A chain is a string of helices, strands and loops (all-alpha, all-beta or mixed). Each residue draws phi and
psi from the Ramachandran basins of its segment, on ideal N, CA, C geometry with trans peptides. The chain
starts extended at random and is folded by simulated annealing: a move redraws one residue's torsions from the
same basins and turns the rest of the chain, which is accepted by the energy of overlaps and of the distance
from a target radius of gyration. Chains that end with an overlap or away from the target are thrown away.
There are no side chains, sequences or hydrogen bonds; strands are not paired into sheets.
"""

import math
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
from tqdm import tqdm

from equidyn.errors import DataError

N_CA, CA_C, C_N = 1.458, 1.525, 1.329  # Å
ANGLE_N_CA_C, ANGLE_CA_C_N, ANGLE_C_N_CA = np.radians(111.0), np.radians(117.2), np.radians(121.7)
HELIX, STRAND, LOOP = 0, 1, 2
# segment, cumulative weight, phi, psi, standard deviation; degrees, L-amino acids
BASINS = np.array(
    [
        (HELIX, 1.00, -63, -42, 4),
        (STRAND, 1.00, -120, 130, 14),
        (LOOP, 0.30, -70, 145, 12),  # polyproline II
        (LOOP, 0.45, -110, 130, 15),  # extended
        (LOOP, 0.72, -65, -38, 10),  # right-handed helix: turns
        (LOOP, 0.94, -90, 0, 12),  # bridge
        (LOOP, 1.00, 57, 42, 8),  # left-handed helix, as glycine and asparagine have it
    ]
)
COMPOSITIONS = {
    "alpha": (0.25, 1.0),
    "beta": (0.20, 0.0),
    "mixed": (0.55, 0.4),
}  # share of the chains, share of helices among their segments
LENGTHS = {HELIX: (7, 17), STRAND: (4, 8), LOOP: (3, 8)}  # residues, shortest and longest
SHORTEST = 20  # residues of a chain
CLOSEST = 4.0  # Å between C-alphas three or more apart along the chain
RG_TARGET = (0.95, 1.08)  # range of the targets, in units of 2.2 n^0.38 Å
RG_TOLERANCE = 0.03  # relative: of a chain about its target
STEPS, ATTEMPTS = 200, 100  # moves per residue, runs per chain
LOOP_MOVES, FRESH = 0.6, 0.2  # shares of the moves: in loops, and redrawn rather than shifted (at first)
STEP, LAST_STEP = 0.6, 0.05  # size of the shifts in standard deviations, at first and at last
# energies in units of the first temperature
PER_OVERLAP = 4.0  # of 1 Å of overlap
PER_RG = 200.0  # of a relative deviation of 1


def build(
    n_chains: int, min_residues: int, max_residues: int, seed: int, workers: int = 1
) -> tuple[list[np.ndarray], dict[str, int]]:
    """Fold n_chains chains of min_residues to max_residues residues; chain i depends on seed and i alone, not
    on workers (threads).

    Returns
    -------
    (chains, rejected) : C-alpha positions [n, 3] in Å (float32), centred; folding attempts that were thrown
    away, by reason

    Raises
    ------
    DataError
        lengths below ``SHORTEST`` or in the wrong order; a length that does not fold in ``ATTEMPTS`` attempts
    """
    if n_chains < 1 or not SHORTEST <= min_residues <= max_residues:
        raise DataError(
            f"backbones: {n_chains} chains of {min_residues} to {max_residues} residues; expected at least "
            f"1 chain and {SHORTEST} <= min <= max"
        )
    chains, rejected = [], {}
    with ThreadPoolExecutor(workers) as pool:  # the folding is compiled and releases the interpreter lock
        jobs = pool.map(lambda i: _chain(min_residues, max_residues, seed, i), range(n_chains))
        for alphas, reasons in tqdm(jobs, total=n_chains, desc="synthetic backbones", mininterval=2):
            chains.append(alphas)
            for reason in reasons:
                rejected[reason] = rejected.get(reason, 0) + 1
    return chains, rejected


def _chain(min_residues: int, max_residues: int, seed: int, index: int) -> tuple[np.ndarray, list[str]]:
    generator, reasons = np.random.default_rng([seed, index]), []
    n = int(generator.integers(min_residues, max_residues + 1))
    # Drawn once for all attempts: all-beta chains fail more often, and must not become rarer for it.
    helices = list(COMPOSITIONS.values())[
        generator.choice(len(COMPOSITIONS), p=[share for share, _ in COMPOSITIONS.values()])
    ][1]
    for _ in range(ATTEMPTS):
        target = 2.2 * n**0.38 * generator.uniform(*RG_TARGET)
        alphas, overlap, rg = _fold(_segments(n, helices, generator), target, generator)
        if overlap < 1e-9 and abs(rg / target - 1) < RG_TOLERANCE:
            return (alphas - alphas.mean(0)).astype(np.float32), reasons
        reasons.append("overlap" if overlap >= 1e-9 else "radius of gyration")
    raise DataError(
        f"backbones: chain {index} of {n} residues did not fold in {ATTEMPTS} attempts: "
        f"{reasons.count('overlap')} overlaps, the rest not compact"
    )


def _segments(n: int, helices: float, generator: np.random.Generator) -> np.ndarray:
    """Segment type of each of n residues: loops between helices (that share of the segments) and strands."""
    segments = [LOOP] * int(generator.integers(1, 4))
    while len(segments) < n:
        kind = HELIX if generator.random() < helices else STRAND
        for part in (kind, LOOP):
            segments += [part] * int(generator.integers(LENGTHS[part][0], LENGTHS[part][1] + 1))
    return np.array(segments[:n])


@numba.njit(cache=True, nogil=True)
def _basin(kind, generator):
    """Row of BASINS drawn for a segment type."""
    weight = generator.random()
    for k in range(len(BASINS)):
        if BASINS[k, 0] == kind and weight < BASINS[k, 1]:
            return k
    return 0  # not reached: the weights of a segment type end at 1


@numba.njit(cache=True, nogil=True)
def _torsion(basin, deviate, angle):
    """phi (angle 0) or psi (1) in radians at a standard normal deviate from the middle of a basin."""
    return np.radians(BASINS[basin, 2 + angle] + BASINS[basin, 4] * deviate)


@numba.njit(cache=True, nogil=True)
def _place(atoms, k, length, angle, torsion):
    """Set atoms[k] from the three before it."""
    axis = atoms[k - 1] - atoms[k - 2]
    axis /= np.sqrt((axis**2).sum())
    normal = np.cross(atoms[k - 2] - atoms[k - 3], axis)
    normal /= np.sqrt((normal**2).sum())
    across = np.cross(normal, axis)
    atoms[k] = atoms[k - 1] + length * (
        -np.cos(angle) * axis + np.sin(angle) * (np.cos(torsion) * across + np.sin(torsion) * normal)
    )


@numba.njit(cache=True, nogil=True)
def _grow(phi, psi):
    """N, CA, C atoms [3 n, 3] in Å of torsions [n] in radians, omega 180 degrees."""
    n = len(phi)
    atoms = np.zeros((3 * n, 3))
    atoms[1, 0] = N_CA
    atoms[2, 0], atoms[2, 1] = N_CA - CA_C * np.cos(ANGLE_N_CA_C), CA_C * np.sin(ANGLE_N_CA_C)
    for i in range(1, n):
        _place(atoms, 3 * i, C_N, ANGLE_CA_C_N, psi[i - 1])
        _place(atoms, 3 * i + 1, N_CA, ANGLE_C_N_CA, np.pi)
        _place(atoms, 3 * i + 2, CA_C, ANGLE_N_CA_C, phi[i])
    return atoms


@numba.njit(cache=True, nogil=True)
def _rotation(axis, angle):
    x, y, z = axis / np.sqrt((axis**2).sum())
    c, s = np.cos(angle), np.sin(angle)
    return np.array(
        [
            [c + x * x * (1 - c), x * y * (1 - c) - z * s, x * z * (1 - c) + y * s],
            [y * x * (1 - c) + z * s, c + y * y * (1 - c), y * z * (1 - c) - x * s],
            [z * x * (1 - c) - y * s, z * y * (1 - c) + x * s, c + z * z * (1 - c)],
        ]
    )


@numba.njit(cache=True, nogil=True)
def _turn(points, centre, rotation, out):
    """Rotate points [k, 3] about a centre into ``out``, which may be ``points``."""
    for i in range(len(points)):
        x, y, z = points[i, 0] - centre[0], points[i, 1] - centre[1], points[i, 2] - centre[2]
        for c in range(3):
            out[i, c] = rotation[c, 0] * x + rotation[c, 1] * y + rotation[c, 2] * z + centre[c]


@numba.njit(cache=True, nogil=True)
def _overlap(fixed, moved, enough):
    """Sum of (CLOSEST - distance) [Å] over overlapping pairs of two stretches, ``moved`` following ``fixed``;
    stops above ``enough``.
    """
    total = 0.0
    for i in range(len(fixed) - 1, -1, -1):  # from the joint on, where overlaps are likeliest
        for j in range(max(0, i + 3 - len(fixed)), len(moved)):
            x, y, z = fixed[i, 0] - moved[j, 0], fixed[i, 1] - moved[j, 1], fixed[i, 2] - moved[j, 2]
            square = x * x + y * y + z * z
            if square < CLOSEST * CLOSEST:
                total += CLOSEST - math.sqrt(square)
                if total > enough:
                    return total
    return total


@numba.njit(cache=True, nogil=True)
def _rg(alphas):
    n, mean, square = len(alphas), np.zeros(3), 0.0
    for i in range(n):
        for c in range(3):
            mean[c] += alphas[i, c]
            square += alphas[i, c] ** 2
    return np.sqrt(square / n - (mean**2).sum() / n**2)


@numba.njit(cache=True, nogil=True)
def _fold(segments, target, generator):
    """One annealing run: C-alphas [n, 3] in Å, the overlap left and the radius of gyration."""
    n = len(segments)
    basin, deviates, phi, psi = np.zeros(n, dtype=np.int64), np.zeros((n, 2)), np.zeros(n), np.zeros(n)
    for i in range(n):
        basin[i] = _basin(segments[i], generator)
        deviates[i, 0], deviates[i, 1] = generator.normal(), generator.normal()
        phi[i], psi[i] = _torsion(basin[i], deviates[i, 0], 0), _torsion(basin[i], deviates[i, 1], 1)
    atoms = _grow(phi, psi)
    alphas = atoms[1::3].copy()
    overlap, rg = 0.0, _rg(alphas)
    for i in range(n - 1):
        overlap += _overlap(alphas[i : i + 1], alphas[i + 1 :], np.inf)
    trial, loops = alphas.copy(), np.flatnonzero(segments == LOOP)
    steps = STEPS * n
    for step in range(steps):
        if overlap < 1e-9 and abs(rg / target - 1) < RG_TOLERANCE:
            break
        temperature = 1.0 - step / steps
        i = (
            loops[generator.integers(0, len(loops))]
            if generator.random() < LOOP_MOVES
            else generator.integers(0, n)
        )
        if i == n - 1:
            continue
        # either a fresh draw or a step within the basin; both leave the distribution of the torsions as it is
        size = LAST_STEP + (STEP - LAST_STEP) * temperature  # a compact chain takes small moves only
        keep = 0.0 if generator.random() < FRESH * temperature else np.sqrt(1 - size**2)
        new_basin = basin[i] if keep > 0 else _basin(segments[i], generator)
        first_deviate = keep * deviates[i, 0] + np.sqrt(1 - keep**2) * generator.normal()
        second_deviate = keep * deviates[i, 1] + np.sqrt(1 - keep**2) * generator.normal()
        new_phi, new_psi = _torsion(new_basin, first_deviate, 0), _torsion(new_basin, second_deviate, 1)
        centre = atoms[3 * i + 1].copy()
        first = _rotation(centre - atoms[3 * i], new_phi - phi[i])
        turn = first @ _rotation(
            atoms[3 * i + 2] - centre, new_psi - psi[i]
        )  # both axes pass through the C-alpha
        trial[: i + 1] = alphas[: i + 1]
        _turn(alphas[i + 1 :], centre, turn, trial[i + 1 :])
        new_rg = _rg(trial)
        # Metropolis, with the random number drawn first: it bounds the overlap that can be accepted
        allowed = (
            PER_RG * (abs(rg / target - 1) - abs(new_rg / target - 1))
            - temperature * np.log(1 - generator.random())
        ) / PER_OVERLAP
        if allowed + overlap < 0:
            continue
        before = _overlap(alphas[: i + 1], alphas[i + 1 :], np.inf) if overlap > 1e-9 else 0.0
        allowed += before
        if allowed < 0:
            continue
        after = _overlap(alphas[: i + 1], trial[i + 1 :], allowed)
        if after > allowed:
            continue
        overlap, rg, phi[i], psi[i], basin[i] = overlap - before + after, new_rg, new_phi, new_psi, new_basin
        deviates[i, 0], deviates[i, 1] = first_deviate, second_deviate
        alphas[i + 1 :] = trial[i + 1 :]
        _turn(atoms[3 * i + 2 : 3 * i + 3], centre, first, atoms[3 * i + 2 : 3 * i + 3])
        _turn(atoms[3 * i + 3 :], centre, turn, atoms[3 * i + 3 :])
    return alphas, overlap, rg
