"""The diagnosis ``util/1`` of the channels of a run."""

from __future__ import annotations

import pytest

from greenai_core.errors import GradeError
from greenai_core.figures import ChannelNet, Figure
from greenai_core.power_ranges import FullPower, power_range
from greenai_core.results import ChannelEnergy, WindowResult


def channel(id, joules, gain=0.0, repeat=0.0, in_total=True):
    total = (repeat**2 + (gain * joules) ** 2) ** 0.5
    ends = (joules - total, joules + total, joules - repeat, joules + repeat)
    return ChannelEnergy(id, "cpu", "counter", "sim", in_total, joules, *ends)


def run(*channels, duration_s=10.0):
    ids = tuple(one.id for one in channels if one.in_total)
    return WindowResult(
        "run", duration_s, None, None, None, None, None, "counter", ids, channels, ()
    )


def idle(id, watts):
    power = Figure(watts, watts, watts, watts, watts, "counter", id)
    return ChannelNet(id, "cpu", True, power, power)


def test_power_of_the_known_channels_is_added():
    """(60 + 30 − 20) W above idle, of (100 + 40 − 20) W; what nobody knows stays out."""
    gross = run(channel("a", 600.0), channel("b", 300.0), channel("memory", 50.0))
    nets = [idle("a", 15.0), idle("b", 5.0), idle("memory", 4.0)]
    full = [FullPower(("a",), 100.0, "limit"), FullPower(("b",), 40.0, "sheet")]
    found = power_range(gross, nets, full)
    assert found.utilisation.value == pytest.approx(70 / 120)
    assert found.full_power_w == 140.0
    assert found.channels == ("a", "b")
    assert found.source == "limit; sheet"


def test_gains_add_up_and_repeatability_does_not():
    gross = run(channel("a", 600.0, 0.03, 8.0), channel("b", 600.0, 0.03, 6.0))
    full = [FullPower(("a", "b"), 200.0, "limit")]
    u = power_range(gross, [idle("a", 0.0), idle("b", 0.0)], full).utilisation
    assert u.repeat_high - u.value == pytest.approx(1.0 / 200)
    gain = 0.03 * 120 / 200
    assert u.high - u.value == pytest.approx((gain**2 + (1 / 200) ** 2) ** 0.5)


@pytest.mark.parametrize(
    "full",
    [
        [],
        [FullPower(("b",), 100.0, "limit")],
        [FullPower(("a", "b"), 100.0, "limit")],
        [FullPower(("core",), 100.0, "limit")],
        [FullPower(("a",), 100.0, "limit"), FullPower(("a",), 90.0, "other")],
    ],
)
def test_a_channel_that_gave_nothing_is_in_no_diagnosis(full):
    """``b`` failed and ``core`` is a part of ``a``: half of a sum would look idle."""
    gross = run(channel("a", 600.0), channel("core", 300.0, in_total=False))
    nets = [idle("a", 10.0), idle("core", 5.0)]
    assert power_range(gross, nets, full) is None


def test_full_power_of_other_parts_is_told():
    full = [FullPower(("a",), 5.0, "limit")]
    with pytest.raises(GradeError, match="not above the idle power"):
        power_range(run(channel("a", 600.0)), [idle("a", 10.0)], full)
