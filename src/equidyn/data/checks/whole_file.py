"""Checks of labels that need all frames of a file: gathered item by item, a few numbers each."""

from array import array
from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from equidyn.data.checks import net_torque, zero_labels
from equidyn.data.checks.catalogue import NET_TORQUE, ZERO_ENERGY, ZERO_FORCES
from equidyn.data.checks.findings import Findings, Outcome
from equidyn.data.readers.records import part

REASONS = ("", NET_TORQUE, ZERO_FORCES, ZERO_ENERGY)
STATED = 5  # charges of one molecule that are listed


def figures(
    positions: np.ndarray, energies: np.ndarray, forces: np.ndarray, charge: float | None = None
) -> list[dict[str, float]]:
    """What ``Labels`` wants to know of each of k frames: positions and forces [k, n, 3] in Å and eV/Å,
    energies [k] in eV, the charge that the file states.
    """
    stated = {} if charge is None else {"charge": charge}
    rows = zip(net_torque.figures(positions, forces).tolist(), energies.tolist())
    return [
        {"torque": round(torque, 5), "net": round(net, 5), "rms": rms, "energy": energy} | stated
        for (torque, net, rms), energy in rows
    ]


class Labels:
    """The labels of one file, as far as its checks need them."""

    def __init__(self, where: str):
        self.where = where
        self.numbers = {name: array("f") for name in ("torque", "net", "rms")}
        self.energy, self.lengths, self.of_part = array("d"), array("l"), array("l")
        self.parts: dict[str, int] = {}
        self.charges: dict[str, set] = defaultdict(set)
        self.stated = 0

    def add(self, items: Iterable, lengths: Iterable[int]) -> None:
        """Items, or their rows in a shard's list, and their numbers of atoms."""
        for item, length in zip(items, lengths):
            figures = item.figures
            for name, column in self.numbers.items():
                column.append(figures[name])
            self.energy.append(figures["energy"])
            self.lengths.append(length)
            self.of_part.append(self.parts.setdefault(part(item.where), len(self.parts)))
            if "charge" in figures:
                self.stated += 1
                self.charges[item.cluster].add(figures["charge"])

    def judge(self, findings: Findings) -> np.ndarray:
        """Index [n] into REASONS of why each item is not to be kept.

        Raises
        ------
        DataError
            most of the labels are not those of their frames, and the settings do not accept it
        """
        found = np.stack([np.array(column, np.float64) for column in self.numbers.values()], axis=1)
        lengths, energy, of_part = np.array(self.lengths), np.array(self.energy), np.array(self.of_part)
        several = lengths > 1
        findings.add(self._charges())
        findings.add(zero_labels.judge(self.where, energy[several], found[several, 2]))
        findings.add(net_torque.judge(self.where, found[several]))
        reason = np.zeros(len(lengths), np.uint8)
        if "net-torque" not in findings.accept:
            wrong = net_torque.wrong(found) & several
            by_part = np.argsort(of_part, kind="stable")
            starts = np.flatnonzero(np.diff(of_part[by_part], prepend=-1))
            for rows in np.split(by_part, starts[1:]) if len(starts) > 1 else ():
                if net_torque.wrong_part(found[rows[several[rows]]]):
                    wrong[rows] = several[rows]
            reason[wrong] = REASONS.index(NET_TORQUE)
        if "zero-labels" not in findings.accept:
            for i in np.flatnonzero((found[:, 2] == 0) | (energy == 0)):
                if placeholder := zero_labels.reason(int(lengths[i]), float(energy[i]), float(found[i, 2])):
                    reason[i] = REASONS.index(placeholder)
        return reason

    def _charges(self) -> Outcome:
        n = len(self.lengths)
        if not self.stated:
            return Outcome("charges", "not checked", self.where, 0, "no frame states its charge")
        mixed = {cluster: found for cluster, found in self.charges.items() if len(found) > 1}
        if not mixed:
            found = sorted(set().union(*self.charges.values()))
            text = (
                f"{self.stated} of {n} frames state a charge: {', '.join(f'{c:g}' for c in found[:STATED])}"
            )
            return Outcome("charges", "passed", self.where, self.stated, text)
        cluster, found = next(iter(mixed.items()))
        text = (
            f"{len(mixed)} molecules with frames of several charges, e.g. {cluster}: "
            f"{', '.join(f'{c:g}' for c in sorted(found)[:STATED])}; a model that is not told the "
            f"charge cannot "
            f"know their labels apart"
        )
        return Outcome("charges", "noted", self.where, self.stated, text, {"molecules": len(mixed)})
