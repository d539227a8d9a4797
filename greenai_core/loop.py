"""Repeat a piece of work until its energy is known well enough.

The work runs without a break; between stretches of it the sensors are read
(a *tick*). Afterwards the ticks are cut into blocks, and the blocks give the
mean and both intervals. See ``docs/method.md``.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .blocks import Blocks, RunReadings, Source, Ticks, is_lost, relative_half_width
from .clock import Clock
from .conditions import Observer
from .errors import ReadingError
from .screening import NOTHING_FOUND, Screening, screened
from .statistics import (
    FIRST_LOOK,
    MIN_BLOCKS,
    Vector,
    batch_means,
    is_steady,
    next_look,
    warm_up_length,
)

SELF_COST = 0.003
"""Most of the run that reading the sensors should take."""

BIAS_OF_TARGET = 0.1
"""Share of the target by which the reading of sensors may at most bias the figure."""

SHORTEST_TICK_S = 0.004
GRAINS_A_BLOCK = 3
SLOW_SENSOR_S = 1.0
"""Sensors slower than this do not decide how long a run takes."""

MORE_TIME = "allow more with --max-time"

WARM_UP_RUNS = 3
PROBE_TICKS = 5
PROGRESS_S = 0.2

OVERDUE = 10
"""A stretch that takes so many times what was planned is ended early."""


@dataclass(frozen=True)
class LoopSettings:
    """When to stop.

    Attributes:
        precision: relative half-width of the repeatability interval to reach.
        min_time_s: shortest measured time.
        max_time_s: longest; the run ends there whatever was reached, but not
            before three iterations, the least that give an interval.
        warm_up_s: shortest time of unmeasured work before.
        max_iterations: most measured iterations; None for no limit.
    """

    precision: float = 0.02
    min_time_s: float = 1.0
    max_time_s: float = 60.0
    warm_up_s: float = 0.5
    max_iterations: int | None = None


@dataclass(frozen=True)
class LoopRun:
    """A finished run.

    Attributes:
        blocks: the measured blocks.
        target_met: whether the interval became as narrow as asked, in a steady run.
        why_not: what stood in the way; empty when met.
        self_cost_share: share of the time that reading took.
        interrupted: by Ctrl-C or a signal; the blocks hold what was measured.
        readings: what all of this follows from, see ``judged``.
        screening: the outliers among the blocks, and those that were left out.
    """

    blocks: Blocks
    target_met: bool
    why_not: str
    self_cost_share: float
    interrupted: bool
    readings: RunReadings
    screening: Screening = NOTHING_FOUND


def run_loop(
    work: Callable[[], None],
    sources: Sequence[Source],
    contains: Sequence[str],
    clock: Clock,
    settings: LoopSettings,
    progress: Callable[[float, str], None] = lambda share, text: None,
    observer: Observer | None = None,
) -> LoopRun:
    """Repeat ``work`` and measure it.

    Args:
        work: one iteration; when it returns nothing of it is still running.
        sources: the profilers to read, open.
        contains: ids of the channels whose sum must become precise.
        clock: shared with the profilers.
        settings: when to stop.
        progress: told the share done (0 to 1) and a word on the state.
        observer: looks at outside load, throttling and clocks meanwhile.

    Raises:
        KeyboardInterrupt: before there were two blocks to report.
    """
    seconds = warm_up(work, clock, settings)
    block_s = _block_length(sources, contains, settings)
    ticks = Ticks(clock, sources, observer)
    verdict = _Verdict(None, False, "")
    interrupted = False
    try:
        for verdict in _looks(work, ticks, contains, seconds, block_s, settings, progress):
            if verdict.met or (verdict.blocks is not None and is_lost(verdict.blocks, contains)):
                break
    except KeyboardInterrupt:
        interrupted = True
        verdict = _judge(ticks, contains, settings)
        if verdict.blocks is None:
            raise
    finally:
        ticks.close()
    if ticks.latest is None:
        raise AssertionError("a run ends after two blocks at the earliest")
    return _run(verdict, ticks.latest, interrupted)


def judged(
    readings: RunReadings, contains: Sequence[str], settings: LoopSettings, interrupted: bool
) -> LoopRun:
    """A finished run once more, from readings that were kept.

    Raises:
        ReadingError: there are not two blocks in them.
    """
    return _run(_judge(readings, contains, settings), readings, interrupted)


def _run(verdict: _Verdict, readings: RunReadings, interrupted: bool) -> LoopRun:
    if verdict.blocks is None:
        raise ReadingError("the readings are fewer than two blocks: a part of them is missing")
    why = "interrupted before the target was reached" if interrupted else verdict.why_not
    return LoopRun(
        verdict.blocks,
        verdict.met and not interrupted,
        why,
        readings.self_cost_share(),
        interrupted,
        readings,
        verdict.screening,
    )


def warm_up(work: Callable[[], None], clock: Clock, settings: LoopSettings) -> float:
    """Seconds of one iteration, after the first ones are over."""
    began = clock.now()
    times: list[float] = []
    while len(times) < WARM_UP_RUNS or clock.now() - began < settings.warm_up_s:
        start = clock.now()
        work()
        times.append(clock.now() - start)
        if clock.now() - began > settings.max_time_s / 2:
            break
    return max(statistics.median(times[len(times) // 2 :]), 1e-9)


def _block_length(
    sources: Sequence[Source], contains: Sequence[str], settings: LoopSettings
) -> float:
    """Seconds of one block: a few values of the slowest sensor that counts."""
    grains = [
        source.profiler.grain_s(channel)
        for source in sources
        for channel in source.channels
        if channel.id in contains
    ]
    quick = [grain for grain in grains if grain < SLOW_SENSOR_S] or grains or [0.0]
    return max(GRAINS_A_BLOCK * max(quick), settings.min_time_s / FIRST_LOOK)


@dataclass(frozen=True)
class _Verdict:
    blocks: Blocks | None
    met: bool
    why_not: str
    screening: Screening = NOTHING_FOUND


def _looks(
    work: Callable[[], None],
    ticks: Ticks,
    contains: Sequence[str],
    seconds: float,
    block_s: float,
    settings: LoopSettings,
    progress: Callable[[float, str], None],
) -> Iterator[_Verdict]:
    """Work, and now and then a verdict on it; the last one when the time is over."""
    now = ticks.clock.now
    most = settings.max_iterations or math.inf
    told = now()
    for _ in range(PROBE_TICKS):
        _stretch(work, ticks, 1, math.inf)
        if now() - told > settings.max_time_s / 4:
            break
    tick_s = _between_ticks(ticks.cost(), settings)
    stride = int(max(1, min(math.ceil(tick_s / seconds), most // FIRST_LOOK)))
    per_block = math.ceil(block_s / (stride * seconds))
    patience = OVERDUE * max(tick_s, stride * seconds)
    # The first values that the sensors show are older than this run.
    while not ticks.ready() and now() - told < settings.max_time_s / 4:
        _stretch(work, ticks, stride, patience)
    ticks.restart(per_block)
    began = now()
    look = FIRST_LOOK
    while True:
        _stretch(work, ticks, stride, patience)
        elapsed = now() - began
        over = ticks.count > 2 and (elapsed >= settings.max_time_s or ticks.iterations >= most)
        if over or ticks.blocks >= look:
            yield _judge(ticks, contains, settings)
            look = next_look(ticks.blocks)
            ticks.pause()
        if over:
            return
        if now() - told > PROGRESS_S:
            told = now()
            share = max(elapsed / settings.max_time_s, 0.95 * ticks.blocks / look)
            progress(min(share, 1.0), f"{ticks.iterations} runs")
            ticks.pause()


def _between_ticks(cost_s: float, settings: LoopSettings) -> float:
    """Seconds of work between two ticks of ``cost_s`` seconds each."""
    unbiased = cost_s / max(BIAS_OF_TARGET * settings.precision, 1e-9)
    # A precision out of reach must not leave too few blocks to tell so.
    affordable = settings.max_time_s / (2 * FIRST_LOOK)
    return max(cost_s / SELF_COST, min(unbiased, affordable), SHORTEST_TICK_S)


def _stretch(work: Callable[[], None], ticks: Ticks, stride: int, patience_s: float) -> None:
    """``stride`` iterations, or fewer if the work has become much slower, and a tick."""
    begun = ticks.clock.now()
    done = 0
    while done < stride and ticks.clock.now() - begun <= patience_s:
        work()
        done += 1
    ticks.tick(done)


def _judge(ticks: Ticks | RunReadings, contains: Sequence[str], settings: LoopSettings) -> _Verdict:
    """Whether what has been measured so far is good enough."""
    blocks = ticks.cut()
    if blocks is None:
        return _Verdict(None, False, "too few readings")
    if is_lost(blocks, contains):
        lost = next(id for id in contains if id not in blocks.energies)
        return _Verdict(blocks, False, f"{lost} was lost: {blocks.failures[lost]}")
    values = _values(blocks, contains)
    measured = len(values)
    blocks, screening = _screened(ticks, blocks, values)
    values = _values(blocks, contains)
    if not is_steady(values, settings.precision):
        # Only a run with a trend is cut: the cut of a steady one would be chosen by its noise.
        cut = warm_up_length(values)
        if len(values) - cut >= MIN_BLOCKS:
            blocks = blocks.without_first(cut)
            screening = screening.without_first(cut)
            measured -= cut
            values = _values(blocks, contains)
    why = ""
    reached = relative_half_width(batch_means(values))
    if measured < FIRST_LOOK * 0.9:
        why = f"there were only {measured} of the {FIRST_LOOK} blocks needed: {MORE_TIME}"
    elif reached > settings.precision:
        why = f"the interval reached ±{reached:.1%}, not ±{settings.precision:.1%}: {MORE_TIME}"
    elif not is_steady(values, settings.precision):
        why = f"the energy of one run is still drifting: {MORE_TIME}"
    return _Verdict(blocks, not why, why, screening)


def _screened(
    ticks: Ticks | RunReadings, blocks: Blocks, values: Vector
) -> tuple[Blocks, Screening]:
    readings = ticks.latest if isinstance(ticks, Ticks) else ticks
    if readings is None:
        raise AssertionError("blocks are cut from readings")
    return screened(blocks, values, readings.conditions, readings.begun_s)


def _values(blocks: Blocks, contains: Sequence[str]) -> Vector:
    """What must become precise: joules of one iteration, or its seconds without a sensor."""
    if contains:
        return blocks.per_iteration(contains)
    return np.asarray(blocks.work / blocks.iterations)
