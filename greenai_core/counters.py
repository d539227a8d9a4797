"""Sources that count energy: RAPL, NVML's energy counter, and their like.

A plugin gives one raw read of one channel; everything between that and joules
(deltas, wrap-around, failed reads, update instants, windows) is done here.
"""

from __future__ import annotations

import itertools
import math
import threading
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

from .channels import (
    DEFAULT_PERIOD_S,
    LEAST_POWER_W,
    SHORTEST_WINDOW_PERIODS,
    Channel,
    Reading,
    stuck_reason,
    too_short,
)
from .clock import Ticker
from .counter_recording import CounterRecording, Mark
from .errors import LifecycleError, ReadingError
from .profiler import Profiler, Recording
from .statistics import latch_window

MAX_POWER_W = 5000.0
"""No channel of one machine draws more; a counter that says so was reset."""

HEARTBEAT_S = 1.0
"""A read at least this often, so that a counter that stops moving is noticed."""

HEARTBEATS_A_WRAP = 40
"""Reads in the time in which MAX_POWER_W would wrap a counter. None wraps unseen,
and a reset is taken for a wrap only if it comes within 1/40 of one (65,536 J, the
least known, wraps after 13 s at MAX_POWER_W and after 234 s at 280 W)."""


_EPOCHS = itertools.count()


class _Counter:
    """Unwraps one channel's raw counts into joules since it was opened."""

    __slots__ = ("channel", "epoch", "joules", "moved", "plain", "raw", "seen", "sure_s", "unit")

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.raw: int | None = None
        self.seen = math.inf
        self.moved = -math.inf
        self.joules = 0.0
        self.epoch = next(_EPOCHS)
        self.unit = channel.resolution_j
        # More than this at once, or less than nothing, is looked at twice.
        self.plain = round(MAX_POWER_W * DEFAULT_PERIOD_S / max(channel.resolution_j, 1e-15))
        # A wrap cannot have passed unseen between two reads so close together.
        self.sure_s = channel.wraps_at * self.unit / MAX_POWER_W if channel.wraps_at else math.inf

    def add(self, time: float, raw: int) -> None:
        """Count what has come since the read before.

        Raises:
            ReadingError: the count is negative, moved as no energy explains (back
                without a wrap, or ahead faster than MAX_POWER_W), or may have
                wrapped more than once since the read before.
        """
        last = self.raw
        delta = min(raw, 0) if last is None else raw - last
        if not 0 <= delta <= self.plain or time - self.seen > self.sure_s:
            delta = self._explain(time, raw, delta)
        self.joules += delta * self.unit
        self.raw = raw
        self.seen = self.moved = time

    def _explain(self, time: float, raw: int, delta: int) -> int:
        channel = self.channel
        if not raw >= 0:  # NaN too
            raise ReadingError(f"the counter of {channel.id} gave {raw}, which cannot be true")
        last = raw - delta
        if delta < 0 and channel.wraps_at:
            delta += channel.wraps_at
        # One update period of energy may appear at once, whatever the time between reads.
        elapsed = max(time - self.seen, 0.0) + (channel.update_period_s or DEFAULT_PERIOD_S)
        if delta < 0 or delta * channel.resolution_j > MAX_POWER_W * elapsed:
            self._begin_anew(time, raw)
            what = "went back" if raw < last else f"jumped within {elapsed:.3g} s"
            raise ReadingError(
                f"the counter of {channel.id} {what} from {last} to {raw}: "
                "it was reset, or gave garbage"
            )
        pause = time - self.seen
        if pause > self.sure_s and (delta + (channel.wraps_at or 0)) * self.unit <= (
            MAX_POWER_W * pause
        ):
            self._begin_anew(time, raw)
            raise ReadingError(
                f"the counter of {channel.id} could not be read for {pause:.0f} s and may have "
                "wrapped unseen meanwhile"
            )
        return delta

    def _begin_anew(self, time: float, raw: int) -> None:
        self.raw, self.seen, self.joules = raw, time, 0.0
        self.epoch = next(_EPOCHS)


class CounterProfiler(Profiler):
    """A profiler whose source counts energy since some start.

    A plugin implements ``connect`` (each channel with its ``resolution_j``,
    and ``wraps_at`` where the counter wraps), ``disconnect`` and ``read``.
    """

    swift: ClassVar[bool] = True

    precise_ends: ClassVar[bool] = False
    """Whether ``read_power`` is asked at both ends of a window; worth its time
    on counters that move every 20 ms or less often."""

    @abstractmethod
    def read(self, channel: Channel) -> int:
        """The raw count of one channel, in units of its ``resolution_j``.

        Raises:
            ReadingError: the read failed. Never return 0 instead.
        """

    def read_power(self, channel: Channel) -> float | None:
        """Power of the channel at this instant, W; None where the source has none."""
        return None

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._counters: tuple[_Counter, ...] = ()
        self._ticker: Ticker | None = None

    def follow(self) -> None:
        """Read once, and again at least every ``HEARTBEAT_S`` seconds."""
        self._counters = tuple(_Counter(channel) for channel in self.channels)
        self.mark()
        wraps = [
            channel.wraps_at * channel.resolution_j / MAX_POWER_W / HEARTBEATS_A_WRAP
            for channel in self.channels
            if channel.wraps_at
        ]
        period = min([HEARTBEAT_S, *wraps])
        self._ticker = self.clock.repeat(self._heartbeat, lambda: period)

    def unfollow(self) -> None:
        """End the background reads."""
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        self._counters = ()

    def _heartbeat(self) -> None:
        self.mark()

    def mark(self) -> list[Mark]:
        """Read every channel now; a failed one is marked with its reason."""
        now = self.clock.now
        read = self.read
        marks: list[Mark] = []
        # This is what a window costs: `with` would take three times as long as the lock.
        self._lock.acquire()
        try:
            before = now()
            for counter in self._counters:
                try:
                    raw = read(counter.channel)
                    after = now()
                    if raw != counter.raw:
                        counter.add(after, raw)
                    else:
                        counter.seen = after
                # Any fault of a plugin: it must end neither the heartbeat nor the user's work.
                except Exception as error:  # noqa: BLE001
                    failure = _why(error, counter.channel)
                    marks.append((before, before, counter.joules, counter.epoch, None, failure))
                    before = now()
                else:
                    marks.append((before, after, counter.joules, counter.epoch, None, ""))
                    # Looking at the clock again would cost more than what has passed since.
                    before = after
        finally:
            self._lock.release()
        return marks

    def _mark_with_power(self) -> list[Mark]:
        return list(map(self._with_power, self.channels, self.mark()))

    def _with_power(self, channel: Channel, mark: Mark) -> Mark:
        before, after, joules, epoch, _, failure = mark
        if failure:
            return mark
        try:
            return before, after, joules, epoch, self.read_power(channel), ""
        except Exception:  # noqa: BLE001  # the energy is known; without the power it is so less well
            return mark

    def begin(self) -> list[Mark]:
        """Read the channels at the beginning of a window."""
        if self._channels is None:
            raise LifecycleError(f"the profiler {self.name!r} is not open: call open() first")
        return self._mark_with_power() if self.precise_ends else self.mark()

    def finish(self, begun: list[Mark]) -> Callable[[], Sequence[Reading]]:
        """Read them again; the joules in between are worked out when asked for."""
        marks = self._mark_with_power() if self.precise_ends else self.mark()
        channels = self.channels
        moved = [counter.moved for counter in self._counters]
        return lambda: list(map(_reading, channels, begun, marks, moved))

    def end(self, begun: list[Mark]) -> Sequence[Reading]:
        """Read them again and tell the joules in between."""
        return self.finish(begun)()

    def grain_s(self, channel: Channel) -> float:
        """The update period of the counter."""
        return channel.update_period_s or DEFAULT_PERIOD_S

    def record(self) -> Recording:
        """Keep every read from now on, to be cut into blocks."""
        return CounterRecording(self)


def _why(error: Exception, channel: Channel) -> str:
    if isinstance(error, (ReadingError, OSError)) and str(error):
        return str(error)
    return f"{channel.id} could not be read ({type(error).__name__}: {error})"


def _reading(channel: Channel, start: Mark, stop: Mark, moved: float) -> Reading:
    start_from, start_to, start_j, start_epoch, start_w, start_failure = start
    stop_from, stop_to, stop_j, stop_epoch, stop_w, stop_failure = stop
    failure = start_failure or stop_failure
    if not failure and start_epoch != stop_epoch:
        failure = (
            f"the counter of {channel.id} was reset, could not be read for long, or was opened "
            "again inside the window"
        )
    if failure:
        return Reading(channel, None, reason=failure)
    duration = (stop_from + stop_to - start_from - start_to) / 2
    counted = stop_j - start_j
    period = channel.update_period_s or DEFAULT_PERIOD_S
    # It may have stopped before the window began, or in the middle of it.
    stuck = stuck_reason(channel, 0.0, stop_to - max(moved, start_from))
    if stuck:
        return Reading(channel, None, reason=stuck)
    if duration < SHORTEST_WINDOW_PERIODS * period:
        return Reading(channel, None, reason=too_short(channel, period, duration))
    if counted == 0.0 and duration > channel.resolution_j / LEAST_POWER_W:
        reason = (
            f"the counter of {channel.id} did not move in {duration:.3g} s: it is slower than it "
            "says, and the window too short to tell. Repeat the work inside the window"
        )
        return Reading(channel, None, reason=reason)
    energy, u = latch_window(counted, duration, period, channel.resolution_j, start_w, stop_w)
    return Reading(channel, max(energy, 0.0), u)
