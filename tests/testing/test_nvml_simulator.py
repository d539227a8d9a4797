"""The simulated NVML, seen through the real nvidia-ml-py."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from greenai_core import PluginUnavailable
from greenai_core.testing import VirtualClock
from greenai_core.testing import nvml as simulation
from greenai_core.testing.c_library import compiler
from greenai_core.testing.nvml import NvmlSimulator
from greenai_core.testing.nvml_board import Pulses, SimulatedBoard

pynvml = pytest.importorskip("pynvml")
pytestmark = pytest.mark.skipif(
    compiler() is None, reason="the NVML simulator needs a C compiler: sudo apt install gcc"
)


@contextmanager
def running(*boards: SimulatedBoard, **options) -> Iterator[tuple[NvmlSimulator, VirtualClock]]:
    clock = VirtualClock(start_s=1000.0)
    with NvmlSimulator(boards, clock=clock, **options) as simulator, simulator.installed():
        pynvml.nvmlInit()
        yield simulator, clock


def handle(index: int = 0):
    return pynvml.nvmlDeviceGetHandleByIndex(index)


def instant_power_mw(device) -> int:
    value = pynvml.nvmlDeviceGetFieldValues(
        device, [(pynvml.NVML_FI_DEV_POWER_INSTANT, pynvml.NVML_POWER_SCOPE_GPU)]
    )[0]
    assert value.nvmlReturn == pynvml.NVML_SUCCESS
    assert value.valueType == pynvml.NVML_VALUE_TYPE_UNSIGNED_INT
    return value.value.uiVal


def test_identity_of_boards():
    boards = SimulatedBoard(), SimulatedBoard(uuid="GPU-abc", name="Other board", architecture=4)
    with running(*boards, driver_version="555.1") as (simulator, _):
        assert pynvml.nvmlDeviceGetCount() == 2
        assert pynvml.nvmlSystemGetDriverVersion() == "555.1"
        assert pynvml.nvmlDeviceGetUUID(handle(0)) == simulator.uuid(0)
        assert pynvml.nvmlDeviceGetUUID(handle(1)) == "GPU-abc"
        assert pynvml.nvmlDeviceGetName(handle(1)) == "Other board"
        assert pynvml.nvmlDeviceGetArchitecture(handle(1)) == pynvml.NVML_DEVICE_ARCH_PASCAL
        by_uuid = pynvml.nvmlDeviceGetHandleByUUID("GPU-abc")
        assert pynvml.nvmlDeviceGetName(by_uuid) == "Other board"
        assert pynvml.nvmlDeviceGetPciInfo(by_uuid).busId == "00000000:02:00.0"
        with pytest.raises(pynvml.NVMLError_NotFound):
            pynvml.nvmlDeviceGetHandleByUUID("GPU-ab")
        with pytest.raises(pynvml.NVMLError_InvalidArgument):
            handle(2)


def test_counter_holds_the_energy_of_the_last_update():
    """Between updates it stands still; at an update it is the integral up to there."""
    board = SimulatedBoard(watts=100.0, pulses=Pulses(200.0, 0.03, 0.25), start_j=5.0)
    with running(board) as (simulator, clock):
        for step in range(40):
            clock.advance(0.0131)
            if step == 20:
                simulator.set_power(0, 333.0)
            updates = (clock.now() - simulator.origin) // board.update_period_s
            latched = simulator.origin + updates * board.update_period_s
            truth = 5000 + 1000 * simulator.energy(0, simulator.origin, latched)
            shown = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle())
            assert shown == pytest.approx(truth, abs=1.5)


def test_truth_is_the_integral_of_power():
    """Energy told as truth agrees with summing the power that is shown."""
    with running(SimulatedBoard(watts=100.0, pulses=Pulses(50.0, 0.4, 0.3))) as (simulator, clock):
        simulator.set_power(0, 200.0, at=clock.now() + 0.35)
        start, summed, step = clock.now(), 0.0, 0.001
        for _ in range(1000):
            summed += instant_power_mw(handle()) / 1000 * step
            clock.advance(step)
        assert simulator.energy(0, start, clock.now()) == pytest.approx(summed, rel=0.002)


def test_usage_is_the_mean_of_a_second():
    with running(SimulatedBoard(watts=100.0)) as (simulator, clock):
        simulator.set_power(0, 300.0)
        clock.advance(0.25)
        assert instant_power_mw(handle()) == 300_000
        assert pynvml.nvmlDeviceGetPowerUsage(handle()) == pytest.approx(150_000, abs=2)


def test_gain_is_shown_but_not_true():
    with running(SimulatedBoard(watts=100.0, gain=1.1, start_j=0.0)) as (simulator, clock):
        assert instant_power_mw(handle()) == pytest.approx(110_000, abs=1)
        assert simulator.energy(0, clock.now() - 1, clock.now()) == pytest.approx(100.0)


def test_a_lost_board_answers_nothing_and_others_do():
    with running(SimulatedBoard(), SimulatedBoard()) as (simulator, clock):
        device = handle(0)
        simulator.lose(0, at=clock.now() + 1.0)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(device)
        clock.advance(1.0)
        with pytest.raises(pynvml.NVMLError_GpuIsLost):
            pynvml.nvmlDeviceGetTotalEnergyConsumption(device)
        assert pynvml.nvmlDeviceGetTotalEnergyConsumption(handle(1)) > 0


def test_faults_are_those_asked_for():
    board = SimulatedBoard(
        energy_counter=False,
        instant_power=False,
        power_usage="",
        faults={"nvmlDeviceGetTemperature": pynvml.NVML_ERROR_UNKNOWN},
    )
    with running(board):
        with pytest.raises(pynvml.NVMLError_NotSupported):
            pynvml.nvmlDeviceGetTotalEnergyConsumption(handle())
        with pytest.raises(pynvml.NVMLError_NotSupported):
            pynvml.nvmlDeviceGetPowerUsage(handle())
        with pytest.raises(pynvml.NVMLError_Unknown):
            pynvml.nvmlDeviceGetTemperature(handle(), pynvml.NVML_TEMPERATURE_GPU)
        value = pynvml.nvmlDeviceGetFieldValues(handle(), [pynvml.NVML_FI_DEV_POWER_INSTANT])[0]
        assert value.nvmlReturn == pynvml.NVML_ERROR_NOT_SUPPORTED


def test_a_slow_board_takes_its_time():
    with running(SimulatedBoard(latency_s=0.02)) as (_, clock):
        began = clock.now()
        handle()
        assert clock.now() - began == pytest.approx(0.02)
    board = SimulatedBoard(latency_s=0.02)
    with NvmlSimulator([board]) as simulator, simulator.installed():  # on the system's clock
        pynvml.nvmlInit()
        began = time.perf_counter()
        handle()
        assert time.perf_counter() - began >= 0.02


def test_a_board_fails_stands_still_and_begins_again_when_told():
    with running(SimulatedBoard(watts=100.0, start_j=50.0)) as (simulator, clock):
        device = handle()
        read = pynvml.nvmlDeviceGetTotalEnergyConsumption
        simulator.fail(0, pynvml.NVML_ERROR_UNKNOWN)
        with pytest.raises(pynvml.NVMLError_Unknown):
            read(device)
        simulator.fail(0, 0)
        simulator.reset(0)
        clock.advance(2.05)
        assert read(device) == pytest.approx(200_000, abs=11_000), "from 0, not from 50 J"
        simulator.freeze(0)
        before = read(device)
        clock.advance(5.0)
        assert read(device) == before
        simulator.zero(0)
        assert read(device) == 0
        assert pynvml.nvmlDeviceGetPowerUsage(device) == 0


def test_a_module_has_its_own_power_and_a_board_by_itself_has_none():
    boards = SimulatedBoard(watts=300.0, module_w=150.0), SimulatedBoard(watts=300.0)
    with running(*boards) as (simulator, clock):
        shown = [
            pynvml.nvmlDeviceGetFieldValues(handle(index), [(186, 0), (186, 1)]) for index in (0, 1)
        ]
        counted = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle(0))
        clock.advance(10.0)
        counted = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle(0)) - counted
        assert counted / 1000 == pytest.approx(simulator.module_energy(0, 1000.0, 1010.0))
    assert [value.value.uiVal for value in shown[0]] == [300_000, 450_000]
    assert shown[1][1].nvmlReturn == pynvml.NVML_ERROR_NOT_SUPPORTED


def test_processes_have_the_layout_that_pynvml_reads():
    with running(SimulatedBoard(process_shares={4711: 60, 4712: 30})) as (_, clock):
        samples = pynvml.nvmlDeviceGetProcessUtilization(handle(), 0)
        assert {sample.pid: sample.smUtil for sample in samples} == {4711: 60, 4712: 30}
        assert {sample.timeStamp for sample in samples} == {int(clock.now()) * 1_000_000}
        with pytest.raises(pynvml.NVMLError_NotFound):
            pynvml.nvmlDeviceGetProcessUtilization(handle(), samples[0].timeStamp)


def test_telemetry_has_the_layout_that_pynvml_reads():
    board = SimulatedBoard(
        utilisation=87, memory_total=10**11, memory_used=5 * 10**10, temperature=66,
        clock_mhz=1755, throttling=4, process=4242,
    )  # fmt: skip
    with running(board):
        device = handle()
        assert pynvml.nvmlDeviceGetUtilizationRates(device).gpu == 87
        assert pynvml.nvmlDeviceGetMemoryInfo(device).used == 5 * 10**10
        assert pynvml.nvmlDeviceGetMemoryInfo(device, pynvml.nvmlMemory_v2).free == 5 * 10**10
        assert pynvml.nvmlDeviceGetTemperature(device, pynvml.NVML_TEMPERATURE_GPU) == 66
        assert pynvml.nvmlDeviceGetTemperatureV(device, pynvml.NVML_TEMPERATURE_GPU) == 66
        assert pynvml.nvmlDeviceGetClockInfo(device, pynvml.NVML_CLOCK_SM) == 1755
        assert pynvml.nvmlDeviceGetCurrentClocksEventReasons(device) == 4
        processes = pynvml.nvmlDeviceGetComputeRunningProcesses(device)
        assert [(p.pid, p.usedGpuMemory) for p in processes] == [(4242, 5 * 10**10)]


def test_mig_instances_belong_to_their_board():
    with running(SimulatedBoard(mig_instances=("MIG-a", "MIG-b")), SimulatedBoard()) as (sim, _):
        assert pynvml.nvmlDeviceGetMigMode(handle(0)) == [1, 1]
        assert pynvml.nvmlDeviceGetMigMode(handle(1)) == [0, 0]
        mig = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle(0), 1)
        assert pynvml.nvmlDeviceGetUUID(mig) == "MIG-b"
        parent = pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(mig)
        assert pynvml.nvmlDeviceGetUUID(parent) == sim.uuid(0)
        with pytest.raises(pynvml.NVMLError_NotSupported):
            pynvml.nvmlDeviceGetTotalEnergyConsumption(mig)


def test_initialising_is_counted_and_needed():
    with running(SimulatedBoard()) as (simulator, _):
        pynvml.nvmlInit()
        assert simulator.initialised == 2
        pynvml.nvmlShutdown()
        assert pynvml.nvmlDeviceGetCount() == 1
        pynvml.nvmlShutdown()
        assert simulator.initialised == 0
        with pytest.raises(pynvml.NVMLError_Uninitialized):
            pynvml.nvmlDeviceGetCount()


def test_afterwards_nothing_of_it_is_left():
    """Whoever looks for a driver in this process later finds what was there before."""

    def driver_is_there() -> bool:
        try:
            ctypes.CDLL(simulation.LIBRARY)
        except OSError:
            return False
        return True

    before = driver_is_there(), dict(os.environ)
    with running(SimulatedBoard()):
        pass
    with running(SimulatedBoard(), SimulatedBoard()):
        assert pynvml.nvmlDeviceGetCount() == 2
    assert (driver_is_there(), dict(os.environ)) == before


SUBPROCESS = """
import json, sys, time, pynvml
pynvml.nvmlInit()
board = pynvml.nvmlDeviceGetHandleByIndex(0)
pynvml.nvmlDeviceSetPowerManagementLimit(board, 350_000)
count = pynvml.nvmlDeviceGetTotalEnergyConsumption(board)
json.dump([time.perf_counter(), count, pynvml.nvmlDeviceGetUUID(board)], sys.stdout)
"""


def test_a_subprocess_sees_the_same_boards():
    """Same counter on the same clock, and a limit set there is in force here."""
    board = SimulatedBoard(watts=200.0, start_j=0.0, update_period_s=0.001)
    with NvmlSimulator([board]) as simulator:
        done = subprocess.run(
            [sys.executable, "-c", SUBPROCESS],
            env=simulator.environment(), capture_output=True, text=True, check=True,
        )  # fmt: skip
        instant, count, uuid = json.loads(done.stdout)
        assert uuid == simulator.uuid(0)
        truth = simulator.energy(0, simulator.origin, instant)
        assert count / 1000 == pytest.approx(truth, abs=200 * 0.1)
        assert simulator.limit_w(0) == 350.0


def test_a_subprocess_cannot_share_a_virtual_clock():
    with running(SimulatedBoard()) as (simulator, _), pytest.raises(RuntimeError, match="clock"):
        simulator.environment()


def test_without_a_compiler_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    simulation.build_library.cache_clear()
    try:
        with pytest.raises(PluginUnavailable, match=r"C compiler.*apt install gcc"):
            NvmlSimulator().__enter__()
    finally:
        simulation.build_library.cache_clear()
