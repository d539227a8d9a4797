"""Joules of a recording from its first row to now, without looking back at its rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .blocks import Source, on_line
from .channels import SHORTEST_WINDOW_PERIODS, Channel, Reading, too_short, window_result
from .counter_recording import Mark
from .counter_window import told
from .errors import ReadingError
from .power_series import PowerSeries
from .recording_rows import FAILED, RESTARTED, decimals, note
from .results import WindowResult

FOLDED = 4096
"""Samples that are integrated together; then only their joules are kept."""


class CounterTotal:
    """One counter: the joules of each row, and the energy from the first row to the last.

    Args:
        channel: of the counter.
        counted_j: what an earlier part of the recording had counted; None for a new one.

    Attributes:
        column: number of its cell in a row.
        form: how its joules are written.
        base_j: what was counted before the counter last began anew.
        last: the newest good read; its epoch is -1 while there is none.
        moved_s: when the counter was last seen to move.
    """

    __slots__ = (
        "_broken", "_failure", "_first", "_resumed", "base_j", "channel", "column", "form", "last",
        "moved_s",
    )  # fmt: skip

    def __init__(self, channel: Channel, counted_j: float | None = None) -> None:
        self.channel = channel
        self.column = 0
        self.form = f"%.{decimals(channel.resolution_j)}f"
        self.base_j = counted_j or 0.0
        self.last: Mark = (0.0, 0.0, 0.0, -1, None, "")
        self.moved_s = -math.inf
        self._resumed = counted_j is not None
        self._first: Mark | None = None
        self._failure = self._broken = ""

    @property
    def joules(self) -> float:
        """Up to the newest good read."""
        return self.base_j + self.last[2]

    def fail(self, reason: str, notes: list[str]) -> None:
        """Take over a read that failed."""
        self._failure = reason
        notes.append(note(FAILED, self.channel.id, reason))

    def begin(self, mark: Mark, notes: list[str]) -> None:
        """Take over the first read, or the first after the counter has lost its place."""
        id = self.channel.id
        if self._resumed or self._first is not None:
            reason = "what was used since the last value is not known"
            notes.append(note(RESTARTED, id, reason))
        if self._first is None:
            self._first = mark
        else:
            self._broken = self._failure or f"the counter of {id} was reset meanwhile"
        self.base_j = self.joules - mark[2]

    def reading(self, period_s: float) -> Reading:
        """Its joules from the first good read to the last, or why there are none."""
        first = self._first
        if self._broken or first is None:
            reason = self._broken or self._failure or f"{self.channel.id} was never read"
            return Reading(self.channel, None, reason=reason)
        return told(self.channel, period_s, first, self.last, self.moved_s)


def fill(
    totals: Sequence[CounterTotal], marks: Sequence[Mark], row: list[str], notes: list[str]
) -> None:
    """Take over one read of each counter, and fill their cells.

    Flat, as the tick of a recording is, and for the same reason.
    """
    for total, mark in zip(totals, marks, strict=True):
        _, after, joules, epoch, _, failure = mark
        if failure:
            total.fail(failure, notes)
            continue
        _, _, shown, known, _, _ = total.last
        if epoch != known:
            total.begin(mark, notes)
        elif joules != shown:
            total.moved_s = after
        total.last = mark
        row[total.column] = total.form % (total.base_j + joules)


class PowerTotal:
    """Joules of one sampled power from its first sample to its last; old samples are folded."""

    def __init__(self, channel: Channel, period_s: float) -> None:
        self.channel = channel
        self._period_s = period_s
        self._series = PowerSeries(channel, period_s)
        self._joules = self._variance = self._running = 0.0
        self._began_s: float | None = None
        self._failure = ""

    @property
    def joules(self) -> float:
        """Up to the newest sample, by trapezoids."""
        return self._running

    def add(self, time_s: float, watts: float) -> None:
        """Take over one sample."""
        if self._series.times:
            mean = (self._series.watts[-1] + watts) / 2
            self._running += mean * (time_s - self._series.times[-1])
        self._began_s = time_s if self._began_s is None else self._began_s
        self._series.add(time_s, watts)
        if len(self._series.times) >= FOLDED:
            self._fold()

    def _fold(self) -> None:
        series = self._series
        start, end = series.times[0], series.times[-1]
        # Samples that come in batches leave one point a batch.
        spacing_s = float(np.median(np.diff(series.times)))
        series.period_s = max(self._period_s, spacing_s)
        try:
            series.check_alive(start, end)
            joules, u = series.energy(start, end)
        except ReadingError as error:
            self._failure = self._failure or str(error)
        else:
            self._joules += joules
            self._variance += u * u
        self._series = PowerSeries(self.channel, self._period_s)
        self._series.add(end, series.watts[-1])

    def reading(self) -> Reading:
        """Its joules, or why there are none."""
        times = self._series.times
        if self._began_s is None:
            return Reading(self.channel, None, reason=f"{self.channel.id} told no power")
        duration = times[-1] - self._began_s
        if duration < SHORTEST_WINDOW_PERIODS * self._period_s:
            reason = too_short(self.channel, self._period_s, duration)
            return Reading(self.channel, None, reason=reason)
        if len(times) > 1:
            self._fold()
        if self._failure:
            return Reading(self.channel, None, reason=self._failure)
        return Reading(self.channel, self._joules, math.sqrt(self._variance))


def result(
    sources: Sequence[Source], readings: Sequence[Reading], duration_s: float
) -> WindowResult:
    """The window from the first row to the last, calibrated where it can be.

    Args:
        sources: of the session.
        readings: one a channel.
        duration_s: between the rows.
    """
    by_id = {reading.channel.id: reading for reading in readings}
    told_by = []
    for source in sources:
        for channel in source.channels:
            if channel.id in by_id and duration_s > 0:
                reading = replace(by_id[channel.id], channel=source.described(channel))
                line = source.line(channel.id)
                known = on_line(reading, reading.channel, *line, duration_s)
                told_by.append((source.profiler.name, known))
    return window_result("recording", duration_s, told_by)
