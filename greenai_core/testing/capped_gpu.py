"""A simulated GPU whose time and power follow its cap as real ones do.

Power is static plus dynamic, and the dynamic part grows as a power of the clock; the part
of the work that waits for the cores takes as long as the clock makes it, the rest (memory,
host) does not. A cap lets the clock rise as far as the power allows; below the lowest clock
the board only works part of the time::

    gpu = CappedGpu(CappedWork(static_w=60, dynamic_w=340, exponent=2.6, bound=0.7), clock)
    with Session([gpu.profiler()], clock=clock) as session:
        optimise_power_cap(gpu.step, gpu.device, limiter=gpu.limiter(), session=session)
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from greenai_core.clock import Clock
from greenai_core.limiter import PowerLimit

from .controls import SimulatedLimiter
from .hardware import Latch, nvml_counter
from .profiles import DrivenPower
from .simulated import SimulatedCounterProfiler


@dataclass(frozen=True)
class CappedWork:
    """A board with work on it.

    Attributes:
        static_w: power at rest within the work: leakage, memory, fans.
        dynamic_w: what the cores add at their highest clock.
        exponent: power of the clock with which that grows; 3 where the voltage follows
            the clock, nearer to 1 where it does not.
        bound: part of the time of a step that waits for the cores.
        lowest_clock: over the highest.
        step_s: of one step at the highest clock.
        low_w, high_w: what the board can be capped to; ``high_w`` is in force.
        idle_w: between steps.
    """

    static_w: float = 60.0
    dynamic_w: float = 340.0
    exponent: float = 2.6
    bound: float = 0.7
    lowest_clock: float = 0.25
    step_s: float = 0.05
    low_w: float = 100.0
    high_w: float = 400.0
    idle_w: float = 30.0

    def at(self, cap: float) -> tuple[float, float]:
        """Seconds of a step, and power, W, under a cap: the truth."""
        clock = ((cap - self.static_w) / self.dynamic_w) if cap > self.static_w else 0.0
        clock = min(max(clock, 1e-9) ** (1 / self.exponent), 1.0)
        if clock >= self.lowest_clock:
            watts = self.static_w + self.dynamic_w * clock**self.exponent
            return self.step_s * (1 - self.bound + self.bound / clock), watts
        least = self.static_w + self.dynamic_w * self.lowest_clock**self.exponent
        slowest = self.step_s * (1 - self.bound + self.bound / self.lowest_clock)
        duty = max((cap - self.idle_w) / (least - self.idle_w), 0.05)
        return slowest / duty, self.idle_w + (least - self.idle_w) * duty

    def joules(self, cap: float) -> float:
        """Of one step under a cap: the truth."""
        seconds, watts = self.at(cap)
        return seconds * watts


class CappedGpu:
    """A board, its sensor, and what caps it.

    Args:
        work: what runs on it.
        clock: on which it does.
        noise: of the length of steps and of the power in each, coefficient of variation.
        drift: by which steps get longer and power higher while the board warms up.
        drift_s: over which the drift comes to 1 − 1/e.
        settle_s: over which the power follows a new cap.
        seed: of the noise.
    """

    device = "gpu:GPU-simulated"

    def __init__(
        self,
        work: CappedWork,
        clock: Clock,
        *,
        noise: float = 0.0,
        drift: float = 0.0,
        drift_s: float = 60.0,
        settle_s: float = 0.1,
        seed: int = 0,
    ) -> None:
        self.work = work
        self.clock = clock
        self.cap = work.high_w
        self.caps: list[float] = []
        self.steps = 0
        self.power = DrivenPower(work.idle_w)
        self._noise, self._drift, self._drift_s = noise, drift, drift_s
        self._settle_s = settle_s
        self._began = clock.now()
        self._from, self._since = work.high_w, -math.inf
        self._draw = random.Random(seed)  # noqa: S311  # no secret: repeatable on purpose

    def limiter(self) -> SimulatedLimiter:
        """What caps it; no watchdog can reach it from another process."""
        work = self.work
        limit = PowerLimit(
            self.device, self.cap, work.high_w, work.low_w, work.high_w, settable=True, index=0
        )
        return SimulatedLimiter(limits=[limit], on_set=self._capped)

    def profiler(self, update_period_s: float = 0.1) -> SimulatedCounterProfiler:
        """Its energy counter."""
        counter = nvml_counter(self.power, self.device, latch=Latch(update_period_s))
        return SimulatedCounterProfiler(counters=[counter])

    def step(self) -> None:
        """One step of the work."""
        seconds, watts = self.work.at(self._effective())
        warm = 1 + self._drift * -math.expm1(-(self.clock.now() - self._began) / self._drift_s)
        length = seconds * warm * self._jitter()
        self.power.set(self.clock.now(), watts * warm * self._jitter())
        self.clock.sleep(length)
        self.power.set(self.clock.now(), self.work.idle_w)
        self.steps += 1

    def _jitter(self) -> float:
        return math.exp(self._noise * self._draw.gauss(0, 1)) if self._noise else 1.0

    def _capped(self, device: str, watts: float) -> None:
        self._from, self._since = self._effective(), self.clock.now()
        self.cap = watts
        self.caps.append(watts)

    def _effective(self) -> float:
        """The cap as the board's control loop has it so far."""
        if not self._settle_s:
            return self.cap
        left = math.exp(-(self.clock.now() - self._since) / self._settle_s)
        return self.cap + (self._from - self.cap) * left
