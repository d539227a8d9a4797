"""The model of boards × faults: what a window tells in whose middle the fault comes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from fault_tables import EXACT, Case, Impossible, Table, cases, told
from simulated_boards import LIMIT_W, machine, old_board

from greenai_core import Session
from greenai_core.testing.c_library import compiler
from greenai_plugins.profilers.gpu_model import IDLE_SHARE, GpuModelProfiler

pynvml = pytest.importorskip("pynvml")
pytestmark = pytest.mark.skipif(
    compiler() is None, reason="the NVML simulator needs a C compiler: sudo apt install gcc"
)

SECONDS = 60.0
BUSY = 0.4


def watts(utilisation: float) -> float:
    return LIMIT_W * (IDLE_SHARE + (1 - IDLE_SHARE) * utilisation)


def fails(code: int, reason: str) -> Case:
    return Case(lambda at: setattr(at.utilisation, "error", pynvml.NVMLError(code)), reason)


def late(seconds: float, reads: int = 1) -> object:
    return lambda at: at.utilisation.late_s.extend([seconds] * reads)


NO_COUNT = Impossible("a utilisation does not count: nothing in it can start again")
NO_NETWORK = Impossible("NVML is asked over no network")
WHOLE = Impossible("NVML tells whole numbers in one piece")

TABLE: Table = {
    "EIO": fails(pynvml.NVML_ERROR_UNKNOWN, "Unknown Error"),
    "EACCES": fails(pynvml.NVML_ERROR_NO_PERMISSION, "Insufficient Permissions"),
    "reset": NO_COUNT,
    "wrap": NO_COUNT,
    "stuck": Case(lambda at: None, EXACT, "not seen: steady work looks the same"),
    "constant zero": Case(
        lambda at: setattr(at.utilisation, "percent", 0),
        EXACT,
        "not seen: an idle board looks the same",
    ),
    "NaN": WHOLE,
    "negative": Case(lambda at: setattr(at.utilisation, "percent", -1), "cannot be true"),
    "GPU lost": Case(lambda at: at.simulator.lose(0), "GPU is lost.*dmesg"),
    "slow read": Case(late(0.05, 10_000), EXACT),
    "unplugged": fails(pynvml.NVML_ERROR_NOT_FOUND, "Not Found"),
    "HTTP 500": NO_NETWORK,
    "hang": Case(late(20.0), "gave no power for 1"),
    "half a JSON": NO_NETWORK,
    "frame cut": WHOLE,
}


@pytest.mark.parametrize("case", cases(TABLE))
def test_fault(case: Case) -> None:
    with machine(old_board()) as (simulator, clock, utilisation):
        with Session([GpuModelProfiler()], clock=clock) as session:
            clock.sleep(2.0)
            with session.window() as window:
                clock.sleep(SECONDS / 2)
                case.harm(SimpleNamespace(simulator=simulator, utilisation=utilisation))
                clock.sleep(SECONDS / 2)
        idle = utilisation.percent == 0
        truth = (watts(BUSY) + watts(0.0)) / 2 if idle else watts(BUSY)
        told(window.result, f"gpu:{simulator.uuid(0)}", case.outcome, truth, 1.1)


def test_a_utilisation_above_all_is_refused() -> None:
    with machine(old_board()) as (simulator, clock, utilisation):
        with Session([GpuModelProfiler()], clock=clock) as session, session.window() as window:
            clock.sleep(SECONDS / 2)
            utilisation.percent = 255
            clock.sleep(SECONDS / 2)
        told(window.result, f"gpu:{simulator.uuid(0)}", "255 % cannot be true", 0.0, 0.0)
