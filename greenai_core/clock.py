"""The clock that stamps readings and the threads that take them.

All times in greenai are seconds of one monotonic clock. It is a parameter, so
that simulated hardware can bring its own and a test of an hour takes no time.
"""

from __future__ import annotations

import functools
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


LONGEST_READ_S = 5.0
"""A background read that is under way is waited for so long when reading ends."""


class _ThreadTicker:
    def __init__(
        self, call: Callable[[], None], delay: Callable[[], float], spent_s: list[float]
    ) -> None:
        self._call = call
        self._delay = delay
        self._spent_s = spent_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="greenai-reader", daemon=True)
        self._thread.start()

    def _loop(self) -> None:
        due = time.perf_counter() + self._delay()
        while not self._stop.wait(max(0.0, due - time.perf_counter())):
            self._call()
            self._spent_s[0] = time.thread_time()
            # From the planned instant, not from now: the period must not drift.
            due = max(due + self._delay(), time.perf_counter())

    def cancel(self) -> None:
        self._stop.set()
        if self._thread is not threading.current_thread():
            # A read that never returns must not hold up the end of a program.
            self._thread.join(LONGEST_READ_S)


class SystemClock:
    """The monotonic clock of the machine (``time.perf_counter``).

    It stands still while the machine is suspended; ``boot_time``, on Linux, does not.
    """

    now = staticmethod(time.perf_counter)
    sleep = staticmethod(time.sleep)
    thread_time = staticmethod(time.thread_time)
    if hasattr(time, "CLOCK_BOOTTIME"):
        boot_time = staticmethod(functools.partial(time.clock_gettime, time.CLOCK_BOOTTIME))
    else:
        boot_time = now

    def __init__(self) -> None:
        self._spent_s: list[list[float]] = []

    def repeat(self, call: Callable[[], None], delay: Callable[[], float]) -> Ticker:
        """Call ``call`` from a daemon thread, ``delay()`` seconds apart."""
        spent: list[float] = [0.0]
        self._spent_s.append(spent)
        return _ThreadTicker(call, delay, spent)

    def repeated_s(self) -> float:
        """CPU time of all repeated calls so far, s."""
        return sum(spent[0] for spent in self._spent_s)


SYSTEM_CLOCK = SystemClock()

SUSPENDED_S = 0.1
"""A suspended machine takes longer to come back; clocks read one after the other differ by less."""


def boot_clock(clock: Clock) -> Callable[[], float]:
    """Time that goes on while the machine is suspended; the clock itself where there is none.

    A clock that knows such a time has it as ``boot_time``.
    """
    found: Callable[[], float] = getattr(clock, "boot_time", clock.now)
    return found


def repeated_s(clock: Clock) -> float:
    """CPU time, s, of the calls that the clock has repeated so far; 0 where it does not tell.

    A clock that knows it has it as ``repeated_s``.
    """
    told: Callable[[], float] = getattr(clock, "repeated_s", lambda: 0.0)
    return told()


def busy_s(clock: Clock) -> float:
    """CPU time of this thread, s; the time itself on a clock that is not of this machine."""
    told: Callable[[], float] = getattr(clock, "thread_time", clock.now)
    return told()


def suspended_s(clock: Clock) -> float:
    """Seconds that the machine was suspended since an arbitrary start.

    The least of a few looks, since this thread may have to wait between two of them.
    """
    boot = boot_clock(clock)
    return min(boot() - clock.now() for _ in range(3))
