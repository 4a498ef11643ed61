"""Frames of one molecule laid upon each other."""

import numpy as np


def rotations_onto(target: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Proper rotations R [k, 3, 3] that bring ``moved`` @ R closest to ``target``, both [k, n, 3] and centred
    (Kabsch, Acta Cryst. A 32, 922 (1976)).
    """
    u, _, vt = np.linalg.svd(moved.transpose(0, 2, 1) @ target)
    u[:, :, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    return u @ vt


def distances(target: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """R.m.s. distances [k] of structures [k, n, 3] that were centred and laid upon each other."""
    target, moved = (x - x.mean(1, keepdims=True) for x in (target, moved))
    step = moved @ rotations_onto(target, moved) - target
    return np.sqrt((step**2).sum(2).mean(1))
