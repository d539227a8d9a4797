"""From the rows of a recording to the joules between two instants."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .budget import Term
from .channels import Channel, Reading
from .counter_recording import Mark
from .counter_window import told
from .edge_window import Reads
from .power_series import PowerReadings, PowerWindow
from .statistics import Vector
from .update_period import UpdatePeriod

NEAR_PERIODS = 6
"""Rows so many periods around an end tell when a slow counter moved there."""

LEARNT_ROWS = 4096
"""So many rows at most are looked at to learn how often a counter moves."""


@dataclass(frozen=True)
class CounterRows:
    """What the rows tell of one counter.

    Attributes:
        channel: what was read.
        period_s: seconds between two values of it, as declared or seen while recording.
        times: of the rows with a value, s.
        joules: counted by then.
        spans: how long each read took, s.
        watts: power told along with it; NaN where it is not known.
        restarts: instants of rows before which the counter lost its place.
        failures: instants of failed reads and why they failed.
    """

    channel: Channel
    period_s: float
    times: Vector
    joules: Vector
    spans: Vector
    watts: Vector
    restarts: Sequence[float]
    failures: Sequence[tuple[float, str]]

    def reading(self, start_s: float, end_s: float) -> Reading:
        """Joules between two instants of the recording, or why there are none."""
        problem = self._problem(start_s, end_s)
        if problem:
            return Reading(self.channel, None, reason=problem)
        first, start_u = self._mark(start_s)
        last, end_u = self._mark(end_s)
        moved = self._moved(end_s)
        period_s = self._period_s(start_s, end_s)
        reads = self._reads(start_s, end_s, period_s)
        reading = told(self.channel, period_s, first, last, moved, reads)
        u = math.hypot(start_u, end_u)
        by_edges = any(term.name.startswith("edges") for term in reading.budget)
        if reading.energy_j is None or not u or by_edges:
            return reading
        between = Term("between rows", u, detail="the ends lie between two rows")
        return replace(
            reading,
            u_j=math.hypot(reading.u_j, u),
            budget=(*reading.budget, between),
            evidence=None,  # it knows nothing of the rows around the ends
        )

    def _problem(self, start_s: float, end_s: float) -> str:
        id, times = self.channel.id, self.times
        failed = [why for at, why in self.failures if start_s <= at <= end_s]
        if not len(times):
            return failed[-1] if failed else f"{id} has no value in this recording"
        before, after = self._around(start_s)[0], self._around(end_s)[1]
        if times[before] > start_s or times[after] < end_s:
            side = "before" if times[before] > start_s else "after"
            why = f": {failed[-1] if side == 'after' else failed[0]}" if failed else ""
            return f"{id} has no value {side} the {'beginning' if side == 'before' else 'end'}{why}"
        if any(times[before] < at <= times[after] for at in self.restarts):
            return (
                f"the counter of {id} was reset, could not be read for long, or was opened again "
                "inside the window"
            )
        return ""

    def _around(self, instant_s: float) -> tuple[int, int]:
        """Rows at or around an instant: the same twice if one was read just then."""
        times = self.times
        after = min(int(np.searchsorted(times, instant_s)), len(times) - 1)
        if abs(times[after] - instant_s) <= self.spans[after] / 2:
            return after, after
        return max(after - 1, 0), after

    def _mark(self, instant_s: float) -> tuple[Mark, float]:
        """What the counter would have shown then, and how well that is known, J.

        Between two rows it is drawn straight. Power that jumps there, as it does from
        one row to the next, and power that comes and goes within, are its uncertainty.
        """
        times, joules = self.times, self.joules
        before, after = self._around(instant_s)
        gap = float(times[after] - times[before])
        if before == after or gap <= 0:
            half = float(self.spans[after]) / 2
            at = float(times[after])
            return (at - half, at + half, float(joules[after]), 0, None, ""), 0.0
        share = (instant_s - float(times[before])) / gap
        gained = float(joules[after] - joules[before])
        near = slice(max(before - 1, 0), after + 2)
        powers = np.diff(joules[near]) / np.maximum(np.diff(times[near]), 1e-9)
        swing, mean = float(np.ptp(powers)), gained / gap
        variance = (swing**2 / 6 + mean**2 / 12) * gap**2 * share * (1 - share)
        counted = float(joules[before]) + share * gained
        half = float(self.spans[before] + self.spans[after]) / 4
        mark = instant_s - half, instant_s + half, counted, 0, None, ""
        return mark, math.sqrt(variance)

    def _moved(self, end_s: float) -> float:
        """When the counter had last been seen to move by then."""
        last = self._around(end_s)[1] + 1
        moves = np.flatnonzero(np.diff(self.joules[:last]) != 0)
        return float(self.times[moves[-1] + 1]) if len(moves) else -math.inf

    def _period_s(self, start_s: float, end_s: float) -> float:
        """How often it moves, learnt from the rows where they are close enough together."""
        first = max(int(np.searchsorted(self.times, start_s)) - LEARNT_ROWS // 2, 0)
        last = int(np.searchsorted(self.times, end_s)) + LEARNT_ROWS // 2
        seen = UpdatePeriod(self.period_s)
        rows = zip(self.times[first:last], self.joules[first:last], strict=True)
        for index, (time, joules) in enumerate(rows):
            if index >= LEARNT_ROWS or seen.known:
                break
            seen.add(float(time), float(joules))
        return seen.estimate_s() or self.period_s

    def _reads(self, start_s: float, end_s: float, period_s: float) -> Reads | None:
        """The rows around both ends, if they are close enough together to show its moves."""
        margin = NEAR_PERIODS * period_s
        near = (np.abs(self.times - start_s) <= margin) | (np.abs(self.times - end_s) <= margin)
        times = self.times[near]
        if len(times) < 2 or float(np.median(np.diff(times))) > period_s / 2:
            return None
        return Reads(times, self.joules[near], self.watts[near])


@dataclass(frozen=True)
class PowerRows:
    """What the rows tell of one sampled power.

    Attributes:
        channel: what was sampled.
        period_s: usual time between two samples.
        times: of the samples, s, increasing.
        watts: of each.
        failures: instants of rows without a sample and why there is none.
    """

    channel: Channel
    period_s: float
    times: Vector
    watts: Vector
    failures: Sequence[tuple[float, str]]

    def reading(self, start_s: float, end_s: float) -> Reading:
        """Joules between two instants of the recording, or why there are none."""
        failed = [why for at, why in self.failures if start_s <= at <= end_s]
        times = self.times.tolist()
        first = max(bisect.bisect_right(times, start_s) - 1, 0)
        last = bisect.bisect_left(times, end_s) + 1
        # Samples that come in batches leave one point a batch.
        steps = np.diff(self.times[first:last])
        samples = PowerReadings(
            self.channel,
            max(self.period_s, float(np.median(steps)) if len(steps) else 0.0),
            self.times[first:last],
            self.watts[first:last],
            failed[-1] if failed else "",
        )
        window = PowerWindow(samples, start_s, end_s)
        return replace(window.reading(), evidence=window)
