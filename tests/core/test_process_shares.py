"""The processes of a session: simulated ones, boards that they share, and real ones."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

import greenai_core.process_shares as module
from greenai_core import ProcessShares, ProcessUtilisation, ReadingError, Session, of_tree
from greenai_core.process_results import IDLE
from greenai_core.results import EnergySplit, ProcessShare
from greenai_core.testing import (
    Constant,
    SimulatedCounterProfiler,
    SimulatedPowerProfiler,
    VirtualClock,
    power_gauge,
    rapl_counter,
)

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
OWN = 100


def by_pid(found: EnergySplit) -> dict[int | None, ProcessShare]:
    return {share.pid: share for share in found.shares}


# Through a session


class Machine:
    """A simulated ``/proc`` whose processes are busy on a virtual clock."""

    def __init__(self, root: Path, clock: VirtualClock, cpus: int = 4) -> None:
        self.root, self.clock, self.cpus = root, clock, cpus
        self.processes: dict[int, tuple[str, int]] = {}
        self.spent: dict[int, float] = {}
        self.load: dict[int, float] = {}
        self.last = clock.now()
        root.mkdir()
        self.start(OWN, "python", 1)

    def start(self, pid: int, name: str, parent: int = OWN, load: float = 0.0) -> None:
        self.processes[pid], self.spent[pid], self.load[pid] = (name, parent), 0.0, load

    def write(self) -> None:
        passed, self.last = self.clock.now() - self.last, self.clock.now()
        for pid, (name, parent) in self.processes.items():
            self.spent[pid] += self.load[pid] * passed
            folder = self.root / str(pid)
            folder.mkdir(exist_ok=True)
            ticks = round(self.spent[pid] / TICK_S)
            rest = f"S {parent} 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 1 0 {pid} 0 0"
            (folder / "stat").write_text(f"{pid} ({name}) {rest}\n")
            (folder / "cmdline").write_bytes(f"{name}\0--secret\0".encode())
        busy = round(sum(self.spent.values()) / TICK_S)
        idle = round(self.cpus * self.last / TICK_S) - busy
        (self.root / "stat").write_text(f"cpu {busy} 0 0 {idle} 0 0 0 0 0 0\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Written anew whenever somebody looks."""
    found = Machine(tmp_path / "proc", VirtualClock(100.0))
    really = module.look

    def look(root: Path) -> object:
        found.write()
        return really(root)

    monkeypatch.setattr(module, "look", look)
    return found


def sensors() -> list[SimulatedCounterProfiler]:
    counters = [
        rapl_counter(Constant(60.0), "cpu:0/package"),
        rapl_counter(Constant(40.0), "cpu:1/package"),
        rapl_counter(Constant(10.0), "cpu:0/dram", "dram"),
    ]
    return [SimulatedCounterProfiler(counters=counters)]


def test_a_session_is_split_by_cpu_time(machine: Machine) -> None:
    with Session(sensors(), clock=machine.clock) as session:
        machine.start(201, "worker", load=1.5)
        machine.start(300, "other", parent=1, load=0.5)
        with ProcessShares(session, root=machine.root, own_pid=OWN) as shares:
            machine.clock.sleep(20.0)
        result = shares.result
    cpu, dram = result.by_process
    assert cpu.channels == ("cpu:0/package", "cpu:1/package")
    assert cpu.energy_j == pytest.approx(100.0 * 20.0, rel=1e-3)
    assert by_pid(cpu)[201].energy_j == pytest.approx(2000.0 * 1.5 / 4, rel=0.01)
    assert by_pid(cpu)[300].energy_j == pytest.approx(2000.0 * 0.5 / 4, rel=0.01)
    assert dram.energy_j == pytest.approx(200.0, rel=1e-3)
    assert by_pid(cpu)[201].command == "worker --secret"
    assert by_pid(cpu)[300].command == "", "the arguments of others are not ours to keep"
    assert shares.notes == ()


def test_a_program_that_takes_the_place_of_another_is_named(machine: Machine) -> None:
    """``exec`` keeps the number: a shell that becomes the program it was to start."""
    machine.start(201, "sh", load=1.0)
    with Session(sensors(), clock=machine.clock) as session:
        with ProcessShares(session, root=machine.root, own_pid=OWN) as shares:
            machine.clock.sleep(2.0)
            machine.processes[201] = ("solver", OWN)
            machine.clock.sleep(2.0)
        share = by_pid(shares.result.by_process[0])[201]
    assert (share.name, share.command) == ("solver", "solver --secret")


def test_no_total_contains_a_share(machine: Machine) -> None:
    with Session(sensors(), clock=machine.clock) as session:
        with ProcessShares(session, root=machine.root, own_pid=OWN) as shares:
            machine.clock.sleep(5.0)
        result = shares.result
    assert result.energy_j == pytest.approx(110.0 * 5.0, rel=1e-3)
    assert result.method == "counter"


def test_idle_power_of_a_window_before(machine: Machine) -> None:
    with Session(sensors(), clock=machine.clock) as session:
        with session.window("idle") as idle:
            machine.clock.sleep(10.0)
        machine.start(201, "worker", load=1.0)
        with ProcessShares(session, idle=idle.result, root=machine.root, own_pid=OWN) as shares:
            machine.clock.sleep(20.0)
        cpu = shares.result.by_process[0]
    assert by_pid(cpu)[None].energy_j == pytest.approx(2000.0, rel=1e-3), "power did not change"
    assert by_pid(cpu)[201].energy_j == pytest.approx(0.0, abs=1.0)


def test_looking_is_bounded_to_a_hundredth_of_a_processor(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine on which one look takes 50 ms is looked at every 5 s."""
    looks = []
    look = module.look
    monkeypatch.setattr(module, "look", lambda root: looks.append(root) or look(root))
    spent = iter(range(10**6))
    monkeypatch.setattr(module.time, "thread_time", lambda: next(spent) * 0.05)
    with (
        Session(sensors(), clock=machine.clock) as session,
        ProcessShares(session, root=machine.root, own_pid=OWN),
    ):
        machine.clock.sleep(100.0)
    assert 19 <= len(looks) <= 23


def test_a_system_without_proc_is_told_before_anything_runs(tmp_path: Path) -> None:
    clock = VirtualClock()
    with Session(sensors(), clock=clock) as session:
        shares = ProcessShares(session, root=tmp_path / "nowhere")
        with pytest.raises(ReadingError, match="CPU time of processes"), shares:
            pass


def test_proc_that_goes_away_leaves_the_window_and_says_so(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Session(sensors(), clock=machine.clock) as session:
        with ProcessShares(session, root=machine.root, own_pid=OWN) as shares:
            machine.clock.sleep(3.0)
            monkeypatch.setattr(machine, "write", (machine.root / "stat").unlink)
            machine.clock.sleep(0.5)
        assert shares.result.energy_j is not None
    assert "CPU time of processes cannot be read" in shares.notes[0]


# Accelerators


class Board(SimulatedPowerProfiler, ProcessUtilisation):
    """A board that two processes share."""

    told: Mapping[int, float] | None = None

    def processes(self) -> Mapping[str, Mapping[int, float]]:
        if self.told is None:
            raise ReadingError("no permission")
        return {"gpu:0": self.told}


def board(told: Mapping[int, float] | None) -> Board:
    found = Board(gauges=[power_gauge(Constant(200.0), "gpu:0", "gpu")])
    found.told = told
    return found


def test_a_board_is_split_by_the_time_each_kept_it_busy(machine: Machine) -> None:
    machine.start(201, "train")
    with Session([board({201: 0.6, 4242: 0.15})], clock=machine.clock) as session:
        with ProcessShares(session, root=machine.root, own_pid=OWN) as shares:
            machine.clock.sleep(10.0)
        (gpu,) = shares.result.by_process
    assert gpu.energy_j == pytest.approx(2000.0, rel=1e-3)
    assert by_pid(gpu)[201].energy_j == pytest.approx(0.6 * 2000.0, rel=0.01)
    assert by_pid(gpu)[201].name == "train"
    assert by_pid(gpu)[4242].energy_j == pytest.approx(0.15 * 2000.0, rel=0.01)
    assert "not seen from here" in by_pid(gpu)[4242].name
    assert gpu.shares[-1].kind == IDLE


def test_processes_that_overlap_on_a_board_use_no_more_than_it_did(machine: Machine) -> None:
    with Session([board({OWN: 0.9, 4242: 0.9})], clock=machine.clock) as session:
        with ProcessShares(session, root=machine.root, own_pid=OWN) as shares:
            machine.clock.sleep(10.0)
        (gpu,) = shares.result.by_process
    assert by_pid(gpu)[OWN].energy_j == pytest.approx(gpu.energy_j / 2)
    assert gpu.shares[-1].energy_j == pytest.approx(0.0, abs=1e-6)


def test_a_board_that_does_not_tell_is_not_split(machine: Machine) -> None:
    with Session([board(None)], clock=machine.clock) as session:
        with ProcessShares(session, root=machine.root, own_pid=OWN) as shares:
            machine.clock.sleep(3.0)
        assert shares.result.by_process == ()
        assert any("no permission" in note for note in shares.notes)
        assert any("gpu:0: which process used it is not told" in n for n in shares.notes)


# Real processes

SPIN = """
import sys, time
while time.process_time() < float(sys.argv[1]):
    pass
print(time.process_time(), flush=True)
sys.stdin.read()
print(time.process_time(), flush=True)
"""


def test_two_busy_children_of_known_cpu_time() -> None:
    """CPU time is its own truth, however busy this machine is."""
    with Session(sensors()) as session:
        with ProcessShares(session) as shares:
            children = [
                subprocess.Popen(
                    [sys.executable, "-c", SPIN, str(seconds)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                for seconds in (0.6, 0.3)
            ]
            for child in children:
                assert child.stdout is not None
                child.stdout.readline()
        cpu = shares.result.by_process[0]
        truth = {child.pid: float(child.communicate()[0]) for child in children}
    found = by_pid(cpu)
    for pid, seconds in truth.items():
        assert found[pid].busy_s == pytest.approx(seconds, abs=0.05)
        assert found[pid].in_tree
        assert "-c" in found[pid].command
    first, second = truth
    ratio = found[first].energy_j / found[second].energy_j
    assert ratio == pytest.approx(truth[first] / truth[second], rel=0.15)
    assert math.fsum(s.energy_j for s in cpu.shares) == pytest.approx(cpu.energy_j, rel=1e-12)


def test_children_that_came_and_went_are_found_by_who_waited() -> None:
    """Truth: what the kernel charges this process for the children that it has waited for."""
    with Session(sensors()) as session:
        before, own_before = os.times(), time.process_time()
        with ProcessShares(session) as shares:
            for _ in range(3):
                subprocess.run(
                    [sys.executable, "-c", "import time\nwhile time.process_time() < .15: pass"],
                    check=True,
                )
        after, own_after = os.times(), time.process_time()
        own = of_tree(shares.result.by_process[0])
    assert own is not None
    children = (after[2] + after[3]) - (before[2] + before[3])
    assert children >= 0.45
    assert own.ended_s == pytest.approx(children, abs=0.06)
    assert own.busy_s == pytest.approx(children + own_after - own_before, abs=0.1)
