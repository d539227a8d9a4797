"""Frames of 10 ms made into power that can be integrated.

Each value is the mean of one cycle of the mains. Half a cycle can truly give energy
back: power supplies return what they have stored when the load drops. Such a value is
shared with those after it until their mean is not negative, which leaves the energy
as it is; power that stays negative is that of a current clamp the wrong way round.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from greenai_core import ReadingError

MEAN_S = 0.02
"""One cycle at 50 Hz. Shorter values would show its two halves, and know no better when
they were: an arrival is known to some 10 ms."""

GIVEN_BACK_S = 0.2
"""Energy is given back for no longer: ten cycles."""

MAX_W = 100_000.0
"""No plug carries as much, nor gives it back."""


class Means:
    """Means of a few of one channel's frames.

    Args:
        what: the channel, for messages.
        frame_s: usual time between two frames.
        mean_s: length of a mean.
    """

    def __init__(self, what: str, frame_s: float, mean_s: float = MEAN_S) -> None:
        self._what = what
        self._mean_s = mean_s
        self._frames = max(1, round(mean_s / frame_s))
        self._longest = 2.5 * frame_s
        self._open: list[tuple[float, float, float]] = []
        self._owing: list[tuple[float, float]] = []

    def add(self, time: float, watts: float, weight: float = 1.0) -> Iterator[tuple[float, float]]:
        """Take a frame: the means that are complete with it, as instant and watts.

        Args:
            time: middle of the frame, s.
            watts: its mean power.
            weight: how much of the time it covers, in any unit.

        Raises:
            ReadingError: no meter can have measured that.
        """
        if not math.isfinite(watts) or abs(watts) > MAX_W:
            raise ReadingError(f"{self._what} gave {watts} W, which cannot be true")
        if self._open and time - self._open[-1][0] > self._longest:
            # What lies on the two sides of a gap has no mean.
            yield from self._mean()
        self._open.append((time, watts, weight))
        if len(self._open) >= self._frames:
            yield from self._mean()

    def _mean(self) -> Iterator[tuple[float, float]]:
        total = math.fsum(weight for _, _, weight in self._open)
        time = math.fsum(t * weight for t, _, weight in self._open) / total
        watts = math.fsum(w * weight for _, w, weight in self._open) / total
        self._open.clear()
        if self._owing and time - self._owing[-1][0] > self._mean_s + self._longest:
            self._owing.clear()
        self._owing.append((time, watts))
        shared = math.fsum(watts for _, watts in self._owing) / len(self._owing)
        if shared >= 0:
            paid = [t for t, _ in self._owing]
            self._owing.clear()
            for instant in paid:
                yield instant, shared
        elif time - self._owing[0][0] > GIVEN_BACK_S:
            since = time - self._owing[0][0]
            self._owing.clear()
            raise ReadingError(
                f"{self._what} gave {shared:.1f} W for {since:.2f} s, which cannot be true: is its "
                "current clamp the wrong way round?"
            )
