"""What measuring itself took is known: in time and in joules."""

from __future__ import annotations

import time

import pytest

from greenai_core.blocks import Source
from greenai_core.channels import Channel
from greenai_core.clock import SystemClock
from greenai_core.conditions import Observer
from greenai_core.loop import LoopSettings, run_loop
from greenai_core.profiler import Observation
from greenai_core.run_costs import run_costs, sensors_of
from greenai_core.self_cost import self_cost
from greenai_core.testing import (
    DrivenPower,
    SimulatedCounterProfiler,
    SimulatedPowerProfiler,
    SimulatedWork,
    Slow,
    VirtualClock,
    power_gauge,
    rapl_counter,
)

CPU = "cpu:0/package"


class Counted(SimulatedCounterProfiler):
    """A counter that knows when it was read."""

    def read(self, channel):
        self.times = [*getattr(self, "times", []), self.clock.now()]
        return super().read(channel)


def run_with(profiler, clock, work, observer=None, **settings):
    limits = LoopSettings(**{"precision": 0.005, "max_time_s": 20.0, **settings})
    profiler.open(clock)
    try:
        sources = [Source(profiler, profiler.channels)]
        run = run_loop(work, sources, [CPU], clock, limits, observer=observer)
        return run, run_costs(run, sensors_of(sources, run.blocks), [CPU], limits)
    finally:
        profiler.close()


def machine(slow_s, busy_w=100.0, idle_w=100.0):
    clock, power = VirtualClock(start_s=0.1), DrivenPower(idle_w=idle_w)
    counter = rapl_counter(power, gain_uncertainty=0.03, faults=(Slow(seconds=slow_s),))
    work = SimulatedWork(clock, 0.01, cv=0.02, power=power, busy_w=busy_w, seed=3)
    return clock, counter, work


def test_the_cost_of_a_slow_sensor_is_the_true_one():
    """2 ms a read at 100 W: seconds and joules within 10 % of what the reads took."""
    clock, counter, work = machine(0.002)
    profiler = Counted(counters=[counter])
    run, costs = run_with(profiler, clock, work)
    begun, ended = run.readings.begun_s, run.readings.before[-1]
    ticks = len(run.readings.before) - run.readings.first - 1
    truth_s = 0.002 * sum(begun < at <= ended for at in profiler.times)
    own = costs.self_cost
    assert own.held_s == pytest.approx(0.002 * ticks, rel=0.1)
    assert own.cpu_s == pytest.approx(truth_s, rel=0.1)
    assert own.energy_j.value == pytest.approx(100 * truth_s, rel=0.1)
    assert own.energy_j.low < 100 * truth_s < own.energy_j.high
    assert own.share == pytest.approx(truth_s / (ended - begun), rel=0.1)
    assert "estimate" in own.energy_j.provenance


def test_a_dear_look_is_in_the_cost_and_stays_rare():
    """Looks of 1 ms may take 0.1 % of the run; all of it is told."""
    clock, counter, work = machine(1e-9)
    looks = []

    def probe():
        looks.append(clock.now())
        clock.lapse(0.001)
        return [Observation("host", "outside_load", 0.0, "CPUs")]

    observer = Observer([probe], clock)
    run, costs = run_with(
        SimulatedCounterProfiler(counters=[counter]), clock, work, observer, min_time_s=15.0
    )
    since = [at for at in looks if at > run.readings.begun_s]
    elapsed = run.readings.before[-1] - run.readings.begun_s
    assert costs.self_cost.held_s == pytest.approx(0.001 * len(since), rel=0.1)
    assert 0.001 * len(since) / elapsed < 0.002
    assert run.self_cost_share == pytest.approx(costs.self_cost.held_s / elapsed, rel=0.1)


def test_what_reads_in_the_background_is_in_the_cost():
    clock, power = VirtualClock(start_s=0.1), DrivenPower(idle_w=100.0)
    gauge = power_gauge(power, faults=(Slow(seconds=0.0005),))
    profiler = SimulatedPowerProfiler(gauges=[gauge])
    profiler.open(clock)
    spent = clock.repeated_s()
    clock.sleep(10.0)
    assert clock.repeated_s() > spent + 0.001
    profiler.close()


def test_the_machine_s_clock_knows_the_processor_time_of_its_threads():
    clock = SystemClock()
    done = []

    def busy():
        began = time.thread_time()
        while time.thread_time() < began + 0.005:
            pass
        done.append(True)

    ticker = clock.repeat(busy, lambda: 0.001)
    deadline = time.monotonic() + 20
    while len(done) < 5 and time.monotonic() < deadline:
        time.sleep(0.005)
    ticker.cancel()
    assert clock.repeated_s() == pytest.approx(0.005 * len(done), rel=0.3)


def channel(id, component, u=0.0):
    return Channel(id, component, "counter", gain_uncertainty=u, gain_source="x")


def test_without_a_sensor_that_sees_the_processors_the_joules_are_unknown():
    assert self_cost(1.0, 1.0, 10.0, [(channel("gpu:0", "gpu"), 300.0)]).energy_j is None


def test_between_one_cpu_s_share_and_all_of_the_power():
    cost = self_cost(0.1, 0.2, 10.0, [(channel(CPU, "cpu"), 80.0)], cpus=4)
    assert cost.share == pytest.approx(0.02)
    assert cost.energy_j.repeat_low == pytest.approx(0.2 * 80 / 4)
    assert cost.energy_j.repeat_high == pytest.approx(0.2 * 80)
    assert cost.energy_j.low < cost.energy_j.value < cost.energy_j.high


def test_the_narrowest_sensor_is_taken():
    watts = [(channel("wall:x", "wall"), 500.0), (channel(CPU, "cpu"), 80.0)]
    assert self_cost(0.1, 0.1, 1.0, watts).energy_j.value == pytest.approx(8.0)
