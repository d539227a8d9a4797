"""A clock that only moves when it is told to, so that an hour takes no time."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

from greenai_core.clock import Clock


class _VirtualTicker:
    """A repeated call on a :class:`VirtualClock`."""

    def __init__(
        self, clock: VirtualClock, call: Callable[[], None], delay: Callable[[], float]
    ) -> None:
        self._clock = clock
        self._call = call
        self._delay = delay
        self._cancelled = False
        self._plan(clock.time)

    def cancel(self) -> None:
        """End the calls."""
        self._cancelled = True

    def run(self, due: float) -> None:
        """Call once and plan the next call, counted from the planned instant."""
        if not self._cancelled:
            began = self._clock.time
            self._call()
            self._clock.spent_s += self._clock.time - began
        if not self._cancelled:
            self._plan(due)

    def _plan(self, after: float) -> None:
        delay = self._delay()
        if not delay > 0:
            raise ValueError(f"a repeated call needs a delay above 0 s, not {delay}")
        self._clock.plan(self, max(after + delay, self._clock.time))


class VirtualClock:
    """A :class:`~greenai_core.clock.Clock` for tests, for one thread.

    Time passes by ``sleep``, ``advance`` and ``lapse`` alone. Repeated calls that
    fall due meanwhile run in the order of time, each at its own instant; they may
    read the time, sleep, and begin or cancel other repeats. A call is never run
    inside itself: the instants that it missed by sleeping are run late, once.

    Args:
        start_s: the time at the beginning.
        cost_of_now_s: how much time each look at the clock takes.
    """

    def __init__(self, start_s: float = 0.0, cost_of_now_s: float = 0.0) -> None:
        self.time = start_s
        self.cost_of_now_s = cost_of_now_s
        self.suspended_s = 0.0
        self.spent_s = 0.0
        self._order = itertools.count()
        self._planned: list[tuple[float, int, _VirtualTicker]] = []

    def now(self) -> float:
        """The time, s."""
        self.time += self.cost_of_now_s
        return self.time

    def boot_time(self) -> float:
        """The time with that during which the machine was suspended, s."""
        return self.time + self.suspended_s

    def repeated_s(self) -> float:
        """Time that repeated calls have taken so far, s."""
        return self.spent_s

    def suspend(self, seconds: float) -> None:
        """Suspend the machine: nothing runs, and the time stands still.

        Counters that move on meanwhile have the fault ``Jumps``.
        """
        self.suspended_s += seconds

    def sleep(self, seconds: float) -> None:
        """Let time pass; the same as ``advance``."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Let time pass, and run the repeated calls that fall due.

        Raises:
            ValueError: time cannot go back.
        """
        end = self._later(seconds)
        while self._planned and self._planned[0][0] <= end:
            due, _, ticker = heapq.heappop(self._planned)
            self.time = max(self.time, due)
            ticker.run(due)
        self.time = max(self.time, end)

    def lapse(self, seconds: float) -> None:
        """Let time pass inside a slow operation: repeated calls have to wait.

        Those that fall due meanwhile run at the next ``advance`` or ``sleep``, as
        threads do that wait for a lock.

        Raises:
            ValueError: time cannot go back.
        """
        self.time = self._later(seconds)

    def repeat(self, call: Callable[[], None], delay: Callable[[], float]) -> _VirtualTicker:
        """Call ``call`` again and again, ``delay()`` virtual seconds apart.

        Raises:
            ValueError: a delay is not above 0: time would never pass.
        """
        return _VirtualTicker(self, call, delay)

    def plan(self, ticker: _VirtualTicker, due: float) -> None:
        """Run a ticker at ``due``; for tickers."""
        heapq.heappush(self._planned, (due, next(self._order), ticker))

    def _later(self, seconds: float) -> float:
        if not seconds >= 0:
            raise ValueError(f"time cannot pass by {seconds} s")
        return self.time + seconds


def hold(clock: Clock, seconds: float) -> None:
    """Spend time inside a read of simulated hardware, on either kind of clock."""
    if isinstance(clock, VirtualClock):
        clock.lapse(seconds)
    else:
        clock.sleep(seconds)
