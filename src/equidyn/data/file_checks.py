"""What is asked of the records of a file together, while they are read: how many of them cannot be right,
what its reader checks on some of every part, what the checks of labels need.
"""

from collections import Counter
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from equidyn.data.checks.findings import Findings, Outcome
from equidyn.data.checks.whole_file import Labels
from equidyn.data.readers.records import Item, Reader, part
from equidyn.data.shards import Shard, lists_of, load
from equidyn.errors import DataError
from equidyn.guards import workers as limits

EARLY = 20  # records after which a file all of whose records are suspect is refused
TOLERATED = 0.05  # of a file's records that may be suspect; one may in any case
FEW_TOLERATED = 0.25  # of one with fewer than EARLY
# Parts of a file that its reader checks, such as members of an archive; items that one needs for it, and
# that are looked at; items held for it in all.
PARTS, FEW, SAMPLED, HELD = 10, 3, 96, 2000


class Checks:
    """Has a reader check the first items of every part of an input, up to ``PARTS`` (one member of an archive
    may be in other units than the one before), and gathers what checks of all its labels need.
    """

    def __init__(
        self,
        reader: Reader,
        path: str,
        settings: dict,
        findings: Findings,
        pool: ProcessPoolExecutor | None = None,
    ):
        self.reader, self.path, self.settings, self.seen, self.pool = reader, path, settings, set(), pool
        self.findings, self.of_parts, self.n_items = findings, [], 0
        self.waiting: dict[str, list[Item]] = {}  # parts that are not checked yet
        self.held = self.checked = 0
        self.labels = Labels(path) if reader.kind == "forces" else None

    def add(self, shard: Shard) -> None:
        """``gather`` and ``look`` at the items of a shard; its arrays are read only where they are wanted."""
        if self.labels is None and self.reader.check is None:
            self.n_items += shard.items
            return
        items = lists_of(shard.path).items
        self.gather(items, [item.length for item in items])
        if self.reader.check is not None and self.held < HELD and not self._all_seen(items):
            self.look([result for result in load(shard.path, self.reader.kind) if isinstance(result, Item)])

    def _all_seen(self, items: list) -> bool:
        return self.seen.issuperset(part(item.where) for item in items)

    def gather(self, items: list, lengths: list[int]) -> None:
        """Take from items, or from their rows in a shard's list, what ``close`` needs."""
        self.n_items += len(items)
        if self.labels is not None:
            self.labels.add(items, lengths)

    def look(self, items: list[Item]) -> None:
        """Hold the first items of every part, and check a part once ``SAMPLED`` are there."""
        if self.reader.check is None:
            return
        for item in items:
            name = part(item.where)
            if name in self.seen or self.held >= HELD:
                continue
            waiting = self.waiting.setdefault(name, [])
            waiting.append(item)
            self.held += 1
            if len(waiting) == SAMPLED:
                self.seen.add(name)
                self._judge(self.waiting.pop(name))

    def _judge_rest(self) -> None:
        """Check the parts of fewer items; all items together where none has ``FEW``."""
        groups = [items for items in self.waiting.values() if len(items) >= FEW]
        if not groups and not self.checked:
            groups = [[item for items in self.waiting.values() for item in items][:SAMPLED]]
        for group in groups:
            self._judge(group)

    def _judge(self, group: list[Item]) -> None:
        if not group or self.checked >= PARTS:
            return
        self.checked += 1
        outcomes = self._check(group)
        refused = {outcome.check for outcome in outcomes if outcome.verdict == "refused"}
        if self.labels is not None and refused - set(self.findings.accept):
            self.labels.judge(self.findings)  # which may know the cause
        if self.reader.pooled:
            self.of_parts += outcomes
        else:
            for outcome in outcomes:
                self.findings.add(outcome)

    def _check(self, group: list[Item]) -> list[Outcome]:
        arguments = self.reader.check, self.path, group, self.settings
        if self.reader.aside and self.pool is not None:
            return self.pool.submit(limits.bounded, limits.CPU_SECONDS, *arguments).result()
        return self.reader.check(*arguments[1:])

    def close(self) -> np.ndarray:
        """When all items are there: index [n] into ``whole_file.REASONS`` of why each is not to be kept.

        Raises
        ------
        DataError
            labels that are not those of their frames
        """
        dropped = np.zeros(self.n_items, np.uint8)
        if self.labels is not None and self.n_items:
            dropped = self.labels.judge(self.findings)
        self._judge_rest()
        self.findings.pooled(self.of_parts)
        return dropped


class Tally:
    """Counts of one input; raises DataError where too much of it is suspect."""

    def __init__(self, path: str):
        self.path, self.example, self.causes = path, None, Counter()
        self.records = self.found = self.items = self.suspect = self.leading = 0

    def add(self, shard: Shard) -> None:
        """Count a shard; raises DataError where all of the first ``EARLY`` records are suspect."""
        if self.leading == self.found:  # nothing but suspects so far
            self.leading += shard.leading
        self.records += shard.records
        self.found += shard.found
        self.items += shard.items
        self.suspect += shard.suspect
        self.example = self.example or shard.example
        self.causes.update(shard.causes)
        if self.leading >= EARLY:
            self._refuse(f"all of the first {self.leading} records")

    def close(self) -> None:
        if self.found and self.leading == self.found:
            self._refuse(f"all {self.found} records")
        tolerated = TOLERATED if self.found >= EARLY else FEW_TOLERATED
        if self.suspect > max(1, tolerated * self.found):
            self._refuse(f"{self.suspect} of {self.found} records")

    def outcome(self) -> Outcome:
        """That every record that was read became items or rejections."""
        rejected = self.found - self.items
        text = f"{self.records} records read: {self.items} items and {rejected} rejections"
        figures = {"records": self.records, "items": self.items, "rejections": rejected}
        return Outcome("lost-records", "passed", self.path, self.records, text, figures)

    def _refuse(self, how_many: str):
        where, reason, detail, _ = self.example
        cause, _ = self.causes.most_common(1)[0]
        raise DataError(
            f"{self.path}: {how_many} cannot be right; {where}: {reason} ({detail}); likely: {cause}"
        )
