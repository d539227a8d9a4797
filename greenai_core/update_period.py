"""How often a counter shows a new value, estimated from when it was seen to move."""

from __future__ import annotations

import statistics
from collections import deque

FEWEST = 8
"""Intervals before an estimate is believed rather than what the source declares."""

ENOUGH = 48
"""Intervals that place the mean of periods with 20 % jitter within 2 %."""

COARSE = 0.75
"""Reads further apart than this share of a period may miss a move in between."""

MISSED = 1.5
"""An interval longer than so many medians holds a move that was not seen: on
little power a counter of large units stands still for a period."""


class UpdatePeriod:
    """Estimates the update period of one counter while it is read.

    Args:
        expected_s: what the source declares.
    """

    def __init__(self, expected_s: float) -> None:
        self._expected_s = expected_s
        self._intervals: deque[float] = deque(maxlen=ENOUGH)
        self._edge_s: float | None = None
        self._read_s: float | None = None
        self._joules = 0.0
        self._estimate_s: float | None = None

    def add(self, time_s: float, joules: float) -> None:
        """Take over one read."""
        before, self._read_s = self._read_s, time_s
        last, self._joules = self._joules, joules
        if before is None:
            return
        gap = time_s - before
        if gap > COARSE * self._expected_s:
            self._edge_s = None
        elif joules != last:
            edge = time_s - gap / 2
            if self._edge_s is not None:
                self._intervals.append(edge - self._edge_s)
                self._estimate_s = None
            self._edge_s = edge

    @property
    def known(self) -> bool:
        """Whether further reads would hardly change it."""
        return len(self._intervals) == ENOUGH

    def estimate_s(self) -> float | None:
        """Mean seconds between two values; None while too few were seen."""
        if len(self._intervals) < FEWEST:
            return None
        if self._estimate_s is None:
            longest = MISSED * statistics.median(self._intervals)
            self._estimate_s = statistics.fmean(i for i in self._intervals if i <= longest)
        return self._estimate_s
