"""Cells of the coverage grid, few and with few draws; `make coverage-grid` has them all.

The production code measures simulated hardware whose energy is known. A true coverage of
0.93 gives fewer hits than are asked for here once in a thousand times, and the draws are
seeded.
"""

from __future__ import annotations

import math

import pytest
import scipy.stats

from greenai_core.blocks import Source
from greenai_core.loop import LoopSettings, run_loop
from greenai_core.statistics import FIRST_LOOK, batch_means
from greenai_core.testing import (
    DrivenPower,
    Latch,
    SimulatedCounterProfiler,
    VirtualClock,
    nvml_counter,
)
from greenai_core.testing.coverage import CorrelatedWork, loop_coverage, window_coverage

PROMISED = 0.93
CHANCE = 0.001
TARGET = 0.02


def fewest_hits(draws):
    return int(scipy.stats.binom.ppf(CHANCE, draws, PROMISED))


def test_the_limit_can_be_missed():
    """An interval that holds the truth in 7 of 10 cases passes with 80 draws hardly ever."""
    assert scipy.stats.binom.sf(fewest_hits(80) - 1, 80, 0.7) < 0.01
    assert fewest_hits(80) < 80 * PROMISED


@pytest.mark.parametrize(
    ("period_s", "cv", "memory"),
    [
        (0.001, 0.003, 0.0),
        (0.001, 0.1, 0.6),
        (0.01, 0.03, 0.3),
        (0.1, 0.03, 0.0),
        (0.1, 0.1, 0.6),
    ],
)
def test_repeated_work(period_s, cv, memory):
    """Coverage, and bias below a tenth of the target as far as the draws can tell."""
    found = loop_coverage(period_s, cv, memory, 80, precision=TARGET)
    assert found.hits >= fewest_hits(found.draws)
    chance = 2.6 * found.rms / math.sqrt(found.draws)
    assert abs(found.bias) <= 0.1 * TARGET + chance
    assert found.met == found.draws, "there was time enough"
    assert found.width <= TARGET, "and what is said to be met is met"


@pytest.mark.parametrize("powered", [True, False], ids=["power told", "not told"])
@pytest.mark.parametrize("load", ["starts", "ends", "bursts"])
@pytest.mark.parametrize(("period_s", "seconds"), [(0.1, 0.35), (0.1, 1.0), (0.02, 0.35)])
def test_windows_that_happen_once(period_s, seconds, load, powered):
    found = window_coverage(period_s, seconds, load, 80, powered=powered)
    assert found.draws >= 75, "nearly every one has a figure"
    assert found.hits >= fewest_hits(found.draws)


@pytest.mark.parametrize(("seconds", "limit", "draws"), [(1.0, 0.01, 60), (0.1, 0.10, 150)])
@pytest.mark.parametrize("load", ["starts", "ends", "bursts"])
def test_error_of_windows_whose_power_is_told(load, seconds, limit, draws):
    found = window_coverage(0.1, seconds, load, draws)
    assert found.rms <= limit


@pytest.mark.parametrize(
    ("period_s", "max_time_s"), [(0.001, 1.0), (0.001, 15.0), (0.1, 1.0), (0.1, 19.0)]
)
def test_an_unmet_target_is_never_shown_as_met(period_s, max_time_s):
    """CV 10 %, φ = 0.6 and ±1 %: the time is too short, or now and then just enough."""
    settings = LoopSettings(precision=0.01, max_time_s=max_time_s)
    for seed in range(10):
        clock, power = VirtualClock(1.0), DrivenPower(70.0)
        latch = Latch(period_s, jitter=0.2, seed=seed)
        profiler = SimulatedCounterProfiler(counters=[nvml_counter(power, latch=latch)])
        work = CorrelatedWork(clock, power, 0.01, 0.1, 0.6, seed)
        profiler.open(clock)
        try:
            (channel,) = profiler.channels
            run = run_loop(work, [Source(profiler, (channel,))], (channel.id,), clock, settings)
        finally:
            profiler.close()
        interval = batch_means(run.blocks.per_iteration([channel.id]))
        reached = interval.half <= settings.precision * interval.mean
        if run.target_met:
            assert reached
            assert len(run.blocks.work) >= 0.5 * FIRST_LOOK, "but for a warm-up that is cut"
        else:
            assert run.why_not
