"""Batteries on trees of known power.

The files follow the kernel's Documentation/ABI/testing/sysfs-class-power
(https://www.kernel.org/doc/Documentation/ABI/testing/sysfs-class-power): µW, µA, µV; a supply
without ``scope`` feeds the system.
"""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from greenai_core import ConfigError, PluginUnavailable, Session
from greenai_core.testing import (
    CounterConformance,
    Latch,
    PowercapTree,
    PowerConformance,
    Sine,
    SysfsTree,
    VirtualClock,
)
from greenai_plugins.profilers.battery import BatteryEnergyProfiler, BatteryProfiler
from greenai_plugins.profilers.rapl import RaplProfiler

FOLDER = "class/power_supply"


@contextmanager
def opened(tree, **options):
    clock = VirtualClock(50.0)
    profiler = BatteryProfiler(root=tree.root, **options)
    with tree:
        tree.drive(clock, 0.01)
        profiler.open(clock)
        try:
            yield profiler
        finally:
            profiler.close()


def joules(profiler, seconds=100.0):
    return profiler.evaluate(lambda: profiler.clock.sleep(seconds)).energy_j


@pytest.mark.parametrize("by_current", [False, True])
def test_power_or_current_times_voltage(by_current, tmp_path):
    with opened(SysfsTree.laptop(tmp_path, by_current=by_current)) as profiler:
        assert joules(profiler) == pytest.approx(1400.0, rel=0.001)


def test_several_batteries_make_up_the_whole(tmp_path):
    with opened(SysfsTree.laptop(tmp_path, [9.0, 5.0])) as profiler:
        assert [c.id for c in profiler.channels] == ["battery:BAT0+BAT1"]
        assert joules(profiler) == pytest.approx(1400.0, rel=0.001)


@pytest.mark.parametrize("status", ["Not charging", "Unknown", "Full"])
def test_a_second_battery_may_rest(status, tmp_path):
    """ThinkPads empty one after the other; the one at rest tells 0 W."""
    tree = SysfsTree.laptop(tmp_path, [14.0, 0.0])
    tree.set(f"{FOLDER}/BAT1/status", status)
    with opened(tree) as profiler:
        assert joules(profiler) == pytest.approx(1400.0, rel=0.001)


def test_the_battery_of_a_mouse_is_none_of_the_machine(tmp_path):
    with opened(SysfsTree.laptop(tmp_path)) as profiler:
        assert "hidpp" not in profiler.channels[0].id


@pytest.mark.parametrize("online", [1, 2])
def test_a_charger_of_whatever_voltage_is_one(tmp_path, online):
    """2 stands for one whose voltage can be programmed (USB PD PPS)."""
    with SysfsTree.laptop(tmp_path) as tree:
        tree.set("class/power_supply/AC/online", online)
        for kind in (BatteryProfiler, BatteryEnergyProfiler):
            with pytest.raises(PluginUnavailable, match="AC is plugged in"):
                kind(root=tmp_path).check_available()


def test_the_charger_of_a_device_is_none_of_the_machine(tmp_path):
    tree = SysfsTree.laptop(tmp_path)
    for name, text in {"type": "USB", "scope": "Device", "online": 1}.items():
        tree.set(f"{FOLDER}/wacom/{name}", text)
    with opened(tree) as profiler:
        assert joules(profiler) == pytest.approx(1400.0, rel=0.001)


def test_it_stands_beside_the_total_of_a_laptop_with_rapl(tmp_path):
    """The screen and the rest are in the battery's figure, so it is never the total's part."""
    clock = VirtualClock(50.0)
    with (
        PowercapTree.desktop(tmp_path / "powercap", 12.0) as powercap,
        SysfsTree.laptop(tmp_path / "sys", [21.0]) as tree,
    ):
        powercap.drive(clock, 0.01)
        tree.drive(clock, 0.01)
        rapl = RaplProfiler(root=powercap.root, cpuinfo=powercap.cpuinfo)
        battery = BatteryProfiler(root=tree.root)
        with Session([rapl, battery], clock=clock) as session, session.window() as window:
            clock.sleep(100.0)
        assert window.energy_j == pytest.approx(1200.0, rel=0.001)
        assert window.result.contains == ("cpu:0/package",)
        figures = {c.id: c.energy_j for c in window.channels}
        assert figures["battery:BAT0"] == pytest.approx(2100.0, rel=0.001)


def test_windows_of_less_than_two_periods_have_no_figure(tmp_path):
    with opened(SysfsTree.laptop(tmp_path)) as profiler:
        profiler.start()
        profiler.clock.sleep(15.0)
        window = profiler.stop()
        assert window.energy_j is None
        assert "a new value every 10 s: too short" in window.missing[0].reason


def test_a_slow_gauge_is_inside_its_interval(tmp_path):
    """A new value every 10 s, while the power swings from 10 W to 18 W."""
    load = Sine(14.0, 4.0, 60.0)
    tree = SysfsTree.laptop(tmp_path, [load], latch=Latch(10.0, phase_s=3.0))
    with opened(tree) as profiler:
        began = profiler.clock.now()
        profiler.start()
        profiler.clock.sleep(200.0)
        window = profiler.stop()
        truth = load.energy(began, began + 200.0)
        assert window.low_j <= truth <= window.high_j


def test_power_goes_before_the_energy_that_is_left(tmp_path):
    clock = VirtualClock(50.0)
    with SysfsTree.laptop(tmp_path) as tree:
        tree.drive(clock, 0.05)
        both = [BatteryProfiler(root=tmp_path), BatteryEnergyProfiler(root=tmp_path)]
        assert both[0].priority > both[1].priority
        with Session(both, clock=clock) as session:
            assert [(c.id, c.method) for c in session.channels] == [("battery:BAT0", "sampled")]


@pytest.mark.parametrize("period_s", ["soon", 0, float("nan"), -3])
def test_a_period_that_is_none_is_refused(period_s):
    with pytest.raises(ConfigError, match="battery: period_s"):
        BatteryProfiler(period_s=period_s)


def test_neither_is_automatic():
    """A laptop whose RAPL may not be read would have no figure for windows of seconds."""
    assert not BatteryProfiler.automatic
    assert not BatteryEnergyProfiler.automatic


class TestBattery(PowerConformance):
    settle_s = 3.0
    window_s = 100.0

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path
        yield
        self.tree.close() if hasattr(self, "tree") else None

    def make_hardware(self):
        self.clock = VirtualClock(50.0)
        self.tree = SysfsTree.laptop(self.folder, [Sine(14, 4, 100.0)])
        self.tree.drive(self.clock, 0.05)

    def make_profiler(self):
        return BatteryProfiler(root=self.folder, period_s=1.0)

    def make_absent(self):
        return BatteryProfiler(root=self.folder / "nowhere")

    def true_energy(self, start, end, channel):
        return self.tree.energy(f"{FOLDER}/BAT0/power_now", start, end)

    def break_sensor(self, channel):
        self.tree.write(f"{FOLDER}/BAT0/power_now", "")


class TestBatteryEnergy(CounterConformance):
    settle_s = 10.0
    window_s = 100.0

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path
        yield
        self.tree.close() if hasattr(self, "tree") else None

    def make_hardware(self):
        self.clock = VirtualClock(50.0)
        self.tree = SysfsTree.laptop(self.folder, [14.0], energy_latch=Latch(2.0))
        self.tree.drive(self.clock, 0.1)

    def make_profiler(self):
        return BatteryEnergyProfiler(root=self.folder, period_s=2.0)

    def make_absent(self):
        return BatteryEnergyProfiler(root=self.folder / "nowhere")

    def true_energy(self, start, end, channel):
        return 14.0 * (end - start)

    def break_sensor(self, channel):
        self.tree.write(f"{FOLDER}/BAT0/energy_now", "")
