"""What the checks of a dataset found: gathered while it is made, written as ``checks.json`` beside it, also
when it is refused.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from equidyn.data.checks.catalogue import ACCEPTABLE, ACCEPTED, CHECKS, of_kind
from equidyn.errors import DataError
from equidyn.files import atomic_write

# from the one that a reader should see first to the one that is nothing to see
VERDICTS = ("refused", "accepted", "rejected", "noted", "not checked", "passed")
SHOWN = 20  # outcomes of one check and verdict that are listed one by one


@dataclass
class Outcome:
    """What one check found in one place."""

    check: str  # a key of ``catalogue.CHECKS``
    verdict: str  # one of VERDICTS
    where: str  # file, member of an archive, group; empty: the dataset
    items: int  # that it looked at
    text: str = ""  # what was found, or why nothing could be
    figures: dict = field(default_factory=dict)


class Findings:
    """Outcomes of a dataset, by check."""

    def __init__(self, kind: str, accept: Iterable[str] = ()):
        self.kind, self.accept = kind, tuple(accept)
        self.outcomes: list[Outcome] = []
        self.dropped: list[np.ndarray] = []  # of every input [n items], index into ``whole_file.REASONS``

    def add(self, outcome: Outcome) -> None:
        """Note an outcome.

        Raises
        ------
        DataError
            the outcome is a refusal, and the settings do not accept it
        """
        if outcome.verdict == "refused" and outcome.check in self.accept:
            outcome.verdict = "accepted"
        self.outcomes.append(outcome)
        if outcome.verdict == "refused":
            raise DataError(f"{outcome.where}: {outcome.text}{advice(outcome.check)}")

    def pooled(self, outcomes: list[Outcome]) -> None:
        """Note what a check found in the parts of one file, and refuse the file where most of them are to be
        refused; else these are noted.
        """
        for check in dict.fromkeys(outcome.check for outcome in outcomes):
            told = [o for o in outcomes if o.check == check and o.verdict in ("passed", "refused")]
            bad = [o for o in told if o.verdict == "refused"]
            few = 2 * len(bad) <= len(told)
            causes = Counter(o.text.rpartition("likely: ")[2] for o in bad)
            for outcome in sorted(outcomes, key=lambda o: -causes[o.text.rpartition("likely: ")[2]]):
                if outcome.check != check:
                    continue
                if outcome.verdict == "refused" and few:
                    outcome.verdict = "noted"
                    outcome.text += f" ({len(bad)} of {len(told)} parts of the file: kept)"
                self.add(outcome)

    def records(self, reasons: Counter, notes: Counter, n_found: int) -> None:
        """Note what became of single records: rejections and notes that belong to a check."""
        for name in of_kind(self.kind):
            check = CHECKS[name]
            rejected = {reason: reasons[reason] for reason in check.reasons if reasons[reason]}
            noted = {note: notes[note] for note in check.notes if notes[note]}
            passed = notes[f"{name}, {ACCEPTED}"]
            if passed:
                text = f"{passed} of {n_found} records would have been rejected"
                self.outcomes.append(Outcome(name, "accepted", "", n_found, text))
            for verdict, found in (("rejected", rejected), ("noted", noted)):
                if found:
                    text = "; ".join(f"{reason}: {n}" for reason, n in found.items())
                    self.outcomes.append(Outcome(name, verdict, "", n_found, text, found))
            if (check.reasons or check.notes) and not any(o.check == name for o in self.outcomes):
                self.outcomes.append(Outcome(name, "passed", "", n_found))

    def rows(self) -> list[dict]:
        """One row per check: verdict, items, text, figures, and the outcomes that it comes from."""
        return [self._row(name) for name in of_kind(self.kind)]

    def _row(self, name: str) -> dict:
        found = sorted((o for o in self.outcomes if o.check == name), key=lambda o: VERDICTS.index(o.verdict))
        if not found:
            found = [
                Outcome(name, "not checked", "", 0, "the dataset was refused before, or has no such data")
            ]
        first, same = found[0], Counter(o.verdict for o in found)
        text = first.text + (f"; {same[first.verdict] - 1} more" if same[first.verdict] > 1 else "")
        row = {"check": name, "asks": CHECKS[name].asks, "verdict": first.verdict}
        row |= {"items": sum(o.items for o in found if o.verdict != "not checked"), "found": text}
        row |= {"where": first.where, "figures": first.figures}
        listed, seen = [], Counter()
        for outcome in found:
            seen[outcome.verdict] += 1
            if seen[outcome.verdict] <= SHOWN:
                listed.append({k: v for k, v in asdict(outcome).items() if k != "check"})
        return row | {"outcomes": dict(same), "first": listed}

    def write(self, folder: Path) -> None:
        """``checks.json`` of a dataset's folder."""
        with atomic_write(folder / "checks.json") as temporary:
            table = {"accept": list(self.accept), "checks": self.rows()}
            temporary.write_text(json.dumps(table, indent=1) + "\n")


def advice(check: str) -> str:
    """How to let pass what a check refuses, for the end of a message."""
    if check not in ACCEPTABLE:
        return ""
    return f" (if the file is right: `accept: [{check}]` in the dataset lets it pass, and the report says so)"
