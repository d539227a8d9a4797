"""How often a counter shows a new value, estimated from when it was seen to move."""

from __future__ import annotations

import statistics
from collections import deque

from .channels import DEFAULT_PERIOD_S

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
        self._still_s = self._longest_s = 0.0
        self.seen_s: float | None = None
        """When it was last seen to move; None if it was not."""
        self.blurred_s = 0.0
        """How far from there the move may have been."""

    def add(self, time_s: float, joules: float) -> None:
        """Take over one read."""
        before, self._read_s = self._read_s, time_s
        last, self._joules = self._joules, joules
        if before is None:
            return
        gap = time_s - before
        if gap > COARSE * max(self._expected_s, self._longest_s):
            self._edge_s = None
            self._still_s = 0.0
        elif joules == last:
            self._still_s += gap
            if self._still_s > FEWEST * self._expected_s:
                # It is slower than declared: what it declares would make intervals too narrow.
                self._longest_s = max(self._longest_s, min(self._still_s, DEFAULT_PERIOD_S))
        else:
            self._still_s = 0.0
            edge = time_s - gap / 2
            self.seen_s, self.blurred_s = edge, gap / 2
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
            return self._longest_s or None
        if self._estimate_s is None:
            longest = MISSED * statistics.median(self._intervals)
            whole = [i for i in self._intervals if i <= longest]
            # Long ones that fill most of the time are its pace, not moves that were missed.
            few = 2 * sum(whole) > sum(self._intervals)
            self._estimate_s = statistics.fmean(whole if few else self._intervals)
        return self._estimate_s

    def next_move(self) -> tuple[float, float] | None:
        """When it is expected to move next, s, and how far off that may be; None if not known."""
        if self.seen_s is None or len(self._intervals) < FEWEST:
            return None
        period = self.estimate_s()
        if period is None:
            return None
        latest = [*self._intervals][-FEWEST:]
        usual = [abs(interval - period) for interval in latest if interval <= MISSED * period]
        return self.seen_s + period, self.blurred_s + max(usual, default=period)
