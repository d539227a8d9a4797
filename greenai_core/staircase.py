"""Hold a load at several levels while a sensor and a meter watch it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .blocks import Blocks, Source, Ticks
from .calibration import Stair
from .clock import Clock
from .errors import CalibrationError
from .loads import Load
from .statistics import Vector, batch_means

LEVELS = 6
PASSES = 2

GRAINS = 20
"""Values of the slower of sensor and meter in one stair."""

GRAINS_A_BLOCK = 2
SETTLING_GRAINS = 3
LEAST_SETTLING_S = 1.0
SHORTEST_POLL_S = 0.002
PATIENCE_GRAINS = 30
MOST_CORRELATED = 0.9
"""More than that cannot be told from few blocks."""


@dataclass(frozen=True)
class Plan:
    """What a staircase looks like.

    Attributes:
        levels: of the load, 0 to 1, in the order in which they are held.
        grain_s: seconds between two values of the slower of sensor and meter.
        poll_s: seconds between two readings.
        settle_s: seconds that each level is held before it is measured.
    """

    levels: tuple[float, ...]
    grain_s: float
    poll_s: float
    settle_s: float

    @property
    def stair_s(self) -> float:
        """Seconds of one stair, settling apart."""
        return GRAINS * self.grain_s

    @property
    def duration_s(self) -> float:
        """Seconds of them all."""
        return len(self.levels) * (self.stair_s + self.settle_s)


def plan(
    sensor_grain_s: float,
    meter_grain_s: float,
    *,
    levels: int = LEVELS,
    passes: int = PASSES,
    settle_s: float | None = None,
    draw: random.Random | None = None,
) -> Plan:
    """A staircase for two channels of these paces.

    Each pass holds every level once, in a random order: what drifts meanwhile,
    like the temperature, then looks like no gain.

    Args:
        sensor_grain_s: seconds between two values of the sensor.
        meter_grain_s: likewise of the meter.
        levels: different ones, idle and full load among them.
        passes: how often each is held.
        settle_s: before each is measured; None for what the sensors need.
        draw: of the order.
    """
    draw = draw or random.Random()  # noqa: S311  # no secret: it only mixes the stairs
    grain = max(sensor_grain_s, meter_grain_s, SHORTEST_POLL_S)
    steps = [index / (levels - 1) for index in range(levels)]
    order = [level for _ in range(passes) for level in draw.sample(steps, levels)]
    settle = max(LEAST_SETTLING_S, SETTLING_GRAINS * grain) if settle_s is None else settle_s
    poll = max(sensor_grain_s / 10, grain / 50, SHORTEST_POLL_S)
    return Plan(tuple(order), grain, poll, settle)


def climb(
    load: Load,
    sources: Sequence[Source],
    sensor: str,
    meter: str,
    rest: Collection[str],
    clock: Clock,
    stairs: Plan,
    progress: Callable[[float, str], None] = lambda share, text: None,
) -> Iterator[Stair]:
    """Each stair, as soon as it has been measured.

    Args:
        load: is set, not closed.
        sources: the profilers, open, without calibrations.
        sensor: id of the channel to calibrate.
        meter: id of the channel to compare it with.
        rest: ids of the other parts of the machine.
        clock: shared with the profilers.
        stairs: see ``plan``.
        progress: told the share done and a word on the state.

    Raises:
        CalibrationError: sensor or meter could not be read, or the load ended.
    """
    for number, level in enumerate(stairs.levels):
        text = f"stair {number + 1} of {len(stairs.levels)}, load {level:.0%}"

        def tell(share: float, number: int = number, text: str = text) -> None:
            progress((number + share) / len(stairs.levels), text)

        tell(0.0)
        load.set(level)
        clock.sleep(stairs.settle_s)
        blocks = _measure(load, sources, clock, stairs, tell)
        for id in (sensor, meter):
            if id not in blocks.energies:
                why = blocks.failures.get(id, "it was never read")
                raise CalibrationError(f"{id} has no power at load {level:.0%}: {why}")
        yield _stair(level, blocks, stairs.poll_s, sensor, meter, rest)


def _measure(
    load: Load,
    sources: Sequence[Source],
    clock: Clock,
    stairs: Plan,
    tell: Callable[[float], None],
) -> Blocks:
    """Read until there are enough blocks; the first values may be older than the stair."""
    ticks = Ticks(clock, sources)
    wanted = GRAINS // GRAINS_A_BLOCK
    try:
        ticks.tick(0)
        late = clock.now() + PATIENCE_GRAINS * stairs.grain_s
        while not ticks.ready() and clock.now() < late:
            clock.sleep(stairs.poll_s)
            ticks.tick(1)
        ticks.restart(max(round(GRAINS_A_BLOCK * stairs.grain_s / stairs.poll_s), 1))
        end = clock.now() + stairs.stair_s
        while ticks.blocks < wanted or clock.now() < end:
            clock.sleep(stairs.poll_s)
            ticks.tick(1)
            load.check()
            tell(min(ticks.blocks / wanted, 1.0))
        blocks = ticks.cut()
    finally:
        ticks.close()
    if blocks is None:
        raise AssertionError("a stair has several blocks")
    return blocks


def _stair(
    level: float, blocks: Blocks, poll_s: float, sensor: str, meter: str, rest: Collection[str]
) -> Stair:
    duration = float(blocks.durations.sum())
    x, y = (blocks.energies[id] / blocks.durations for id in (sensor, meter))
    known = all(id in blocks.energies for id in rest)
    return Stair(
        level,
        duration,
        float(blocks.energies[sensor].sum()) / duration,
        float(blocks.energies[meter].sum()) / duration,
        _u(x, duration, poll_s),
        _u(y, duration, poll_s),
        _correlation(x, y),
        float(sum(blocks.energies[id].sum() for id in rest)) / duration if rest and known else None,
    )


def _u(watts: Vector, duration_s: float, poll_s: float) -> float:
    """Standard uncertainty of the mean of blocks, W.

    Each end of the stair lies between two readings, wherever they fall: even
    where all blocks look alike, it is not known better than that.
    """
    ends = float(watts.mean()) * poll_s / (math.sqrt(6) * duration_s)
    return math.hypot(batch_means(watts).u, ends)


def _correlation(x: Vector, y: Vector) -> float:
    """Of blocks of sensor and meter; what moves both is the load, and no error of either.

    Less what unrelated blocks show by chance.
    """
    if not (x.std() and y.std()):
        return 0.0
    r = float(np.corrcoef(x, y)[0, 1]) - 1 / math.sqrt(len(x))
    return min(max(r, 0.0), MOST_CORRELATED)
