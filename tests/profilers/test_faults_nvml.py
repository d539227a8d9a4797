"""What happens when an NVIDIA board fails in the middle of a window of its energy counter."""

from __future__ import annotations

import pytest
from fault_tables import EXACT, Case, Impossible, Table, cases, told
from nvml_faults import (
    GPU_NOT_FOUND,
    GRAIN_S,
    NO_PERMISSION,
    UNKNOWN,
    WATTS,
    frozen,
    gives,
    held_up,
    session_on,
    slowed,
    tried,
)

from greenai_core import PluginUnavailable, ReadingError
from greenai_core.testing import VirtualClock
from greenai_core.testing.c_library import compiler
from greenai_core.testing.nvml import NvmlSimulator
from greenai_core.testing.nvml_board import SimulatedBoard
from greenai_plugins.profilers.nvml import NvmlProfiler

pytest.importorskip("pynvml")
pytestmark = pytest.mark.skipif(
    compiler() is None, reason="the NVML simulator needs a C compiler: sudo apt install gcc"
)

NO_HTTP = Impossible("it is a library on this machine")

TABLE: Table = {
    "EIO": Case(gives(UNKNOWN), "Unknown Error"),
    "EACCES": Case(gives(NO_PERMISSION), "Insufficient Permissions"),
    "reset": Case(lambda simulator, clock: simulator.reset(0), "reset"),
    "wrap": Impossible("64 bits of mJ last for longer than any board"),
    "stuck": Case(frozen, "did not move"),
    "constant zero": Case(lambda simulator, clock: simulator.zero(0), "reset"),
    "NaN": Impossible("a count of NVML is an integer"),
    "negative": Impossible("a count of NVML has no sign"),
    "GPU lost": Case(lambda simulator, clock: simulator.lose(0), "GPU is lost.*dmesg"),
    "slow read": Case(slowed(0.05), EXACT),
    "unplugged": Case(gives(GPU_NOT_FOUND), "GPU"),
    "HTTP 500": NO_HTTP,
    "hang": Case(held_up, EXACT, "exact, once it answers"),
    "half a JSON": NO_HTTP,
    "frame cut": NO_HTTP,
}


@pytest.mark.parametrize("case", cases(TABLE))
def test_fault(case: Case) -> None:
    result, sick = tried(NvmlProfiler, case)
    told(result, sick, case.outcome, WATTS, GRAIN_S)


def test_a_machine_that_was_suspended_knows_no_energy_of_it() -> None:
    with session_on(NvmlProfiler) as (session, clock, _), session.window() as window:
        clock.sleep(1.0)
        clock.suspend(9.0)
        clock.sleep(1.0)
    assert "suspended for 9" in window.missing[0].reason


def test_boards_none_of_which_answers_do_not_open() -> None:
    clock = VirtualClock(1000.0)
    with NvmlSimulator(clock=clock) as simulator, simulator.installed():
        simulator.lose(0)
        profiler = NvmlProfiler()
        with pytest.raises((PluginUnavailable, ReadingError), match="GPU is lost"):
            profiler.open(clock)
        assert not profiler.is_open
        assert simulator.initialised == 0


def test_a_board_that_heals_is_exact_again_outside_of_the_failure() -> None:
    """Calls fail for a while: the window with that inside, and the one after it, are whole."""
    with session_on(NvmlProfiler, SimulatedBoard(watts=WATTS)) as (session, clock, simulator):
        with session.window() as outer:
            clock.sleep(5.0)
            simulator.fail(0, UNKNOWN)
            clock.sleep(2.0)
            simulator.fail(0, 0)
            clock.sleep(5.0)
        with session.window() as after:
            clock.sleep(5.0)
        for window in (outer, after):
            told(window.result, session.channels[0].id, EXACT, WATTS, GRAIN_S)
