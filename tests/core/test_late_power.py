"""Power that a sensor tells late: means, and values that are renewed more slowly than sampled."""

from __future__ import annotations

import random

import pytest

from greenai_core import Channel, PowerProfiler, Session
from greenai_core.testing import SquareWave, Step, VirtualClock

PERIOD_S = 1.0


class Late(PowerProfiler):
    """Samples ten times a second what a sensor shows: ``kind`` of the truth."""

    name = "late"

    def __init__(self, load, kind, phase, sample_period_s=0.1):
        super().__init__()
        self.sample_period_s = sample_period_s
        self.load, self.kind, self.phase = load, kind, phase

    def connect(self):
        return [Channel("gpu:0", "gpu", "sampled", update_period_s=PERIOD_S)]

    def disconnect(self):
        pass

    def read_power(self, channel):
        now = self.clock.now()
        if "held" in self.kind:
            now = (now - self.phase) // PERIOD_S * PERIOD_S + self.phase
        if "mean" in self.kind:
            return self.load.energy(now - PERIOD_S, now) / PERIOD_S
        return self.load.power(now)


def told(load, kind, phase, start, seconds, sample_period_s=0.1):
    clock = VirtualClock(start - 5.0)
    with Session([Late(load, kind, phase, sample_period_s)], clock=clock) as session:
        clock.sleep(5.0)
        with session.window() as window:
            clock.sleep(seconds)
        return window.result


@pytest.mark.parametrize("kind", ["mean", "held", "mean, held"])
@pytest.mark.parametrize("seconds", [2.1, 5.0, 20.0])
def test_a_load_that_begins_with_the_window_is_in_the_interval(kind, seconds):
    """Its steps from sample to sample are small, and the first second is missed all the same."""
    for phase in (0.05, 0.35, 0.65, 0.95):
        load = Step(60.0, 300.0, 100.0)
        result = told(load, kind, phase, 100.0, seconds)
        assert result.energy_j < load.energy(100.0, 100.0 + seconds)
        assert result.low_j <= load.energy(100.0, 100.0 + seconds) <= result.high_j


@pytest.mark.parametrize("kind", ["mean", "held"])
def test_work_that_knows_nothing_of_the_window_is_in_the_interval(kind):
    rng, inside = random.Random(11), 0
    for _ in range(40):
        load = SquareWave(60.0, 300.0, 1.7, phase_s=rng.uniform(0.0, 1.7))
        result = told(load, kind, rng.random(), 100.0, rng.uniform(2.1, 10.0))
        truth = load.energy(100.0, 100.0 + result.duration_s)
        inside += result.low_j <= truth <= result.high_j
    assert inside >= 38


@pytest.mark.parametrize("kind", ["mean", "held", "mean, held"])
@pytest.mark.parametrize("seconds", [10.0, 60.0])
def test_a_source_that_is_asked_as_often_as_it_is_renewed_is_late_too(kind, seconds):
    """As wattmeters are; the step shows in two or three samples, none of them at the end."""
    inside = 0
    for number in range(20):
        load = Step(60.0, 300.0, 100.0)
        result = told(load, kind, number / 20, 100.0, seconds, sample_period_s=PERIOD_S)
        inside += result.low_j <= load.energy(100.0, 100.0 + seconds) <= result.high_j
    assert inside >= 18


def test_steady_power_costs_nothing_by_being_late():
    result = told(Step(300.0, 300.0, 0.0), "mean", 0.3, 100.0, 5.0)
    assert result.high_j - result.low_j < 1e-6 * result.energy_j
