"""A meter's own time on our clock, from when its frames arrive.

The meter samples at a steady rate, so its samples count its time exactly; a frame
arrives some time after it was measured, never before. So the straight line below all
arrivals is the meter's time, later by the shortest delay: a millisecond on the wire
and in the USB adapter. The delays of single frames, up to tens of milliseconds, do
not count.
"""

from __future__ import annotations

from collections import deque

import numpy as np

BIN_S = 0.5
"""The quickest arrival of so long a stretch stands for it."""

BINS = 120
"""So many stretches are looked back upon: a minute, in which 10 ppm drift by 0.6 ms."""

TOLD_BINS, GUESSED_BINS = 10, 3
"""From fewer stretches the rate that the meter tells, or a first guess, is better known."""

JUMP_S = 0.05
"""Arrivals that are all off by more do not belong to the line: one of the clocks was
stopped, or frames were lost unseen."""


class MeterClock:
    """The line from the meter's ticks to seconds of our clock.

    Args:
        rate: our seconds in one tick, as the meter tells or as a first guess.
        told: whether the meter tells it.
        tick: of some frame.
        arrived: when it came, s.
    """

    def __init__(self, rate: float, told: bool, tick: float, arrived: float) -> None:
        self.rate = rate
        self.realigned = 0
        """How often the line had to begin again."""
        self._least_bins = TOLD_BINS if told else GUESSED_BINS
        self._anchor = tick, arrived
        self._quickest = 0.0, tick, arrived
        self._bin_began = arrived
        self._bins: deque[tuple[float, float]] = deque(maxlen=BINS)

    def at(self, tick: float) -> float:
        """When the frame that ended with this tick would have come by the quickest way, s."""
        return self._anchor[1] + (tick - self._anchor[0]) * self.rate

    def see(self, tick: float, arrived: float) -> None:
        """Take the arrival of a frame into account."""
        late = arrived - self.at(tick)
        if late < -JUMP_S:
            self._realign(tick, arrived)
        elif late < 0:
            self._anchor = tick, arrived
        if late < self._quickest[0]:
            self._quickest = late, tick, arrived
        if arrived - self._bin_began >= BIN_S:
            self._close_bin(arrived)

    def _begin(self, tick: float, arrived: float) -> None:
        self._bins.clear()
        self._anchor = tick, arrived
        self._quickest = 0.0, tick, arrived
        self._bin_began = arrived

    def _realign(self, tick: float, arrived: float) -> None:
        self.realigned += 1
        self._begin(tick, arrived)

    def _close_bin(self, now: float) -> None:
        late, tick, arrived = self._quickest
        if late > JUMP_S:
            self._realign(tick, arrived)
        else:
            self._bins.append((tick, arrived))
            self._fit()
        self._quickest = float("inf"), tick, arrived
        self._bin_began = now

    def _fit(self) -> None:
        """The slope of the quickest arrivals, and the line with that slope below all of them."""
        points = np.array(self._bins)
        ticks, arrivals = (points - points[0]).T
        if len(points) >= self._least_bins:
            self.rate = float(np.polyfit(ticks, arrivals, 1)[0])
        lowest = int(np.argmin(arrivals - ticks * self.rate))
        self._anchor = self._bins[lowest]
