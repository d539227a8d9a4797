"""Several tools on one load: disagreements that are found, and none that are not there."""

from __future__ import annotations

import contextlib
import math
import random
from dataclasses import replace

import pytest

from greenai_core import Channel
from greenai_core.blocks import Source
from greenai_core.cross_check import COMPONENT, SAME, WHOLE, ToldPower, judge, measure
from greenai_core.errors import CalibrationError
from greenai_core.testing import (
    Bursts,
    Constant,
    Fails,
    Latch,
    SimulatedCounterProfiler,
    SimulatedPowerProfiler,
    SimulatedWindowProfiler,
    VirtualClock,
    power_gauge,
    rapl_counter,
)

SECONDS = 1.0


class Load:
    """Says what was asked of it."""

    def __init__(self, lasts=1000):
        self.levels, self.lasts = [], lasts

    def set(self, level):
        self.levels.append(level)

    def check(self):
        self.lasts -= 1
        if self.lasts < 0:
            raise CalibrationError("the load has ended")

    def close(self):
        pass


def tool(name, *sensors, kind=SimulatedCounterProfiler, **kinds):
    """A profiler of that name."""
    profiler = kind(**{"gauges" if kind is SimulatedPowerProfiler else "counters": sensors})
    profiler.__class__ = type(name, (kind,), {"name": name, **kinds})
    return profiler


def counter(watts, id="cpu:0/package", component="cpu", *, u=0.0, source="simulated", seed=0, **k):
    """A counter of 1 ms whose updates have a phase of their own."""
    profile = watts if not isinstance(watts, (int, float)) else Constant(watts)
    phase = random.Random(seed).uniform(0, 1e-3)
    made = rapl_counter(profile, id, component, latch=Latch(1e-3, 0.2, phase, seed), **k)
    channel = replace(made.channel, gain_uncertainty=u, gain_source=source)
    return replace(made, channel=channel)


def checked(*profilers, rounds=6, load=None, priority=None):
    clock = VirtualClock(random.Random(1).uniform(10, 20))
    with contextlib.ExitStack() as stack:
        sources = []
        for profiler in profilers:
            profiler.open(clock)
            stack.callback(profiler.close)
            sources.append(Source(profiler, tuple(profiler.channels)))
        found = [*measure(sources, load or Load(), clock, rounds=rounds, seconds=SECONDS)]
    return judge(found, SECONDS, priority or {"ours": 9})


def test_the_load_is_on_and_one_that_ends_is_told():
    load = Load()
    checked(tool("ours", counter(50.0)), tool("theirs", counter(50.0)), load=load)
    assert load.levels == [1.0]
    with pytest.raises(CalibrationError, match="ended"):
        checked(tool("ours", counter(50.0)), load=Load(lasts=2))


def test_two_ways_to_one_counter_agree_and_the_shared_gain_plays_no_part():
    found = checked(
        tool("ours", counter(50.0, u=0.05)), tool("theirs", counter(50.0, u=0.05, seed=1))
    )
    [one] = found.disagreements
    assert (one.what, one.kind, one.reference, one.other) == (
        "cpu:0/package",
        SAME,
        "ours",
        "theirs",
    )
    assert one.ratio == pytest.approx(1.0, abs=2e-3)
    assert not one.exceeds
    assert one.high - one.low < 0.01, "5 % of a common gain would make it wider"


def test_two_ways_to_one_counter_that_differ_by_three_percent_are_caught():
    """Each is within the gain that it states, but that gain is the same for both."""
    found = checked(
        tool("ours", counter(50.0, u=0.05)), tool("theirs", counter(51.5, u=0.05, seed=1))
    )
    [one] = found.disagreements
    assert one.ratio == pytest.approx(1.03, abs=2e-3)
    assert one.exceeds


@pytest.mark.parametrize(("watts", "exceeds"), [(55.0, False), (80.0, True)])
def test_sensors_of_different_kinds_may_differ_by_their_gains(watts, exceeds):
    found = checked(
        tool("ours", counter(50.0, u=0.05, source="one kind")),
        tool("theirs", counter(watts, u=0.05, source="another kind", seed=1)),
    )
    [one] = found.disagreements
    assert one.ratio == pytest.approx(watts / 50.0, rel=5e-3)
    assert one.exceeds is exceeds


def test_no_disagreement_is_claimed_where_there_is_none():
    """Three tools that see a new value every 0.1 s of bursts; at most in 5 % of the checks."""
    claimed, checks = 0, 60
    for draw in range(checks):
        power = Bursts.at_random(40.0, 70.0, 60.0, 0.2, 0.3, seed=draw)
        slow = [
            replace(counter(power), latch=Latch(0.1, 0.2, 0.033 * n, 3 * draw + n))
            for n in range(3)
        ]
        slow = [replace(c, channel=replace(c.channel, update_period_s=0.1)) for c in slow]
        tools = [tool(name, c) for name, c in zip(("ours", "second", "third"), slow, strict=True)]
        found = checked(*tools, rounds=5)
        assert len(found.disagreements) == 2
        claimed += any(d.exceeds for d in found.disagreements)
    assert claimed <= 8  # binomial, 60 draws at 5 %: more in 1 of 100


def test_components_are_compared_where_tools_divide_them_differently():
    found = checked(
        tool(
            "ours",
            counter(50.0),
            counter(60.0, "cpu:1/package", seed=1),
            replace_parent(counter(20.0, "cpu:0/core", "core", seed=2)),
        ),
        tool("model", modelled(160.0, 0.2)),
    )
    [one] = found.disagreements
    assert (one.what, one.kind) == ("cpu in all", COMPONENT)
    assert one.ratio == pytest.approx(160 / 110, rel=5e-3)
    assert not one.exceeds, "the model says ± 40 %"


def replace_parent(made):
    channel = replace(made.channel, contained_in="cpu:0/package")
    return replace(made, channel=channel)


def modelled(watts, u):
    made = counter(watts, "model:cpu", u=u, source="a model", seed=7)
    return replace(made, channel=replace(made.channel, method="modelled"))


def test_the_reference_is_measured_and_of_the_highest_priority():
    found = checked(
        tool("model", modelled(100.0, 0.2)),
        tool("theirs", counter(50.0, seed=1)),
        tool("ours", counter(50.0)),
        priority={"model": 99, "ours": 9, "theirs": 1},
    )
    assert {d.reference for d in found.disagreements} == {"ours"}
    assert {(d.kind, d.other) for d in found.disagreements} == {
        (SAME, "theirs"),
        (COMPONENT, "model"),
    }


@pytest.mark.parametrize(("watts", "exceeds"), [(150.0, False), (90.0, True)])
def test_parts_cannot_use_more_than_the_whole(watts, exceeds):
    found = checked(
        tool("ours", counter(60.0), counter(50.0, "cpu:1/package", seed=1)),
        tool("meter", power_gauge(Constant(watts)), kind=SimulatedPowerProfiler),
    )
    [one] = found.disagreements
    assert (one.what, one.kind) == ("wall:simulated", WHOLE)
    assert one.ratio == pytest.approx(110 / watts, rel=1e-2)
    assert one.exceeds is exceeds


def test_a_tool_that_fails_is_missing_with_its_reason_and_the_others_go_on():
    sick = tool("theirs", counter(50.0, seed=1))
    sick.inject("cpu:0/package", Fails(13.0, 17.0))
    found = checked(tool("ours", counter(50.0)), sick, rounds=8)
    powers = {p.profiler: p for p in found.powers}
    assert powers["ours"].rounds == 8
    assert powers["ours"].reason == ""
    assert 0 < powers["theirs"].rounds < 8
    assert "could not be read" in powers["theirs"].reason
    [one] = found.disagreements
    assert one.ratio == pytest.approx(1.0, abs=2e-3)


def test_a_tool_that_raises_what_it_likes_is_missing_too():
    class Rude(SimulatedWindowProfiler):
        name = "theirs"

        def start_window(self):
            raise ZeroDivisionError("its own fault")

    found = checked(tool("ours", counter(50.0)), Rude())
    powers = {p.profiler: p for p in found.powers}
    assert powers["theirs"].power_w is None
    assert powers["theirs"].reason == "its own fault"
    assert powers["ours"].rounds == 6


def test_tools_that_know_only_start_and_stop_take_part():
    window = SimulatedWindowProfiler(counters=[counter(50.0, seed=1)])
    found = checked(tool("ours", counter(50.0)), window)
    [one] = found.disagreements
    assert one.other == window.name
    assert one.ratio == pytest.approx(1.0, abs=5e-3)
    assert not one.exceeds


def told(profiler: str, id: str, power_w: float, u_w: float, gain: float = 0.0) -> ToldPower:
    channel = Channel(id, "cpu", "counter", gain_uncertainty=gain, gain_source=f"{profiler} {id}")
    return ToldPower(profiler, channel, power_w, u_w)


def test_what_is_wrong_with_each_window_alike_is_in_the_interval() -> None:
    """Rounds that agree say nothing of an error that all of them have."""
    rounds = [[told("a", "cpu:0", 100.0, 3.0), told("b", "cpu:0", 106.0, 3.0)] for _ in range(6)]
    (found,) = judge(rounds, 3.0, {"a": 2, "b": 1}).disagreements
    assert found.low < 1.0 < found.high
    assert not found.exceeds
    sure = [[told("a", "cpu:0", 100.0, 0.1), told("b", "cpu:0", 106.0, 0.1)] for _ in range(6)]
    assert judge(sure, 3.0, {"a": 2, "b": 1}).disagreements[0].exceeds


def test_many_pairs_without_a_disagreement_are_seldom_said_to_disagree() -> None:
    """The intervals of one check hold together: 20 at 95 % each would cry wolf in 64 %."""
    rng, wolves = random.Random(5), 0
    for _ in range(200):
        errors = [(rng.gauss(0, 0.03), rng.gauss(0, 0.03)) for _ in range(20)]
        rounds = [
            [
                told(name, f"cpu:{n}", 100.0 * math.exp(error), 0.01, gain=0.03)
                for n, pair in enumerate(errors)
                for name, error in zip("ab", pair, strict=True)
            ]
            for _ in range(3)
        ]
        found = judge(rounds, 3.0, {"a": 2, "b": 1}).disagreements
        assert len(found) == 20
        wolves += any(one.exceeds for one in found)
    assert 1 <= wolves <= 20
