"""The measuring loop on simulated hardware whose truth is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats

from greenai_core import ReadingError
from greenai_core.blocks import Source
from greenai_core.channels import contents
from greenai_core.loop import LoopSettings, run_loop
from greenai_core.statistics import batch_means
from greenai_core.testing import (
    DrivenPower,
    Latch,
    SimulatedCounterProfiler,
    SimulatedPowerProfiler,
    SimulatedWindowProfiler,
    SimulatedWork,
    Slow,
    VirtualClock,
    nvml_counter,
    power_gauge,
    rapl_counter,
    vanishes,
)


def measure(clock, profiler, work, contains=None, **settings):
    """Open the profiler, run the loop, close: what a session does."""
    profiler.open(clock)
    try:
        sources = [Source(profiler, profiler.channels)]
        inside = contents(profiler.channels) if contains is None else contains
        return run_loop(work, sources, inside, clock, LoopSettings(**settings)), inside
    finally:
        profiler.close()


def energy(run, inside):
    return batch_means(run.blocks.per_iteration(inside))


def machine(period=1e-3, jitter=0.0, seconds=0.02, cv=0.01, seed=0, phase=0.0, **work):
    """A clock, a CPU package behind a counter, and work that makes it busy."""
    clock = VirtualClock(start_s=0.123 + phase)
    power = DrivenPower(idle_w=30.0)
    counter = rapl_counter(power, latch=Latch(period, jitter=jitter, seed=seed))
    workload = SimulatedWork(clock, seconds, cv=cv, power=power, busy_w=150.0, seed=seed, **work)
    return clock, power, SimulatedCounterProfiler(counters=[counter]), workload


@pytest.mark.parametrize("period", [1e-3, 1e-2, 1e-1])
def test_joules_of_one_iteration_are_those_of_the_truth(period):
    clock, _, profiler, work = machine(period=period)
    run, inside = measure(clock, profiler, work)
    assert run.target_met, run.why_not
    assert energy(run, inside).mean == pytest.approx(150 * 0.02, rel=0.005)
    assert run.blocks.seconds().mean == pytest.approx(0.02, rel=0.005)


@pytest.mark.parametrize(
    ("period", "jitter", "cv"), [(1e-3, 0.2, 0.1), (1e-2, 0.2, 0.03), (1e-1, 0.2, 0.1)]
)
def test_the_interval_covers_the_truth(period, jitter, cv):
    """Gain zero, 120 draws a cell: the repeatability interval holds the truth ≥ 93 %."""
    draws, inside_count = 120, 0
    for seed in range(draws):
        clock, _, profiler, work = machine(
            period=period, jitter=jitter, cv=cv, seed=seed, phase=seed * period / 7
        )
        run, inside = measure(clock, profiler, work, warm_up_s=0.1, max_time_s=40)
        interval = energy(run, inside)
        inside_count += abs(interval.mean - 150 * 0.02) <= interval.half
    assert inside_count >= scipy.stats.binom.ppf(0.001, draws, 0.93)


def test_time_spent_reading_is_no_energy_of_the_work():
    """Reads of 2 ms at idle power between iterations of 5 ms must not dilute the power."""
    clock, _, profiler, work = machine(seconds=0.005, cv=0.0)
    profiler.inject("cpu:0/package", Slow(seconds=0.002))
    run, inside = measure(clock, profiler, work)
    assert energy(run, inside).mean == pytest.approx(150 * 0.005, rel=0.005)
    assert run.self_cost_share < 0.005


def test_an_unmet_target_is_never_shown_as_met():
    clock, _, profiler, work = machine(cv=0.5)
    run, _ = measure(clock, profiler, work, precision=0.001, max_time_s=5)
    assert not run.target_met
    assert "interval reached" in run.why_not


def test_too_little_time_is_said():
    clock, _, profiler, work = machine(seconds=1.0)
    run, inside = measure(clock, profiler, work, max_time_s=10)
    assert not run.target_met
    assert "there were only" in run.why_not
    assert energy(run, inside).half > 0


def test_work_longer_than_the_time_still_gives_an_interval():
    clock, _, profiler, work = machine(seconds=30.0)
    run, inside = measure(clock, profiler, work, max_time_s=5)
    assert len(run.blocks.durations) >= 2
    assert np.isfinite(energy(run, inside).half)


def test_the_warm_up_of_the_work_is_left_out():
    """The first iterations take 50 % longer: the figure is that of the steady state."""
    clock, _, profiler, work = machine(cv=0.002, warm_up=0.5, warm_up_calls=60)
    run, inside = measure(clock, profiler, work, warm_up_s=0.1)
    assert run.target_met, run.why_not
    assert energy(run, inside).mean == pytest.approx(150 * 0.02, rel=0.01)


def test_a_lost_sensor_ends_the_run_and_leaves_the_other_channel():
    clock, power, _, work = machine()
    profiler = SimulatedCounterProfiler(
        counters=[rapl_counter(power), nvml_counter(power, faults=(vanishes(10.0),))]
    )
    run, inside = measure(clock, profiler, work, precision=1e-6, max_time_s=300)
    lost = [id for id in inside if id not in run.blocks.energies]
    assert lost == ["gpu:GPU-00000000-0000-0000-0000-000000000000"]
    assert run.blocks.failures[lost[0]]
    assert "was lost" in run.why_not
    assert not run.target_met
    assert "cpu:0/package" in run.blocks.energies
    assert clock.now() < 300


def test_ctrl_c_keeps_what_was_measured():
    clock, _, profiler, work = machine()
    calls = itertools.count()

    def interrupted():
        if next(calls) == 200:
            raise KeyboardInterrupt
        work()

    run, inside = measure(clock, profiler, interrupted, precision=1e-9)
    assert run.interrupted
    assert not run.target_met
    assert energy(run, inside).mean == pytest.approx(150 * 0.02, rel=0.02)


def test_ctrl_c_before_there_is_anything_is_passed_on():
    clock, _, profiler, _ = machine()

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(clock, profiler, interrupted)


def test_the_number_of_iterations_can_be_limited():
    clock, _, profiler, work = machine()
    run, _ = measure(clock, profiler, work, max_iterations=40, precision=1e-9)
    assert run.blocks.iterations.sum() <= 40
    assert work.calls < 40 + 60


def test_sampled_power_gives_the_same_joules():
    clock, power, _, work = machine()
    profiler = SimulatedPowerProfiler(gauges=[power_gauge(power, "cpu:0/package", "cpu")])
    run, inside = measure(clock, profiler, work)
    assert energy(run, inside).mean == pytest.approx(150 * 0.02, rel=0.02)


def test_a_tool_that_knows_only_start_and_stop_gives_the_same_joules():
    clock, power, _, work = machine()
    profiler = SimulatedWindowProfiler(counters=[rapl_counter(power)])
    run, inside = measure(clock, profiler, work)
    assert energy(run, inside).mean == pytest.approx(150 * 0.02, rel=0.01)


def test_two_counters_of_different_pace_share_their_blocks():
    clock, power, _, work = machine()
    profiler = SimulatedCounterProfiler(counters=[rapl_counter(power), nvml_counter(power)])
    run, inside = measure(clock, profiler, work)
    assert len(inside) == 2
    assert energy(run, inside).mean == pytest.approx(2 * 150 * 0.02, rel=0.01)


def test_looking_costs_no_energy_of_the_work():
    """A progress display that takes 50 ms must not enter the figures."""
    clock, _, profiler, work = machine(cv=0.0)
    profiler.open(clock)
    run = run_loop(
        work,
        [Source(profiler, profiler.channels)],
        ["cpu:0/package"],
        clock,
        LoopSettings(),
        progress=lambda share, text: clock.sleep(0.05),
    )
    profiler.close()
    assert energy(run, ["cpu:0/package"]).mean == pytest.approx(150 * 0.02, rel=0.005)
    assert run.blocks.seconds().mean == pytest.approx(0.02, rel=0.001)


def test_without_a_sensor_for_the_total_the_time_decides():
    clock, _, profiler, work = machine()
    run, _ = measure(clock, profiler, work, contains=())
    assert run.target_met


def test_a_dead_counter_is_named_and_never_zero():
    clock, power, _, work = machine()
    profiler = SimulatedCounterProfiler(counters=[rapl_counter(power, faults=(vanishes(0.2),))])
    run, inside = measure(clock, profiler, work)
    assert inside[0] not in run.blocks.energies
    assert run.blocks.failures[inside[0]]


def test_a_work_that_fails_is_passed_on():
    clock, _, profiler, _ = machine()

    def broken():
        raise ReadingError("the model exploded")

    with pytest.raises(ReadingError, match="exploded"):
        measure(clock, profiler, broken)
