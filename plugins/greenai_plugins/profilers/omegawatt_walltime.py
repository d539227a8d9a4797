"""The time in a log on our clock: what is between them, measured again and again."""

from __future__ import annotations

from collections.abc import Callable

from greenai_core import Clock

SLOW_S = 0.005
"""Two clocks read one after the other in more time than this are read again."""

STEP_S = 0.02
"""A machine's wall clock is slewed by 500 ppm at most; what moves further was set."""

TRIES = 5


class WallTime:
    """Unix time of this machine on its monotonic clock.

    Args:
        wall: tells Unix time.
        clock: tells our own.
    """

    def __init__(self, wall: Callable[[], float], clock: Clock) -> None:
        self._wall = wall
        self._clock = clock
        self.stepped_s = 0.0
        """By how much the wall clock was set at the latest look, s; 0 if it was not."""
        self._ahead_s, self._looked, _ = self._compare()

    def look(self) -> None:
        """Compare the two clocks again."""
        ahead, now, sure = self._compare()
        self.stepped_s = 0.0
        if not sure:
            return
        moved = ahead - self._ahead_s
        allowed = STEP_S + 1e-3 * (now - self._looked)
        if abs(moved) > allowed:
            self.stepped_s = moved
        self._ahead_s, self._looked = ahead, now

    def ours(self, unix_s: float) -> float:
        """The instant of our clock at a Unix time of this machine."""
        return unix_s - self._ahead_s

    def _compare(self) -> tuple[float, float, bool]:
        """Wall clock less ours, when that was, and whether nothing came in between."""
        before = after = unix = 0.0
        for _ in range(TRIES):
            before = self._clock.now()
            unix = self._wall()
            after = self._clock.now()
            if after - before < SLOW_S:
                break
        middle = (before + after) / 2
        return unix - middle, middle, after - before < SLOW_S
