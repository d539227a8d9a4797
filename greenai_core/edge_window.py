"""A window that happens once, on a counter that moves seldom and was watched meanwhile.

The reads around each end of the window show when the counter moved, so the age of
what it shows is known, and the powers read in between say how the energy of one
update period is spread over it. See ``docs/method.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .budget import Budget, Term
from .channels import SHORTEST_WINDOW_PERIODS
from .statistics import EdgeSeries, Vector, coverage_factor, edges

POWER_PERIOD_S = 0.02
"""Power is taken to be told anew this often; sources of instant power do so at least."""

FEWEST_CHANGES = 16
"""With fewer changes of the power around a window its pace cannot be seen."""


OLDEST_EDGE = 3
"""An edge that lies so many periods before an end says nothing of it: the counter
stood still, or was not watched then."""


@dataclass(frozen=True)
class Reads:
    """What one counter showed, read again and again.

    Attributes:
        times: instants of the reads, s, increasing.
        joules: counted so far at each.
        watts: power read along with it; NaN where it is not known.
    """

    times: Vector
    joules: Vector
    watts: Vector


class WindowEnergy(NamedTuple):
    """Joules of a window.

    Attributes:
        energy_j: the estimate.
        u_j: its standard uncertainty, the disagreement of both estimators included.
        latch_j: estimate from what had happened by each end.
        interpolated_j: estimate from the edges around each end.
        budget: what ``u_j`` is made of.
    """

    energy_j: float
    u_j: float
    latch_j: float
    interpolated_j: float
    budget: Budget = ()


class _Border(NamedTuple):
    """Joules counted up to one end of a window."""

    latch_j: float
    interpolated_j: float
    variance: float


def window_between_edges(
    reads: Reads, start_s: float, stop_s: float, period_s: float, resolution_j: float
) -> WindowEnergy | None:
    """Energy of a window that happened once, from edges seen around its ends.

    Two estimators: the *latch* one adds to what the counter shows at each end the
    power before it times the age of what is shown; *interpolation* spreads the
    energy between the edges before and after an end as the powers in between say,
    or evenly where there are none. The first errs for loads that come and go at any
    time, the second for loads that begin or end with the window; the figure is the
    mean of both, and the 95 % interval always holds them.

    Args:
        reads: from before the edge before the window until after that behind it.
        start_s: when the window began.
        stop_s: when it ended.
        period_s: update period of the counter.
        resolution_j: one unit of the counter.

    Returns:
        None when no edge was seen before the window, and without powers also when
        none was seen after it or it lasted less than two periods.
    """
    seen = edges(reads.times, reads.joules, period_s)
    if seen is None:
        return None
    known = np.isfinite(reads.watts)
    times, watts = reads.times[known], reads.watts[known]
    powered = bool(known.any())
    start = _border(seen, times, watts, start_s, period_s)
    stop = _border(seen, times, watts, stop_s, period_s)
    if start is None or stop is None:
        return None
    latch = stop.latch_j - start.latch_j
    interpolated = stop.interpolated_j - start.interpolated_j
    if not powered and stop_s - start_s < SHORTEST_WINDOW_PERIODS * period_s:
        return None
    energy = (latch + interpolated) / 2
    # Truth anywhere between two estimates d apart has the variance d²/12; both lie
    # within 1.96 u of the figure.
    apart = (latch - interpolated) ** 2 / 12
    variance = start.variance + stop.variance + apart + resolution_j**2 / 6
    budget = (
        Term("edges before", math.sqrt(start.variance)),
        Term("edges at end", math.sqrt(stop.variance)),
        Term("estimators", math.sqrt(apart), detail="their disagreement"),
        Term("resolution", resolution_j / math.sqrt(6)),
    )
    return WindowEnergy(max(energy, 0.0), math.sqrt(variance), latch, interpolated, budget)


def says_nothing(window: WindowEnergy) -> bool:
    """Whether the interval of a window reaches down to no energy at all."""
    return coverage_factor() * window.u_j >= window.energy_j


def _border(
    seen: EdgeSeries, times: Vector, watts: Vector, border_s: float, period_s: float
) -> _Border | None:
    last = int(np.searchsorted(seen.times, border_s, side="right")) - 1
    if last < 0:
        return None
    began, counted = float(seen.times[last]), float(seen.joules[last])
    if border_s - began > OLDEST_EDGE * period_s:
        return None
    if last + 1 < len(seen.times):
        ended, gained = float(seen.times[last + 1]), float(seen.joules[last + 1]) - counted
    else:
        ended, gained = border_s, math.nan
    near = (times > began - period_s) & (times < ended + period_s)
    if np.any(near & (times <= border_s)):
        return _powered(seen, last, times[near], watts[near], border_s, ended, gained)
    if math.isnan(gained):
        return None
    return _unpowered(seen, last, border_s, period_s)


def _powered(
    seen: EdgeSeries,
    last: int,
    times: Vector,
    watts: Vector,
    border_s: float,
    ended: float,
    gained: float,
) -> _Border:
    """One end of a window with the powers read around it."""
    began, counted = float(seen.times[last]), float(seen.joules[last])
    slack = float(seen.u_times[last])
    steps = np.diff(times)
    lag = _power_period(times, watts) / 2
    past = times <= border_s
    until = _integral(times[past] - lag, watts[past], began, border_s)
    at_edge = float(np.interp(began, times - lag, watts))
    # A jump lies anywhere between two reads or as long before as a power is held; and
    # how old the powers of this source are, between nothing and that, is a guess.
    jumps = np.diff(watts) ** 2 * ((steps + 2 * lag) ** 2 / 12 + lag**2 / 3)
    if math.isnan(gained):
        # Whether the power has jumped since it was last read is not known.
        unseen = float(np.ptp(watts)) * (border_s - float(times[past][-1]) + 2 * lag)
        variance = (at_edge * slack) ** 2 + float(jumps[times[1:] > began].sum())
        return _Border(counted + until, counted + until, variance + unseen**2 / 3)
    before = _integral(times - lag, watts, began, border_s)
    whole = _integral(times - lag, watts, began, ended)
    share = before / whole if whole > 0 else (border_s - began) / max(ended - began, 1e-12)
    scale = gained / whole if whole > 0 else 1.0
    inside = (times[1:] > began) & (times[:-1] - lag < ended)
    weights = np.where(
        times[1:] - lag <= border_s,
        (1 - share) ** 2,
        np.where(times[:-1] - lag >= border_s, share**2, 1.0),
    )
    variance = scale**2 * float((jumps * weights)[inside].sum())
    mean = gained / max(ended - began, 1e-12)
    after = float(seen.u_times[last + 1])
    variance += mean**2 * (((1 - share) * slack) ** 2 + (share * after) ** 2)
    return _Border(counted + until, counted + share * gained, variance)


def _power_period(times: Vector, watts: Vector) -> float:
    """Seconds for which the source holds a power before it tells the next one, a guess.

    What it tells was true half of that earlier, on average.
    """
    changes = times[1:][np.diff(watts) != 0]
    if len(changes) < FEWEST_CHANGES:
        return POWER_PERIOD_S
    return max(float(np.median(np.diff(changes))), POWER_PERIOD_S)


def _unpowered(seen: EdgeSeries, last: int, border_s: float, period_s: float) -> _Border:
    """One end of a window with the counter alone, between two edges."""
    powers = np.diff(seen.joules) / np.diff(seen.times)
    now_w = float(powers[last])
    before_w = float(powers[last - 1]) if last > 0 else now_w
    counted, age = float(seen.joules[last]), border_s - float(seen.times[last])
    swing = float(np.ptp(powers[max(last - 1, 0) : last + 2]))
    share = min(age / float(seen.times[last + 1] - seen.times[last]), 1.0)
    # What the neighbours differ by may have jumped in between; and the power may
    # move within one period without a trace.
    hidden = (swing**2 / 6 + now_w**2 / 12) * period_s**2 * share * (1 - share)
    variance = hidden + (now_w * float(seen.u_times[last])) ** 2
    return _Border(counted + before_w * age, counted + now_w * age, variance)


def _integral(times: Vector, watts: Vector, start: float, end: float) -> float:
    """Energy between two instants by trapezoids, the outer values held."""
    inside = (times > start) & (times < end)
    corners = np.concatenate(([start], times[inside], [end]))
    power = np.interp(corners, times, watts)
    return float(np.sum((power[1:] + power[:-1]) / 2 * np.diff(corners)))
