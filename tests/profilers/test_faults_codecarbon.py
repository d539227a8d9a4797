"""What codecarbon's figures become when something goes wrong in the middle of a window."""

from __future__ import annotations

import pytest
from fault_tables import EXACT, Case, Impossible, Table, cases, told
from library_machines import Boards, for_codecarbon

from greenai_core import Session
from greenai_core.testing import PowercapTree, VirtualClock, Zone
from greenai_plugins.profilers.codecarbon_adapter import CodeCarbonProfiler

pytest.importorskip("codecarbon")
pynvml = pytest.importorskip("pynvml")

CPU, GPU = "cpu:0/package", "gpu:GPU-0000"
ZONE = "intel-rapl:0"
EARLY = ("stuck",)
"""Seen when a whole window is so: of one that stops half way it tells the first half."""


class Machine:
    """One socket at 60 W shortly before its counter wraps, and a GPU at 90 W."""

    def __init__(self, folder, patch):
        self.clock = VirtualClock(1.0)
        top = 2**32 * 61.035
        self.tree = PowercapTree(folder, [Zone(ZONE, "package-0", 60.0, start_uj=top - 960e6)])
        self.tree.drive(self.clock)
        for_codecarbon(patch, self.tree.root, self.clock, 10.0)
        self.boards = Boards(self.clock, 90.0)
        self.boards.install_for_codecarbon(patch)
        self.profiler = CodeCarbonProfiler()

    def wait_for_the_wrap(self):
        self.clock.sleep(10.0)

    def lose_the_gpu(self):
        self.boards.broken[0] = pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)

    def slow(self):
        file = self.profiler._sources[0].device
        delta = file.delta

        def slowly(duration):
            self.clock.lapse(0.2)
            delta(duration)

        file.delta = slowly


TABLE: Table = {
    "EIO": Case(lambda m: m.tree.fail(ZONE), "could not read"),
    "EACCES": Case(lambda m: m.tree.deny(ZONE), "could not read"),
    "reset": Case(lambda m: m.tree.reset(ZONE, m.clock.now()), "wrapped or was reset"),
    "wrap": Case(Machine.wait_for_the_wrap, "wrapped or was reset"),
    "stuck": Case(
        lambda m: m.tree.stick(ZONE), "did not move", "missing; not seen from mid-window on"
    ),
    "constant zero": Case(lambda m: m.tree.write(ZONE, "0\n"), "wrapped or was reset"),
    "NaN": Case(lambda m: m.tree.write(ZONE, "nan\n"), "cannot be true"),
    "negative": Case(lambda m: m.tree.write(ZONE, "-7\n"), "wrapped or was reset"),
    "GPU lost": Case(Machine.lose_the_gpu, "could not read the counter of gpu:GPU-0000"),
    "slow read": Case(Machine.slow, EXACT, "exact; wider"),
    "unplugged": Case(lambda m: m.tree.remove(ZONE), "could not read"),
    "HTTP 500": Impossible("it is kept from the network"),
    "hang": Impossible("reads of sysfs and NVML return"),
    "half a JSON": Impossible("a file of one number"),
    "frame cut": Case(lambda m: m.tree.write(ZONE, "2621"), "wrapped or was reset"),
}


@pytest.mark.parametrize("case", cases(TABLE))
def test_a_fault(case, tmp_path, request, monkeypatch):
    """codecarbon itself tells 0 J, a whole range of the counter, or one sample of power."""
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
        well = {CPU, GPU} - {sick}
        assert {c.id for c in window.channels} >= well
