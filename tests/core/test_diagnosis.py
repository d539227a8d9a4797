"""How much of its power range a run uses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenai_core import Figure, GradeError, diagnose


def watts(value, repeat=0.0, total=None):
    total = repeat if total is None else total
    return Figure(
        value, value - total, value + total, value - repeat, value + repeat, "counter", "cpu"
    )


def test_half_of_the_range():
    found = diagnose(watts(60.0), watts(20.0), 100.0, "datasheet")
    assert found.scale == "util/1"
    assert found.utilisation.value == 0.5
    assert found.idle_share == pytest.approx(1 / 3)
    assert "50%" in found.reasons[0]
    assert "100 W (datasheet)" in found.reasons[0]
    assert any("33%" in reason for reason in found.reasons)
    assert "not a grade" in found.reasons[-1]


@given(st.floats(0.0, 200.0), st.floats(0.0, 99.0), st.floats(0.0, 5.0), st.floats(0.0, 20.0))
def test_the_intervals_hold_the_value(run, idle, repeat, more):
    found = diagnose(watts(run, repeat, repeat + more), watts(idle, repeat), 100.0, "limit")
    u = found.utilisation
    assert u.low <= u.repeat_low <= u.value <= u.repeat_high <= u.high


def test_the_interval_is_that_of_many_draws():
    """Against a simulation of both powers and one gain."""
    rng = np.random.default_rng(3)
    gain = 1 + 0.03 * rng.standard_normal(200_000)
    run = (60 + 0.5 * rng.standard_normal(200_000)) * gain
    idle = (20 + 0.8 * rng.standard_normal(200_000)) * gain
    spread = np.std((run - idle) / (100 - idle))
    half = 1.96 * math.hypot(0.5, 0.03 * 60)
    found = diagnose(watts(60.0, 1.96 * 0.5, half), watts(20.0, 1.96 * 0.8), 100.0, "x")
    u = found.utilisation
    assert (u.high - u.low) / 2 == pytest.approx(1.96 * spread, rel=0.03)


def test_impossible_powers_are_told():
    above = diagnose(watts(150.0), watts(20.0), 100.0, "limit")
    assert any("more than full power" in reason for reason in above.reasons)
    below = diagnose(watts(10.0), watts(20.0), 100.0, "limit")
    assert below.utilisation.value < 0
    assert any("less than idle" in reason for reason in below.reasons)


@pytest.mark.parametrize("full", [20.0, 10.0, 0.0, -5.0, math.nan, math.inf])
def test_full_power_is_above_idle(full):
    with pytest.raises(GradeError):
        diagnose(watts(60.0), watts(20.0), full, "limit")


def test_without_power_there_is_no_idle_share():
    assert diagnose(watts(0.0), watts(0.0), 100.0, "limit").idle_share is None
