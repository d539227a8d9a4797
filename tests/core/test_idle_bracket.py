"""Idle around repeated work: settled, bracketed, and taken off with all that is not known."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

import pytest

from greenai_core.above_idle import BELOW_FLOOR, below_floor, floor_note, idle_costs
from greenai_core.blocks import Source
from greenai_core.channels import contents
from greenai_core.explanation import budget_problems, window_problems
from greenai_core.idle import Bracket, idle_time, idle_window
from greenai_core.loop import LoopSettings, run_loop
from greenai_core.results import Figure
from greenai_core.run_costs import sensors_of
from greenai_core.testing import (
    Bursts,
    Constant,
    DrivenPower,
    Latch,
    PowerProfile,
    Ramp,
    SimulatedCounterProfiler,
    SimulatedWork,
    Sum,
    VirtualClock,
    nvml_counter,
    rapl_counter,
    vanishes,
)

QUICK = {"precision": 0.5, "min_time_s": 0.64, "max_time_s": 20.0, "warm_up_s": 0.05}


@dataclass(frozen=True)
class Decaying(PowerProfile):
    """What a load leaves behind: ``excess_w`` at 0 s, less by 1/e each ``tau_s``."""

    excess_w: float
    tau_s: float

    def power(self, t):
        return self.excess_w * math.exp(-t / self.tau_s)

    def energy(self, start, end):
        return self.tau_s * (self.power(start) - self.power(end))


def above_idle(power, work, clock, *, period=0.01, seed=0, gain=0.0, seconds=0.5, faults=()):
    """Idle, a run, idle: what an evaluation does."""
    counter = rapl_counter(
        power,
        latch=Latch(period, jitter=0.1, seed=seed),
        gain_uncertainty=gain,
        wraps_at=None,
        faults=faults,
    )
    profiler = SimulatedCounterProfiler(counters=[counter])
    profiler.open(clock)
    try:
        sources = [Source(profiler, profiler.channels)]
        contains = contents(profiler.channels)
        settings = LoopSettings(**QUICK)
        bracket = Bracket(sources, contains, clock, settings, seconds)
        bracket.before(work)
        run = run_loop(work, sources, contains, clock, settings)
        bracket.after(run)
        sensors = sensors_of(sources, run.blocks)
        costs = idle_costs(run.blocks, bracket.windows, sensors, contains, run.self_cost_share)
        return costs, bracket
    finally:
        profiler.close()


def background(seed, watts=30.0):
    """An idle machine with something going on now and then."""
    return Bursts.at_random(watts, watts + 20.0, 40.0, 0.004, 0.02, seed)


def covered(draws, power_of):
    """How often the net interval of a workload that does nothing holds 0."""
    held = 0
    for seed in range(draws):
        clock = VirtualClock(start_s=0.1 + seed * 0.0037)
        costs, _ = above_idle(
            power_of(seed), lambda clock=clock: clock.sleep(0.01), clock, seed=seed
        )
        held += costs.net_j.repeat_low <= 0 <= costs.net_j.repeat_high
    return held


def test_a_workload_that_does_nothing_costs_nothing():
    """Without drift the net interval of such a workload holds 0 in 93 to 97 % of 400 draws."""
    draws = 400
    assert 0.93 <= covered(draws, background) / draws <= 0.97


def test_a_drifting_idle_power_is_on_the_safe_side():
    """Idle rises or falls by up to 6 W somewhere in the run: 93 % of 100 draws at least."""
    draws = 100

    def drifting(seed):
        draw = random.Random(seed)
        start = draw.uniform(0.0, 2.0)
        ramp = Ramp(0.0, draw.uniform(-6, 6), start, start + draw.uniform(0.5, 3.0))
        return Sum((background(seed), ramp))

    assert covered(draws, drifting) / draws >= 0.93


def busy(idle_w=30.0, busy_w=150.0, seconds=0.02):
    clock = VirtualClock(start_s=0.123)
    power = DrivenPower(idle_w=idle_w)
    return clock, power, SimulatedWork(clock, seconds, cv=0.01, power=power, busy_w=busy_w)


def test_net_is_what_the_work_adds_to_idle():
    clock, power, work = busy()
    costs, bracket = above_idle(power, work, clock, period=0.001)
    assert costs.power_w.value == pytest.approx(30.0, rel=0.002)
    assert costs.net_j.value == pytest.approx(120.0 * 0.02, rel=0.01)
    assert "model loaded, device open, mean of before and after" in costs.power_w.provenance
    assert "model loaded" in costs.net_j.provenance
    assert [window.name for window in bracket.windows] == ["idle before", "idle after"]
    assert bracket.notes == ()


def test_the_figures_follow_from_their_budgets_and_the_windows_from_their_channels():
    clock, power, work = busy()
    costs, bracket = above_idle(Sum((power, background(1, 1.0))), work, clock, gain=0.03)
    for figure in (costs.power_w, costs.net_j):
        assert figure.budget
        assert budget_problems("x", figure) == []
    for window in bracket.windows:
        assert window_problems("x", window) == []


def test_the_gain_scales_the_difference_not_the_gross_energy():
    clock, power, work = busy(idle_w=140.0)
    costs, _ = above_idle(power, work, clock, period=0.001, gain=0.05)
    (gain,) = [term for term in costs.net_j.budget if term.name == "gain"]
    assert gain.u == pytest.approx(0.05 * 10.0 * 0.02, rel=0.1)


def test_drift_between_the_windows_is_a_term_of_its_own():
    clock, power, work = busy()
    costs, bracket = above_idle(Sum((power, Ramp(0.0, 9.0, 1.0, 1.5))), work, clock)
    before, after = (window.energy_j / window.duration_s for window in bracket.windows)
    (drift,) = [term for term in costs.power_w.budget if term.name == "idle drift"]
    assert after - before > 5.0
    assert drift.u == pytest.approx((after - before) / 12**0.5, rel=0.01)


def test_what_the_windows_differ_by_chance_is_no_drift():
    clock, power, work = busy()
    costs, bracket = above_idle(Sum((power, background(3, 5.0))), work, clock)
    noise = [term.u for term in costs.power_w.budget if term.name.startswith("idle ")]
    before, after = (window.energy_j / window.duration_s for window in bracket.windows)
    expected = max((after - before) ** 2 - 4 * (noise[0] ** 2 + noise[1] ** 2), 0.0) / 12
    assert noise[2] == pytest.approx(expected**0.5)
    assert noise[2] < abs(after - before) / 12**0.5


def test_it_waits_until_power_has_settled():
    """80 W above idle that fade within a second: a window at once would be 60 % too high."""
    clock = VirtualClock()
    power = Sum((Constant(30.0), Decaying(80.0, 0.5)))
    profiler = SimulatedCounterProfiler(counters=[rapl_counter(power, latch=Latch(0.001))])
    profiler.open(clock)
    sources = [Source(profiler, profiler.channels)]
    window = idle_window("idle", sources, contents(profiler.channels), clock, 1.0, 10.0)
    profiler.close()
    assert window.energy_j / window.duration_s == pytest.approx(30.0, rel=0.02)
    assert 1.5 < clock.now() < 6.0


def test_it_waits_ten_seconds_at_most():
    clock = VirtualClock()
    power = Ramp(100.0, 10.0, 0.0, 40.0)
    profiler = SimulatedCounterProfiler(counters=[rapl_counter(power, latch=Latch(0.001))])
    profiler.open(clock)
    sources = [Source(profiler, profiler.channels)]
    idle_window("idle", sources, contents(profiler.channels), clock, 1.0, 10.0)
    profiler.close()
    assert 11.0 <= clock.now() <= 12.0


@pytest.mark.parametrize(
    ("period", "max_time", "seconds"), [(0.001, 60, 1.0), (0.1, 60, 2.0), (0.1, 8, 1.0)]
)
def test_an_idle_window_is_as_long_as_the_sensors_need(period, max_time, seconds):
    clock = VirtualClock()
    make = rapl_counter if period < 0.1 else nvml_counter
    profiler = SimulatedCounterProfiler(counters=[make(Constant(30.0))])
    profiler.open(clock)
    sources = [Source(profiler, profiler.channels)]
    wanted = idle_time(sources, contents(profiler.channels), LoopSettings(max_time_s=max_time))
    profiler.close()
    assert wanted == pytest.approx(seconds)


def test_a_sensor_that_goes_away_leaves_the_run_and_says_so():
    clock, power, work = busy()
    above_idle(power, work, clock)
    gone = vanishes(clock.now() - 0.3)
    clock, power, work = busy()
    costs, bracket = above_idle(power, work, clock, faults=(gone,))
    assert costs is None
    assert bracket.windows == ()
    assert bracket.notes[0].startswith("nothing is known above idle: idle after")


def test_no_time_for_idle_means_no_idle_and_no_work_more():
    clock, _, work = busy()
    bracket = Bracket([], ["cpu"], clock, LoopSettings(), 0.0)
    bracket.before(work)
    assert work.calls == 0
    assert bracket.windows == ()


def test_at_or_below_zero_is_below_the_noise_floor():
    def net(low, high):
        return Figure((low + high) / 2, low, high, low, high, "counter", "x")

    assert below_floor(net(-0.1, 0.3))
    assert below_floor(net(-0.3, -0.1))
    assert not below_floor(net(0.1, 0.3))
    assert below_floor(replace(net(0.1, 0.3), low=-0.1)), "the gain alone may reach zero"
    assert floor_note(net(-0.1, 0.3))[0].startswith(BELOW_FLOOR)
    assert floor_note(None) == ()
