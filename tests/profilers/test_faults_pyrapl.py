"""What pyRAPL's figures become when something goes wrong in the middle of a window."""

from __future__ import annotations

import pytest
from fault_tables import EXACT, Case, Impossible, Table, cases, told
from library_machines import fail_reads, for_pyrapl

from greenai_core import Session
from greenai_core.testing import PowercapTree, VirtualClock, Zone
from greenai_plugins.profilers.pyrapl_adapter import PyRaplProfiler

pyRAPL = pytest.importorskip("pyRAPL")

SICK = "cpu:0/package"
ZONE = "intel-rapl:0"
EARLY = ("stuck",)
"""Seen when a whole window is so: of one that stops half way pyRAPL tells the first half."""


class Machine:
    """One socket at 60 W with its memory at 5 W, shortly before the counter wraps."""

    def __init__(self, folder, patch):
        self.clock = VirtualClock()
        top = 2**32 * 61.035
        zones = [
            Zone(ZONE, "package-0", 60.0, start_uj=top - 900e6),
            Zone("intel-rapl:0:0", "dram", 5.0),
        ]
        self.tree = PowercapTree(folder, zones)
        self.tree.drive(self.clock)
        for_pyrapl(patch, self.tree, sockets=1)
        self.profiler = PyRaplProfiler()

    def wait_for_the_wrap(self):
        self.clock.sleep(10.0)

    def fail(self):
        fail_reads(self.profiler._sources[0].measurement._sensor._device_api[0]._sys_files[0])

    def slow(self):
        measurement = self.profiler._sources[0].measurement
        end = measurement.end
        measurement.end = lambda: (self.clock.lapse(0.2), end())


TABLE: Table = {
    "EIO": Case(Machine.fail, "could not read"),
    "EACCES": Impossible("it holds its files open; without permission it does not open"),
    "reset": Case(lambda m: m.tree.reset(ZONE, m.clock.now()), "wrapped, was reset"),
    "wrap": Case(Machine.wait_for_the_wrap, "wrapped, was reset"),
    "stuck": Case(
        lambda m: m.tree.stick(ZONE), "did not move", "missing; not seen from mid-window on"
    ),
    "constant zero": Case(lambda m: m.tree.write(ZONE, "0\n"), "wrapped, was reset"),
    "NaN": Case(lambda m: m.tree.write(ZONE, "nan\n"), "showed no number"),
    "negative": Case(lambda m: m.tree.write(ZONE, "-7\n"), "showed no number"),
    "GPU lost": Impossible("it sees no GPU"),
    "slow read": Case(Machine.slow, EXACT, "exact; wider"),
    "unplugged": Case(Machine.fail, "could not read"),
    "HTTP 500": Impossible("no network"),
    "hang": Impossible("reads of sysfs return"),
    "half a JSON": Impossible("a file of one number"),
    "frame cut": Case(lambda m: m.tree.write(ZONE, "2621"), "wrapped, was reset"),
}


@pytest.mark.parametrize("case", cases(TABLE))
def test_a_fault(case, tmp_path, request, monkeypatch):
    machine = Machine(tmp_path / "powercap", monkeypatch)
    clock = machine.clock
    early = request.node.callspec.id in EARLY
    with Session([machine.profiler], clock=clock) as session:
        if early:
            case.harm(machine)
        with session.window() as window:
            clock.sleep(5.0)
            if not early:
                case.harm(machine)
            clock.sleep(5.0)
        told(window.result, SICK, case.outcome, 60.0, 0.21)
        assert {c.id for c in window.channels} >= {"cpu:0/dram"}
