"""Windows that happen once on a counter that moves every 100 ms, watched meanwhile."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from greenai_core import Session
from greenai_core.channels import Channel
from greenai_core.edge_window import Reads, window_between_edges
from greenai_core.testing import (
    Bursts,
    Constant,
    DrivenPower,
    Latch,
    SimulatedCounterProfiler,
    Sticks,
    VirtualClock,
    nvml_counter,
    rapl_counter,
)
from greenai_core.update_period import UpdatePeriod

IDLE_W, BUSY_W = 70.0, 400.0


class LatchedPower(SimulatedCounterProfiler):
    """Tells the power as it was at its last update, every 20 ms."""

    phase_s = 0.0

    def read_power(self, channel):
        now = self.clock.now()
        shown = self.phase_s + math.floor((now - self.phase_s) / 0.02) * 0.02
        return self.counters[channel.id].profile.power(max(shown, 0.0))


def windows(kind, seconds, draws, make=LatchedPower, **options):
    """Relative errors, and how often the interval held the truth."""
    errors, hits = [], 0
    for seed in range(draws):
        draw = random.Random(seed)
        power = DrivenPower(IDLE_W)
        if kind == "bursts":
            power = Bursts.at_random(IDLE_W, BUSY_W, 20.0, 0.2, 0.2, seed)
        latch = Latch(0.1, jitter=0.05, phase_s=draw.uniform(0, 0.1))
        counter = nvml_counter(power, latch=latch)
        profiler = make(counters=[counter])
        profiler.phase_s = draw.uniform(0, 0.02)
        clock = VirtualClock(1.0)
        with Session([profiler], clock=clock, **options) as session:
            clock.sleep(draw.uniform(1.0, 1.5))
            start = clock.now()
            with session.window() as window:
                if kind != "bursts":
                    power.set(clock.now(), BUSY_W)
                clock.sleep(seconds)
                if kind == "ends":
                    power.set(clock.now(), IDLE_W)
            truth = power.energy(start, start + seconds)
            if window.energy_j is not None:
                # The gain is not what is tried here: the bar without it must do.
                result = window.result
                hits += result.repeat_low_j <= truth <= result.repeat_high_j
                errors.append(window.energy_j / truth - 1)
    return np.array(errors), hits


@pytest.mark.parametrize("kind", ["starts", "ends", "bursts"])
@pytest.mark.parametrize(("seconds", "limit"), [(1.0, 0.01), (0.1, 0.10)])
def test_short_windows_are_known_well_where_the_power_is_read(kind, seconds, limit):
    errors, hits = windows(kind, seconds, 120)
    assert len(errors) >= 115, "nearly every one has a figure"
    assert np.sqrt(np.mean(errors**2)) < limit
    assert hits / len(errors) >= 0.89, "93 % of 120 draws gives fewer once in twenty times"


def test_a_load_that_starts_with_the_window_is_unbiased():
    """0.35 s from 70 W to 400 W: reading plainly is 12 % low."""
    errors, _ = windows("starts", 0.35, 150)
    assert abs(errors.mean()) < 0.005


@pytest.mark.parametrize("kind", ["starts", "ends", "bursts"])
def test_without_powers_the_interval_holds_the_truth(kind):
    errors, hits = windows(kind, 1.0, 100, make=SimulatedCounterProfiler)
    assert hits >= 90
    assert np.sqrt(np.mean(errors**2)) < 0.05


@pytest.mark.parametrize("kind", ["starts", "ends", "bursts"])
def test_without_the_closing_edge_the_interval_holds_the_truth(kind):
    errors, hits = windows(kind, 0.5, 100, edge_wait=False)
    assert hits / len(errors) >= 0.89


@pytest.mark.parametrize("wait", [True, False])
def test_only_the_figures_wait_for_the_edge_and_at_most_one_period(wait):
    clock = VirtualClock(1.0)
    profiler = SimulatedCounterProfiler(counters=[nvml_counter(Constant(200.0))], tells_power=True)
    with Session([profiler], clock=clock, edge_wait=wait) as session:
        clock.sleep(1.0)
        before = clock.now()
        with session.window() as window:
            clock.sleep(0.43)
        assert clock.now() == pytest.approx(before + 0.43), "the work goes on at once"
        assert window.energy_j == pytest.approx(86.0, rel=0.02)
        waited = clock.now() - before - 0.43
    assert (0.0 < waited <= 0.11) if wait else waited == pytest.approx(0.0, abs=1e-9)


def test_a_window_may_be_asked_after_the_session():
    clock = VirtualClock(1.0)
    profiler = SimulatedCounterProfiler(counters=[nvml_counter(Constant(200.0))], tells_power=True)
    with Session([profiler], clock=clock) as session:
        clock.sleep(1.0)
        with session.window() as window:
            clock.sleep(0.43)
    assert window.energy_j == pytest.approx(86.0, rel=0.02)


def test_the_first_window_of_a_session_can_know_the_edge_before_it():
    """Without waiting it has to take the power before each end for the whole period."""
    widths = {}
    for wait in (True, False):
        clock = VirtualClock(1.0)
        counter = nvml_counter(Constant(200.0), latch=Latch(0.1, phase_s=0.03))
        with Session([SimulatedCounterProfiler(counters=[counter])], clock=clock) as session:
            if wait:
                session.await_edges()
                assert clock.now() < 1.16, "one period and a half at most"
            with session.window() as window:
                clock.sleep(0.55)
            result = window.result
            assert result.repeat_low_j <= 110.0 <= result.repeat_high_j
            widths[wait] = result.repeat_high_j - result.repeat_low_j
    assert widths[True] < widths[False] / 2


def test_quick_counters_need_no_waiting():
    clock = VirtualClock(1.0)
    with Session([SimulatedCounterProfiler()], clock=clock) as session:
        session.await_edges()
        assert clock.now() == 1.0


class CountsReads(SimulatedCounterProfiler):
    reads, cost_s = 0, 0.0

    def read(self, channel):
        self.reads += 1
        self.clock.lapse(self.cost_s)
        return super().read(channel)


def test_a_slow_counter_is_not_watched_when_told_so():
    clock = VirtualClock(1.0)
    watched = CountsReads(counters=[nvml_counter(Constant(200.0))])
    alone = CountsReads(counters=[nvml_counter(Constant(200.0))])
    for profiler, watch in ((watched, True), (alone, False)):
        with Session([profiler], clock=clock, watch=watch):
            clock.sleep(5.0)
    assert watched.reads > 5 * 50, "five in each of the 50 periods"
    assert alone.reads < 10


def test_edges_that_can_be_foreseen_are_known_to_a_few_milliseconds_by_few_reads():
    """Reads come close together around a move, and seldom between two."""
    clock = VirtualClock(1.0)
    counter = replace(nvml_counter(Constant(200.0)), latch=Latch(0.1, 0.05, 0.033, 7))
    profiler = CountsReads(counters=[counter])
    profiler.cost_s = 8e-5  # of which a hundredth of a core affords one each 8 ms
    with Session([profiler], clock=clock) as session:
        clock.sleep(5.0)
        before = profiler.reads
        clock.sleep(10.0)
        assert profiler.reads - before < 0.75 * 10.0 / 0.005
        reads = profiler._watch._reads[0][-40:]
        gaps = [b.time - a.time for a, b in pairwise(reads) if b.joules != a.joules]
        assert len(gaps) >= 3
        assert max(gaps) < 0.011
        with session.window() as window:
            clock.sleep(0.3)
    [channel] = window.channels
    assert channel.energy_j == pytest.approx(60.0, rel=0.03)


def test_a_quick_counter_is_left_alone_once_its_pace_is_known():
    clock = VirtualClock(1.0)
    profiler = CountsReads(counters=[rapl_counter(Constant(50.0))])
    with Session([profiler], clock=clock):
        clock.sleep(0.1)
        learning = profiler.reads
        clock.sleep(10.0)
    assert profiler.reads - learning < 30


def test_a_counter_whose_reads_take_long_is_watched_seldom():
    """Watching may take a hundredth of the time."""

    class Slow(CountsReads):
        def read(self, channel):
            self.clock.lapse(0.001)
            return super().read(channel)

    clock = VirtualClock(1.0)
    profiler = Slow(counters=[nvml_counter(Constant(200.0))])
    with Session([profiler], clock=clock):
        clock.sleep(10.0)
    assert profiler.reads < 150


@pytest.mark.parametrize("true_s", [0.02, 0.05, 0.1])
def test_the_update_period_is_found(true_s):
    """Whatever the source declares, within 5 % under 20 % jitter."""
    for seed in range(10):
        counter = nvml_counter(Constant(200.0), latch=Latch(true_s, jitter=0.2, seed=seed))
        assert counter.channel.update_period_s is not None
        profiler = SimulatedCounterProfiler(counters=[counter])
        clock = VirtualClock(1.0)
        with Session([profiler], clock=clock):
            clock.sleep(8.0)
            assert profiler.grain_s(profiler.channels[0]) == pytest.approx(true_s, rel=0.05)


def test_the_period_of_a_quick_counter_is_found():
    profiler = SimulatedCounterProfiler(
        counters=[rapl_counter(Constant(50.0), latch=Latch(0.0013, jitter=0.2))]
    )
    clock = VirtualClock(1.0)
    with Session([profiler], clock=clock):
        clock.sleep(0.5)
        assert profiler.grain_s(profiler.channels[0]) == pytest.approx(0.0013, rel=0.05)


def test_reads_too_far_apart_tell_no_period():
    period = UpdatePeriod(0.1)
    for index in range(100):
        period.add(index * 0.09, float(index))
    assert period.estimate_s() is None


def test_moves_that_were_not_seen_do_not_lengthen_the_period():
    """A tenth of the updates bring less than one unit of the counter."""
    period, draw, joules = UpdatePeriod(0.1), random.Random(2), 0.0
    for index in range(2000):
        if index % 20 == 0 and draw.random() > 0.1:
            joules += 1.0
        period.add(index * 0.005, joules)
    assert period.estimate_s() == pytest.approx(0.1, rel=0.05)


def test_reads_of_long_windows_are_forgotten_in_the_middle():
    clock = VirtualClock(1.0)
    profiler = SimulatedCounterProfiler(counters=[nvml_counter(Constant(200.0))], tells_power=True)
    with Session([profiler], clock=clock) as session:
        clock.sleep(1.0)
        with session.window() as window:
            clock.sleep(600.0)
            kept = sum(map(len, profiler._watch._reads))
        assert kept < 2000
        assert window.energy_j == pytest.approx(120_000.0, rel=1e-4)


def test_both_estimators_lie_in_the_interval():
    generator = np.random.default_rng(1)
    for powered in (True, False):
        for _ in range(200):
            times = np.sort(generator.uniform(0, 1.5, 300))
            power = Bursts.at_random(IDLE_W, BUSY_W, 2.0, 0.1, 0.1, int(generator.integers(1e9)))
            joules = np.array([power.energy(0, math.floor(t / 0.1) * 0.1) for t in times])
            watts = np.array([power.power(t) for t in times]) if powered else times * np.nan
            start, stop = times[80], times[200]
            found = window_between_edges(Reads(times, joules, watts), start, stop, 0.1, 1e-3)
            assert found is not None
            for estimate in (found.latch_j, found.interpolated_j):
                assert abs(found.energy_j - estimate) <= 1.96 * found.u_j


def test_no_edge_before_the_window_is_no_estimate():
    times = np.linspace(0, 1, 101)
    joules = np.floor(times * 10) * 20.0
    assert window_between_edges(Reads(times, joules, times * np.nan), 0.05, 0.5, 0.1, 1e-3) is None


def test_channel_is_what_the_simulation_declares():
    """The tests above rest on a declared period that is not always the true one."""
    channel: Channel = nvml_counter(Constant(1.0)).channel
    assert channel.update_period_s == 0.1


@pytest.mark.parametrize("powered", [True, False])
def test_a_counter_that_freezes_in_the_window_gives_no_narrow_figure(powered):
    """The last 1.5 s of 2.5 s at 200 W are missing, too short a time to call it stuck."""
    clock = VirtualClock(1.0)
    counter = nvml_counter(Constant(200.0), faults=(Sticks(4.0),))
    profiler = SimulatedCounterProfiler(counters=[counter], tells_power=powered)
    with Session([profiler], clock=clock) as session:
        clock.sleep(2.0)
        with session.window() as window:
            clock.sleep(2.5)
        result = window.result
    assert result.energy_j is None or result.repeat_low_j <= 500.0 <= result.repeat_high_j


@pytest.mark.parametrize("watts", [math.nan, math.inf, -50.0])
def test_a_power_that_cannot_be_true_is_not_used(watts):
    class Odd(SimulatedCounterProfiler):
        def read_power(self, channel):
            return watts

    clock = VirtualClock(1.0)
    with Session([Odd(counters=[nvml_counter(Constant(200.0))])], clock=clock) as session:
        with session.window() as window:
            clock.sleep(1.0)
        result = window.result
    assert result.low_j <= 200.0 <= result.high_j


def test_windows_that_nobody_asks_about_cost_little():
    """Each look back over the reads of all of them would hold up the reading."""
    clock = VirtualClock(1.0)
    profiler = SimulatedCounterProfiler(counters=[nvml_counter(Constant(200.0))])
    with Session([profiler], clock=clock) as session:
        windows = []
        for _ in range(120):
            with session.window() as window:
                clock.sleep(0.5)
            windows.append(window)
        assert sum(map(len, profiler._watch._reads)) < 1500
    assert all(window.energy_j == pytest.approx(100.0, rel=0.05) for window in windows[1:])


@pytest.mark.parametrize("declared_s", [0.001, 0.01])
def test_a_counter_slower_than_it_declares_is_found_out(declared_s):
    hits = 0
    for seed in range(20):
        clock = VirtualClock(1.0 + seed * 0.0037)
        counter = rapl_counter(Constant(50.0), latch=Latch(0.1, phase_s=0.0))
        channel = replace(counter.channel, update_period_s=declared_s)
        profiler = SimulatedCounterProfiler(counters=[replace(counter, channel=channel)])
        with Session([profiler], clock=clock) as session:
            clock.sleep(2.0)
            with session.window() as window:
                clock.sleep(1.0)
            result = window.result
            hits += result.repeat_low_j <= 50.0 <= result.repeat_high_j
    assert hits >= 18


def test_uneven_updates_have_their_mean_period():
    """20 ms and 180 ms by turns: dropping the long ones would leave a period of 20 ms."""
    period, joules, t, due, gaps = UpdatePeriod(0.1), 0.0, 0.0, 0.02, [0.18, 0.02]
    while t < 20.0:
        t += 0.005
        if t >= due:
            joules += 1.0
            due += gaps[0]
            gaps.reverse()
        period.add(t, joules)
    assert period.estimate_s() == pytest.approx(0.1, rel=0.1)
