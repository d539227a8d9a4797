"""CPU time of processes, from simulated ``/proc`` trees whose truth is known."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenai_core import ReadingError
from greenai_core.proc_files import Identity, Look, Times, command_line, look
from greenai_core.process_times import Tally

INIT, OWN = 1, 100


@dataclass
class World:
    """Processes whose CPU time is known to the tick; parents wait for their children."""

    parents: dict[int, int] = field(default_factory=lambda: {INIT: 0, OWN: INIT})
    own: dict[int, int] = field(default_factory=lambda: {INIT: 50, OWN: 70})
    waited: dict[int, int] = field(default_factory=lambda: {INIT: 900, OWN: 30})
    started: dict[int, int] = field(default_factory=lambda: {INIT: 1, OWN: 1000})
    truth: dict[int, int] = field(default_factory=dict)
    """Ticks run by each number since the beginning, ended ones included."""
    now: int = 2000
    busy: int = 5000
    number: int = 200

    def spawn(self, parent: int, pid: int | None = None) -> int:
        self.number += 1
        self.now += 1
        pid = self.number if pid is None else pid
        self.parents[pid], self.started[pid] = parent, self.now
        self.own[pid] = self.waited[pid] = 0
        return pid

    def run(self, pid: int, ticks: int) -> None:
        self.own[pid] += ticks
        self.busy += ticks
        self.now += ticks
        self.truth[pid] = self.truth.get(pid, 0) + ticks

    def end(self, pid: int, waited: bool = True) -> None:
        parent = self.parents.pop(pid)
        spent = self.own.pop(pid) + self.waited.pop(pid)
        if waited:
            self.waited[parent] += spent
        for child, above in self.parents.items():
            if above == pid:
                self.parents[child] = INIT

    def leaf(self, pid: int) -> bool:
        return pid not in self.parents.values()

    def look(self) -> Look:
        processes = {
            Identity(pid, self.started[pid]): Times(
                parent, f"p{pid}", self.own[pid], self.waited[pid]
            )
            for pid, parent in self.parents.items()
        }
        return Look(processes, self.busy, 10 * self.now - self.busy, self.now)


def seconds(tally: Tally, pid: int) -> int:
    return sum(spent.ticks for id, spent in tally.spent.items() if id.pid == pid)


def tree(tally: Tally) -> int:
    return sum(spent.ticks for id, spent in tally.spent.items() if id in tally.tree)


def all_of_it(tally: Tally) -> int:
    return sum(spent.ticks for spent in tally.spent.values())


def tally(world: World, **options: int) -> Tally:
    return Tally(world.look(), OWN, **{"top": OWN, **options})


def test_what_lives_through_is_the_difference() -> None:
    world = World()
    child = world.spawn(OWN)
    world.run(child, 40)
    found = tally(world)
    world.run(child, 25)
    world.run(INIT, 5)
    found.add(world.look())
    assert (seconds(found, child), seconds(found, INIT), seconds(found, OWN)) == (25, 5, 0)
    assert (found.busy, tree(found)) == (30, 25)


def test_a_child_that_came_and_went_is_its_parents() -> None:
    world = World()
    found = tally(world)
    for _ in range(50):
        child = world.spawn(OWN)
        world.run(child, 3)
        world.end(child)
    found.add(world.look())
    assert seconds(found, OWN) == 150
    (own,) = [spent for id, spent in found.spent.items() if id.pid == OWN]
    assert (own.own, own.ended) == (0, 150)


def test_the_last_moments_of_a_child_are_its_own() -> None:
    world = World()
    child = world.spawn(OWN)
    world.run(child, 10)
    found = tally(world)
    world.run(child, 20)
    found.add(world.look())
    world.run(child, 7)
    world.end(child)
    found.add(world.look())
    assert (seconds(found, child), seconds(found, OWN)) == (27, 0), "10 were before the beginning"


def test_a_command_that_nobody_saw_has_its_row() -> None:
    world = World()
    found = tally(world)
    child = world.spawn(OWN)
    found.follow(child, "quick")
    grandchild = world.spawn(child)
    world.run(grandchild, 12)
    world.end(grandchild)
    world.run(child, 4)
    world.end(child)
    world.run(OWN, 2)
    found.add(world.look())
    assert (tree(found), seconds(found, OWN)) == (16, 2)
    (name,) = [spent.name for id, spent in found.spent.items() if id.pid == child]
    assert name == "quick"


def test_a_daemon_stays_in_the_tree_that_started_it() -> None:
    world = World()
    found = tally(world)
    child = world.spawn(OWN)
    found.follow(child, "start")
    daemon = world.spawn(child)
    found.add(world.look())
    world.end(child)
    world.run(daemon, 33)
    found.add(world.look())
    assert tree(found) == 33
    assert seconds(found, OWN) == 0, "this process is not what was asked about"


def test_a_number_that_is_given_away_again_is_another_process() -> None:
    world = World()
    child = world.spawn(OWN)
    world.run(child, 500)
    found = tally(world)
    world.end(child)
    world.spawn(INIT, pid=child)
    world.run(child, 6)
    found.add(world.look())
    assert seconds(found, child) == 6
    assert tree(found) == 0


def test_a_process_that_was_only_hidden_brings_no_past_along() -> None:
    world = World()
    old = world.spawn(INIT)
    world.run(old, 10_000)
    first = world.look()
    shown = {id: times for id, times in first.processes.items() if id.pid != old}
    found = Tally(Look(shown, first.busy, first.idle, first.uptime), OWN, OWN)
    world.run(old, 4)
    found.add(world.look())
    world.run(old, 5)
    found.add(world.look())
    assert seconds(found, old) == 5


def test_children_that_nobody_waits_for_cost_others_nothing() -> None:
    """SIGCHLD ignored: the kernel drops their time; what others spent stays theirs."""
    world = World()
    lost = world.spawn(OWN)
    world.run(lost, 30)
    found = tally(world)
    world.run(lost, 8)
    found.add(world.look())
    world.run(OWN, 9)
    world.end(lost, waited=False)
    found.add(world.look())
    assert (seconds(found, lost), seconds(found, OWN)) == (8, 9)


@pytest.mark.parametrize("early", ["parent", "child"])
def test_a_child_that_ends_in_the_middle_of_a_look_counts_once(early: str) -> None:
    world = World()
    child = world.spawn(OWN)
    world.run(child, 40)
    found = tally(world)
    world.run(child, 10)
    before = world.look()
    world.end(child)
    after = world.look()
    own = next(id for id in after.processes if id.pid == OWN)
    sick = next(id for id in before.processes if id.pid == child)
    if early == "parent":  # read before the child had ended, and the child after
        torn = {id: times for id, times in before.processes.items() if id != sick}
    else:
        torn = {**after.processes, sick: before.processes[sick]}
        assert torn[own].waited > before.processes[own].waited
    found.add(Look(torn, after.busy, after.idle, after.uptime))
    found.add(after)
    assert all_of_it(found) == 10


EVENTS = st.lists(
    st.tuples(st.sampled_from(["spawn", "run", "end", "look"]), st.integers(0, 30)), max_size=60
)


@given(EVENTS)
@settings(max_examples=200, deadline=None)
def test_every_tick_is_somebodys(events: list[tuple[str, int]]) -> None:
    """Whatever comes and goes between looks: all of it is found, and nothing twice."""
    world = World()
    top = world.spawn(OWN)
    family = {top}
    found = tally(world)
    found.follow(top, "top")
    for event, number in events:
        pids = sorted(world.parents)
        pid = pids[number % len(pids)]
        if event == "spawn":
            child = world.spawn(pid)
            family |= {child} if pid in family else set()
        elif event == "run":
            world.run(pid, number)
        elif event == "end" and world.leaf(pid) and pid not in (INIT, OWN, top):
            world.end(pid)
        elif event == "look":
            found.add(world.look())
    found.add(world.look())
    assert all_of_it(found) == sum(world.truth.values()) == found.busy
    assert tree(found) == sum(ticks for pid, ticks in world.truth.items() if pid in family)


# The files. Fields of proc(5): https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html,
# https://man7.org/linux/man-pages/man5/proc_stat.5.html


def write_process(root: Path, pid: int, name: str, parent: int, times: str, started: int) -> None:
    folder = root / str(pid)
    folder.mkdir()
    stat = f"{pid} ({name}) S {parent} 1 1 0 -1 4194560 1 2 3 4 {times} 20 0 1 0 {started} 1000 2\n"
    (folder / "stat").write_text(stat)
    (folder / "cmdline").write_bytes(f"/bin/{name}\0--size\0{3}\0".encode())


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    root = tmp_path / "proc"
    root.mkdir()
    (root / "stat").write_text("cpu  100 20 30 4000 500 6 7 80 0 0\ncpu0 1 2 3\nintr 5\n")
    (root / "uptime").write_text("123.45 400.00\n")
    write_process(root, 7, "tmux: (server) x", 1, "11 4 300 20", 999)
    write_process(root, 8, "b", 7, "1 2 3 4", 1500)
    (root / "self").mkdir()
    return root


def test_fields_are_those_of_the_kernel(proc: Path) -> None:
    """A name may hold blanks and brackets; steal is neither busy nor idle."""
    seen = look(proc)
    assert seen.processes == {
        Identity(7, 999): Times(1, "tmux: (server) x", 15, 320),
        Identity(8, 1500): Times(7, "b", 3, 7),
    }
    assert (seen.busy, seen.idle) == (163, 4500)
    assert seen.uptime == round(123.45 * os.sysconf("SC_CLK_TCK"))
    assert command_line(8, proc) == "/bin/b --size 3"


@pytest.mark.parametrize("left", ["nothing", "an empty file", "half a line", "nonsense"])
def test_a_process_that_vanishes_is_left_out(proc: Path, left: str) -> None:
    file = proc / "8" / "stat"
    file.unlink()
    if left != "nothing":
        lines = {"half a line": "8 (b) S 7 1 1", "nonsense": "8 (b) " + "x " * 30}
        file.write_text(lines.get(left, ""))
    seen = look(proc)
    assert {id.pid for id in seen.processes} == {7}
    assert seen.hidden == 0


def test_processes_that_may_not_be_read_are_counted(
    proc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``hidepid=1`` shows their folders only; root reads them all the same, so it is feigned."""
    really = os.open

    def guarded(path: str, *rest: int) -> int:
        if "/8/" in str(path):
            raise PermissionError(1, "Operation not permitted")
        return really(path, *rest)

    monkeypatch.setattr(os, "open", guarded)
    seen = look(proc)
    assert (len(seen.processes), seen.hidden) == (1, 1)
    assert command_line(8, proc) == ""


@pytest.mark.parametrize("harm", ["no /proc", "no stat", "another stat", "nonsense"])
def test_a_system_that_does_not_tell_is_named(proc: Path, harm: str) -> None:
    if harm == "no /proc":
        shutil.rmtree(proc)
    elif harm == "no stat":
        (proc / "stat").unlink()
    else:
        (proc / "stat").write_text("gpu 1 2\n" if harm == "another stat" else "cpu" + " x" * 10)
    with pytest.raises(ReadingError, match=r"CPU time of processes.*mount /proc"):
        look(proc)


def test_this_machine() -> None:
    seen = look()
    (own,) = [times for id, times in seen.processes.items() if id.pid == os.getpid()]
    assert own.parent == os.getppid()
    assert seen.busy > 0


def test_a_machine_whose_own_figures_step_back_by_a_tick_takes_no_time_away() -> None:
    """The kernel sums them over CPUs while they run; per CPU idle time is known to step back."""
    looks = [Look({}, busy, idle) for busy, idle in ((100, 50), (99, 49), (103, 52))]
    tally = Tally(looks[0], OWN, OWN)
    for one in looks[1:]:
        tally.add(one)
    assert (tally.busy, tally.idle) == (4, 3)
