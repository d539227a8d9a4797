"""What happens when an NVIDIA board fails in the middle of a window of its sampled power."""

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

from greenai_core.testing.c_library import compiler
from greenai_core.testing.nvml_board import SimulatedBoard
from greenai_plugins.profilers.nvml import NvmlPowerProfiler

pytest.importorskip("pynvml")
pytestmark = pytest.mark.skipif(
    compiler() is None, reason="the NVML simulator needs a C compiler: sudo apt install gcc"
)

NO_HTTP = Impossible("it is a library on this machine")

TABLE: Table = {
    "EIO": Case(gives(UNKNOWN), "Unknown Error"),
    "EACCES": Case(gives(NO_PERMISSION), "Insufficient Permissions"),
    "reset": Impossible("power is no count that could begin again"),
    "wrap": Impossible("power is no count"),
    "stuck": Case(
        frozen,
        EXACT,
        "not seen: a steady load looks the same",
    ),
    "constant zero": Case(lambda simulator, clock: simulator.zero(0), "gave no power"),
    "NaN": Impossible("a power of NVML is an integer"),
    "negative": Impossible("a power of NVML has no sign"),
    "GPU lost": Case(lambda simulator, clock: simulator.lose(0), "GPU is lost.*dmesg"),
    "slow read": Case(slowed(0.05), EXACT),
    "unplugged": Case(gives(GPU_NOT_FOUND), "GPU"),
    "HTTP 500": NO_HTTP,
    "hang": Case(held_up, "gave no power for 5", "missing, after 5 s"),
    "half a JSON": NO_HTTP,
    "frame cut": NO_HTTP,
}


@pytest.mark.parametrize("case", cases(TABLE))
def test_fault(case: Case) -> None:
    result, sick = tried(NvmlPowerProfiler, case)
    told(result, sick, case.outcome, WATTS, GRAIN_S)


def test_a_board_that_tells_no_power_is_left_out() -> None:
    """0 W is no reading: whatever answers is on."""
    boards = SimulatedBoard(watts=0.0), SimulatedBoard()
    with session_on(NvmlPowerProfiler, *boards) as (session, _, simulator):
        assert [channel.id for channel in session.channels] == [f"gpu:{simulator.uuid(1)}"]


def test_a_machine_that_was_suspended_knows_no_energy_of_it() -> None:
    with session_on(NvmlPowerProfiler) as (session, clock, _), session.window() as window:
        clock.sleep(1.0)
        clock.suspend(9.0)
        clock.sleep(1.0)
    assert "suspended for 9" in window.missing[0].reason
