"""What happens when a powercap counter fails in the middle of a window."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager

import pytest
from fault_tables import EXACT, Case, Impossible, Table, cases, told

from greenai_core import PluginUnavailable, Session
from greenai_core.testing import PowercapTree, VirtualClock, Zone
from greenai_core.testing.powercap import COUNTS, INTEL_STEP_UJ
from greenai_plugins.profilers import rapl
from greenai_plugins.profilers.rapl import RaplProfiler

WATTS, SECONDS = 150.0, 20.0
SICK, ZONE = "cpu:0/package", "intel-rapl:0"
WRAPS_UJ = COUNTS * INTEL_STEP_UJ - WATTS * 15.0 * 1e6
"""Where a counter stands that wraps inside the window."""


class Machine:
    """Two sockets, and a kernel whose reads can fail or take long."""

    def __init__(self, folder, monkeypatch, start_uj):
        self.clock = VirtualClock()
        self.errno = 0
        self.read_s = self.once_s = 0.0
        zones = [
            Zone("intel-rapl:0", "package-0", WATTS, start_uj=start_uj),
            Zone("intel-rapl:1", "package-1", WATTS),
        ]
        self.tree = PowercapTree(folder / "powercap", zones)
        self.tree.drive(self.clock)
        self.file = self.tree.energy_file(ZONE).stat().st_ino
        monkeypatch.setattr(rapl, "pread", self.pread)

    def pread(self, fd, size, offset):
        if os.fstat(fd).st_ino == self.file:
            wait_s, self.once_s = self.once_s + self.read_s, 0.0
            if wait_s:
                self.clock.lapse(wait_s)
                self.tree.update(self.clock.now())
            if self.errno:
                raise OSError(self.errno, os.strerror(self.errno))
        return os.pread(fd, size, offset)


@contextmanager
def session_on(folder, monkeypatch, start_uj=34_567_890_000):
    machine = Machine(folder, monkeypatch, start_uj)
    profiler = RaplProfiler(root=machine.tree.root, cpuinfo=machine.tree.cpuinfo)
    with machine.tree, Session([profiler], clock=machine.clock) as session:
        yield machine, session


def kernel(**faults):
    return lambda machine: [setattr(machine, name, value) for name, value in faults.items()]


def content(text):
    return lambda machine: machine.tree.write(ZONE, text)


def unplug(machine):
    """What reads of a zone that is gone end in: the file is no more, the descriptor is."""
    machine.errno = errno.ENODEV
    machine.tree.remove(ZONE)


NO_GPU = Impossible("it measures no GPU")
NO_NETWORK = Impossible("it reads files, no network")

TABLE: Table = {
    "EIO": Case(kernel(errno=errno.EIO), "Input/output error"),
    "EACCES": Case(
        lambda machine: machine.tree.energy_file(ZONE).chmod(0),
        EXACT,
        "exact: asked for when opened, and then the remedy is told",
    ),
    "reset": Case(lambda machine: machine.tree.reset(ZONE, machine.clock.now()), "reset"),
    "wrap": Case(lambda machine: None, EXACT),
    "stuck": Case(lambda machine: machine.tree.stick(ZONE), "did not move"),
    "constant zero": Case(content("0\n"), "reset"),
    "NaN": Case(content("nan\n"), "instead of a number"),
    "negative": Case(content("-7\n"), "cannot be true"),
    "GPU lost": NO_GPU,
    "slow read": Case(kernel(read_s=0.05), EXACT, "exact, with a wider interval"),
    "unplugged": Case(unplug, "CPUs of its package were unplugged"),
    "HTTP 500": NO_NETWORK,
    "hang": Case(kernel(once_s=6.0), EXACT),
    "half a JSON": NO_NETWORK,
    "frame cut": Case(content("26214\n"), "reset"),
}


@pytest.mark.parametrize("case", cases(TABLE))
def test_fault(case, tmp_path, monkeypatch):
    start = [WRAPS_UJ] if case is TABLE["wrap"] else []
    with session_on(tmp_path, monkeypatch, *start) as (machine, session):
        clock = machine.clock
        with session.window() as window:
            clock.sleep(SECONDS / 2)
            case.harm(machine)
            clock.sleep(SECONDS / 2)
        told(window.result, SICK, case.outcome, WATTS, 0.05 if "wider" in case.summary else 2e-3)
        well = {c.id: c.energy_j for c in window.channels}
        assert well["cpu:1/package"] == pytest.approx(
            WATTS * window.duration_s, abs=WATTS * (0.1 if case.outcome == EXACT else 2e-3)
        )


@pytest.mark.parametrize(
    "harm",
    [
        lambda machine: machine.tree.write(ZONE, ""),
        lambda machine: machine.tree.write(ZONE, "4e3\n"),
        lambda machine: machine.tree.write(ZONE, "12 34\n"),
    ],
    ids=["empty", "exponent", "two numbers"],
)
def test_a_file_without_a_count(harm, tmp_path, monkeypatch):
    with session_on(tmp_path, monkeypatch) as (machine, session):
        with session.window() as window:
            machine.clock.sleep(SECONDS)
            harm(machine)
        told(window.result, SICK, "instead of a number", WATTS, 2e-3)


def test_a_process_that_was_stopped_or_a_machine_that_slept(tmp_path, monkeypatch):
    with session_on(tmp_path, monkeypatch) as (machine, session):
        with session.window() as window:
            machine.clock.sleep(SECONDS)
            machine.clock.lapse(3.0)
            machine.clock.sleep(SECONDS)
        told(window.result, SICK, EXACT, WATTS, 2e-3)
        with session.window() as window:
            machine.clock.suspend(9.0)
            machine.clock.sleep(SECONDS)
        told(window.result, SICK, r"suspended for 9.0 s", WATTS, 2e-3)


def test_a_failure_that_heals_takes_only_the_windows_that_end_in_it(tmp_path, monkeypatch):
    """The counter counts on meanwhile: what no read at an end failed for is known."""
    with session_on(tmp_path, monkeypatch) as (machine, session):
        with session.window() as outer:
            machine.clock.sleep(5.0)
            machine.errno = errno.EIO
            with session.window() as inner:
                machine.clock.sleep(5.0)
            machine.errno = 0
            machine.clock.sleep(5.0)
        told(inner.result, SICK, "could not be read", WATTS, 2e-3)
        told(outer.result, SICK, EXACT, WATTS, 2e-3)


def test_cpus_that_come_back_are_measured_again(tmp_path, monkeypatch):
    """The zone comes back as a new file; the counter may have begun anew."""
    with session_on(tmp_path, monkeypatch) as (machine, session):
        clock, tree = machine.clock, machine.tree
        with session.window() as without:
            clock.sleep(5.0)
            machine.errno = errno.ENODEV
            hidden = tree.root / "intel-rapl:0"
            target = hidden.readlink()
            hidden.unlink()
            clock.sleep(5.0)
        told(without.result, SICK, "unplugged", WATTS, 2e-3)
        hidden.symlink_to(target)
        machine.errno = 0
        tree.reset(ZONE, clock.now())
        clock.sleep(1.0)
        with session.window() as again:
            clock.sleep(SECONDS)
        told(again.result, SICK, EXACT, WATTS, 2e-3)


def test_a_place_taken_by_another_zone_is_not_read(tmp_path, monkeypatch):
    """After an unplugging the kernel may number the zones otherwise."""
    with session_on(tmp_path, monkeypatch) as (machine, session):
        with session.window() as window:
            machine.clock.sleep(5.0)
            machine.errno = errno.ENODEV
            (machine.tree.root / ZONE / "name").write_text("package-1\n")
            machine.clock.sleep(5.0)
        told(window.result, SICK, "its place is taken", WATTS, 2e-3)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda tree: tree.deny("intel-rapl:0"), "no permission"),
        (lambda tree: tree.fail("intel-rapl:0"), "cannot read"),
        (lambda tree: [tree.write(zone, "0\n") for zone in tree.zones], "constant 0"),
        (lambda tree: [tree.stick(zone) for zone in tree.zones], "do not move"),
    ],
    ids=["EACCES", "EIO", "constant zero", "stuck"],
)
def test_what_does_not_work_is_refused_when_opened(harm, reason, tmp_path):
    clock = VirtualClock()
    with PowercapTree.xeon(tmp_path / "powercap") as tree:
        tree.drive(clock)
        harm(tree)
        profiler = RaplProfiler(root=tree.root, cpuinfo=tree.cpuinfo)
        with pytest.raises(PluginUnavailable, match=reason):
            profiler.open(clock)
        assert not profiler.is_open
