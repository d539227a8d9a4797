"""Reading all counters of a profiler at once, and working out later what was read.

A window pays for two looks, so a look does no more than read: parsing, unwrapping and
marking wait until a figure is asked for, or for the next read in the background.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

from .channels import Channel
from .clock import SUSPENDED_S, Clock, boot_clock, suspended_s
from .counter_recording import Mark
from .errors import ReadingError
from .unwrapping import Counter

TOGETHER_S = 100e-6
"""Channels that can all be read in this time share their instants; slower ones have their own."""

MOST_PENDING = 500
"""Looks that wait to be worked off; more would only take memory."""

CLOSING_S = 0.5
"""A read under way is waited for so long before the source is closed."""

Look: TypeAlias = "list[Any]"
"""One read of all channels: the instant before it, the raw values, the instant after it.
Once worked off: None, the marks, and when each counter had last moved. One plain list,
since making it and keeping it is part of what a window costs."""


class Countable(Protocol):
    """What a counter profiler knows of one channel; see ``CounterProfiler``."""

    def read(self, channel: Channel) -> int:
        """The raw count."""

    def reader(self, channel: Channel) -> Callable[[], Any]:
        """A quick way to read it."""

    def parse(self, channel: Channel, raw: Any) -> int:
        """The count in what that gives."""


class Looks:
    """The counters of a profiler from one opening to its closing.

    Args:
        source: reads them.
        channels: one a counter.
        clock: stamps the reads.
    """

    def __init__(self, source: Countable, channels: Sequence[Channel], clock: Clock) -> None:
        self._source = source
        self._counters = tuple(map(Counter, channels))
        self._readers = tuple(map(source.reader, channels))
        self._clock = clock
        self._now = clock.now
        self._boot = boot_clock(clock)
        self._slept_s = suspended_s(clock)
        self._lock = threading.Lock()
        self._together = False
        self._pending: list[Look] = []

    def look(self) -> Look:
        """Read every channel now; what was read is worked off later."""
        # `with`, though a window pays for it: between a plain acquire and its `try` an interrupt
        # would leave the lock shut for good.
        with self._lock:
            try:
                if self._together:
                    before = self._now()
                    look = [before]
                    for read in self._readers:
                        look.append(read())  # quicker than a comprehension
                    # This clock goes on while the machine is suspended: one look at it tells
                    # of that, of slow reads, and what time it is.
                    after = self._boot() - self._slept_s
                    look.append(after)
                    if 0.0 <= after - before <= TOGETHER_S:
                        pending = self._pending
                        pending.append(look)
                        if len(pending) >= MOST_PENDING:
                            self._work_off()
                        return look
            except Exception:  # noqa: BLE001, S110  # which channel it was, and why, shows below
                pass
            return self._one_by_one()

    def mark(self) -> list[Mark]:
        """What every channel shows now: a look that is worked off at once, in less time."""
        with self._lock:
            if self._pending:
                self._work_off()
            try:
                if self._together:
                    before = self._now()
                    raws = [read() for read in self._readers]
                    after = self._boot() - self._slept_s
                    if 0.0 <= after - before <= TOGETHER_S:
                        return self._marked(before, raws, after)
            except Exception:  # noqa: BLE001, S110  # as in `look`
                pass
            marks: list[Mark] = self._one_by_one()[1]
            return marks

    def marks(self, look: Look) -> list[Mark]:
        """What a look showed; a channel that failed is marked with its reason."""
        if look[0] is not None:
            with self._lock:
                self._work_off()
        marks: list[Mark] = look[1]
        return marks

    def moved(self, look: Look) -> list[float]:
        """When each counter had last been seen to move by then."""
        self.marks(look)
        moved: list[float] = look[2]
        return moved

    def close(self) -> None:
        """Read no more; looks that were taken keep their marks.

        Whoever is reading has finished when it returns, so the source may be closed;
        only a read that takes longer than ``CLOSING_S`` is not waited for.
        """
        # Not for ever: an interrupt at the end of a `with` can leave its lock shut.
        held = self._lock.acquire(timeout=CLOSING_S)
        try:
            self._work_off()
            self._counters = self._readers = ()
            self._together = False
        finally:
            if held:
                self._lock.release()

    def _one_by_one(self) -> Look:
        """Read each channel with its own instants and faults, until all are well and quick."""
        self._work_off()
        now = self._now
        began = before = now()
        self._begin_anew_if_suspended(before)
        marks: list[Mark] = []
        well = True
        for counter in self._counters:
            try:
                raw = self._source.read(counter.channel)
                after = now()
                counter.shown = None
                counter.add(after, raw)
            # Any fault of a plugin: it must end neither the heartbeat nor the user's work.
            except Exception as error:  # noqa: BLE001
                well = False
                marks.append(_failed(counter, before, error))
                before = now()
            else:
                marks.append((before, after, counter.joules, counter.epoch, None, ""))
                # Looking at the clock again would cost more than what has passed since.
                before = after
        self._together = well and before - began <= TOGETHER_S
        return [None, marks, [counter.moved for counter in self._counters]]

    def _begin_anew_if_suspended(self, time: float) -> None:
        """What was counted while the clock stood still belongs to no time that it knows."""
        slept_s = suspended_s(self._clock)
        if slept_s > self._slept_s + SUSPENDED_S:
            for counter in self._counters:
                counter.begin_anew(time, None)
        self._slept_s = slept_s

    def _work_off(self) -> None:
        """Count what was read, in the order of the reads; the lock is held."""
        for look in self._pending:
            if look[0] is not None:  # else an interrupt came before the list was cleared
                self._count(look)
        self._pending.clear()

    def _count(self, look: Look) -> None:
        before, *raws, after = look
        marks = self._marked(before, raws, after)
        look[:] = None, marks, [counter.moved for counter in self._counters]

    def _marked(self, before: float, raws: Sequence[Any], after: float) -> list[Mark]:
        """Count what was read between two instants."""
        marks: list[Mark] = []
        parse = self._source.parse
        for counter, raw in zip(self._counters, raws, strict=True):
            try:
                if raw == counter.shown:
                    counter.seen = after
                else:
                    counter.add(after, parse(counter.channel, raw))
                    counter.shown = raw
            except Exception as error:  # noqa: BLE001  # as in reading one by one
                marks.append(_failed(counter, before, error))
            else:
                marks.append((before, after, counter.joules, counter.epoch, None, ""))
        return marks


def _failed(counter: Counter, time: float, error: Exception) -> Mark:
    channel = counter.channel
    if isinstance(error, (ReadingError, OSError)) and str(error):
        reason = str(error)
    else:
        reason = f"{channel.id} could not be read ({type(error).__name__}: {error})"
    return time, time, counter.joules, counter.epoch, None, reason
