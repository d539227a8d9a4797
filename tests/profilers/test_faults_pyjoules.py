"""What pyJoules' figures become when something goes wrong in the middle of a window."""

from __future__ import annotations

import pytest
from fault_tables import EXACT, Case, Impossible, Table, cases, told
from library_machines import Boards, for_pyjoules

from greenai_core import Session
from greenai_core.testing import PowercapTree, VirtualClock, Zone
from greenai_plugins.profilers.pyjoules_adapter import PyJoulesProfiler

pytest.importorskip("pyJoules")
pynvml = pytest.importorskip("pynvml")

# pyJoules never closes the files that it reads.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

CPU, GPU = "cpu:0/package", "gpu:GPU-0000"
ZONE = "intel-rapl:0"
EARLY = ("stuck",)
"""Seen when a whole window is so: of one that stops half way pyJoules tells the first half."""


class Machine:
    """One socket at 60 W shortly before its counter wraps, memory at 5 W, a GPU at 90 W."""

    def __init__(self, folder, patch):
        self.clock = VirtualClock()
        top = 2**32 * 61.035
        zones = [
            Zone(ZONE, "package-0", 60.0, start_uj=top - 900e6),
            Zone("intel-rapl:0:0", "dram", 5.0),
        ]
        self.tree = PowercapTree(folder, zones)
        self.tree.drive(self.clock)
        for_pyjoules(patch, self.tree)
        self.boards = Boards(self.clock, 90.0)
        self.boards.install(patch)
        self.profiler = PyJoulesProfiler()

    def wait_for_the_wrap(self):
        self.clock.sleep(10.0)

    def lose_the_gpu(self):
        self.boards.broken[0] = pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)

    def slow(self):
        device = self.profiler._sources[0].device
        read = device.get_energy

        def slowly():
            self.clock.lapse(0.2)
            return read()

        device.get_energy = slowly


TABLE: Table = {
    "EIO": Case(lambda m: m.tree.fail(ZONE), "could not read"),
    "EACCES": Case(lambda m: m.tree.deny(ZONE), "could not read .*PermissionError"),
    "reset": Case(lambda m: m.tree.reset(ZONE, m.clock.now()), "wrapped or was reset"),
    "wrap": Case(Machine.wait_for_the_wrap, "wrapped or was reset"),
    "stuck": Case(
        lambda m: m.tree.stick(ZONE), "did not move", "missing; not seen from mid-window on"
    ),
    "constant zero": Case(lambda m: m.tree.write(ZONE, "0\n"), "wrapped or was reset"),
    "NaN": Case(lambda m: m.tree.write(ZONE, "nan\n"), "cannot be true"),
    "negative": Case(lambda m: m.tree.write(ZONE, "-7\n"), "wrapped or was reset"),
    "GPU lost": Case(Machine.lose_the_gpu, "could not read gpu:GPU-0000 .*lost"),
    "slow read": Case(Machine.slow, EXACT, "exact; wider"),
    "unplugged": Case(lambda m: m.tree.remove(ZONE), "could not read"),
    "HTTP 500": Impossible("no network"),
    "hang": Impossible("reads of sysfs and NVML return"),
    "half a JSON": Impossible("a file of one number"),
    "frame cut": Case(lambda m: m.tree.write(ZONE, "2621"), "wrapped or was reset"),
}


@pytest.mark.parametrize("case", cases(TABLE))
def test_a_fault(case, tmp_path, request, monkeypatch):
    machine = Machine(tmp_path / "powercap", monkeypatch)
    clock, fault = machine.clock, request.node.callspec.id
    sick, watts = (GPU, 90.0) if fault == "GPU lost" else (CPU, 60.0)
    with Session([machine.profiler], clock=clock) as session:
        if fault in EARLY:
            case.harm(machine)
        with session.window() as window:
            clock.sleep(5.0)
            if fault not in EARLY:
                case.harm(machine)
            clock.sleep(5.0)
        told(window.result, sick, case.outcome, watts, 0.21)
        if fault != "unplugged":  # which takes the memory's counter with the package's
            assert "cpu:0/dram" in {c.id for c in window.channels}
