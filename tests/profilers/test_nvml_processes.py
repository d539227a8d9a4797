"""What each process uses of a board, by NVML's own account."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from greenai_core import LifecycleError, ProcessUtilisation, ReadingError
from greenai_core.testing import VirtualClock
from greenai_core.testing.c_library import compiler
from greenai_core.testing.nvml import NvmlSimulator
from greenai_core.testing.nvml_board import SimulatedBoard
from greenai_plugins.profilers.nvml import NvmlPowerProfiler, NvmlProfiler

pynvml = pytest.importorskip("pynvml")
pytestmark = pytest.mark.skipif(
    compiler() is None, reason="the NVML simulator needs a C compiler: sudo apt install gcc"
)

SHARES = {4711: 60, 4712: 30}


@contextmanager
def opened(
    *boards: SimulatedBoard, kind: type = NvmlProfiler
) -> Iterator[tuple[ProcessUtilisation, NvmlSimulator, VirtualClock]]:
    clock = VirtualClock(start_s=1000.0)
    profiler = kind()
    with NvmlSimulator(boards, clock=clock) as simulator, simulator.installed():
        profiler.open(clock)
        try:
            yield profiler, simulator, clock
        finally:
            profiler.close()


@pytest.mark.parametrize("kind", [NvmlProfiler, NvmlPowerProfiler])
def test_shares_are_those_of_each_board(kind: type) -> None:
    boards = SimulatedBoard(process_shares=SHARES), SimulatedBoard(process_shares={4711: 100})
    with opened(*boards, SimulatedBoard(), kind=kind) as (profiler, simulator, _):
        ids = [f"gpu:{simulator.uuid(index)}" for index in range(3)]
        assert profiler.processes() == {
            ids[0]: {4711: 0.6, 4712: 0.3},
            ids[1]: {4711: 1.0},
            ids[2]: {},
        }


def test_only_what_is_new_is_told() -> None:
    with opened(SimulatedBoard(process_shares=SHARES)) as (profiler, _, clock):
        assert [*profiler.processes().values()] == [{4711: 0.6, 4712: 0.3}]
        assert [*profiler.processes().values()] == [{}], "nothing has been sampled since"
        clock.sleep(2.0)
        assert [*profiler.processes().values()] == [{4711: 0.6, 4712: 0.3}]


def test_entries_that_cannot_be_true_are_left_out() -> None:
    """Drivers leave entries without a process, and of more than 100 %, in their buffer."""
    shares = {0: 50, 7: 4_000_000_000, 8: 40}
    with opened(SimulatedBoard(process_shares=shares)) as (profiler, _, _):
        assert [*profiler.processes().values()] == [{8: 0.4}]


def test_a_board_that_does_not_tell_is_left_out_and_all_of_them_an_error() -> None:
    mig = SimulatedBoard(mig_instances=("MIG-1",), process_shares=SHARES)
    with opened(mig, SimulatedBoard(process_shares=SHARES)) as (profiler, simulator, _):
        assert [*profiler.processes()] == [f"gpu:{simulator.uuid(1)}"]
        simulator.lose(1)
        with pytest.raises(ReadingError, match=r"GPU 0 .*with MIG .*GPU 1 .*lost.*dmesg"):
            profiler.processes()


def test_it_needs_an_open_profiler() -> None:
    with pytest.raises(LifecycleError):
        NvmlProfiler().processes()
