"""Sources that tell power: sampled by us, or delivered with their own time stamps."""

from __future__ import annotations

import bisect
import math
import random
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import ClassVar, NamedTuple

import numpy as np

from .channels import SHORTEST_WINDOW_PERIODS, Channel, Reading, too_short
from .clock import Ticker
from .errors import LifecycleError, ReadingError
from .profiler import Profiler, Recording, finite
from .statistics import Indices, Vector, trapezoid_variance

MAX_GAP_PERIODS = 5
"""A hole in the samples longer than this many periods is a hole, not a held value."""


END_FACTOR = 1.5
"""A load that begins and ends with a window errs the same way at both ends: half of
each step, together up to 2.4 standard uncertainties of jumps that know nothing of
the window, and 2 of these."""

FEW_SAMPLES = 16
"""With fewer, all that the samples differ by may be noise."""


class PowerSeries:
    """Samples of one channel's power, and the energy between any two instants."""

    def __init__(self, channel: Channel, period_s: float) -> None:
        self.channel = channel
        self.period_s = period_s
        self.times: list[float] = []
        self.watts: list[float] = []
        self.failure = ""

    def add(self, time: float, watts: float) -> None:
        """Append a sample; samples are dropped that are not later than the last one."""
        if not self.times or time > self.times[-1]:
            self.times.append(time)
            self.watts.append(watts)

    def trim(self, before: float) -> None:
        """Forget what no window that is still open can need."""
        keep = bisect.bisect_right(self.times, before) - 1
        if keep > 1000:
            del self.times[:keep], self.watts[:keep]

    def energy(self, start: float, end: float) -> tuple[float, float]:
        """Joules between two instants and their standard uncertainty.

        Trapezoids between samples; the last value is held to each end. The
        power is taken as free to jump anywhere between two samples, at the ends
        of the window just there; and what moves too fast for the samples is
        seen in their noise.

        Raises:
            ReadingError: samples are missing for too long a part of it.
        """
        first = max(bisect.bisect_right(self.times, start) - 1, 0)
        last = bisect.bisect_left(self.times, end)
        times, watts = self.times[first : last + 1], self.watts[first : last + 1]
        self._check_gaps(times, start, end)
        corners = [(start, _power_at(times, watts, start))]
        corners += [(t, w) for t, w in zip(times, watts, strict=True) if start < t < end]
        corners += [(end, _power_at(times, watts, end))]
        joules = variance = squares = 0.0
        for (t0, w0), (t1, w1) in pairwise(corners):
            joules += (w0 + w1) / 2 * (t1 - t0)
            squares += (t1 - t0) ** 2
        for (t0, w0), (t1, w1) in pairwise(corners[1:-1]):
            variance += trapezoid_variance(w0, w1, t1 - t0)
        for outer_w, (t0, w0), instant in (
            (watts[0], corners[1], start),
            (watts[-1], corners[-2], end),
        ):
            variance += END_FACTOR * trapezoid_variance(outer_w, w0, t0 - instant)
        variance += squares * _noise(watts)
        if len(corners) < 7:
            # Fewer than five samples inside say little of how the power moved there.
            variance += joules**2 / 12
        return joules, math.sqrt(variance)

    def check_alive(self, start: float, end: float) -> None:
        """Refuse samples that are zero throughout.

        Raises:
            ReadingError: the source told no power at all between the two instants.
        """
        first = max(bisect.bisect_right(self.times, start) - 1, 0)
        last = bisect.bisect_left(self.times, end)
        watts = self.watts[first : last + 1]
        if watts and not any(watts):
            raise ReadingError(
                f"{self.channel.id} told 0 W all the time, and nothing that is on uses no energy: "
                "it sees another circuit, or less than it can tell"
            )

    def _check_gaps(self, times: Sequence[float], start: float, end: float) -> None:
        seen = [*times]
        if not seen or seen[0] > start:
            seen.insert(0, start)
        if seen[-1] < end:
            seen.append(end)
        gap = max((b - a for a, b in pairwise(seen)), default=0.0)
        if not times or gap > MAX_GAP_PERIODS * self.period_s:
            raise ReadingError(
                f"{self.channel.id} gave no power for {gap:.1f} s of the window"
                + (f": {self.failure}" if self.failure else "")
            )


def _noise(watts: Sequence[float]) -> float:
    """Variance of what differs from one sample to the next and is gone again, W².

    Neighbouring steps of white noise undo each other: their product is −σ² on
    average. Those of power that the samples can follow do not.
    """
    if len(watts) < 3:
        return 0.0
    steps = np.diff(watts)
    # Student's t over the normal quantile, squared, is about 1 + 3/ν for few samples.
    few = 1 + 3 / (len(steps) - 1)
    noise = max(-float(np.mean(steps[1:] * steps[:-1])), 0.0)
    if len(watts) < FEW_SAMPLES:
        noise = max(noise, float(np.var(watts, ddof=1)))
    return few * noise


def _power_at(times: Sequence[float], watts: Sequence[float], instant: float) -> float:
    return float(np.interp(instant, times, watts))


class _SeriesRecording(Recording):
    def __init__(self, profiler: _SeriesProfiler) -> None:
        self._profiler = profiler
        self._begun = profiler.begin()

    def tick(self) -> None:
        self._profiler.pull()

    def energies(self, ticks: Indices, instants: Vector) -> Sequence[tuple[Channel, Vector | str]]:
        self._profiler.catch_up(float(instants[-1]))
        with self._profiler.lock:  # samples are added and forgotten by other threads
            return [self._channel(series, instants) for series in self._profiler.series]

    @staticmethod
    def _channel(series: PowerSeries, instants: Vector) -> tuple[Channel, Vector | str]:
        try:
            series.check_alive(float(instants[0]), float(instants[-1]))
            blocks = [series.energy(float(a), float(b))[0] for a, b in pairwise(instants)]
        except ReadingError as error:
            return series.channel, str(error)
        return series.channel, np.array(blocks)

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
        self.catch_up(now)
        readings = []
        with self.lock:
            for series in self.series:
                try:
                    if now - begun.time < SHORTEST_WINDOW_PERIODS * series.period_s:
                        reason = too_short(series.channel, series.period_s, now - begun.time)
                        raise ReadingError(reason)
                    series.check_alive(begun.time, now)
                    energy, u = series.energy(begun.time, now)
                except ReadingError as error:
                    readings.append(Reading(series.channel, None, reason=str(error)))
                else:
                    readings.append(Reading(series.channel, energy, u))
        self.forget(begun)
        return readings

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
        period = self.period_s
        self._ticker = self.clock.repeat(self.pull, lambda: period)

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

    def catch_up(self, instant: float) -> None:
        """Wait, up to ``patience_s``, until the stamps reach ``instant``."""
        deadline = self.clock.now() + self.patience_s
        self.pull()
        while self.clock.now() < deadline and any(
            not series.times or series.times[-1] < instant for series in self.series
        ):
            self.clock.sleep(self.period_s / 4)
            self.pull()
