"""What both fault tables of NVML have in common: a board that fails in the middle of a window."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fault_tables import Case

from greenai_core import Profiler, Session, WindowResult
from greenai_core.testing import VirtualClock
from greenai_core.testing.nvml import NvmlSimulator
from greenai_core.testing.nvml_board import SimulatedBoard

NO_PERMISSION, GPU_NOT_FOUND, UNKNOWN = 4, 28, 999
"""Return values of nvml.h (https://docs.nvidia.com/deploy/nvml-api/)."""

WATTS, WELL_WATTS, SECONDS = 150.0, 100.0, 20.0
GRAIN_S = 0.11

Harm = Callable[[NvmlSimulator, VirtualClock], Any]


def gives(code: int) -> Harm:
    return lambda simulator, clock: simulator.fail(0, code)


def slowed(seconds: float) -> Harm:
    return lambda simulator, clock: simulator.slow_down(0, seconds)


def frozen(simulator: NvmlSimulator, clock: VirtualClock) -> None:
    simulator.freeze(0)


def held_up(simulator: NvmlSimulator, clock: VirtualClock) -> None:
    """The driver answers again after 5 s; one that never does holds whoever asks it."""
    clock.lapse(5.0)


@contextmanager
def session_on(
    profiler: type[Profiler], *boards: SimulatedBoard
) -> Iterator[tuple[Session, VirtualClock, NvmlSimulator]]:
    """A session on simulated boards, on a clock that takes no time."""
    clock = VirtualClock(1000.0)
    with (
        NvmlSimulator(boards or (SimulatedBoard(),), clock=clock) as simulator,
        simulator.installed(),
        Session([profiler()], clock=clock, observe=True) as session,
    ):
        yield session, clock, simulator


def tried(profiler: type[Profiler], case: Case) -> tuple[WindowResult, str]:
    """Try a case on the first of two boards, whose id is told; the second loses nothing by it."""
    boards = SimulatedBoard(watts=WATTS), SimulatedBoard(watts=WELL_WATTS)
    with session_on(profiler, *boards) as (session, clock, simulator):
        with session.window() as window:
            clock.sleep(SECONDS / 2)
            case.harm(simulator, clock)
            clock.sleep(SECONDS / 2)
        result = window.result
        sick, well = (channel.id for channel in session.channels)
    figures = {channel.id: channel.energy_j for channel in result.channels}
    if case.harm is not held_up:
        assert figures[well] == pytest.approx(WELL_WATTS * result.duration_s, rel=0.005)
    assert {one.device for one in result.observations} == {sick, well}
    return result, sick
