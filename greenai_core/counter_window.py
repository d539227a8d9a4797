"""A window that happens once, on a counter: from the reads around its ends to joules."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from .budget import Budget, Term
from .channels import (
    LEAST_POWER_W,
    SHORTEST_WINDOW_PERIODS,
    Channel,
    Reading,
    stuck_reason,
    too_short,
)
from .counter_recording import Mark
from .edge_window import Reads, says_nothing, window_between_edges
from .latch_budget import latch_budget
from .statistics import latch_window


@dataclass(frozen=True)
class CounterWindow:
    """What one counter showed at and around the ends of a window.

    Attributes:
        channel: what was read.
        period_s: its update period.
        start, stop: the reads at the ends, see ``Mark``.
        moved: instant at which it was last seen to move.
        reads: in the background, around the ends; None where it was not watched.
    """

    channel: Channel
    period_s: float
    start: Mark
    stop: Mark
    moved: float
    reads: Reads | None = None

    def reading(self) -> Reading:
        """See ``Evidence``."""
        return _reading(self.channel, self.period_s, self.start, self.stop, self.moved, self.reads)


def told(
    channel: Channel,
    period: float,
    start: Mark,
    stop: Mark,
    moved: float,
    reads: Reads | None = None,
) -> Reading:
    """The reading of a window, with its evidence; arguments as ``CounterWindow``."""
    shown = CounterWindow(channel, period, start, stop, moved, reads)
    return replace(shown.reading(), evidence=shown)


def _reading(
    channel: Channel,
    period: float,
    start: Mark,
    stop: Mark,
    moved: float,
    reads: Reads | None = None,
) -> Reading:
    start_from, start_to, start_j, _, start_w, _ = start
    stop_from, stop_to, stop_j, _, stop_w, _ = stop
    begun_s, ended_s = (start_from + start_to) / 2, (stop_from + stop_to) / 2
    duration = ended_s - begun_s
    counted = stop_j - start_j
    failure = _failure(channel, start, stop, moved)
    if failure:
        return Reading(channel, None, reason=failure)
    if reads is not None:
        # From edges the energy between any instants can be told: the work lies between the calls.
        known = window_between_edges(reads, start_to, stop_from, period, channel.resolution_j)
        if known is not None and not says_nothing(known):
            return _stamped(channel, known.energy_j, known.budget, start, stop, duration)
    silence = stop_to - max(moved, start_from)
    if silence > channel.resolution_j / LEAST_POWER_W:
        # What it shows is at least so old, whatever its usual period.
        period = max(period, silence)
    if duration < SHORTEST_WINDOW_PERIODS * period:
        return Reading(channel, None, reason=too_short(channel, period, duration))
    if counted == 0.0 and duration > channel.resolution_j / LEAST_POWER_W:
        reason = (
            f"the counter of {channel.id} did not move in {duration:.3g} s: it is slower than it "
            "says, and the window too short to tell. Repeat the work inside the window"
        )
        return Reading(channel, None, reason=reason)
    ends = start_w, stop_w
    energy, _ = latch_window(counted, duration, period, channel.resolution_j, *ends)
    budget = latch_budget(counted, duration, period, channel.resolution_j, *ends)
    return _stamped(channel, max(energy, 0.0), budget, start, stop, duration)


def _stamped(
    channel: Channel, energy: float, budget: Budget, start: Mark, stop: Mark, duration: float
) -> Reading:
    """The reading with the term of the clock: a read happened at any instant of its call."""
    latency = math.hypot(start[1] - start[0], stop[1] - stop[0])
    clock = Term("clock", energy / duration * latency / math.sqrt(12), detail="time a read takes")
    terms = (*budget, clock)
    return Reading(channel, energy, math.hypot(*(term.u for term in terms)), budget=terms)


def _failure(channel: Channel, start: Mark, stop: Mark, moved: float) -> str:
    """Why the two marks of a window cannot be subtracted; empty if they can."""
    start_from, _, _, start_epoch, _, start_failure = start
    _, stop_to, _, stop_epoch, _, stop_failure = stop
    failure = start_failure or stop_failure
    if not failure and start_epoch != stop_epoch:
        return (
            f"the counter of {channel.id} was reset, could not be read for long, or was opened "
            "again inside the window"
        )
    # It may have stopped before the window began, or in the middle of it.
    return failure or stuck_reason(channel, 0.0, stop_to - max(moved, start_from))
