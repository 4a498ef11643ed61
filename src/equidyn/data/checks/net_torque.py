"""Do forces belong to the geometry beside them? Internal forces do not turn a molecule.

Σ x × F vanishes for the forces of an isolated molecule, whatever the method; it does not for forces in
another orientation, of another frame, or in another order of atoms. Labels of published sets carry noise,
which gives a net force as well as a torque; a mismatch gives a torque alone. Blind to a factor, to a
global sign and to the elements: see ``xtb`` and ``energies``.
"""

import numpy as np

from equidyn.data.checks.findings import Outcome

STRONG = 0.1  # eV/Å, r.m.s.: of weaker forces, near a minimum, the ratio is noise
# Ten published files have medians below 0.001, and one 0.003 with a net force as large; labels of the
# previous frame of a trajectory have 0.01 to 0.05, of another orientation 0.3, of another order 0.7.
SMALL, LARGE = 0.005, 0.1
NOISE = 3  # times the net force that the same noise would give
RECORD, SURE = 0.2, 0.5  # of a single record: as LARGE, and without regard to the net force
SHARE = 0.25  # of strong records: if more are wrong, those that show nothing cannot be trusted
FEWEST = 3  # strong records that a median needs
TINY = 1e-300


def figures(positions: np.ndarray, forces: np.ndarray) -> np.ndarray:
    """Torque, net force and r.m.s. force [k, 3] of positions [k, n, 3] in Å and forces [k, n, 3] in eV/Å.

    Torque: |Σ x × F| / √(Σ |x|² |F|²) about the centroid. Net force: |Σ F| / √(Σ |F|²). Both are 0 for an
    isolated molecule and about 1 for forces that have nothing to do with the positions, whatever n is. The
    r.m.s. force is in eV/Å.
    """
    x, f = np.asarray(positions, np.float64), np.asarray(forces, np.float64)
    x = x - x.mean(1, keepdims=True)
    m = x.transpose(0, 2, 1) @ f  # the nine sums of products hold Σ x × F
    turning = np.stack([m[:, 1, 2] - m[:, 2, 1], m[:, 2, 0] - m[:, 0, 2], m[:, 0, 1] - m[:, 1, 0]], axis=1)
    lengths, squares = (x * x).sum(2), (f * f).sum(2)  # [k, n]
    total = squares.sum(1)
    torque = _length(turning) / np.sqrt(np.maximum((lengths * squares).sum(1), TINY))
    net = _length(f.sum(1)) / np.sqrt(np.maximum(total, TINY))
    return np.stack([torque, net, np.sqrt(total / (3 * f.shape[1]))], axis=1)


def _length(vectors: np.ndarray) -> np.ndarray:
    return np.sqrt((vectors * vectors).sum(1))


def _mismatch(torque, net, small: float, large: float):
    return (torque > large) | ((torque > small) & (torque > NOISE * net))


def wrong(found: np.ndarray) -> np.ndarray:
    """Which single frames [n] have a torque that no noise gives; ``found`` [n, 3] are their ``figures``."""
    torque, net, rms = found.T
    return (rms > STRONG) & _mismatch(torque, net, RECORD, SURE)


def wrong_part(found: np.ndarray) -> bool:
    """Whether the frames of a file, a member or a group do not have their own forces; ``found`` [n, 3]."""
    strong = found[found[:, 2] > STRONG]
    if len(strong) < FEWEST:
        return False
    torque, net = np.median(strong[:, 0]), np.median(strong[:, 1])
    return bool(_mismatch(torque, net, SMALL, LARGE)) or wrong(strong).mean() > SHARE


def judge(where: str, found: np.ndarray) -> Outcome:
    """The outcome for a file whose frames have the ``figures`` found [n, 3]."""
    strong = found[found[:, 2] > STRONG]
    if not len(strong):
        text = f"no frame of several atoms with an r.m.s. force above {STRONG} eV/angstrom"
        return Outcome("net-torque", "not checked", where, len(found), text)
    torque, net = np.median(strong[:, 0]), np.median(strong[:, 1])
    numbers = {
        "median torque": float(f"{torque:.2g}"),
        "largest torque": float(f"{strong[:, 0].max():.2g}"),
        "median net force": float(f"{net:.2g}"),
        "frames with strong forces": len(strong),
    }
    text = f"median torque {torque:.2g}, net force {net:.2g} of that of unrelated forces"
    if not wrong_part(found):
        return Outcome("net-torque", "passed", where, len(strong), text, numbers)
    text = (
        f"forces do not belong to their positions: their torque is {torque:.2g} of that of unrelated forces "
        f"(median of {len(strong)} frames, {wrong(strong).sum()} of them clearly; their net force "
        f"{net:.2g}), expected below {SMALL}; likely: positions in another orientation than the forces, "
        f"labels of another frame, or another order of atoms"
    )
    return Outcome("net-torque", "refused", where, len(strong), text, numbers)
