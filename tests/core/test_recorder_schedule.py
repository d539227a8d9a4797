"""When a recorder reads: no drift, one read in each slot, and every missed slot counted."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenai_core.recording_schedule import Schedule

INTERVALS = st.sampled_from([0.001, 0.01, 0.1, 1.0, 7.3])
COSTS = st.lists(st.floats(0, 5, allow_nan=False), min_size=1, max_size=200)


@settings(deadline=None)  # other jobs may hold it up
@given(INTERVALS, COSTS, st.floats(0, 1e6), st.randoms(use_true_random=False))
def test_each_slot_is_read_once_or_counted_as_missed(interval, costs, start, draw):
    """Whatever a read takes (in intervals): rows and missed ticks add up to the slots passed."""
    schedule = Schedule(start, interval, draw=draw.random)
    now, numbers, missed = start, [], 0
    for cost in costs:
        number, due, lost = schedule.next(now)
        numbers.append(number)
        missed += lost
        # Half an interval for instants so large that a double hardly tells slots apart.
        assert start + number * interval - 1e-6 <= due <= start + (number + 1) * interval + 1e-6
        now = max(now, due) + cost * interval
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 0
    assert len(numbers) + missed == numbers[-1] + 1


def test_the_period_does_not_drift():
    """A million reads that take half an interval each, and wake up late, end in their slots."""
    schedule = Schedule(0.0, 0.001, draw=random.Random(1).random)
    now = 0.0
    for _ in range(1_000_000):
        number, due, _ = schedule.next(now)
        now = max(now, due) + 0.0005
    assert number == pytest.approx(now / 0.001, abs=2)
    assert 999_999 <= number <= 1_000_000 + 1


def test_a_late_read_is_made_up_for_at_once():
    """Waking up late takes nothing off the next slots, so there is no pile of late reads."""
    schedule = Schedule(0.0, 1.0, draw=lambda: 0.5)
    schedule.next(0.0)
    assert schedule.next(7.2) == (7, 7.5, 6)
    assert schedule.next(7.9) == (8, 8.5, 0)


def test_the_first_read_comes_at_once():
    assert Schedule(5.0, 10.0, draw=lambda: 0.9).next(5.0) == (0, 5.0, 0)


def test_what_follows_a_pause_is_not_missed():
    schedule = Schedule(0.0, 1.0, last=99, draw=lambda: 0.0)
    assert schedule.next(99.9) == (100, 100.0, 0)


@pytest.mark.parametrize("harmonic", [1, 2, 5])
def test_periodic_work_is_not_aliased(harmonic):
    """Work in step with the interval is seen at all its phases, not at one."""
    schedule = Schedule(0.0, 0.1, draw=random.Random(2).random)
    phases = []
    now = 0.0
    for _ in range(4000):
        _, now, _ = schedule.next(now)
        phases.append(now / 0.1 * harmonic * 2 * math.pi)
    mean = math.hypot(math.fsum(map(math.cos, phases)), math.fsum(map(math.sin, phases))) / 4000
    assert mean < 4 / math.sqrt(4000)
