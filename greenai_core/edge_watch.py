"""Watching slow counters, so that the edges around a window are known.

A counter that moves every 100 ms says little of a window of 300 ms by its two
reads alone. Read in the background, it shows when it moved.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .channels import DEFAULT_PERIOD_S, Channel, Reading
from .counter_recording import Mark
from .edge_window import Reads
from .update_period import UpdatePeriod

SLOW_PERIOD_S = 0.015
"""Counters that move less often than this are watched while windows may begin."""

READS_A_PERIOD = 20
FASTEST_S = 0.005
WATCH_SHARE = 0.01
"""Share of one core's time that watching may take, and half as much again around edges."""

LATE = 3
"""A move that has not come is looked for so many times as long as it may be off."""

COST_READS = 8
"""What a read takes is the mean of so many, about: single ones wait for other programs."""

LEARNING_READS = 5
LEARNING_PERIODS = 64
"""A quick counter is read so often, for so many periods, to learn its pace."""

KEPT_PERIODS = 6
"""Reads are kept for so many periods around each end of a window."""

PRUNE_EVERY = 512


class _Read(NamedTuple):
    time: float
    joules: float
    watts: float
    epoch: int


class OnceWindow:
    """A window that happens once: the marks at its ends, and its readings when worked out."""

    __slots__ = ("__weakref__", "kept", "moved", "readings", "start", "start_s", "stop", "stop_s")

    def __init__(self, start: list[Mark], start_s: float) -> None:
        self.start = start
        self.start_s = start_s
        self.stop: list[Mark] = []
        self.stop_s = math.inf
        self.moved: list[float] = []
        self.readings: list[Reading] | None = None
        self.kept: list[list[_Read]] | None = None


class EdgeWatch:
    """What the counters of one profiler showed lately, and around open windows."""

    def __init__(self, channels: Sequence[Channel]) -> None:
        self.channels = channels
        self._lock = threading.Lock()
        self._reads: list[list[_Read]] = [[] for _ in channels]
        self._periods = [UpdatePeriod(declared_s(channel)) for channel in channels]
        self._windows: weakref.WeakSet[OnceWindow] = weakref.WeakSet()
        self._added = 0
        self._cost_s = 0.0
        self._began_s: float | None = None
        self.slow: list[int] = []
        """Numbers of the channels that are worth watching."""
        self._find_slow()

    def add(self, marks: Sequence[Mark], *, keep: bool) -> None:
        """Take over one read of every channel.

        Args:
            marks: in the order of the channels.
            keep: whether windows may need it; else only the pace is learnt from it.
        """
        with self._lock:
            for reads, period, mark in zip(self._reads, self._periods, marks, strict=True):
                before, after, joules, epoch, watts, failure = mark
                if failure:
                    continue
                time = (before + after) / 2
                if reads and reads[-1].epoch != epoch:
                    reads.clear()
                if reads and time <= reads[-1].time:
                    continue  # another thread was quicker
                period.add(time, joules)
                if keep:
                    reads.append(_Read(time, joules, math.nan if watts is None else watts, epoch))
            if marks:
                self._began_s = marks[0][0] if self._began_s is None else self._began_s
                self._added += 1
                if self._added % READS_A_PERIOD == 0:
                    self._find_slow()
                if self._added % PRUNE_EVERY == 0:
                    self._prune(marks[-1][1])

    def spent(self, seconds: float) -> None:
        """Tell what one read of all channels took of a core, s."""
        known = self._cost_s or seconds
        self._cost_s = known + (seconds - known) / COST_READS

    def begin(self, marks: list[Mark]) -> OnceWindow:
        """Keep what is read around the beginning of a window."""
        window = OnceWindow(marks, (marks[0][0] + marks[-1][1]) / 2 if marks else 0.0)
        self.add(marks, keep=True)
        with self._lock:
            self._windows.add(window)
        return window

    def end(self, window: OnceWindow, marks: list[Mark]) -> None:
        """Keep what is read around the end of a window."""
        window.stop = marks
        window.stop_s = (marks[0][0] + marks[-1][1]) / 2 if marks else window.start_s
        self.add(marks, keep=True)

    def untold(self) -> list[OnceWindow]:
        """Windows that have ended and whose readings nobody has asked for yet."""
        with self._lock:
            return [w for w in self._windows if w.stop and w.readings is None]

    def period_s(self, index: int) -> float:
        """Update period of a channel: the estimate, or what is declared."""
        estimate = self._periods[index].estimate_s()
        return declared_s(self.channels[index]) if estimate is None else estimate

    def closed(self, index: int, mark: Mark) -> bool:
        """Whether the channel has moved since a mark, or will not tell."""
        reads = self._reads[index]
        return bool(mark[5]) or not reads or reads[-1].joules != mark[2]

    def _find_slow(self) -> None:
        self.slow = [i for i in range(len(self.channels)) if self.period_s(i) >= SLOW_PERIOD_S]

    def delay_s(self, now_s: float, jitter: float = 1.0) -> float:
        """Seconds until the next read that windows or the pace need; infinite for none.

        Args:
            now_s: the time.
            jitter: drawn anew for each read, about 1: regular reads would stay in step
                with a counter whose period is a multiple of theirs.
        """
        if self.slow:
            return min(self._delay_of(index, now_s, jitter) for index in self.slow)
        declared = max(map(declared_s, self.channels), default=0.0)
        began = now_s if self._began_s is None else self._began_s
        learnt = all(period.known for period in self._periods)
        if not declared or learnt or now_s - began > LEARNING_PERIODS * declared:
            return math.inf
        wanted = min(map(declared_s, self.channels)) / LEARNING_READS
        return wanted * jitter if self._cost_s <= wanted else math.inf

    def _delay_of(self, index: int, now_s: float, jitter: float) -> float:
        """Closely around the moves that can be foreseen, where an edge is to be seen."""
        period = self.period_s(index)
        affordable = self._cost_s / WATCH_SHARE
        foreseen = self._periods[index].next_move()
        close = max(period / READS_A_PERIOD, FASTEST_S)
        if foreseen is None:
            return min(max(close, affordable), period) * jitter
        move_s, off_s = foreseen
        off_s += close
        if move_s - off_s <= now_s <= move_s + LATE * off_s:
            # Some four reads find it; between moves there are fewer for it.
            return min(max(close, affordable / 3), period) * jitter
        apart = min(max(close, 2 * affordable), period) * jitter
        until_s = move_s - off_s - now_s
        return min(apart, until_s) if until_s > 0 else apart

    def reads(self, index: int, window: OnceWindow) -> Reads:
        """What a channel showed around both ends of a window."""
        with self._lock:
            near = window.kept[index] if window.kept else self._near(index, window)
        columns = np.array([read[:3] for read in near], dtype=np.float64).reshape(-1, 3)
        return Reads(columns[:, 0], columns[:, 1], columns[:, 2])

    def _near(self, index: int, window: OnceWindow) -> list[_Read]:
        margin = KEPT_PERIODS * self.period_s(index)
        epoch = window.start[index][3]
        return [
            read
            for read in self._reads[index]
            if read.epoch == epoch
            and (
                abs(read.time - window.start_s) <= margin
                or abs(read.time - window.stop_s) <= margin
            )
        ]

    def _prune(self, now_s: float) -> None:
        margin = KEPT_PERIODS * max(map(self.period_s, range(len(self.channels))), default=0.0)
        for window in self._windows:
            # Nothing that comes now belongs to it any more; else each prune looked at all of them.
            if window.kept is None and window.readings is None and now_s - window.stop_s > margin:
                window.kept = [self._near(i, window) for i in range(len(self.channels))]
        ends = [w.start_s for w in self._windows if w.readings is None and w.kept is None]
        ends += [
            w.stop_s for w in self._windows if w.readings is None and w.kept is None and w.stop
        ]
        for index, reads in enumerate(self._reads):
            margin = KEPT_PERIODS * self.period_s(index)
            reads[:] = [
                read
                for read in reads
                if now_s - read.time <= margin or any(abs(read.time - e) <= margin for e in ends)
            ]


def declared_s(channel: Channel) -> float:
    """Update period that a channel declares, or the slowest known."""
    return channel.update_period_s or DEFAULT_PERIOD_S
