"""Does a board's energy counter agree with the board's own power?

On some boards and drivers the two differ grossly. Which one is right is not
known, so a disagreement widens the uncertainty until it covers both.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from greenai_core import Clock

TOLERANCE = 0.10
"""A ratio further from 1 than this is warned of and widens the gain's uncertainty."""

LEAST_MOVES = 11
"""Moves of the counter looked at: ten update periods between them."""

LEAST_S = 1.0
LONGEST_S = 10.0
PRECISE = 0.02
"""Standard uncertainty of the ratio that ends the comparison before ``LONGEST_S``."""

PATIENCE_S = 1.5
"""Whoever asks this soon after the beginning waits until then for a verdict."""

LOOK_S = 0.025
"""Mean time between two looks: a quarter of the power's own period, 100 ms."""

NORMAL_95 = 1.96


@dataclass(frozen=True)
class Agreement:
    """The energy counter beside the integrated power of one stretch of time.

    Attributes:
        ratio: joules counted over joules integrated.
        u: standard uncertainty of the ratio.
        seconds: compared.
    """

    ratio: float
    u: float
    seconds: float

    @property
    def disagrees(self) -> bool:
        """Whether they differ by more than 10 %, and by more than chance."""
        return abs(self.ratio - 1) > max(TOLERANCE, 3 * self.u)

    def widened(self, gain: float) -> float:
        """A gain's uncertainty, k = 1, whose 95 % interval reaches what the power says.

        The gain of the power itself is uncertain too, hence the sum.
        """
        return gain + abs(1 / self.ratio - 1) / NORMAL_95 if self.disagrees else gain

    def __str__(self) -> str:
        return f"{self.ratio:.2f} ± {2 * self.u:.2f} times"


@dataclass
class Comparison:
    """One board under comparison: what was seen of it, and the verdict.

    Attributes:
        verdict: None until there is one.
        over: whether no more is to be looked at.
    """

    times: list[float] = field(default_factory=list)
    joules: list[float] = field(default_factory=list)
    watts: list[float] = field(default_factory=list)
    verdict: Agreement | None = None
    over: bool = False

    def look(self, time: float, joules: float, watts: float) -> None:
        """Take in one look, both figures read at ``time``, s."""
        moved = bool(self.joules) and joules != self.joules[-1]
        self.times.append(time)
        self.joules.append(joules)
        self.watts.append(watts)
        elapsed = time - self.times[0]
        if moved and elapsed >= LEAST_S:
            self.verdict = agreement(self.times, self.joules, self.watts)
            self.over = self.verdict is not None and self.verdict.u <= PRECISE
        self.over = self.over or elapsed >= LONGEST_S


def agreement(
    times: Sequence[float], joules: Sequence[float], watts: Sequence[float]
) -> Agreement | None:
    """Compare between the first and the last instant at which the counter moved.

    Its uncertainty is that of those two instants, and of power that varies from
    one tenth of a second to the next, of which the sensor need not have seen all.

    Args:
        times: of the looks, s.
        joules: what stood on the counter.
        watts: the power told.

    Returns:
        None while the counter moved too seldom, or went back.
    """
    import numpy as np

    at, counted, power = (np.asarray(values, dtype=np.float64) for values in (times, joules, watts))
    moved = np.flatnonzero(np.diff(counted) != 0) + 1
    if len(moved) < LEAST_MOVES or (np.diff(counted) < 0).any():
        return None
    gaps = at[moved] - at[moved - 1]
    edges = at[moved] - gaps / 2
    integral = np.concatenate(([0.0], np.cumsum((power[1:] + power[:-1]) / 2 * np.diff(at))))
    seconds = float(edges[-1] - edges[0])
    integrated = float(np.interp(edges[-1], at, integral) - np.interp(edges[0], at, integral))
    if integrated <= 0:
        return None
    borders = np.linspace(edges[0], edges[-1], max(2, round(seconds / 0.1)) + 1)
    blocks = np.diff(np.interp(borders, at, integral))
    spread = float(blocks.std(ddof=1) / blocks.mean()) / math.sqrt(len(blocks))
    ends = float(math.hypot(gaps[0], gaps[-1])) / seconds / math.sqrt(12)
    ratio = float(counted[moved[-1]] - counted[moved[0]]) / integrated
    return Agreement(ratio, ratio * math.hypot(spread, ends), seconds)


class Look(NamedTuple):
    """How one board is looked at: its name for people; joules and watts now."""

    board: str
    read: Callable[[], tuple[float, float]]


class CounterCheck:
    """Compares the counters of several boards with their power, in the background.

    Args:
        looks: by channel id.
    """

    def __init__(self, looks: Mapping[str, Look] | None = None) -> None:
        self._looks = dict(looks or {})
        self._boards = {id: Comparison() for id in self._looks}
        self._clock: Clock | None = None
        self._ticker: Any = None
        self._began = 0.0

    def begin(self, clock: Clock) -> None:
        """Look at the boards from now on, until there is a verdict on each."""
        self._clock, self._began = clock, clock.now()
        jitter = random.Random(0)  # noqa: S311  # no secret: it only breaks the rhythm
        if self._boards:
            look = functools.partial(self._look, clock)
            self._ticker = clock.repeat(look, lambda: LOOK_S * jitter.uniform(0.5, 1.5))

    def end(self) -> None:
        """Look no more; what was found stays."""
        if self._ticker is not None:
            self._ticker.cancel()
        self._ticker = self._clock = None

    def wait(self) -> None:
        """Return when there is a verdict on each board, or too long after the beginning."""
        while (
            (clock := self._clock) is not None
            and clock.now() < self._began + PATIENCE_S
            and not all(c.over or c.verdict for c in self._boards.values())
        ):
            clock.sleep(LOOK_S)

    def verdict(self, id: str) -> Agreement | None:
        """What was found of one channel so far."""
        comparison = self._boards.get(id)
        return None if comparison is None else comparison.verdict

    def disagreements(self) -> list[tuple[str, Agreement]]:
        """The boards whose counter and power differ, and how."""
        return [
            (self._looks[id].board, verdict)
            for id, comparison in self._boards.items()
            if (verdict := comparison.verdict) is not None and verdict.disagrees
        ]

    def _look(self, clock: Clock) -> None:
        pending = [id for id, comparison in self._boards.items() if not comparison.over]
        if not pending and self._ticker is not None:
            self._ticker.cancel()
        for id in pending:
            before = clock.now()
            try:
                joules, watts = self._looks[id].read()
            except Exception:  # noqa: BLE001  # what is wrong with it, its readings say
                self._boards[id].over = True
            else:
                self._boards[id].look((before + clock.now()) / 2, joules, watts)
