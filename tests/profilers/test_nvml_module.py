"""Grace-Hopper and its like: a board that shares its module with a CPU, counted once.

The scopes are those of nvml.h (NVML_POWER_SCOPE_GPU, NVML_POWER_SCOPE_MODULE;
https://docs.nvidia.com/deploy/nvml-api/). That the energy counter of GH200 is the
module's was found by Zeus (https://github.com/ml-energy/zeus/pull/172).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from greenai_core import Profiler, Session
from greenai_core.testing import Constant, SimulatedCounterProfiler, VirtualClock, rapl_counter
from greenai_core.testing.c_library import compiler
from greenai_core.testing.nvml import NvmlSimulator
from greenai_core.testing.nvml_board import NOT_SUPPORTED, SimulatedBoard
from greenai_plugins.nvml_boards import Board
from greenai_plugins.profilers.nvml import NvmlPowerProfiler, NvmlProfiler
from greenai_plugins.profilers.nvml_power import module_source

pytest.importorskip("pynvml")
pytestmark = pytest.mark.skipif(
    compiler() is None, reason="the NVML simulator needs a C compiler: sudo apt install gcc"
)

GPU_W, REST_W = 300.0, 150.0
GH200 = SimulatedBoard(
    watts=GPU_W, module_w=REST_W, name="NVIDIA GH200 480GB", uuid="GPU-9200-a", pci_device=0x2342
)
GPU, MODULE = "gpu:GPU-9200-a", "psys:module-GPU-9200-a"


@contextmanager
def session_on(
    *profilers: Profiler, board: SimulatedBoard = GH200
) -> Iterator[tuple[Session, VirtualClock, NvmlSimulator]]:
    clock = VirtualClock(start_s=1000.0)
    with (
        NvmlSimulator([board], clock=clock) as simulator,
        simulator.installed(),
        Session(profilers, clock=clock) as session,
    ):
        yield session, clock, simulator


def window_of(session: Session, clock: VirtualClock):
    clock.sleep(1.0)
    with session.window() as window:
        clock.sleep(10.0)
    return window.result


def joules(result) -> dict[str, float]:
    return {channel.id: channel.energy_j for channel in result.channels}


def test_power_tells_the_board_and_the_module_apart() -> None:
    with session_on(NvmlPowerProfiler()) as (session, clock, simulator):
        result = window_of(session, clock)
        inside = {channel.id: channel.contained_in for channel in session.channels}
    assert inside == {GPU: MODULE, MODULE: None}
    end = 1011.0
    truth = simulator.energy(0, end - 10, end), simulator.module_energy(0, end - 10, end)
    assert truth == pytest.approx((3000.0, 4500.0))
    assert joules(result) == pytest.approx({GPU: truth[0], MODULE: truth[1]}, rel=0.01)
    assert result.contains == (GPU,), "the module contains the board: never both"
    assert result.energy_j == pytest.approx(3000.0, rel=0.01)


def test_the_counter_is_that_of_the_module() -> None:
    """Taken for the board's it would count the CPU as GPU, and twice beside a CPU's own sensor."""
    with session_on(NvmlProfiler()) as (session, clock, _):
        result = window_of(session, clock)
        (channel,) = session.channels
        assert session.notes() == ()
    assert (channel.id, channel.component) == (MODULE, "psys")
    assert "contains the GPU" in channel.description
    assert joules(result) == pytest.approx({MODULE: 4500.0}, rel=0.02)
    assert result.contains == (MODULE,), "no part is measured, so the whole is the total"


def test_together_with_a_cpu_nothing_is_counted_twice() -> None:
    cpu = SimulatedCounterProfiler(counters=[rapl_counter(Constant(100.0))])
    with session_on(NvmlProfiler(), NvmlPowerProfiler(), cpu) as (session, clock, _):
        result = window_of(session, clock)
    by_id = {channel.id: channel for channel in result.channels}
    assert by_id[MODULE].profiler == "nvml", "the counter goes before sampled power"
    assert by_id[GPU].profiler == "nvml-power"
    assert not by_id[MODULE].in_total
    assert result.energy_j == pytest.approx(3000.0 + 1000.0, rel=0.01)


def test_a_counter_that_is_not_the_module_s_is_told() -> None:
    """A driver that counts only the GPU: the counter and the module's power differ grossly."""
    board = SimulatedBoard(watts=GPU_W, module_w=REST_W, counts_module=False, uuid="GPU-9200-a")
    with session_on(NvmlProfiler(), board=board) as (session, clock, _):
        result = window_of(session, clock)
        (note,) = session.notes()
        assert re.match(r"the module of GPU 0 .* counter shows 0\.6[67] ± 0\.01 times", note), note
    (channel,) = result.channels
    assert channel.low_j < 3000.0 < 4500.0 < channel.high_j


@pytest.mark.parametrize("profiler", [NvmlProfiler, NvmlPowerProfiler])
def test_a_board_by_itself_has_no_module(profiler: type[Profiler]) -> None:
    """Whether its driver refuses the scope, or tells the board's own power there too."""
    for alone in (SimulatedBoard(), SimulatedBoard(module_is_board=True)):
        with session_on(profiler(), board=alone) as (session, _, simulator):
            assert [channel.id for channel in session.channels] == [f"gpu:{simulator.uuid(0)}"]
            assert session.channels[0].contained_in is None


@pytest.mark.parametrize("before_w", [250, 350])
def test_a_new_value_between_two_scopes_makes_no_module(before_w: int) -> None:
    """Taken for one, the board would be left out of every total."""
    answers = [before_w, *[300] * 100]

    def answer(handle: object, fields: list[object]) -> list[SimpleNamespace]:
        values = [SimpleNamespace(uiVal=1000 * answers.pop(0)) for _ in fields]
        return [SimpleNamespace(nvmlReturn=0, value=value) for value in values]

    nvml = SimpleNamespace(NVML_SUCCESS=0, NVMLError=OSError, nvmlDeviceGetFieldValues=answer)
    assert module_source(nvml, Board(0, "GPU-1", "NVIDIA H100", None)) is None


def test_a_module_that_tells_only_its_mean_power_is_sampled_as_such() -> None:
    board = SimulatedBoard(
        watts=GPU_W, module_w=REST_W, uuid="GPU-9200-a", faults={"field:186:1": NOT_SUPPORTED}
    )
    with session_on(NvmlPowerProfiler(), board=board) as (session, clock, _):
        result = window_of(session, clock)
        module = session.channels[1]
    assert module.update_period_s == 1.0
    assert "averaged over 1 s" in module.description
    assert joules(result)[MODULE] == pytest.approx(4500.0, rel=0.01)


@pytest.mark.parametrize("profiler", [NvmlProfiler, NvmlPowerProfiler])
def test_a_lost_board_takes_its_module_along(profiler: type[Profiler]) -> None:
    with session_on(profiler()) as (session, clock, simulator), session.window() as window:
        clock.sleep(5.0)
        simulator.lose(0)
        clock.sleep(5.0)
    assert window.channels == ()
    assert all("GPU is lost" in missing.reason for missing in window.missing)
    assert window.energy_j is None


def test_telemetry_is_told_once_for_both_channels() -> None:
    with session_on(NvmlPowerProfiler()) as (session, _, _):
        seen = [(one.device, one.quantity) for one in session.observe()]
    assert len(set(seen)) == len(seen)
    assert {device for device, _ in seen} == {GPU}
