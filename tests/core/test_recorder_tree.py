"""CPU time and memory of a process and of all that it has started, on a ``/proc`` of files."""

from __future__ import annotations

import os

import pytest

from greenai_core import ConfigError
from greenai_core.recording_tree import ProcessTree

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def proc(tmp_path):
    """``proc({pid: (parent, own, reaped, started)}) -> the folder``, with these processes only."""

    def write(processes):
        for entry in tmp_path.iterdir():
            for file in (entry / "task" / entry.name / "children", entry / "stat"):
                file.unlink()
            (entry / "task" / entry.name).rmdir()
            (entry / "task").rmdir()
            entry.rmdir()
        for pid, (parent, own, reaped, started) in processes.items():
            task = tmp_path / str(pid) / "task" / str(pid)
            task.mkdir(parents=True)
            children = [child for child, (above, *_) in processes.items() if above == pid]
            (task / "children").write_text(" ".join(map(str, children)))
            fields = ["0"] * 50
            fields[0], fields[1] = "S", str(parent)
            fields[11], fields[13], fields[19], fields[21] = map(str, (own, reaped, started, 10))
            name = "(a) b"  # programs may call themselves so
            (tmp_path / str(pid) / "stat").write_text(f"{pid} ({name}) {' '.join(fields)}")
        return tmp_path

    return write


def ticks(tree):
    return round(tree.use().cpu_s / TICK_S)


def test_a_child_that_was_waited_for_is_counted_once(proc):
    tree = ProcessTree(10, proc({10: (1, 5, 0, 100), 11: (10, 30, 0, 110)}))
    assert tree.use() == (pytest.approx(35 * TICK_S), 20 * PAGE, 2)
    proc({10: (1, 6, 33, 100)})
    assert tree.use() == (pytest.approx(39 * TICK_S), 10 * PAGE, 1)


def test_a_child_that_nobody_waits_for_hides_nothing_of_the_others(proc):
    """Its parent ended before it, so init waited for it; the time of the others goes on."""
    tree = ProcessTree(10, proc({10: (1, 5, 0, 100), 11: (10, 1, 0, 110), 12: (11, 70, 0, 120)}))
    assert ticks(tree) == 76
    proc({10: (1, 7, 1, 100), 12: (1, 90, 0, 120)})
    assert ticks(tree) == 98
    proc({10: (1, 8, 1, 100)})
    assert ticks(tree) == 99
    proc({10: (1, 28, 1, 100)})
    assert ticks(tree) == 119


def test_a_child_that_came_and_went_between_two_looks_is_counted(proc):
    tree = ProcessTree(10, proc({10: (1, 5, 0, 100)}))
    assert ticks(tree) == 5
    proc({10: (1, 5, 40, 100)})
    assert ticks(tree) == 45


def test_another_process_with_the_number_of_an_ended_one_is_not_counted(proc):
    tree = ProcessTree(10, proc({10: (1, 5, 0, 100), 11: (10, 3, 0, 110)}))
    assert ticks(tree) == 8
    proc({10: (1, 5, 3, 100), 11: (1, 500, 0, 900)})
    assert ticks(tree) == 8
    proc({10: (1, 500, 0, 900)})
    assert ticks(tree) == 8
    assert not tree.alive


def test_there_must_be_a_process_to_follow(proc):
    with pytest.raises(ConfigError, match="no process 10"):
        ProcessTree(10, proc({}))
