"""The clock that stamps readings and the threads that take them.

All times in greenai are seconds of one monotonic clock. It is a parameter, so
that simulated hardware can bring its own and a test of an hour takes no time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable


@runtime_checkable
class Ticker(Protocol):
    """A repeated call that can be ended."""

    def cancel(self) -> None:
        """End the calls; returns when none is running any more."""


@runtime_checkable
class Clock(Protocol):
    """Monotonic time, waiting, and repeated calls."""

    def now(self) -> float:
        """Seconds since an arbitrary start, never going back."""

    def sleep(self, seconds: float) -> None:
        """Wait."""

    def repeat(self, call: Callable[[], None], delay: Callable[[], float]) -> Ticker:
        """Call ``call`` again and again, ``delay()`` seconds apart, elsewhere."""


class _ThreadTicker:
    def __init__(self, call: Callable[[], None], delay: Callable[[], float]) -> None:
        self._call = call
        self._delay = delay
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="greenai-reader", daemon=True)
        self._thread.start()

    def _loop(self) -> None:
        due = time.perf_counter() + self._delay()
        while not self._stop.wait(max(0.0, due - time.perf_counter())):
            self._call()
            # From the planned instant, not from now: the period must not drift.
            due = max(due + self._delay(), time.perf_counter())

    def cancel(self) -> None:
        self._stop.set()
        if self._thread is not threading.current_thread():
            self._thread.join()


class SystemClock:
    """The monotonic clock of the machine (``time.perf_counter``)."""

    now = staticmethod(time.perf_counter)
    sleep = staticmethod(time.sleep)

    def repeat(self, call: Callable[[], None], delay: Callable[[], float]) -> Ticker:
        """Call ``call`` from a daemon thread, ``delay()`` seconds apart."""
        return _ThreadTicker(call, delay)


SYSTEM_CLOCK = SystemClock()
