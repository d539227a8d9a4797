"""The median of a few runs with a 95 % interval. Pure functions.

Up to five runs the interval is the median ± k·s, ``s`` being the standard deviation of the runs
and ``k`` such that it holds the truth 95 % of the time when runs scatter normally. From six runs
on it is made of the ordered runs themselves, between two of which it is interpolated
(Hettmansperger and Sheather 1986), so that it holds 95 % whatever the shape of the scatter.

The gain of a sensor is common to all runs: it is never divided by their number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from .statistics import CONFIDENCE

SMALL = {2: 8.985, 3: 2.548, 4: 1.637, 5: 1.352}
"""k of the interval median ± k·s. For two runs that is t(1)/√2; the others are the 95 % quantile
of |median|/s of 4.2 million draws of normal runs each, certain to ±0.004."""

NORMAL = 1.96
MEDIAN_COST = math.sqrt(math.pi / 2)
"""Standard deviation of a median over that of a mean, of many normal runs."""


@dataclass(frozen=True)
class RunValue:
    """What one run gave; half-widths of 95 %, None where they are not known.

    Attributes:
        value: in any unit.
        repeat: (below, above): how far a repetition may lie from it.
        total: likewise with the gain of the sensor.
    """

    value: float
    repeat: tuple[float, float] | None = None
    total: tuple[float, float] | None = None


@dataclass(frozen=True)
class RunMedian:
    """The median of runs and its two intervals; None where they are not known."""

    value: float
    low: float | None
    high: float | None
    repeat_low: float | None
    repeat_high: float | None


def median_of_runs(runs: Sequence[RunValue]) -> RunMedian:
    """Median, interval from run to run, and interval with the sensor's gain.

    One run has its own interval. Several runs that agree better than each of them is known
    by itself still get the interval that their own ones come to.

    Raises:
        ValueError: there is none.
    """
    value = median(run.value for run in runs)
    repeat = _repeatability(runs, value)
    gain = _gain(runs, value)
    if repeat is None:
        return RunMedian(value, None, None, None, None)
    below, above = repeat
    total = None if gain is None else (math.hypot(below, gain[0]), math.hypot(above, gain[1]))
    return RunMedian(
        value,
        None if total is None else value - total[0],
        None if total is None else value + total[1],
        value - below,
        value + above,
    )


def _repeatability(runs: Sequence[RunValue], value: float) -> tuple[float, float] | None:
    if len(runs) == 1:
        return runs[0].repeat
    low, high = median_interval([run.value for run in runs])
    known = [max(run.repeat) for run in runs if run.repeat is not None]
    own = 0.0
    if len(known) == len(runs):
        cost = 1.0 if len(runs) < 3 else MEDIAN_COST
        own = cost * math.sqrt(sum(half * half for half in known)) / len(runs)
    return max(value - low, own), max(high - value, own)


def _gain(runs: Sequence[RunValue], value: float) -> tuple[float, float] | None:
    """Half-widths of what is common to all runs: the median of the runs' own, as shares."""
    shares: list[tuple[float, float]] = []
    for run in runs:
        if run.repeat is None or run.total is None:
            return None
        size = abs(run.value) or 1.0
        shares.append(
            (
                _rest(run.total[0], run.repeat[0]) / size,
                _rest(run.total[1], run.repeat[1]) / size,
            )
        )
    size = abs(value) or 1.0
    return median(one[0] for one in shares) * size, median(one[1] for one in shares) * size


def _rest(whole: float, part: float) -> float:
    return math.sqrt(max(whole * whole - part * part, 0.0))


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the median of two runs or more, from nothing but the runs.

    Raises:
        ValueError: there are fewer than two.
    """
    n = len(values)
    if n < 2:
        raise ValueError("one run tells nothing of how runs scatter")
    if n in SMALL:
        mean = sum(values) / n
        spread = math.sqrt(sum((one - mean) ** 2 for one in values) / (n - 1))
        middle = median(values)
        return middle - SMALL[n] * spread, middle + SMALL[n] * spread
    ordered = sorted(values)
    rank, share = _rank(n)
    low = (1 - share) * ordered[rank - 1] + share * ordered[rank]
    high = (1 - share) * ordered[n - rank] + share * ordered[n - rank - 1]
    return low, high


def _rank(n: int) -> tuple[int, float]:
    """From which of n ordered runs the interval reaches, and how far on to the next one."""
    rank, outer = 1, 1 - 2 * 0.5**n
    while True:
        inner = outer - 2 * math.comb(n, rank) * 0.5**n
        if inner < CONFIDENCE:
            break
        rank, outer = rank + 1, inner
    share = (outer - CONFIDENCE) / (outer - inner)
    return rank, (n - rank) * share / (rank + (n - 2 * rank) * share)
