"""Idle power around repeated work, and what the work costs above it.

Idle is that of the machine *as the work finds it*: the model loaded, the device
open, and this process waiting. It is measured before and after the run, each time
after the power has settled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .above_idle import block_term, budgeted
from .blocks import Blocks, Source, Ticks, is_lost
from .budget import gains
from .channels import Channel, joined_method
from .clock import Clock
from .loop import SHORTEST_TICK_S, SLOW_SENSOR_S, LoopRun, LoopSettings
from .results import ChannelEnergy, Figure, WindowResult
from .run_costs import Sensor, sensors_of
from .statistics import batch_means

BEFORE = "idle before"
AFTER = "idle after"

GRAINS = 20
"""Values of the slowest sensor that counts in one idle window."""

BLOCKS = 32
TICKS_A_BLOCK = 4
GRAINS_A_BLOCK = 2

MOST_OF_TIME = 1 / 8
"""Share of the longest time of a run that one idle window may take."""

SETTLED = 0.005
"""Power has settled when it falls by less than this from one stretch to the next."""

LONGEST_SETTLING_S = 10.0


class Bracket:
    """Idle measured before and after a run; nothing where no time is given for it.

    Args:
        sources: the profilers to read, open.
        contains: ids of the channels that the total adds up.
        clock: shared with the profilers.
        settings: of the run between.
        seconds: of each idle window; 0 for none, None for what the sensors need.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        contains: Sequence[str],
        clock: Clock,
        settings: LoopSettings,
        seconds: float | None,
    ) -> None:
        self._sources, self._contains, self._clock = sources, contains, clock
        wanted = idle_time(sources, contains, settings) if seconds is None else seconds
        self._seconds = wanted if contains else 0.0
        self._settling_s = min(LONGEST_SETTLING_S, settings.max_time_s / 4)
        self.windows: tuple[WindowResult, ...] = ()
        self.notes: tuple[str, ...] = ()

    def before(self, work: Callable[[], None]) -> None:
        """Idle before the run. ``work`` is done once, so that the device is open."""
        if self._seconds:
            work()
            self._measure(BEFORE)

    def after(self, run: LoopRun) -> None:
        """Idle after the run; Ctrl-C gives up what is known above idle, not the run."""
        if not self.windows or run.interrupted:
            self.windows = ()
            return
        try:
            self._measure(AFTER)
        except KeyboardInterrupt:
            self._give_up("idle after the run was interrupted")

    def _measure(self, name: str) -> None:
        seen = idle_window(
            name, self._sources, self._contains, self._clock, self._seconds, self._settling_s
        )
        if isinstance(seen, str):
            self._give_up(seen)
        elif name == BEFORE or self.windows:
            self.windows = (*self.windows, seen)

    def _give_up(self, why: str) -> None:
        self.windows = ()
        self.notes = (f"nothing is known above idle: {why}",)


def idle_time(sources: Sequence[Source], contains: Sequence[str], settings: LoopSettings) -> float:
    """Seconds of one idle window that the sensors of the total need.

    As long as the shortest run (1 s unless asked otherwise) and 20 of their
    values, but at most an eighth of the longest run.
    """
    needed = max(settings.min_time_s, GRAINS * _grain(sources, contains))
    return min(needed, MOST_OF_TIME * settings.max_time_s)


def _grain(sources: Sequence[Source], contains: Sequence[str]) -> float:
    grains = [
        source.profiler.grain_s(channel)
        for source in sources
        for channel in source.channels
        if channel.id in contains
    ]
    return max([grain for grain in grains if grain < SLOW_SENSOR_S] or grains or [0.0])


def idle_window(
    name: str,
    sources: Sequence[Source],
    contains: Sequence[str],
    clock: Clock,
    seconds: float,
    settling_s: float,
) -> WindowResult | str:
    """Energy while this process waits, after the power has settled.

    Args:
        name: of the window.
        sources: the profilers to read, open.
        contains: ids of the channels that the total adds up.
        clock: shared with the profilers.
        seconds: to measure.
        settling_s: to wait at most until the power has settled.

    Returns:
        The window; why there is none where a sensor of the total gives too little.
    """
    ticks = Ticks(clock, sources)
    tick_s = max(SHORTEST_TICK_S, seconds / (BLOCKS * TICKS_A_BLOCK))
    slowest = GRAINS_A_BLOCK * _grain(sources, contains)
    count = max(min(BLOCKS, int(seconds / slowest)), 2) if slowest else BLOCKS
    try:
        _settle(ticks, contains, tick_s, seconds / 2, settling_s)
        stretches = max(round(seconds / tick_s), 2)
        ticks.restart(max(stretches // count, 1))
        for _ in range(stretches):
            clock.sleep(tick_s)
            ticks.tick(1)
        blocks = ticks.cut()
    finally:
        ticks.close()
    if blocks is None:
        return f"{name} gave too few readings"
    if is_lost(blocks, contains):
        lost = next(id for id in contains if id not in blocks.energies)
        return f"{name}: {lost} was lost: {blocks.failures[lost]}"
    return _window(name, blocks, sensors_of(sources, blocks), contains)


def _settle(
    ticks: Ticks, contains: Sequence[str], tick_s: float, stretch_s: float, most_s: float
) -> None:
    """Wait until power no longer falls from one stretch to the next.

    What load leaves behind (clocks, voltages, fans) makes power fall afterwards;
    noise makes it rise as often as fall, so a stretch that does not fall ends it.
    """
    clock = ticks.clock
    ticks.tick(0)
    began = clock.now()
    borders = [0]
    while clock.now() - began < most_s or not ticks.ready():
        end = clock.now() + stretch_s
        while clock.now() < end:
            clock.sleep(tick_s)
            ticks.tick(1)
        borders.append(ticks.count - 1)
        powers = _powers(ticks, borders[-3:], contains)
        if len(powers) > 1 and powers[-2] - powers[-1] <= SETTLED * abs(powers[-2]):
            return
        if clock.now() - began > 2 * most_s + stretch_s:
            return


def _powers(ticks: Ticks, borders: Sequence[int], contains: Sequence[str]) -> list[float]:
    """Watts of the total between neighbouring borders; none where a channel tells none."""
    if len(borders) < 3:
        return []
    readings = ticks.readings()
    at = np.array(borders, dtype=np.intp)
    instants = readings.before[at]
    energies, _ = readings.energies(at, instants)
    if not all(id in energies for id in contains):
        return []
    joules = np.sum([energies[id] for id in contains], axis=0)
    return [float(watts) for watts in joules / np.diff(instants)]


def _window(
    name: str, blocks: Blocks, sensors: Sequence[Sensor], contains: Sequence[str]
) -> WindowResult:
    duration = float(blocks.durations.sum())
    channels = []
    for sensor in sensors:
        id = sensor.channel.id
        if id not in contains:
            continue
        figure = _joules(blocks, [sensor.channel], duration)
        channels.append(
            ChannelEnergy(
                id,
                sensor.channel.component,
                sensor.channel.method,
                sensor.profiler,
                True,
                *_numbers(figure),
                figure.budget,
            )
        )
    inside = [sensor.channel for sensor in sensors if sensor.channel.id in contains]
    total = _joules(blocks, inside, duration)
    return WindowResult(
        name,
        duration,
        *_numbers(total),
        total.method,
        tuple(contains),
        tuple(channels),
        (),
        total.budget,
    )


def _numbers(figure: Figure) -> tuple[float, float, float, float, float]:
    return figure.value, figure.low, figure.high, figure.repeat_low, figure.repeat_high


def _joules(blocks: Blocks, channels: Sequence[Channel], duration_s: float) -> Figure:
    """Energy of all blocks together, with the spread between them."""
    joules = np.sum([blocks.energies[channel.id] for channel in channels], axis=0)
    interval = batch_means(joules / blocks.durations)
    energy = float(joules.sum())
    repeat = (block_term("idle", interval, duration_s),)
    shares = [
        (c.gain_kind, c.id, abs(float(blocks.energies[c.id].sum())) * c.gain_uncertainty)
        for c in channels
    ]
    method = joined_method({channel.method for channel in channels})
    return budgeted(energy, (*repeat, *gains(shares)), method, "idle", signed=False)
