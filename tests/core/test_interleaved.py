"""Quads on simulated hardware whose truth is known: errors, power, and what goes wrong."""

from __future__ import annotations

import itertools
import math
import os
import random

import numpy as np
import pytest
import scipy.stats

from greenai_core import ComparisonSettings, ConfigError, NoSensorError
from greenai_core.blocks import Source
from greenai_core.channels import contents
from greenai_core.interleaved import run_quads
from greenai_core.quads import energies
from greenai_core.testing import (
    DrivenPower,
    Latch,
    SimulatedCounterProfiler,
    SimulatedPowerProfiler,
    SimulatedStreamProfiler,
    SimulatedWindowProfiler,
    VirtualClock,
    nvml_counter,
    power_gauge,
    rapl_counter,
    vanishes,
)

DRAWS = int(os.environ.get("GREENAI_COMPARISON_DRAWS", "120"))
"""Runs in each simulation; docs/method.md tells what more of them gave."""

IDLE_W, BUSY_W = 30.0, 150.0


class Machine:
    """A device that becomes faster as it warms up, and works on it.

    Args:
        seed: of all that is random.
        trend: the first call takes this share longer than those after a long time.
        tau_s: after which a third of that is left.
        period: of the counter.
    """

    def __init__(self, seed=0, *, trend=0.0, tau_s=60.0, period=1e-3, profiler=None):
        self.clock = VirtualClock(start_s=0.1 + (seed * 0.37) % 1)
        self.power = DrivenPower(idle_w=IDLE_W)
        self.draw = random.Random(seed)
        self.trend, self.tau_s = trend, tau_s
        latch = Latch(period, jitter=0.2, seed=seed)
        self.profiler = (
            SimulatedCounterProfiler(counters=[rapl_counter(self.power, latch=latch)])
            if profiler is None
            else profiler(self.power)
        )

    def work(self, seconds, cv=0.01, busy_w=BUSY_W):
        """One run of a model: so many seconds, when the machine is warm."""

        def run():
            warm = 1 + self.trend * math.exp(-self.clock.now() / self.tau_s)
            self.power.set(self.clock.now(), busy_w)
            self.clock.sleep(seconds * warm * max(1 + cv * self.draw.gauss(0, 1), 0.1))
            self.power.set(self.clock.now(), IDLE_W)

        return run

    def compare(self, *works, samples=(), **settings):
        self.profiler.open(self.clock)
        try:
            channels = self.profiler.channels
            return run_quads(
                works,
                [Source(self.profiler, channels)],
                contents(channels),
                self.clock,
                ComparisonSettings(**{"seed": self.draw.randrange(10**9), **settings}),
                samples=samples,
            )
        finally:
            self.profiler.close()


# What the verdicts are worth


def verdicts(draws, ratio=1.0, *, seconds=0.6, cv=0.01, others=1, trend=0.08, **settings):
    """Verdicts and intervals of many runs on machines that warm up, each another way."""
    found = []
    for seed in range(draws):
        tau_s = (5.0, 20.0, 60.0, 200.0)[seed % 4]
        machine = Machine(seed, trend=trend, tau_s=tau_s, period=(1e-3, 1e-1)[seed // 4 % 2])
        works = [machine.work(seconds, cv)]
        works += [machine.work(seconds * ratio, cv) for _ in range(others)]
        found.append(machine.compare(*works, **settings).ratios)
    return found


def share(found, *wanted):
    """Runs in which any ratio has one of these verdicts."""
    return sum(any(ratio.verdict in wanted for ratio in ratios) for ratios in found)


def within(count, draws, low, high):
    """Whether a count is possible for a probability between two bounds (99.8 %)."""
    least = scipy.stats.binom.ppf(0.001, draws, low)
    most = scipy.stats.binom.ppf(0.999, draws, high)
    return least <= count <= most


@pytest.mark.parametrize("quads", [6, 12])
def test_equal_models_are_called_different_in_5_percent(quads):
    """A/A while the machine becomes 8 % faster; margin 0, so that nothing is equivalent."""
    found = verdicts(DRAWS, quads=quads, margin=0.0)
    assert within(share(found, "better", "worse"), DRAWS, 0.03, 0.07)


def test_two_looks_do_not_err_more_often_than_one():
    """They share the 5 % by Bonferroni, so it may be less."""
    found = verdicts(DRAWS, margin=0.0)
    assert share(found, "better", "worse") <= scipy.stats.binom.ppf(0.999, DRAWS, 0.05)


def test_several_equal_models_share_the_5_percent():
    found = verdicts(DRAWS, others=3, quads=6, margin=0.0)
    assert share(found, "better", "worse") <= scipy.stats.binom.ppf(0.999, DRAWS, 0.07)


def test_a_difference_of_2_percent_is_found():
    """CV of a piece 1 %, 12 quads: found in 90 % of the runs at least."""
    found = verdicts(DRAWS, 1.02, quads=12)
    assert share(found, "worse") >= scipy.stats.binom.ppf(0.001, DRAWS, 0.90)
    assert share(found, "better") == 0


def test_the_interval_holds_the_ratio():
    """1.1 in truth; 95 % of the intervals of a fixed number of quads hold it."""
    found = verdicts(DRAWS, 1.1, quads=8)
    inside = sum(ratio.low <= 1.1 <= ratio.high for (ratio,) in found)
    assert within(inside, DRAWS, 0.93, 0.97)


def test_the_interval_holds_the_ratio_after_two_looks():
    """It must not do so less often because the run ended when it looked good."""
    found = verdicts(DRAWS, 1.03, cv=0.02)
    inside = sum(ratio.low <= 1.03 <= ratio.high for (ratio,) in found)
    assert inside >= scipy.stats.binom.ppf(0.001, DRAWS, 0.95)


def test_equal_models_become_equivalent():
    found = verdicts(40)
    assert share(found, "equivalent") >= 38


# How it goes about it


def test_a_drift_that_favours_the_first_of_two_blocks_is_no_difference():
    """AAA…BBB would show B 4 % cheaper here."""
    machine = Machine(3, trend=0.08, tau_s=30.0)
    (ratio,) = machine.compare(machine.work(0.05), machine.work(0.05)).ratios
    assert ratio.verdict == "equivalent"


def test_few_quads_suffice_for_a_large_difference():
    machine = Machine()
    run = machine.compare(machine.work(0.05), machine.work(0.04))
    (ratio,) = run.ratios
    assert (ratio.verdict, len(run.quads)) == ("better", 6)
    assert ratio.low <= 0.8 <= ratio.high
    assert ratio.confidence == pytest.approx(0.99)


def test_more_quads_are_planned_where_six_do_not_decide():
    machine = Machine(1)
    run = machine.compare(machine.work(0.5, 0.04), machine.work(0.5, 0.04), max_time_s=600)
    assert len(run.quads) == run.wanted >= 12
    assert run.ratios[0].confidence == pytest.approx(0.96)
    assert run.ratios[0].verdict == "equivalent"


def test_the_time_ends_a_run_that_is_not_decided():
    machine = Machine(1)
    run = machine.compare(machine.work(0.5, 0.2), machine.work(0.5, 0.2), max_time_s=60)
    assert run.wanted > len(run.quads) >= 6
    assert run.ratios[0].verdict == "undecided"
    assert machine.clock.now() < 150


def test_every_quad_is_its_own_mirror_and_the_order_varies():
    machine = Machine()
    run = machine.compare(machine.work(0.05), machine.work(0.05), machine.work(0.05), quads=20)
    orders = [quad.order for quad in run.quads]
    assert all(order == order[::-1] and sorted(order[:3]) == ["A", "B", "C"] for order in orders)
    assert len(set(orders)) > 3


@pytest.mark.parametrize("period", [1e-3, 1e-1])
def test_pieces_hold_the_energy_of_their_own_model_only(period):
    """Two models of very different power: nothing of a pause or a neighbour leaks in."""
    machine = Machine(period=period)
    run = machine.compare(machine.work(0.005, 0.0), machine.work(0.008, 0.0, busy_w=60.0), quads=6)
    for label, joules in (("A", BUSY_W * 0.005), ("B", 60.0 * 0.008)):
        found = [joule for quad in run.quads for joule in energies(quad, label)]
        assert np.mean(found) == pytest.approx(joules, rel=0.002)


PROFILERS = {
    "counter of 100 ms": lambda p: SimulatedCounterProfiler(counters=[nvml_counter(p)]),
    "sampled": lambda p: SimulatedPowerProfiler(gauges=[power_gauge(p, "cpu:0/package", "cpu")]),
    "stream": lambda p: SimulatedStreamProfiler(gauges=[power_gauge(p, "cpu:0/package", "cpu")]),
    "start and stop": lambda p: SimulatedWindowProfiler(counters=[rapl_counter(p)]),
    "two paces": lambda p: SimulatedCounterProfiler(counters=[rapl_counter(p), nvml_counter(p)]),
}


@pytest.mark.parametrize("kind", PROFILERS)
def test_every_kind_of_sensor_finds_the_ratio(kind):
    machine = Machine(profiler=PROFILERS[kind])
    (ratio,) = machine.compare(machine.work(0.02), machine.work(0.022)).ratios
    assert ratio.verdict == "worse"
    assert ratio.value == pytest.approx(1.1, rel=0.02)


def test_a_long_run_is_a_piece_by_itself():
    """Nobody waits for uncounted runs of 20 s."""
    machine = Machine()
    runs = itertools.count()
    work = machine.work(20.0, 0.001)

    def counted():
        next(runs)
        work()

    run = machine.compare(counted, machine.work(16.0, 0.001), quads=6)
    assert run.ratios[0].value == pytest.approx(0.8, rel=0.01)
    assert next(runs) <= 12 + 12


def test_samples_decide_what_is_compared():
    """Twice the energy for four times the samples is half the energy."""
    machine = Machine()
    (ratio,) = machine.compare(
        machine.work(0.02), machine.work(0.04), samples=(1, 4), quads=6
    ).ratios
    assert ratio.value == pytest.approx(0.5, rel=0.01)
    assert ratio.verdict == "better"


# What goes wrong


def failing(work, after):
    """The work, until it has been done so often."""
    calls = itertools.count()

    def run():
        if next(calls) >= after:
            raise RuntimeError("out of memory")
        work()

    return run


@pytest.mark.parametrize("after", [1, 200])
def test_a_model_that_fails_is_left_out_and_the_others_go_on(after):
    machine = Machine()
    run = machine.compare(
        machine.work(0.02), failing(machine.work(0.02), after), machine.work(0.03), quads=6
    )
    assert [ratio.label for ratio in run.ratios] == ["C"]
    assert str(run.dropped[1]) == "out of memory"
    assert run.ratios[0].value == pytest.approx(1.5, rel=0.02)
    assert len(run.quads) == 6


@pytest.mark.parametrize("bad", [0, 1])
def test_an_error_of_one_of_two_is_passed_on(bad):
    machine = Machine()
    works = [machine.work(0.02), machine.work(0.02)]
    works[bad] = failing(works[bad], 200)
    with pytest.raises(RuntimeError, match="out of memory"):
        machine.compare(*works)


def interrupted(work, after):
    calls = itertools.count()

    def run():
        if next(calls) == after:
            raise KeyboardInterrupt
        work()

    return run


@pytest.mark.parametrize(("after", "verdict"), [(300, "undecided"), (900, "worse")])
def test_ctrl_c_keeps_the_quads(after, verdict):
    """Fewer than six give an interval and no verdict."""
    machine = Machine()
    run = machine.compare(interrupted(machine.work(0.02), after), machine.work(0.03), quads=100)
    assert run.interrupted
    assert run.ratios[0].verdict == verdict
    assert run.ratios[0].value == pytest.approx(1.5, rel=0.05)


def test_ctrl_c_before_there_is_a_quad_is_passed_on():
    machine = Machine()
    with pytest.raises(KeyboardInterrupt):
        machine.compare(interrupted(machine.work(0.02), 40), machine.work(0.03))


def test_a_lost_sensor_gives_no_ratio_and_ends_the_run():
    def profiler(power):
        return SimulatedCounterProfiler(
            counters=[rapl_counter(power), nvml_counter(power, faults=(vanishes(20.0),))]
        )

    machine = Machine(profiler=profiler)
    run = machine.compare(machine.work(0.02), machine.work(0.03), quads=1000)
    assert run.ratios == ()
    assert list(run.failures) == ["gpu:GPU-00000000-0000-0000-0000-000000000000"]
    assert machine.clock.now() < 200


def test_without_a_total_there_is_nothing_to_compare_by():
    machine = Machine(
        profiler=lambda p: SimulatedPowerProfiler(gauges=[power_gauge(p, "x", "other")])
    )
    with pytest.raises(NoSensorError, match="belongs in a total"):
        machine.compare(machine.work(0.02), machine.work(0.03))


@pytest.mark.parametrize(
    "settings", [{"quads": 5}, {"margin": 1.0}, {"margin": -0.1}, {"precision": 0.0}]
)
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ConfigError):
        ComparisonSettings(**settings)
