"""Time limits of training: what is not finished goes on another time, from its last checkpoint."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

SLACK = 1.2
"""An epoch may take so many times as long as the longest one so far, and still end within the time limit."""


class TimeIsUp(Exception):
    """The time limit is near. The last checkpoint is kept, and the run goes on another time."""


@dataclass
class Deadline:
    """Ends training so that a time limit is kept: before an epoch that would not end in time, and inside one that is late.

    Attributes:
        end: value of time.monotonic() at which the time is up.
        longest: seconds of the longest epoch so far.
        last: value of time.monotonic() at the end of the last epoch.
    """

    end: float
    longest: float = 0.0
    last: float = field(default_factory=time.monotonic)

    def begin(self) -> None:
        """Note that a run begins.

        Raises:
            TimeIsUp: if no epoch would end in time.
        """
        self.last = time.monotonic()
        self._check(self.last)

    def report(self, epochs: float, state: str) -> None:
        """Look at the clock: a :data:`training.jobs.work.Report`.

        Args:
            epochs: epochs trained so far.
            state: not '' at the end of an epoch.

        Raises:
            TimeIsUp: if the next epoch would not end in time, or the time is up inside one.
        """
        now = time.monotonic()
        if state:
            self.longest, self.last = max(self.longest, now - self.last), now
            self._check(now)
        elif now > self.end:
            raise TimeIsUp

    def _check(self, now: float) -> None:
        if now + SLACK * self.longest > self.end:
            raise TimeIsUp
