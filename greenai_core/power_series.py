"""Samples of a power, and the energy between any two instants."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .budget import Budget, Term
from .channels import (
    SHORTEST_WINDOW_PERIODS,
    STUCK_PERIODS,
    STUCK_S,
    Channel,
    Reading,
    too_short,
)
from .errors import ReadingError
from .statistics import Indices, Vector, trapezoid_variance

MAX_GAP_PERIODS = 5
"""A hole in the samples longer than this many periods is a hole, not a held value."""


END_FACTOR = 1.5
"""A load that begins and ends with a window errs the same way at both ends: half of
each step, together up to 2.4 standard uncertainties of jumps that know nothing of
the window, and 2 of these."""

MOST_PERIODS = 2
"""A source that has more new values than this between two samples is late by little of a step."""

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
        """Joules between two instants and their standard uncertainty. See ``budgeted``."""
        joules, budget = self.budgeted(start, end)
        return joules, math.hypot(*(term.u for term in budget))

    def budgeted(self, start: float, end: float) -> tuple[float, Budget]:
        """Joules between two instants and what their uncertainty is made of.

        Trapezoids between samples; the last value is held to each end. The
        power is taken as free to jump anywhere between two samples, at the ends
        of the window just there, where a source that is slower than its sampling
        may be late by its period; and what moves too fast for the samples is seen
        in their noise.

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
        joules = inside = ends = squares = 0.0
        for (t0, w0), (t1, w1) in pairwise(corners):
            joules += (w0 + w1) / 2 * (t1 - t0)
            squares += (t1 - t0) ** 2
        for (t0, w0), (t1, w1) in pairwise(corners[1:-1]):
            inside += trapezoid_variance(w0, w1, t1 - t0)
        lag = self._lag_s(times)
        for outer_w, (t0, w0), instant in (
            (watts[0], corners[1], start),
            (watts[-1], corners[-2], end),
        ):
            # A mean that is renewed when it is over shows a step for two periods.
            late = [w for t, w in zip(times, watts, strict=True) if abs(t - instant) <= 2 * lag]
            missed = (max(late, default=0.0) - min(late, default=0.0)) * lag
            jump = END_FACTOR * trapezoid_variance(outer_w, w0, t0 - instant)
            # Late by anything up to a period, and never early: the mean square is a third.
            ends += max(jump, missed**2 / 3)
        # Fewer than five samples inside say little of how the power moved there.
        few = joules**2 / 12 if len(corners) < 7 else 0.0
        variances = (inside, "samples"), (ends, "ends"), (squares * _noise(watts), "noise")
        return joules, tuple(
            Term(name, math.sqrt(variance))
            for variance, name in (*variances, (few, "few samples"))
            if variance
        )

    def _lag_s(self, times: Sequence[float]) -> float:
        """By how much a step of power is seen late; 0 where the source is the quicker one.

        What a sample shows is what the source had up to a period ago, or the mean since
        then, and the next sample is as far away again.
        """
        period = self.channel.update_period_s or 0.0
        usual = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else math.inf
        return math.hypot(period, usual) if MOST_PERIODS * period > usual else 0.0

    def check_alive(self, start: float, end: float) -> None:
        """Refuse samples that are zero throughout, or for long.

        Raises:
            ReadingError: the source told no power for too long between the two instants.
        """
        first = max(bisect.bisect_right(self.times, start) - 1, 0)
        last = bisect.bisect_left(self.times, end)
        watts = self.watts[first : last + 1]
        if 0.0 not in watts:
            return
        silence = _longest_silence(self.times[first : last + 1], watts)
        if not any(watts) or silence > max(STUCK_S, STUCK_PERIODS * self.period_s):
            how_long = f"for {silence:.1f} s" if any(watts) else "all the time"
            raise ReadingError(
                f"{self.channel.id} told 0 W {how_long}, and nothing that is on uses no energy: "
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


def _longest_silence(times: Sequence[float], watts: Sequence[float]) -> float:
    longest, since = 0.0, math.inf
    for time, power in zip(times, watts, strict=True):
        since = min(since, time) if power == 0.0 else math.inf
        longest = max(longest, time - since)
    return longest


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


@dataclass(frozen=True)
class PowerReadings:
    """Samples of one channel's power since some instant.

    Attributes:
        channel: what was sampled.
        period_s: usual time between two samples.
        times: of the samples, s, increasing.
        watts: of each.
        failure: why the latest sample that is missing is; empty if none is.
    """

    channel: Channel
    period_s: float
    times: Vector
    watts: Vector
    failure: str = ""

    @classmethod
    def of(cls, series: PowerSeries, since_s: float) -> PowerReadings:
        """The samples from the last one before ``since_s`` on."""
        first = max(bisect.bisect_right(series.times, since_s) - 1, 0)
        return cls(
            series.channel,
            series.period_s,
            np.array(series.times[first:], dtype=np.float64),
            np.array(series.watts[first:], dtype=np.float64),
            series.failure,
        )

    def series(self) -> PowerSeries:
        """The samples, to be integrated."""
        series = PowerSeries(self.channel, self.period_s)
        series.times, series.watts = self.times.tolist(), self.watts.tolist()
        series.failure = self.failure
        return series

    def blocks(self, ticks: Indices, instants: Vector) -> Vector | str:
        """See ``Readings``."""
        series = self.series()
        try:
            series.check_alive(float(instants[0]), float(instants[-1]))
            blocks = [series.energy(float(a), float(b))[0] for a, b in pairwise(instants)]
        except ReadingError as error:
            return str(error)
        return np.array(blocks)


@dataclass(frozen=True)
class PowerWindow:
    """Samples of one channel's power in a window.

    Attributes:
        samples: from before its beginning until its end.
        start_s, end_s: its ends.
    """

    samples: PowerReadings
    start_s: float
    end_s: float

    def reading(self) -> Reading:
        """See ``Evidence``."""
        series, start, end = self.samples.series(), self.start_s, self.end_s
        try:
            if end - start < SHORTEST_WINDOW_PERIODS * series.period_s:
                raise ReadingError(too_short(series.channel, series.period_s, end - start))
            series.check_alive(start, end)
            energy, budget = series.budgeted(start, end)
        except ReadingError as error:
            return Reading(series.channel, None, reason=str(error))
        u = math.hypot(*(term.u for term in budget))
        return Reading(series.channel, energy, u, budget=budget)
