"""How far a measurement is: rate and remaining time, one line that is written over, on stderr."""

import sys
import time
from collections.abc import Callable
from typing import TextIO

EVERY = 0.5  # seconds between lines of a terminal
SPARSE = 30.0  # of a log


class Progress:
    """Called with structures done, structures in all, and evaluations made so far by this process.

    ``now`` is the clock, in seconds.
    """

    def __init__(self, out: TextIO | None = None, now: Callable[[], float] = time.monotonic):
        self.out, self.now = sys.stderr if out is None else out, now
        self.terminal = self.out.isatty()
        self.started = self.last = now()
        self.before = None  # structures that a run before this one had done

    def __call__(self, done: int, of: int, evaluations: int) -> None:
        if self.before is None and evaluations:
            self.before = done - 1
        now = self.now()
        if now - self.last < (EVERY if self.terminal else SPARSE) and (done < of or not self.terminal):
            return
        self.last = now
        end = "\n" if done == of or not self.terminal else ""
        self.out.write(("\r" if self.terminal else "") + self.line(done, of, evaluations, now) + end)
        self.out.flush()

    def line(self, done: int, of: int, evaluations: int, now: float) -> str:
        """For instance `12/200 structures, 31.4 evaluations/s, 49 s left`."""
        passed = max(now - self.started, 1e-9)
        text = f"{done}/{of} structures"
        if evaluations and done > self.before:
            left = (of - done) * passed / (done - self.before)
            text += f", {evaluations / passed:.3g} evaluations/s, {duration(left)} left"
        return text.ljust(70)


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, in two digits.

    Examples
    --------
    >>> duration(4.2), duration(100), duration(8000)
    ('4 s', '1.7 min', '2.2 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
