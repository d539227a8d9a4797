"""Sources that tell power: sampled by us, or delivered with their own time stamps."""

from __future__ import annotations

import math
import random
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import ClassVar, NamedTuple

from .channels import (
    Channel,
    Reading,
)
from .clock import Ticker
from .errors import LifecycleError, ReadingError
from .power_series import PowerReadings, PowerSeries, PowerWindow
from .profiler import Profiler, Recording, finite


class _SeriesRecording(Recording):
    def __init__(self, profiler: _SeriesProfiler) -> None:
        self._profiler = profiler
        self._begun = profiler.begin()

    def tick(self) -> None:
        self._profiler.pull()

    def readings(self, until_s: float) -> Sequence[PowerReadings]:
        self._profiler.catch_up(until_s)
        with self._profiler.lock:  # samples are added and forgotten by other threads
            return [PowerReadings.of(series, self._begun.time) for series in self._profiler.series]

    def close(self) -> None:
        self._profiler.forget(self._begun)


class Begun(NamedTuple):
    """The beginning of a window; ``key`` tells apart windows begun at one instant."""

    time: float
    key: int


class _SeriesProfiler(Profiler):
    """What sampled and delivered power have in common."""

    def __init__(self) -> None:
        super().__init__()
        self._one_at_a_time = threading.RLock()
        self.series: tuple[PowerSeries, ...] = ()
        self._open_windows: set[Begun] = set()
        self.lock = threading.RLock()
        self._keys = 0
        self._ticker: Ticker | None = None

    def unfollow(self) -> None:
        """Take over nothing more."""
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        self.series = ()

    def pull(self) -> None:
        """Take over what has been delivered meanwhile."""

    def catch_up(self, instant: float) -> None:
        """Return when the samples reach ``instant``, or cannot."""

    def begin(self) -> Begun:
        """Remember the instant at which a window begins."""
        if not self.is_open:
            raise LifecycleError(f"the profiler {self.name!r} is not open: call open() first")
        with self.lock:
            self._keys += 1
            begun = Begun(self.clock.now(), self._keys)
            self._open_windows.add(begun)
        return begun

    def forget(self, begun: Begun) -> None:
        """Drop the samples that only this window needed."""
        with self.lock:
            self._open_windows.discard(begun)
            self._trim()

    def _trim(self) -> None:
        """Drop what no open window needs; the lock is held."""
        oldest = min(self._open_windows, default=Begun(self.clock.now(), 0)).time
        for series in self.series:
            series.trim(oldest)

    def finish(self, begun: Begun) -> Callable[[], Sequence[Reading]]:
        """End a window now; the samples up to now are waited for when it is told."""
        now = self.clock.now()
        return lambda: self._integrate(begun, now)

    def end(self, begun: Begun) -> Sequence[Reading]:
        """Integrate the samples since ``begin``."""
        return self.finish(begun)()

    def _integrate(self, begun: Begun, now: float) -> Sequence[Reading]:
        if not self.is_open:
            raise LifecycleError(f"the profiler {self.name!r} was closed inside the window")
        try:
            self.catch_up(now)
            with self.lock:
                shown = [
                    PowerWindow(PowerReadings.of(series, begun.time), begun.time, now)
                    for series in self.series
                ]
        finally:  # an interrupt while late samples are waited for is likely
            self.forget(begun)
        return [replace(window.reading(), evidence=window) for window in shown]

    def record(self) -> Recording:
        """Keep the samples from now on."""
        return _SeriesRecording(self)


class PowerProfiler(_SeriesProfiler):
    """A profiler whose source tells the power at this instant.

    A plugin implements ``connect``, ``disconnect`` and ``read_power``.
    """

    sample_period_s: ClassVar[float] = 0.1
    """Mean time between samples; jittered, since regular sampling of periodic
    work aliases."""

    @abstractmethod
    def read_power(self, channel: Channel) -> float:
        """Power of one channel now, in watts.

        Raises:
            ReadingError: the read failed. Never return 0 instead.
        """

    def grain_s(self, channel: Channel) -> float:
        """The sampling period, or the source's own where that is longer."""
        return max(self.sample_period_s, channel.update_period_s or 0.0)

    def follow(self) -> None:
        """Sample now and from now on.

        Raises:
            ReadingError: no channel answers.
        """
        self.series = tuple(
            PowerSeries(channel, self.grain_s(channel)) for channel in self.channels
        )
        self._sample()
        if self.series and not any(series.times for series in self.series):
            raise ReadingError(self.series[0].failure)
        jitter = random.Random()  # noqa: S311  # no secret: it only breaks the rhythm
        period = self.sample_period_s
        self._ticker = self.clock.repeat(self._sample, lambda: period * jitter.uniform(0.5, 1.5))

    def _sample(self) -> None:
        # From the sampler's thread and at the end of windows: no device is asked twice at once.
        with self._one_at_a_time:
            for series in self.series:
                self._sample_one(series)
            with self.lock:
                self._trim()

    def _sample_one(self, series: PowerSeries) -> None:
        before = self.clock.now()
        try:
            watts = finite(self.read_power(series.channel), series.channel.id)
        except Exception as error:  # noqa: BLE001  # any fault is a hole, not the end of sampling
            series.failure = str(error) or type(error).__name__
            return
        with self.lock:
            series.add((before + self.clock.now()) / 2, watts)

    def catch_up(self, instant: float) -> None:
        """Sample once more if nothing was sampled for half a period."""
        newest = max((s.times[-1] for s in self.series if s.times), default=-math.inf)
        if instant - newest > self.sample_period_s / 2:
            self._sample()


class Sample(NamedTuple):
    """Power of one channel at one instant of the profiler's clock."""

    time: float
    channel: str
    power_w: float


def _take(series: PowerSeries, sample: Sample) -> None:
    try:
        series.add(sample.time, finite(sample.power_w, sample.channel))
    except ReadingError as error:
        series.failure = str(error)


class StreamProfiler(_SeriesProfiler):
    """A profiler whose source delivers power with its own time stamps.

    A plugin implements ``connect``, ``disconnect`` and ``deliver``; its time
    stamps are on ``self.clock``, so a source with a clock of its own is aligned
    by the plugin.
    """

    period_s: ClassVar[float] = 0.1
    """Longest usual time between two stamps of one channel."""

    patience_s: ClassVar[float] = 5.0
    """How long to wait at the end of a window for late samples."""

    @abstractmethod
    def deliver(self) -> Iterable[Sample]:
        """What has arrived since the last call, oldest first; does not wait.

        Raises:
            ReadingError: the source is gone, or sends what cannot be read.
        """

    def grain_s(self, channel: Channel) -> float:
        """The period of the stream."""
        return self.period_s

    def follow(self) -> None:
        """Begin with what the source delivers from now on."""
        self.series = tuple(PowerSeries(channel, self.period_s) for channel in self.channels)
        self._given_up: dict[str, float] = {}
        period = self.period_s
        # A source whose clock is aligned by when its samples come must be asked at every phase.
        jitter = random.Random()  # noqa: S311  # no secret: it only breaks the rhythm
        self._ticker = self.clock.repeat(self.pull, lambda: period * jitter.uniform(0.5, 1.5))

    def pull(self) -> None:
        """Take over what has been delivered meanwhile."""
        by_id = {series.channel.id: series for series in self.series}
        with self.lock:
            try:
                for sample in self.deliver():
                    # What was not announced has no place in a report.
                    if series := by_id.get(sample.channel):
                        _take(series, sample)
            except Exception as error:  # noqa: BLE001  # any fault is a hole, not the end of reading
                for series in self.series:
                    series.failure = str(error) or type(error).__name__
            self._trim()

    def catch_up(self, instant: float) -> None:
        """Wait, up to ``patience_s``, until the stamps reach ``instant``."""
        deadline = self.clock.now() + self.patience_s
        self.pull()
        while self._awaited(instant) and self.clock.now() < deadline:
            self.clock.sleep(self.period_s / 4)
            self.pull()
        # What was waited for in vain is not waited for again until it delivers again.
        self._given_up = {s.channel.id: _newest(s) for s in self.series if _newest(s) < instant}

    def _awaited(self, instant: float) -> bool:
        return any(
            _newest(series) < instant and self._given_up.get(series.channel.id) != _newest(series)
            for series in self.series
        )


def _newest(series: PowerSeries) -> float:
    return series.times[-1] if series.times else -math.inf
