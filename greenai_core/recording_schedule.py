"""When a recorder reads: an absolute schedule, so that the period never drifts."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import TypeAlias

_draw = random.Random().random  # noqa: S311  # no secret: it only breaks the rhythm


Tick: TypeAlias = tuple[int, float, int]
"""One planned read: number of its slot, the instant at which to read, somewhere in the slot,
and the slots that have passed without a read since the tick before. Slot n lasts from
start + n · interval to start + (n + 1) · interval. A plain tuple: a thousand are made a second."""


class Schedule:
    """One read in each slot of a grid that begins at ``start_s``, at a random instant of it.

    An instant that were the same in each slot would be in step with work whose period
    divides the interval, and see the same part of it every time.

    Args:
        start_s: instant at which slot 0 begins.
        interval_s: length of a slot.
        last: number of the latest slot that needs no read.
        draw: numbers in [0, 1).
    """

    def __init__(
        self,
        start_s: float,
        interval_s: float,
        last: int = -1,
        draw: Callable[[], float] = _draw,
    ) -> None:
        self._start_s = start_s
        self._interval_s = interval_s
        self._last = last
        self._draw = draw

    def slot(self, instant_s: float) -> int:
        """Number of the slot in which an instant lies."""
        return math.floor((instant_s - self._start_s) / self._interval_s)

    def next(self, now_s: float) -> Tick:
        """The read after the one before, given the time now; its slot counts as read."""
        expected = number = self._last + 1
        if now_s >= self._start_s + (number + 1) * self._interval_s:
            number = max(number, self.slot(now_s))
        self._last = number
        # The first of all comes at once: whoever waits for it need not wait for its slot.
        inside = self._draw() if number else 0.0
        return number, self._start_s + (number + inside) * self._interval_s, number - expected
