"""Sources that count energy: RAPL, NVML's energy counter, and their like.

A plugin gives one raw read of one channel; everything between that and joules
(deltas, wrap-around, failed reads, update instants, windows) is done here.
"""

from __future__ import annotations

import math
import random
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

from .channels import Channel, Reading
from .clock import Ticker, busy_s
from .counter_recording import CounterRecording, Mark
from .counter_window import told
from .edge_watch import FASTEST_S, EdgeWatch, OnceWindow, declared_s
from .errors import LifecycleError, ReadingError
from .looks import Look, Looks
from .profiler import Profiler, Recording, finite
from .unwrapping import MAX_POWER_W

HEARTBEAT_S = 1.0
"""A read at least this often, so that a counter that stops moving is noticed."""

HEARTBEATS_A_WRAP = 40
"""Reads in the time in which MAX_POWER_W would wrap a counter. None wraps unseen,
and a reset is taken for a wrap only if it comes within 1/40 of one (65,536 J, the
least known, wraps after 13 s at MAX_POWER_W and after 234 s at 280 W)."""


LATEST_EDGE = 1.5
"""The edge after a window is waited for so many update periods at most."""


class CounterProfiler(Profiler):
    """A profiler whose source counts energy since some start.

    A plugin implements ``connect`` (each channel with its ``resolution_j``,
    and ``wraps_at`` where the counter wraps), ``disconnect`` and ``read``.
    """

    swift: ClassVar[bool] = True

    watched: bool = True
    """Whether counters that move every 15 ms or less often are read in the background,
    with their power, so that windows know the edges around their ends."""

    waits_for_edge: bool = True
    """Whether the energy of a window waits, one update period at most, for the edge
    after its end; only on counters that are watched."""

    @abstractmethod
    def read(self, channel: Channel) -> int:
        """The raw count of one channel, in units of its ``resolution_j``.

        Raises:
            ReadingError: the read failed. Never return 0 instead.
        """

    def reader(self, channel: Channel) -> Callable[[], Any]:
        """A quick way to read the channel, bound once when the profiler is opened.

        A plugin may bring one that does without looking the channel up each time. What it
        gives goes through ``parse``, later; when it raises, ``read`` is asked instead.
        """
        return partial(self.read, channel)

    def parse(self, channel: Channel, raw: Any) -> int:
        """The count that is in what ``reader`` gave.

        Raises:
            ReadingError: there is none in it.
        """
        count: int = raw
        return count

    def read_power(self, channel: Channel) -> float | None:
        """Power of the channel at this instant, W; None where the source has none.

        Asked only on counters that are watched.
        """
        return None

    def __init__(self) -> None:
        super().__init__()
        self._looks = Looks(self, (), self.clock)
        self._ticker: Ticker | None = None
        self._watch = EdgeWatch(())
        self._watching = False
        self._recordings: list[CounterRecording] = []
        self._jitter = random.Random()  # noqa: S311  # no secret: it only breaks the rhythm

    def follow(self) -> None:
        """Read once, and again at least every ``HEARTBEAT_S`` seconds."""
        self._looks = Looks(self, self.channels, self.clock)
        began = busy_s(self.clock)
        self._refuse_if_dead(self.mark())
        self._watch = EdgeWatch(self.channels)
        self._watch.spent(busy_s(self.clock) - began)
        wraps = [
            channel.wraps_at * channel.resolution_j / MAX_POWER_W / HEARTBEATS_A_WRAP
            for channel in self.channels
            if channel.wraps_at
        ]
        period = min([HEARTBEAT_S, *wraps])
        self._watching = self.watched and bool(self._watch.slow)
        self._ticker = self.clock.repeat(self._heartbeat, lambda: min(period, self._delay_s()))

    def unfollow(self) -> None:
        """End the background reads."""
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        try:
            for window in self._watch.untold():
                self._tell(window)
        finally:
            self._looks.close()

    def _heartbeat(self) -> None:
        began = busy_s(self.clock)
        for recording in [*self._recordings]:  # others may append meanwhile
            if recording.closed:
                self._recordings.remove(recording)
        watching = self._watching and not self._recordings
        marks = self._look_with_power()[0] if watching else self.mark()
        self._watch.add(marks, keep=watching)
        self._watch.spent(busy_s(self.clock) - began)
        self._watching = self.watched and bool(self._watch.slow)

    def _delay_s(self) -> float:
        if not self.watched or self._recordings:
            return math.inf
        return self._watch.delay_s(self.clock.now(), self._jitter.uniform(0.5, 1.5))

    def mark(self) -> list[Mark]:
        """Read every channel now; a failed one is marked with its reason."""
        return self._looks.mark()

    def _look_with_power(self) -> tuple[list[Mark], list[float]]:
        """Marks, and when each counter had last been seen to move."""
        looks = self._looks
        look = looks.look()
        return list(map(self._with_power, self.channels, looks.marks(look))), looks.moved(look)

    def _with_power(self, channel: Channel, mark: Mark) -> Mark:
        before, after, joules, epoch, _, failure = mark
        if failure:
            return mark
        try:
            watts = self.read_power(channel)
            known = None if watts is None else finite(watts, channel.id)
            return before, after, joules, epoch, known, ""
        except Exception:  # noqa: BLE001  # the energy is known; without the power it is so less well
            return mark

    def begin(self) -> Look | OnceWindow:
        """Read the channels at the beginning of a window."""
        if self._channels is None:
            raise self._closed()
        if self._watching:
            return self._watch.begin(self._look_with_power()[0])
        return self._looks.look()

    def finish(self, begun: Look | OnceWindow) -> Callable[[], Sequence[Reading]]:
        """Read them again; the joules in between are worked out when asked for."""
        if self._channels is None:
            raise self._closed()
        if isinstance(begun, OnceWindow):
            marks, begun.moved = self._look_with_power()
            self._watch.end(begun, marks)
            return partial(self._tell, begun)
        looks = self._looks
        return partial(_told, looks, self._watch, begun, looks.look())

    def _closed(self) -> LifecycleError:
        return LifecycleError(f"the profiler {self.name!r} is not open: call open() first")

    def _tell(self, window: OnceWindow) -> Sequence[Reading]:
        if window.readings is None:
            if self.waits_for_edge and self.is_open:
                self._wait_for_edges(window)
            watch = self._watch
            window.readings = [
                told(
                    channel,
                    watch.period_s(index),
                    window.start[index],
                    window.stop[index],
                    window.moved[index],
                    watch.reads(index, window),
                )
                for index, channel in enumerate(watch.channels)
            ]
        return window.readings

    def await_edges(self) -> None:
        """Return when every counter that is watched has been seen to move, or will not.

        A window that begins now knows the edge before it; one that begins right
        after opening does not.
        """
        if self._watching:
            self._heartbeat()
            self._wait_for_moves(self.mark(), self.clock.now())

    def _wait_for_edges(self, window: OnceWindow) -> None:
        self._wait_for_moves(window.stop, window.stop_s)

    def _wait_for_moves(self, since: Sequence[Mark], since_s: float) -> None:
        watch = self._watch
        slow = watch.slow
        latest = since_s + LATEST_EDGE * max(map(watch.period_s, slow), default=0.0)
        while self.clock.now() < latest and not all(
            watch.closed(index, since[index]) for index in slow
        ):
            self.clock.sleep(FASTEST_S)
            self._heartbeat()

    def end(self, begun: Look | OnceWindow) -> Sequence[Reading]:
        """Read them again and tell the joules in between."""
        return self.finish(begun)()

    def grain_s(self, channel: Channel) -> float:
        """The update period of the counter, as it was seen to move or else as declared."""
        for index, known in enumerate(self._watch.channels):
            if known.id == channel.id:
                return self._watch.period_s(index)
        return declared_s(channel)

    def _refuse_if_dead(self, marks: Sequence[Mark]) -> None:
        failures = [failure for *_, failure in marks if failure]
        if failures and len(failures) == len(marks):
            raise ReadingError(
                f"the profiler {self.name!r} opens, but none of its channels can be read "
                f"({'; '.join(failures)}). `greenai devices` tells what else there is"
            )

    def record(self) -> Recording:
        """Keep every read from now on, to be cut into blocks."""
        recording = CounterRecording(self)
        self._recordings.append(recording)
        return recording


def _told(looks: Looks, watch: EdgeWatch, begun: Look, ended: Look) -> Sequence[Reading]:
    starts, stops, moved = looks.marks(begun), looks.marks(ended), looks.moved(ended)
    return [
        told(channel, watch.period_s(index), starts[index], stops[index], moved[index])
        for index, channel in enumerate(watch.channels)
    ]
