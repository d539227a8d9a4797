"""What a counter showed while work was repeated, to be cut into blocks."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np

from .channels import STUCK_PERIODS, Channel, stuck_reason
from .profiler import Recording
from .statistics import EdgeSeries, Indices, Vector, edges

Mark: TypeAlias = tuple[float, float, float, int, "float | None", str]
"""One read of one channel: instants before and after it, joules counted so far,
epoch, power in W if asked for, and why it failed. The epoch changes when the
counter was reset or opened again; marks of two epochs cannot be subtracted. A plain tuple, its
middle worked out by whoever needs it, since two are made a window and channel."""


class Marker(Protocol):
    """What can be read again and again: a counter profiler, or readings that were kept."""

    @property
    def channels(self) -> tuple[Channel, ...]:
        """What is read."""

    def mark(self) -> list[Mark]:
        """Read every channel now."""

    def grain_s(self, channel: Channel) -> float:
        """Seconds between two values of a channel."""


def _from_first(series: EdgeSeries, times: Vector, joules: Vector, period: float) -> EdgeSeries:
    """The edges with that before the first read, where the counter is quicker than the reads.

    Without it the first block would be drawn out from the power of the second.
    """
    if times[1] - times[0] < period or joules[1] == joules[0]:
        return series
    return EdgeSeries(
        np.concatenate(([times[0] - period / 2], series.times)),
        np.concatenate((joules[:1], series.joules)),
        np.concatenate(([period / math.sqrt(12)], series.u_times)),
    )


@dataclass(frozen=True)
class CounterReadings:
    """What one channel of a counter showed while work was repeated.

    Attributes:
        channel: what was read.
        period_s: seconds between two values of it.
        times: of each read that succeeded, s.
        joules: what had been counted by then.
        failure: why a read failed; empty if none did.
        reset: whether the counter was reset meanwhile.
    """

    channel: Channel
    period_s: float
    times: Vector
    joules: Vector
    failure: str = ""
    reset: bool = False

    def blocks(self, ticks: Indices, instants: Vector) -> Vector | str:
        """See ``Readings``."""
        times, joules, period, id = self.times, self.joules, self.period_s, self.channel.id
        if self.reset:
            return self.failure
        if len(times) < 2:
            return self.failure or f"{id} was never read"
        series = edges(times, joules, period)
        if series is None:
            seconds = float(times[-1] - times[0])
            stuck = stuck_reason(self.channel, float(joules[-1] - joules[0]), seconds)
            return stuck or self.failure or f"{id} moved too seldom to tell blocks apart"
        silence = float(instants[-1] - series.times[-1])
        pause = float(np.diff(times).max())
        if silence > STUCK_PERIODS * period + 2 * pause:
            return self.failure or (
                f"the counter of {id} stopped moving {silence:.1f} s before the end"
            )
        return np.diff(_from_first(series, times, joules, period).at(instants))


class CounterRecording(Recording):
    """Every read of a counter profiler since the recording began."""

    def __init__(self, profiler: Marker) -> None:
        self._profiler = profiler
        self.closed = False
        # Packed: 16 bytes a read and channel, where two lists would take 64.
        self._times = [array("d") for _ in profiler.channels]
        self._joules = [array("d") for _ in profiler.channels]
        self._epochs = [epoch for _, _, _, epoch, _, _ in profiler.mark()]
        self._failures = [""] * len(profiler.channels)
        self._resets = [False] * len(profiler.channels)

    def tick(self) -> None:
        """Read every channel, and keep what it showed."""
        for index, mark in enumerate(self._profiler.mark()):
            before, after, joules, epoch, _, failure = mark
            if epoch != self._epochs[index]:
                self._resets[index] = True
                self._failures[index] = (
                    f"the counter of {self._profiler.channels[index].id} was reset meanwhile"
                )
            elif failure:
                self._failures[index] = failure
            else:
                self._times[index].append((before + after) / 2)
                self._joules[index].append(joules)

    def ready(self) -> bool:
        """Whether every channel that answers has moved."""
        return all(
            failure or (joules and joules[-1] != joules[0])
            for joules, failure in zip(self._joules, self._failures, strict=True)
        )

    def readings(self, until_s: float) -> Sequence[CounterReadings]:
        """See ``Recording``."""
        return [self._kept(index, channel) for index, channel in enumerate(self._profiler.channels)]

    def _kept(self, index: int, channel: Channel) -> CounterReadings:
        joules = np.array(self._joules[index])
        return CounterReadings(
            channel,
            self._profiler.grain_s(channel),
            np.array(self._times[index])[: len(joules)],  # an interrupt may come in between
            joules,
            self._failures[index],
            self._resets[index],
        )

    def close(self) -> None:
        """Forget the readings."""
        self.closed = True
        self._times.clear()
        self._joules.clear()
