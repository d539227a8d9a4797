"""A meter's own counter beside the integral of its power: do they tell the same joules?"""

from __future__ import annotations

import math

WORTH_STEPS = 20
"""The counter must have moved by so many steps, so that the last one is 5 % of it."""

WORTH_SAMPLES = 60
"""And its power must have been read so often."""

LARGEST_GAP_S = 5.0
"""Power that was not read for longer is not integrated: the comparison begins again."""

ALLOWED = 0.1
"""They may disagree by so much, and by three times what the samples scatter."""


class CounterCheck:
    """Sums the power of a meter while its counter runs."""

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None
        self._latest_j: float | None = None
        self._step_j = 0.0
        self._first_j: float | None = None
        self._at_edge = 0.0, 0.0
        self._summed_j = self._watts = self._squares = 0.0
        self._samples = 0

    def add(self, time: float, watts: float, energy_j: float | None, step_j: float) -> None:
        """Take one answer of the meter.

        Args:
            time: s.
            watts: its power.
            energy_j: its counter, if it has one.
            step_j: last digit of that.
        """
        last, self._last = self._last, (time, watts)
        before, self._latest_j = self._latest_j, energy_j
        self._step_j = step_j
        if (
            energy_j is None
            or before is None
            or last is None
            or energy_j < before
            or time - last[0] > LARGEST_GAP_S
        ):
            self._begin(None)
            return
        self._summed_j += (watts + last[1]) / 2 * (time - last[0])
        self._samples += 1
        self._squares += watts**2
        self._watts += watts
        # The two are compared where the counter moves: in between it is late.
        if energy_j != before:
            if self._first_j is None:
                self._begin(energy_j)
            else:
                self._at_edge = energy_j - self._first_j, self._summed_j

    def verdict(self) -> str:
        """What readers must know; empty if the two agree, or nothing can be said yet."""
        counted, summed = self._at_edge
        if (
            counted < max(WORTH_STEPS * self._step_j, 1e-9)
            or self._samples < WORTH_SAMPLES
            or summed <= 0
        ):
            return ""
        ratio = counted / summed
        if abs(ratio - 1) <= ALLOWED + 2 * self._step_j / counted + 3 * self._scatter():
            return ""
        return (
            f"its own counter counted {counted:.0f} J while its power adds up to {summed:.0f} J "
            f"({ratio - 1:+.0%}); which is right is not known. The joules told are those of its "
            "power: compare it with another meter (greenai calibrate)"
        )

    def _begin(self, first_j: float | None) -> None:
        self._first_j = first_j
        self._at_edge = 0.0, 0.0
        self._summed_j = self._watts = self._squares = 0.0
        self._samples = 0

    def _scatter(self) -> float:
        """Relative standard error of the mean power, taken as free between two samples."""
        mean = self._watts / self._samples
        variance = max(self._squares / self._samples - mean**2, 0.0)
        return math.sqrt(variance / self._samples) / mean if mean > 0 else 0.0
