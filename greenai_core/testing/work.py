"""Simulated work: it takes its time and makes a simulated device busy."""

from __future__ import annotations

import math
import random
from typing import Any

from greenai_core.clock import Clock

from .profiles import DrivenPower


class SimulatedWork:
    """A workload of known length that makes a simulated device busy.

    Args:
        clock: on which it takes its time.
        seconds: mean length of one call.
        cv: coefficient of variation of the length, normally distributed.
        warm_up: the first call takes this share longer than later ones.
        warm_up_calls: over how many calls the warm-up falls to 1/e.
        power: the device, set to ``busy_w`` while working and to its idle power
            otherwise; None: no device.
        busy_w: its power while working.
        seed: of the variation.
    """

    def __init__(
        self,
        clock: Clock,
        seconds: float,
        *,
        cv: float = 0.0,
        warm_up: float = 0.0,
        warm_up_calls: float = 20.0,
        power: DrivenPower | None = None,
        busy_w: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.clock = clock
        self.seconds = seconds
        self.calls = 0
        self._cv = cv
        self._warm_up = warm_up
        self._warm_up_calls = warm_up_calls
        self._power = power
        self._busy_w = busy_w
        self._draw = random.Random(seed)  # noqa: S311  # no secret: repeatable on purpose

    def __call__(self, *args: Any, **kwargs: Any) -> int:
        """Work once; whatever is given is ignored. Returns how often it has worked."""
        trend = 1 + self._warm_up * math.exp(-self.calls / self._warm_up_calls)
        length = self.seconds * trend * max(1 + self._cv * self._draw.gauss(0, 1), 0.0)
        if self._power is not None:
            self._power.set(self.clock.now(), self._busy_w)
        try:
            self.clock.sleep(length)
        finally:
            if self._power is not None:
                self._power.set(self.clock.now(), self._power.idle_w)
        self.calls += 1
        return self.calls
