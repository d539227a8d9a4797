"""Axes: from figures to places on the paper, and where the ticks are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from greenai_plugins.exporters.quantities import PREFIXES, UNPREFIXED, exponent, short

NICE = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Axis:
    """A line of figures.

    Attributes:
        low, high: figures at its ends.
        start, end: where these are on the paper.
        ticks: figures that have a mark.
        log: whether it is logarithmic.
        power: of ten, that the unit's prefix stands for.
    """

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]
    log: bool = False
    power: int = 0

    def at(self, value: float) -> float:
        """Where a figure is; what lies beyond the ends stays at them."""
        value = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def label(self, tick: float) -> str:
        """A tick in words."""
        return short(tick / 10.0**self.power)

    def unit(self, unit: str) -> str:
        """The unit with the prefix that the ticks are in."""
        return unit if unit in UNPREFIXED else PREFIXES[self.power] + unit


def can_be_log(values: Iterable[float]) -> bool:
    """Whether all are above zero, and differ enough to gain by it."""
    found = [v for v in values if math.isfinite(v)]
    return bool(found) and min(found) > 0 and max(found) >= 2 * min(found)


def linear(
    values: Iterable[float], ends: tuple[float, float], unit: str, *, zero: bool, most: int = 6
) -> Axis:
    """An axis with round ticks.

    Args:
        values: that must lie on it; what is not finite is passed over.
        ends: on the paper.
        unit: of the values.
        zero: it begins at zero.
        most: ticks, about.
    """
    found = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    low, high = min(found), max(found)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    else:
        pad = 0.04 * (high - low)
        low, high = low - pad, high + pad
    if not high > low:
        low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
    step = _step((high - low) / most)
    first = math.ceil(low / step - 1e-9) if not zero else math.floor(low / step + 1e-9)
    last = math.floor(high / step + 1e-9) if not zero else math.ceil(high / step - 1e-9)
    ticks = tuple(step * i for i in range(first, last + 1))
    if zero:
        low, high = min(low, ticks[0]), max(high, ticks[-1])
    power = exponent([max(abs(low), abs(high))], unit)
    return Axis(low, high, *ends, ticks, power=power)


def _step(least: float) -> float:
    size = 10.0 ** math.floor(math.log10(least))
    return next(size * nice for nice in NICE if size * nice >= least * (1 - 1e-9))


def logarithmic(
    values: Iterable[float], ends: tuple[float, float], unit: str, *, most: int = 7
) -> Axis:
    """A logarithmic axis; the values must be above zero.

    Args:
        values: that must lie on it; what is not finite or not above zero is passed over.
        ends: on the paper.
        unit: of the values.
        most: ticks, about.
    """
    found = [v for v in values if math.isfinite(v) and v > 0] or [1.0, 10.0]
    low, high = min(found) / 1.12, max(found) * 1.12
    decades = math.log10(high / low)
    digits: Sequence[int] = (1, 2, 5) if decades <= most / 3 else (1,)
    every = max(1, math.ceil(decades / most))
    ticks = tuple(
        digit * 10.0**power
        for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for digit in digits
        if power % every == 0 and low <= digit * 10.0**power <= high
    )
    if len(ticks) < 2:
        ticks = linear([low, high], ends, unit, zero=False, most=4).ticks
    middle = math.sqrt(low * high)
    return Axis(low, high, *ends, ticks, log=True, power=exponent([middle], unit))
