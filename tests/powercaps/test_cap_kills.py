"""Programs that cap a board and are killed at any instant: the old limit comes back within 2 s."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from greenai_core import PowerCapError, power_cap
from greenai_core.testing.nvml_board import SimulatedBoard

BOARD = SimulatedBoard(low_w=100.0, default_w=400.0, high_w=500.0)
BOARDS = 4
WITHIN_S = 2.0


def capping(board: int) -> int:
    """Fork a program that goes on changing the cap of a board; its PID."""
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        while True:
            with power_cap(board, 250.0):
                time.sleep(0.05 if board == 1 else 5.0)
    finally:
        os._exit(1)


def kill_at_random(simulator, draw: random.Random, kills: int) -> tuple[int, int, float]:
    """Kill so many programs, half of them while they begin, the others later.

    Returns:
        How many were killed under a cap, how many limits did not come back, and the longest
        time until one did, s.
    """
    under_cap = failed = 0
    longest = 0.0
    while kills > 0:
        boards = range(min(BOARDS, kills))
        pids = [capping(board) for board in boards]
        for board in boards:
            begins = time.monotonic()
            while board % 2 and simulator.limit_w(board) != 250.0:
                assert time.monotonic() < begins + 60, "no cap was set within a minute"
                time.sleep(0.001)
            time.sleep(draw.uniform(0.0, 0.5))
            os.kill(pids[board], signal.SIGKILL)
            killed = time.monotonic()
            os.waitpid(pids[board], 0)
            under_cap += simulator.limit_w(board) == 250.0
            while simulator.limit_w(board) != 400.0 and time.monotonic() < killed + 10:
                time.sleep(0.001)
            longest = max(longest, time.monotonic() - killed)
            failed += simulator.limit_w(board) != 400.0
        kills -= len(pids)
    return under_cap, failed, longest


@pytest.mark.parametrize(
    "kills", [16, pytest.param(100, marks=pytest.mark.system)], ids=["sixteen", "a hundred"]
)
def test_killed_at_random_instants_every_limit_is_restored(machine, kills):
    simulator = machine(*[BOARD] * BOARDS)
    under_cap, failed, longest = kill_at_random(simulator, random.Random(8), kills)
    assert failed == 0
    assert longest < WITHIN_S
    assert under_cap >= kills // 8, "nearly all were killed before they had set a cap"


def competing(watts: float, state: str) -> int:
    """Fork a program that caps the first board again and again as soon as it is free; its PID."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.environ["XDG_STATE_HOME"] = state
        while True:
            try:
                with power_cap(0, watts):
                    time.sleep(0.2)
            except PowerCapError:
                time.sleep(0.01)  # the other one has it
    finally:
        os._exit(1)


@pytest.mark.parametrize("users", [1, 2])
def test_two_that_compete_for_a_board_and_are_killed_leave_it_as_it_was(machine, tmp_path, users):
    """Never is the cap of one taken for what the other had found."""
    simulator = machine(BOARD)
    draw = random.Random(users)
    for _ in range(2):
        pids = [competing(w, str(tmp_path / str(n % users))) for n, w in enumerate((250.0, 200.0))]
        begins = time.monotonic()
        while simulator.limit_w(0) == 400.0 and time.monotonic() < begins + 60:
            time.sleep(0.001)
        time.sleep(draw.uniform(0.0, 0.3))
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)
        killed = time.monotonic()
        while simulator.limit_w(0) != 400.0 and time.monotonic() < killed + WITHIN_S:
            time.sleep(0.001)
        with power_cap(0, 300.0):  # the lock is free once nobody restores any more
            assert simulator.limit_w(0) == 300.0
        assert simulator.limit_w(0) == 400.0
