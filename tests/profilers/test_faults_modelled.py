"""The model × faults: what a window tells in whose middle the fault comes.

CPU time is that of a container, in the files of cgroup v2 (``usage_usec`` in ``cpu.stat``:
https://docs.kernel.org/admin-guide/cgroup-v2.html).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from fault_tables import EXACT, Case, Impossible, Table, cases, told

from greenai_core import Session
from greenai_core.testing import VirtualClock
from greenai_plugins.profilers.host import Machine, busy_seconds
from greenai_plugins.profilers.modelled import IDLE_SHARE, ModelledProfiler

SECONDS = 30.0
CPUS, BUSY, MAX_W = 8.0, 4.0, 100.0
SICK = "model:cpu"


def watts(busy_cpus: float) -> float:
    return MAX_W * (IDLE_SHARE + (1 - IDLE_SHARE) * busy_cpus / CPUS)


class Container:
    """Eight CPUs, four of them busy; its file is written when it is read."""

    def __init__(self, folder: Path, clock: VirtualClock) -> None:
        self.file, self.clock = folder / "cpu.stat", clock
        self.busy, self.spent, self.since = BUSY, 1000.0, clock.now()
        self.errno, self.late_s, self.text = 0, 0.0, ""

    def set(self, busy: float) -> None:
        self.update()
        self.busy = busy

    def update(self) -> None:
        self.spent += self.busy * (self.clock.now() - self.since)
        self.since = self.clock.now()
        text = self.text or f"usage_usec {self.spent * 1e6:.0f}\nuser_usec 1\n"
        if self.file.parent.exists():
            self.file.write_text(text)

    def read(self, machine: Machine) -> float:
        late, self.late_s = self.late_s, 0.0
        self.clock.lapse(late)
        self.update()
        if self.errno:
            raise OSError(self.errno, os.strerror(self.errno), str(self.file))
        return busy_seconds(machine)

    def forget(self) -> None:
        self.update()
        self.spent = 0.0

    def remove(self) -> None:
        self.file.unlink()
        self.file.parent.rmdir()


def holds(text: str) -> Case:
    return Case(lambda at: setattr(at, "text", text), "instead of the CPU time")


def fails(code: int, reason: str) -> Case:
    return Case(lambda at: setattr(at, "errno", code), reason)


NO_NETWORK = Impossible("it reads files, no network")

TABLE: Table = {
    "EIO": fails(errno.EIO, "Input/output error"),
    "EACCES": fails(errno.EACCES, "Permission denied"),
    "reset": Case(Container.forget, "was reset"),
    "wrap": Impossible("the kernel counts CPU time in 64 bits"),
    "stuck": Case(lambda at: at.set(0.0), EXACT, "not seen: an idle machine looks the same"),
    "constant zero": Case(lambda at: setattr(at, "text", "usage_usec 0\n"), "was reset"),
    "NaN": holds("usage_usec nan\n"),
    "negative": Case(lambda at: setattr(at, "text", "usage_usec -7\n"), "was reset"),
    "GPU lost": Impossible("it looks at no GPU; the profiler gpu-model does"),
    "slow read": Case(lambda at: setattr(at, "late_s", 0.05), EXACT),
    "unplugged": Case(Container.remove, "No such file"),
    "HTTP 500": NO_NETWORK,
    "hang": Case(lambda at: setattr(at, "late_s", 6.0), EXACT),
    "half a JSON": NO_NETWORK,
    "frame cut": holds("usage_us"),
}


@contextmanager
def session_on(folder: Path) -> Iterator[tuple[Container, Session]]:
    clock = VirtualClock(100.0)
    group = folder / "cgroup"
    group.mkdir()
    container = Container(group, clock)
    machine = Machine("Any CPU", 16, CPUS, 1, False, 16 * 2**30, cgroup=group)
    profiler = ModelledProfiler(
        tdp_w=MAX_W, machine=lambda: machine, busy=container.read, powercap="/nonexistent"
    )
    with Session([profiler], clock=clock) as session:
        yield container, session


@pytest.mark.parametrize("case", cases(TABLE))
def test_fault(case: Case, tmp_path: Path) -> None:
    with session_on(tmp_path) as (container, session):
        clock = container.clock
        with session.window() as window:
            clock.sleep(SECONDS / 2)
            case.harm(container)
            clock.sleep(SECONDS / 2)
        truth = watts(BUSY) if container.busy else (watts(BUSY) + watts(0.0)) / 2
        told(window.result, SICK, case.outcome, truth, 0.1)
        memory = {c.id: c.energy_j for c in window.channels}["model:dram"]
        assert memory == pytest.approx(16 * 0.3725 * window.duration_s, rel=1e-3)


def test_a_failing_read_heals(tmp_path: Path) -> None:
    """What was failing in between is no hole: CPU time is counted all along."""
    with session_on(tmp_path) as (container, session), session.window() as outer:
        container.clock.sleep(5.0)
        container.errno = errno.EIO
        container.clock.sleep(5.0)
        container.errno = 0
        container.clock.sleep(5.0)
    told(outer.result, SICK, EXACT, watts(BUSY), 0.1)


def test_a_machine_that_slept(tmp_path: Path) -> None:
    with session_on(tmp_path) as (container, session), session.window() as window:
        container.clock.sleep(5.0)
        container.clock.suspend(9.0)
        container.clock.sleep(5.0)
    assert window.energy_j is None
    assert all("suspended for 9.0 s" in m.reason for m in window.missing)


def test_the_kernels_rounding_is_no_reset(tmp_path: Path) -> None:
    with session_on(tmp_path) as (container, session), session.window() as window:
        container.clock.sleep(10.0)
        container.spent -= 0.02
        container.clock.sleep(10.0)
    told(window.result, SICK, EXACT, watts(BUSY), 0.1)


def test_a_limit_of_the_machine_is_one_thing(tmp_path: Path) -> None:
    """The table is of a container; a machine without limits is read through psutil."""
    machine = Machine("Any CPU", 16, CPUS, 1, False, 2**30)
    assert busy_seconds(replace(machine, cgroup=None)) > 0
