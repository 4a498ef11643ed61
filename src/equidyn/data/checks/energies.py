"""Do energies belong to the forces beside them? Between two near frames of a molecule the energy falls by the
work of the forces.

The work is that of the trapezoid, −½ (F₁ + F₂) · Δx, once the second frame is laid upon the first. Of
pairs within 0.1 Å, 98 % and more of nine published files have it as their difference of energy, within a
factor of 2; of pairs at 0.2 Å, in which methyl groups may turn, down to a third.
"""

from collections import defaultdict

import numpy as np

from equidyn.data.checks.alignment import rotations_onto
from equidyn.data.checks.findings import Outcome
from equidyn.data.readers.labels import likely_unit, unit_name
from equidyn.data.readers.records import Item

NEAR = 0.1  # Å, r.m.s. over the coordinates of two frames
CLEAR = 0.1  # of |(F₁ − F₂) · Δx|, the uncertainty: pairs with less work tell nothing
LEAST = 0.01  # eV of work
FRAMES, MOLECULES = 96, 16  # that are looked at
PAIRS = 5  # that a judgement needs
ALIKE = 1.6  # a unit makes a factor of 1.9 or more
FOLLOW, CLEAN = 0.75, 0.85  # of the pairs must, and should, differ by the work, within a factor of 2
MOST = 0.5  # of the pairs that share a fault name it


def pairs(items: list[Item]) -> tuple[np.ndarray, np.ndarray]:
    """Differences of energy and work, both [k] in eV, over the clear pairs of near frames of one molecule."""
    groups = defaultdict(list)
    for item in items:
        key = item.cluster, item.rows["numbers"].tobytes(), item.figures.get("charge")
        if len(item.rows["numbers"]) > 1:
            groups[key].append(item)
    found = [
        _pairs_of(group[:FRAMES])
        for group in sorted(groups.values(), key=len, reverse=True)[:MOLECULES]
        if len(group) > 1
    ]
    if not found:
        return np.zeros(0), np.zeros(0)
    difference, work = (np.concatenate(columns) for columns in zip(*found))
    return difference, work


def _pairs_of(frames: list[Item]) -> tuple[np.ndarray, np.ndarray]:
    x, f = (
        np.stack([frame.rows[name].astype(np.float64) for frame in frames])
        for name in ("positions", "forces")
    )  # [m, n, 3]
    energy = np.array([frame.values["energy"] for frame in frames])
    x -= x.mean(1, keepdims=True)
    i, j = np.triu_indices(len(frames), 1)
    turn = rotations_onto(x[i], x[j])
    step = x[j] @ turn - x[i]  # [k, n, 3]
    one, two = (-(forces * step).sum((1, 2)) for forces in (f[i], f[j] @ turn))
    work, unsure = (one + two) / 2, np.abs(one - two)
    near = (step**2).mean((1, 2)) < NEAR**2
    clear = near & (np.abs(work) > CLEAR * unsure) & (np.abs(work) > LEAST)
    return (energy[j] - energy[i])[clear], work[clear]


def judge(where: str, items: list[Item], force_unit: float) -> Outcome:
    """The outcome for some items of a file.

    Parameters
    ----------
    force_unit : eV/Å, the factor that the forces were multiplied with
    """
    difference, work = pairs(items)
    n = len(work)
    if n < PAIRS:
        text = f"{n} pairs of neighbouring frames of one molecule, expected {PAIRS}: energies are unchecked"
        return Outcome("energy-forces", "not checked", where, 0, text)
    ratios = difference / work
    slope = float(np.median(ratios))
    share = float(((ratios > 0.5) & (ratios < 2)).mean())
    figures = {
        "pairs": n,
        "energy per work": float(f"{slope:.3g}"),
        "pairs within a factor of 2": round(share, 3),
    }

    def outcome(verdict: str, text: str) -> Outcome:
        return Outcome("energy-forces", verdict, where, n, text, figures)

    if abs(np.log(max(slope, 1e-12))) < np.log(ALIKE) and share >= FOLLOW:
        text = f"energies of {n} pairs of frames differ by {slope:.2g} times the work"
        if share < CLEAN:
            return outcome(
                "noted", f"{text}, of {1 - share:.0%} by less than half or more than twice the work"
            )
        return outcome("passed", text)
    one_factor = float(((ratios > slope / 1.3) & (ratios < slope * 1.3)).mean()) if slope > 0 else 0.0
    turned = float(((ratios < -0.5) & (ratios > -2)).mean())
    if turned >= MOST:
        return outcome(
            "refused",
            f"energies of {n} pairs of neighbouring frames rise where their forces do work, expected "
            f"to fall; likely: gradients, the negative of forces",
        )
    if one_factor >= MOST:
        return outcome(
            "refused",
            f"energies of {n} pairs of neighbouring frames differ by {slope:.3g} times the work of "
            f"their forces, expected about 1; forces read as {unit_name(force_unit)}, likely: they are in "
            f"{likely_unit(1 / slope, force_unit)}, or the energies are in another unit",
        )
    return outcome(
        "refused",
        f"energies of {n} pairs of neighbouring frames do not follow their forces ({share:.0%} differ "
        f"by the work, within a factor of 2), expected most; likely: labels of another frame or order of "
        f"atoms, or energies of another method, reference, charge or state than the forces",
    )
