"""The adapter of pyRAPL, which reads a powercap tree of plain files."""

from __future__ import annotations

import logging
import subprocess
import sys
import time

import pytest
from library_machines import for_pyrapl

from greenai_core import ConfigError, PluginUnavailable, Session
from greenai_core.testing import PowercapTree, VirtualClock, WindowConformance, Zone
from greenai_plugins.profilers.pyrapl_adapter import PyRaplProfiler

pyRAPL = pytest.importorskip("pyRAPL")

ZONES = {
    "cpu:0/package": ("intel-rapl:0", 150.0),
    "cpu:0/dram": ("intel-rapl:0:0", 20.0),
    "cpu:1/package": ("intel-rapl:1", 150.0),
    "cpu:1/dram": ("intel-rapl:1:0", 20.0),
}


@pytest.fixture
def machine(tmp_path, monkeypatch):
    clock = VirtualClock()
    with PowercapTree.xeon(tmp_path / "powercap") as tree:
        tree.drive(clock)
        for_pyrapl(monkeypatch, tree)
        yield tree, clock


class TestConformance(WindowConformance):
    """Two sockets with their memory."""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path, monkeypatch):
        self.tmp_path, self.monkeypatch = tmp_path, monkeypatch

    def make_hardware(self):
        self.clock = VirtualClock()
        self.tree = PowercapTree.xeon(self.tmp_path / "powercap")
        self.tree.drive(self.clock)
        for_pyrapl(self.monkeypatch, self.tree)

    def make_profiler(self):
        return PyRaplProfiler()

    def make_absent(self):
        self.monkeypatch.setattr(pyRAPL.device_api, "get_socket_ids", lambda: [7])
        return PyRaplProfiler()

    def true_energy(self, start, end, channel):
        return ZONES[channel][1] * (end - start)

    def break_sensor(self, channel):
        self.tree.write(ZONES[channel][0], "")


def test_the_call_of_older_scripts(machine):
    _, clock = machine
    profiler = PyRaplProfiler(0.1)
    profiler.open(clock)
    seconds, joules, result = profiler.evaluate(lambda n: clock.sleep(n) or "done", 2.0)
    profiler.close()
    assert (seconds, result) == (pytest.approx(2.0), "done")
    assert joules == pytest.approx(2.0 * 340.0, rel=1e-3)
    assert profiler.get_unit() == "J"


def test_a_quick_function_is_not_held_up_by_the_delay(machine):
    """The trap of old: a window lasted a multiple of the delay."""
    profiler = PyRaplProfiler(delay=5.0)
    began = time.perf_counter()
    profiler.open()
    profiler.start()
    time.sleep(0.057)
    window = profiler.stop()
    profiler.close()
    assert 0.057 <= window.duration_s < 1.0
    assert time.perf_counter() - began < 4.5


def test_microjoules_become_joules_of_each_socket(machine):
    _, clock = machine
    with Session([PyRaplProfiler()], clock=clock) as session, session.window() as window:
        clock.sleep(10.0)
    figures = {c.id: c.energy_j for c in window.channels}
    assert figures == pytest.approx({id: watts * 10 for id, (_, watts) in ZONES.items()}, rel=1e-3)
    assert window.energy_j == pytest.approx(3400.0, rel=1e-3)


def test_a_machine_without_memory_counters_has_packages_only(tmp_path, monkeypatch):
    clock = VirtualClock()
    with PowercapTree(tmp_path / "powercap", [Zone("intel-rapl:0", "package-0", 40.0)]) as tree:
        tree.drive(clock)
        for_pyrapl(monkeypatch, tree, sockets=1)
        profiler = PyRaplProfiler()
        profiler.open(clock)
        assert [c.id for c in profiler.channels] == ["cpu:0/package"]
        profiler.close()


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_what_others_set_up_with_pyrapl_stays(machine):
    pyRAPL.setup(devices=[pyRAPL.Device.PKG], socket_ids=[0])
    theirs = pyRAPL._sensor
    PyRaplProfiler().check_available()
    assert pyRAPL._sensor is theirs


def test_no_permission_tells_the_rule_to_add(machine):
    tree, _ = machine
    tree.deny("intel-rapl:0")
    with pytest.raises(PluginUnavailable) as caught:
        PyRaplProfiler().check_available()
    assert "no permission to read" in caught.value.reason
    assert "tmpfiles" in caught.value.hint


def test_a_window_in_which_a_wrap_could_hide_has_no_figure(tmp_path, monkeypatch):
    """262 kJ at 500 W: after 524 s the difference says nothing any more."""
    clock = VirtualClock()
    with PowercapTree.xeon(tmp_path / "powercap") as tree:
        tree.drive(clock, period_s=1.0)
        for_pyrapl(monkeypatch, tree)
        with Session([PyRaplProfiler()], clock=clock) as session, session.window() as window:
            clock.sleep(530.0)
    assert all("may have wrapped unseen" in m.reason for m in window.missing)
    assert window.energy_j is None


def test_importing_it_leaves_logging_alone():
    """pyRAPL warns of libraries that it does not need, which gives the root a handler."""
    code = (
        "import logging\n"
        "from greenai_core import PluginUnavailable\n"
        "from greenai_plugins.profilers.pyrapl_adapter import PyRaplProfiler\n"
        "try:\n    PyRaplProfiler().check_available()\n"
        "except PluginUnavailable:\n    pass\n"
        "assert logging.getLogger().handlers == []\n"
        "assert logging.getLogger().filters == []\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert logging.getLogger().filters == []


@pytest.mark.parametrize("delay", [-1, float("inf"), "soon"])
def test_a_delay_that_is_no_time(delay):
    with pytest.raises(ConfigError, match="delay"):
        PyRaplProfiler(delay)


@pytest.mark.parametrize("slow", ["begin", "end"])
def test_what_pyrapl_takes_to_read_is_in_the_interval(machine, monkeypatch, slow):
    _, clock = machine
    quick = getattr(pyRAPL.Measurement, slow)
    monkeypatch.setattr(
        pyRAPL.Measurement, slow, lambda self: (clock.lapse(0.05), quick(self), clock.lapse(0.05))
    )
    with Session([PyRaplProfiler()], clock=clock) as session, session.window() as window:
        clock.sleep(2.0)
    assert any(term.name == "outside" and term.u > 1.0 for term in window.result.budget)
    truth = 340.0 * 2.0
    assert window.result.repeat_low_j <= truth <= window.result.repeat_high_j
