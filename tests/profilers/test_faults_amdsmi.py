"""What happens when an AMD board fails in the middle of a window."""

from __future__ import annotations

import importlib.util

import pytest
from fault_tables import EXACT, Case, Impossible, Table, cases, told

from greenai_core import Session
from greenai_core.testing import AmdSmiSimulator, SimulatedAmdBoard, VirtualClock
from greenai_core.testing.amdsmi import NO_PERMISSION, NOT_FOUND
from greenai_core.testing.c_library import compiler
from greenai_plugins.profilers.amdsmi import AmdSmiProfiler

WATTS = 400.0
IO = 12
NO_HTTP = Impossible("it is a library on this machine")


def gives(status):
    def harm(board, clock):
        board.fault = status

    return harm


def set_to(**values):
    def harm(board, clock):
        for name, value in values.items():
            setattr(board, name, value)

    return harm


TABLE: Table = {
    "EIO": Case(gives(IO), "STATUS_IO"),
    "EACCES": Case(gives(NO_PERMISSION), "render,video"),
    "reset": Case(lambda board, clock: setattr(board, "reset_at", clock.now()), "reset"),
    "wrap": Impossible("64 bits of 15 µJ last for longer than any board"),
    "stuck": Case(set_to(counter="stuck"), "did not move"),
    "constant zero": Case(lambda board, clock: setattr(board, "reset_at", 1e9), "reset"),
    "NaN": Impossible("a count of AMD SMI is an integer"),
    "negative": Impossible("a count of AMD SMI has no sign"),
    "GPU lost": Case(gives(NOT_FOUND), "NOT_FOUND"),
    "slow read": Case(lambda board, clock: clock.lapse(0.3), EXACT),
    "unplugged": Case(gives(NOT_FOUND), "NOT_FOUND"),
    "HTTP 500": NO_HTTP,
    "hang": Impossible("a driver that hangs holds the whole process"),
    "half a JSON": NO_HTTP,
    "frame cut": NO_HTTP,
}


@pytest.mark.skipif(compiler() is None, reason="the simulator needs a C compiler")
@pytest.mark.skipif(importlib.util.find_spec("amdsmi") is None, reason="needs amdsmi")
@pytest.mark.parametrize("case", cases(TABLE))
def test_fault(case):
    clock = VirtualClock(1000.0)
    board = SimulatedAmdBoard(WATTS)
    machine = AmdSmiSimulator([board], clock=clock)
    with machine.installed(), Session([AmdSmiProfiler()], clock=clock) as session:
        with session.window() as window:
            clock.sleep(10.0)
            case.harm(board, clock)
            clock.sleep(10.0)
        told(window.result, "gpu:0000:c1:00.0", case.outcome, WATTS, 0.11)
