"""The virtual clock: repeats in the order of time, and no surprise in nested sleeps."""

import pytest

from greenai_core.clock import Clock, Ticker
from greenai_core.testing import VirtualClock


def test_is_a_clock():
    clock = VirtualClock()
    assert isinstance(clock, Clock)
    assert isinstance(clock.repeat(lambda: None, lambda: 1.0), Ticker)


def test_time_passes_by_sleeping_alone():
    clock = VirtualClock(start_s=5.0)
    assert [clock.now(), clock.now()] == [5.0, 5.0]
    clock.sleep(2.5)
    clock.advance(0.5)
    assert clock.now() == 8.0


def test_looking_at_the_clock_can_cost_time():
    clock = VirtualClock(cost_of_now_s=0.25)
    assert [clock.now(), clock.now()] == [0.25, 0.5]


def test_repeats_run_in_the_order_of_time_at_their_own_instants():
    clock, seen = VirtualClock(), []
    clock.repeat(lambda: seen.append(("slow", clock.now())), lambda: 3.0)
    clock.repeat(lambda: seen.append(("fast", clock.now())), lambda: 2.0)
    clock.advance(6.0)
    assert seen == [("fast", 2.0), ("slow", 3.0), ("fast", 4.0), ("slow", 6.0), ("fast", 6.0)]
    assert clock.now() == 6.0


def test_period_does_not_drift_with_slow_calls():
    """The next call is counted from the planned instant, as threads do it."""
    clock, seen = VirtualClock(), []

    def slow():
        seen.append(clock.now())
        clock.lapse(0.4)

    clock.repeat(slow, lambda: 1.0)
    clock.advance(3.5)
    assert seen == [1.0, 2.0, 3.0]


def test_sleep_inside_a_repeat_runs_the_others_but_not_itself():
    clock, seen = VirtualClock(), []

    def sleeper():
        seen.append(("sleeper", clock.now()))
        clock.sleep(2.5)

    clock.repeat(sleeper, lambda: 1.0)
    clock.repeat(lambda: seen.append(("other", clock.now())), lambda: 1.5)
    clock.advance(2.0)
    assert seen == [
        ("sleeper", 1.0), ("other", 1.5), ("other", 3.0),
    ]  # fmt: skip
    assert clock.now() == 3.5
    clock.advance(0.0)
    assert seen[3:] == [("sleeper", 3.5), ("other", 4.5), ("other", 6.0)]


def test_lapse_holds_repeats_back():
    clock, seen = VirtualClock(), []
    clock.repeat(lambda: seen.append(clock.now()), lambda: 1.0)
    clock.lapse(1.5)
    assert seen == []
    clock.advance(0.75)
    assert seen == [1.5, 2.0]


def test_cancelled_repeats_do_not_run():
    clock, seen = VirtualClock(), []
    ticker = clock.repeat(lambda: (seen.append(clock.now()), ticker.cancel()), lambda: 1.0)
    clock.advance(5.0)
    assert seen == [1.0]


@pytest.mark.parametrize("delay", [0.0, -1.0, float("nan")])
def test_delay_must_be_above_zero(delay):
    with pytest.raises(ValueError, match="above 0"):
        VirtualClock().repeat(lambda: None, lambda: delay)


@pytest.mark.parametrize("seconds", [-0.1, float("nan")])
def test_time_does_not_go_back(seconds):
    with pytest.raises(ValueError, match="cannot pass"):
        VirtualClock().advance(seconds)
