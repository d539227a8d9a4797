"""Power over time with a known integral: the truth behind simulated hardware.

Times are seconds of the clock that the simulated hardware is used with, powers
watts, energies joules.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field


class PowerProfile(ABC):
    """Power as a function of time, and its exact integral."""

    @abstractmethod
    def power(self, t: float) -> float:
        """Power at an instant, W."""

    @abstractmethod
    def energy(self, start: float, end: float) -> float:
        """Energy between two instants, J, without numerical integration."""


@dataclass(frozen=True)
class Constant(PowerProfile):
    """Always the same."""

    watts: float

    def power(self, t: float) -> float:
        """Power at an instant, W."""
        return self.watts

    def energy(self, start: float, end: float) -> float:
        """Energy between two instants, J."""
        return self.watts * (end - start)


@dataclass(frozen=True)
class Step(PowerProfile):
    """``before_w`` until ``at_s``, then ``after_w``."""

    before_w: float
    after_w: float
    at_s: float

    def power(self, t: float) -> float:
        """Power at an instant, W."""
        return self.before_w if t < self.at_s else self.after_w

    def energy(self, start: float, end: float) -> float:
        """Energy between two instants, J."""
        middle = min(max(self.at_s, start), end)
        return self.before_w * (middle - start) + self.after_w * (end - middle)


@dataclass(frozen=True)
class SquareWave(PowerProfile):
    """``high_w`` for the first ``duty`` of each period, ``low_w`` for the rest."""

    low_w: float
    high_w: float
    period_s: float
    duty: float = 0.5
    phase_s: float = 0.0

    def power(self, t: float) -> float:
        """Power at an instant, W."""
        position = ((t - self.phase_s) / self.period_s) % 1.0
        return self.high_w if position < self.duty else self.low_w

    def energy(self, start: float, end: float) -> float:
        """Energy between two instants, J."""
        high_s = self._high_until(end) - self._high_until(start)
        return self.low_w * (end - start) + (self.high_w - self.low_w) * high_s

    def _high_until(self, t: float) -> float:
        whole, part = divmod((t - self.phase_s) / self.period_s, 1.0)
        return (whole * self.duty + min(part, self.duty)) * self.period_s


@dataclass(frozen=True)
class Sine(PowerProfile):
    """``mean_w`` + ``amplitude_w`` · sin(2π(t − phase)/period)."""

    mean_w: float
    amplitude_w: float
    period_s: float
    phase_s: float = 0.0

    def power(self, t: float) -> float:
        """Power at an instant, W."""
        return self.mean_w + self.amplitude_w * math.sin(self._angle(t))

    def energy(self, start: float, end: float) -> float:
        """Energy between two instants, J."""
        swing = math.cos(self._angle(start)) - math.cos(self._angle(end))
        wave = self.amplitude_w * self.period_s / (2 * math.pi) * swing
        return self.mean_w * (end - start) + wave

    def _angle(self, t: float) -> float:
        return 2 * math.pi * (t - self.phase_s) / self.period_s


@dataclass(frozen=True)
class Ramp(PowerProfile):
    """From ``start_w`` at ``start_s`` in a straight line to ``end_w`` at ``end_s``."""

    start_w: float
    end_w: float
    start_s: float
    end_s: float

    def power(self, t: float) -> float:
        """Power at an instant, W."""
        share = (t - self.start_s) / (self.end_s - self.start_s)
        return self.start_w + (self.end_w - self.start_w) * min(max(share, 0.0), 1.0)

    def energy(self, start: float, end: float) -> float:
        """Energy between two instants, J."""
        # Each of the three pieces is a trapezoid.
        corners = [start, *(t for t in (self.start_s, self.end_s) if start < t < end), end]
        return math.fsum(
            (self.power(a) + self.power(b)) / 2 * (b - a) for a, b in itertools.pairwise(corners)
        )


@dataclass(frozen=True)
class Bursts(PowerProfile):
    """``busy_w`` within the spans (start, end), ``idle_w`` outside of them."""

    idle_w: float
    busy_w: float
    spans: tuple[tuple[float, float], ...]

    @classmethod
    def at_random(
        cls,
        idle_w: float,
        busy_w: float,
        until_s: float,
        mean_busy_s: float,
        mean_idle_s: float,
        seed: int,
    ) -> Bursts:
        """Bursts of exponentially distributed lengths and pauses, from 0 to ``until_s``."""
        draw = random.Random(seed)  # noqa: S311  # no secret: repeatable on purpose
        spans = []
        t = draw.expovariate(1 / mean_idle_s)
        while t < until_s:
            end = t + draw.expovariate(1 / mean_busy_s)
            spans.append((t, end))
            t = end + draw.expovariate(1 / mean_idle_s)
        return cls(idle_w, busy_w, tuple(spans))

    def power(self, t: float) -> float:
        """Power at an instant, W."""
        index = bisect.bisect_right(self.spans, (t, math.inf)) - 1
        return self.busy_w if index >= 0 and t < self.spans[index][1] else self.idle_w

    def energy(self, start: float, end: float) -> float:
        """Energy between two instants, J."""
        busy_s = self._busy_until(end) - self._busy_until(start)
        return self.idle_w * (end - start) + (self.busy_w - self.idle_w) * busy_s

    @functools.cached_property
    def _busy_before(self) -> list[float]:
        """Busy seconds before each span."""
        return list(itertools.accumulate((b - a for a, b in self.spans), initial=0.0))

    def _busy_until(self, t: float) -> float:
        index = bisect.bisect_right(self.spans, (t, math.inf)) - 1
        if index < 0:
            return 0.0
        start, end = self.spans[index]
        return self._busy_before[index] + min(t, end) - start


@dataclass(frozen=True)
class Sum(PowerProfile):
    """Several loads on one rail."""

    parts: Sequence[PowerProfile]

    def power(self, t: float) -> float:
        """Power at an instant, W."""
        return math.fsum(part.power(t) for part in self.parts)

    def energy(self, start: float, end: float) -> float:
        """Energy between two instants, J."""
        return math.fsum(part.energy(start, end) for part in self.parts)


@dataclass
class DrivenPower(PowerProfile):
    """Power that a workload sets as it goes; before the first ``set`` it is ``idle_w``."""

    idle_w: float
    _times: list[float] = field(default_factory=lambda: [0.0])
    _watts: list[float] = field(default_factory=list)
    _joules: list[float] = field(default_factory=lambda: [0.0])

    def __post_init__(self) -> None:
        self._watts.append(self.idle_w)

    def set(self, t: float, watts: float) -> None:
        """From ``t`` on the power is ``watts``.

        Raises:
            ValueError: ``t`` lies before the latest change.
        """
        since = self._times[-1]
        if t < since:
            raise ValueError(f"the power was already set at {since} s, after {t} s")
        self._joules.append(self._joules[-1] + self._watts[-1] * (t - since))
        self._times.append(t)
        self._watts.append(watts)

    def power(self, t: float) -> float:
        """Power at an instant, W."""
        return self._watts[self._index(t)]

    def energy(self, start: float, end: float) -> float:
        """Energy between two instants, J."""
        return self._until(end) - self._until(start)

    def _index(self, t: float) -> int:
        return max(bisect.bisect_right(self._times, t) - 1, 0)

    def _until(self, t: float) -> float:
        index = self._index(t)
        return self._joules[index] + self._watts[index] * (t - self._times[index])
