"""Tools that take their time to begin and to end: what they count then is in the interval."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from greenai_core import Session
from greenai_core.channels import longer, window_result
from greenai_core.kept_windows import KeptWindows
from greenai_core.raw_files import read_raw, write_raw
from greenai_core.testing import (
    Constant,
    SimulatedCounterProfiler,
    SimulatedWindowProfiler,
    Step,
    VirtualClock,
    nvml_counter,
    rapl_counter,
)


class SlowTool(SimulatedWindowProfiler):
    """Counts while it starts and while it ends, and takes a second to print its figures."""

    name = "slow-tool"

    def __init__(self, power, id, startup_s):
        super().__init__(counters=[rapl_counter(power, id=id)])
        self.startup_s = startup_s

    def start_window(self):
        super().start_window()
        self.clock.sleep(self.startup_s)
        self.outside_s = self.startup_s

    def stop_window(self):
        self.clock.sleep(self.startup_s / 2)
        self.outside_s += self.startup_s / 2
        joules = super().stop_window()
        self.clock.sleep(1.0)
        return joules


def outside(channel):
    return [term for term in channel.budget if term.name == "outside"]


def test_what_a_tool_counts_while_it_starts_and_ends_is_in_its_interval():
    """The figure stays that of the tool; the truth lies in its interval."""
    clock, tool = VirtualClock(), SlowTool(Constant(100.0), "cpu:0/package", 0.4)
    with Session([tool], clock=clock) as session, session.window() as window:
        clock.sleep(3.0)
    (channel,) = window.channels
    assert channel.energy_j == pytest.approx(360.0, rel=1e-3)
    assert outside(channel)[0].u == pytest.approx(60.0, rel=1e-3)
    assert channel.repeat_low_j < 300.0 < channel.repeat_high_j


@pytest.mark.parametrize("idle_w", [0.0, 50.0, 100.0, 190.0])
def test_whatever_the_power_outside_the_truth_is_in_the_interval(idle_w):
    clock = VirtualClock()
    power = Step(idle_w, 100.0, at_s=0.4)
    tool = SlowTool(power, "cpu:0/package", 0.4)
    with Session([tool], clock=clock) as session, session.window() as window:
        clock.sleep(3.0)
    (channel,) = window.channels
    assert channel.repeat_low_j < 300.0 < channel.repeat_high_j


def test_one_tool_that_starts_inside_the_window_of_another_widens_it():
    """Two tools are begun one after the other; a counter that is swift has the window alone."""
    clock, power = VirtualClock(), Constant(100.0)
    tools = [SlowTool(power, "cpu:0/package", 0.5), SlowTool(power, "cpu:1/package", 0.5)]
    swift = SimulatedCounterProfiler(counters=[nvml_counter(power)])
    with Session([*tools, swift], clock=clock) as session, session.window() as window:
        clock.sleep(3.0)
    first, second, counter = window.channels
    assert first.energy_j == pytest.approx(100.0 * 5.5, rel=1e-3)
    assert second.energy_j == pytest.approx(100.0 * 3.75, rel=1e-3)
    for channel in (first, second):
        assert channel.repeat_low_j < 300.0 < channel.repeat_high_j
    assert outside(counter) == []
    assert counter.energy_j == pytest.approx(300.0, rel=0.05)


def test_used_alone_a_tool_is_as_honest():
    tool = SlowTool(Constant(100.0), "cpu:0/package", 0.4)
    tool.open(VirtualClock())
    tool.start()
    tool.clock.sleep(3.0)
    window = tool.stop()
    tool.close()
    assert window.repeat_low_j < 300.0 < window.repeat_high_j


def test_blocks_of_repeated_work_have_the_joules_of_their_own_time():
    tool = SlowTool(Constant(100.0), "cpu:0/package", 0.4)
    tool.open(clock := VirtualClock())
    recording = tool.record()
    instants = []
    for _ in range(5):
        instants.append(clock.now())
        recording.tick()
        clock.sleep(1.0)
    (blocks,) = dict(recording.energies([0, 1, 2, 3, 4], instants)).values()
    recording.close()
    tool.close()
    lengths = [b - a for a, b in itertools.pairwise(instants)]
    assert list(blocks) == pytest.approx([100.0 * length for length in lengths], rel=1e-3)


def test_a_failed_reading_has_no_doubt_to_add():
    tool = SlowTool(Constant(100.0), "cpu:0/package", 0.4)
    tool.open(VirtualClock())
    tool.start_window, tool.stop_window = lambda: None, lambda: {"cpu:0/package": "it is broken"}
    tool.start()
    window = tool.stop()
    tool.close()
    assert [m.reason for m in window.missing] == ["it is broken"]


def test_the_doubt_survives_the_raw_file(tmp_path):
    clock = VirtualClock()
    tools = [SlowTool(Constant(100.0), f"cpu:{n}/package", 0.4) for n in (0, 1)]
    with Session(tools, clock=clock) as session, session.window() as window:
        clock.sleep(3.0)
    raw = write_raw(KeptWindows((window.kept,)), tmp_path / "raw.npz")
    (again,) = read_raw(tmp_path / "raw.npz", raw).windows
    assert again.again().result() == window.result


def test_a_reading_that_is_no_longer_than_the_window_is_left_as_it_is():
    tool = SimulatedWindowProfiler(counters=[rapl_counter(Constant(100.0))])
    tool.open(clock := VirtualClock())
    begun = tool.begin()
    clock.sleep(3.0)
    (reading,) = tool.end(begun)
    tool.close()
    assert longer(reading, 0.0, 3.0) is reading
    told = window_result("w", 3.0, [("x", reading)])
    assert outside(told.channels[0]) == []
    wider = window_result("w", 2.0, [("x", dataclasses.replace(reading, covers_s=3.0))])
    assert outside(wider.channels[0])[0].u == pytest.approx(100.0, rel=1e-3)
