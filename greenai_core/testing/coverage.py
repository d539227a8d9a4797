"""How often the intervals hold the truth, on simulated hardware with the production code.

A *cell* is one kind of run; for each of its draws a device, a load and a counter are
made anew, the loop or a window measures them, and the interval is compared with the
energy that was really used. The gain of the simulated sensors is 1 and their gain
uncertainty plays no part: the repeatability interval alone must hold the truth.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from greenai_core.blocks import Source
from greenai_core.loop import LoopSettings, run_loop
from greenai_core.session import Session
from greenai_core.statistics import batch_means

from .clock import VirtualClock
from .hardware import Latch, nvml_counter
from .profiles import Bursts, DrivenPower
from .simulated import SimulatedCounterProfiler

IDLE_W = 70.0
BUSY_W = 400.0


@dataclass(frozen=True)
class Coverage:
    """What became of the draws of one cell.

    Attributes:
        draws: runs that gave an interval.
        hits: those whose interval held the truth.
        bias: mean relative error.
        rms: root of the mean squared relative error.
        width: mean half-width of the interval, relative to the truth.
        oracle: half-width of an interval that knew how the errors are spread,
            1.96 standard deviations of them.
        met: runs that said that they reached their target.
    """

    draws: int
    hits: int
    bias: float
    rms: float
    width: float
    oracle: float
    met: int

    @property
    def share(self) -> float:
        """Share of the draws whose interval held the truth."""
        return self.hits / self.draws

    @property
    def doubt(self) -> float:
        """Standard error of that share where it should be 0.95."""
        return math.sqrt(0.95 * 0.05 / self.draws)


class CorrelatedWork:
    """Work whose length, and so its energy, varies and remembers.

    The lengths are autoregressive: each shares ``memory`` of its deviation with
    the one before. Their mean is exactly ``seconds``.

    Args:
        clock: on which it takes its time.
        power: the device, ``BUSY_W`` while working.
        seconds: mean length of one call.
        cv: coefficient of variation of the length.
        memory: correlation of neighbouring lengths, 0 to 1.
        seed: of the variation.
    """

    def __init__(
        self,
        clock: VirtualClock,
        power: DrivenPower,
        seconds: float,
        cv: float,
        memory: float,
        seed: int,
    ) -> None:
        self._clock = clock
        self._power = power
        self._seconds = seconds
        self._cv = cv
        self._memory = memory
        self._fresh = math.sqrt(1 - memory * memory)
        self._draw = random.Random(seed)  # noqa: S311  # no secret: repeatable on purpose
        self._deviation = self._draw.gauss(0, 1)
        power.set(clock.now(), BUSY_W)

    def __call__(self) -> None:
        """Work once."""
        self._deviation = self._memory * self._deviation + self._fresh * self._draw.gauss(0, 1)
        self._clock.sleep(self._seconds * max(1 + self._cv * self._deviation, 0.0))


def loop_coverage(
    period_s: float,
    cv: float,
    memory: float,
    draws: int,
    *,
    precision: float = 0.02,
    seconds: float = 0.01,
    seed: int = 0,
) -> Coverage:
    """Repeated work, measured until the target is reached.

    Args:
        period_s: update period of the counter, jittered by a fifth.
        cv: coefficient of variation of one iteration.
        memory: correlation of neighbouring iterations.
        draws: runs.
        precision: target.
        seconds: mean length of one iteration.
        seed: of everything.
    """
    outcomes = []
    for index in range(draws):
        clock = VirtualClock(1.0)
        power = DrivenPower(IDLE_W)
        number = seed + 7919 * index
        work = CorrelatedWork(clock, power, seconds, cv, memory, number)
        profiler = _counter(power, period_s, number)
        profiler.open(clock)
        try:
            channel = profiler.channels[0]
            run = run_loop(
                work,
                [Source(profiler, profiler.channels)],
                (channel.id,),
                clock,
                LoopSettings(precision=precision, max_time_s=600.0),
            )
        finally:
            profiler.close()
        interval = batch_means(run.blocks.per_iteration([channel.id]))
        outcomes.append((interval.mean, interval.half, BUSY_W * seconds, run.target_met))
    return summary(outcomes)


def window_coverage(
    period_s: float, seconds: float, load: str, draws: int, *, powered: bool = True, seed: int = 0
) -> Coverage:
    """A window that happens once.

    Args:
        period_s: update period of the counter, jittered by a twentieth.
        seconds: length of the window.
        load: ``starts`` with the window, ``ends`` with it too, or ``bursts`` that
            know nothing of it and last two periods on average.
        draws: windows.
        powered: whether the source tells its power too, anew every 20 ms.
        seed: of everything.
    """
    outcomes = []
    for index in range(draws):
        draw = random.Random(seed + 7919 * index)  # noqa: S311  # likewise
        clock = VirtualClock(1.0)
        driven = DrivenPower(IDLE_W)
        bursts = Bursts.at_random(
            IDLE_W, BUSY_W, 30.0 + seconds, 2 * period_s, 2 * period_s, draw.randrange(2**30)
        )
        power = bursts if load == "bursts" else driven
        profiler = _counter(power, period_s, draw.randrange(2**30), 0.05, powered=powered)
        profiler.phase_s = draw.uniform(0, profiler.power_period_s)
        with Session([profiler], clock=clock) as session:
            clock.sleep(max(1.0, 10 * period_s) + draw.uniform(0, period_s))
            start = clock.now()
            with session.window() as window:
                if load != "bursts":
                    driven.set(start, BUSY_W)
                clock.sleep(seconds)
                if load == "ends":
                    driven.set(clock.now(), IDLE_W)
            truth = power.energy(start, start + seconds)
            result = window.result
        if result.energy_j is not None and result.repeat_high_j is not None:
            half = result.repeat_high_j - result.energy_j
            outcomes.append((result.energy_j, half, truth, True))
    return summary(outcomes)


def summary(outcomes: list[tuple[float, float, float, bool]]) -> Coverage:
    """What became of draws.

    Args:
        outcomes: estimate, half-width, truth, and whether the target was met, of each.

    Raises:
        ValueError: there are none.
    """
    if not outcomes:
        raise ValueError("no draw gave an interval")
    errors = [estimate / truth - 1 for estimate, _, truth, _ in outcomes]
    count = len(outcomes)
    mean = math.fsum(errors) / count
    spread = math.sqrt(math.fsum((error - mean) ** 2 for error in errors) / count)
    return Coverage(
        draws=count,
        hits=sum(abs(estimate - truth) <= half for estimate, half, truth, _ in outcomes),
        bias=mean,
        rms=math.sqrt(math.fsum(error * error for error in errors) / count),
        width=math.fsum(half / truth for _, half, truth, _ in outcomes) / count,
        oracle=1.96 * spread,
        met=sum(met for _, _, _, met in outcomes),
    )


class _LatchedPower(SimulatedCounterProfiler):
    """Tells its power as it was at the last of regular updates."""

    power_period_s = 0.02
    phase_s = 0.0
    powered = True

    def read_power(self, channel: object) -> float | None:
        if not self.powered:
            return None
        since = (self.clock.now() - self.phase_s) % self.power_period_s
        (counter,) = self.counters.values()
        return counter.profile.power(max(self.clock.now() - since, 0.0))


def _counter(
    power: DrivenPower | Bursts,
    period_s: float,
    seed: int,
    jitter: float = 0.2,
    *,
    powered: bool = True,
) -> _LatchedPower:
    draw = random.Random(seed)  # noqa: S311  # likewise
    latch = Latch(period_s, jitter=jitter, phase_s=draw.uniform(0, period_s), seed=seed)
    profiler = _LatchedPower(counters=[nvml_counter(power, latch=latch)])
    profiler.powered = powered
    return profiler
