"""NVML that fails, or is shared, and what the profilers make of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from greenai_core import (
    PluginUnavailable,
    Profiler,
)
from greenai_core.testing import VirtualClock
from greenai_core.testing.c_library import compiler
from greenai_core.testing.nvml import NvmlSimulator
from greenai_core.testing.nvml_board import SimulatedBoard
from greenai_plugins.profilers.nvml import NvmlPowerProfiler, NvmlProfiler

pynvml = pytest.importorskip("pynvml")
pytestmark = pytest.mark.skipif(
    compiler() is None, reason="the NVML simulator needs a C compiler: sudo apt install gcc"
)

MODES = [NvmlProfiler, NvmlPowerProfiler]


@contextmanager
def machine(*boards: SimulatedBoard, **options) -> Iterator[tuple[NvmlSimulator, VirtualClock]]:
    """A machine with these boards, on a clock that takes no time."""
    clock = VirtualClock(start_s=1000.0)
    with NvmlSimulator(boards, clock=clock, **options) as simulator, simulator.installed():
        yield simulator, clock


@contextmanager
def opened(profiler: Profiler, clock: VirtualClock) -> Iterator[Profiler]:
    profiler.open(clock)
    try:
        yield profiler
    finally:
        profiler.close()


def boards_of(profiler: Profiler, simulator: NvmlSimulator) -> list[int]:
    """Which of the simulated boards the channels are."""
    ids = [f"gpu:{simulator.uuid(index)}" for index in range(len(simulator.boards))]
    return [ids.index(channel.id) for channel in profiler.channels]


@pytest.mark.parametrize("mode", MODES)
def test_a_board_lost_in_the_middle_is_named_and_others_go_on(mode: type[Profiler]) -> None:
    with (
        machine(SimulatedBoard(), SimulatedBoard(name="Frail"), SimulatedBoard()) as (sim, clock),
        opened(mode(), clock) as profiler,
    ):
        profiler.start()
        clock.advance(1.0)
        sim.lose(1)
        clock.advance(1.0)
        window = profiler.stop()
    assert [m.id for m in window.missing] == [f"gpu:{sim.uuid(1)}"]
    reason = window.missing[0].reason
    assert "GPU 1 (Frail" in reason
    assert "GPU is lost" in reason
    assert "dmesg" in reason
    assert window.energy_j is None
    assert [c.energy_j for c in window.channels] == pytest.approx([200.0, 200.0], rel=0.01)


def test_a_board_that_fails_at_the_beginning_is_missing_not_absent() -> None:
    """It has a counter that does not answer: there is a reason where joules should be."""
    faults = {"nvmlDeviceGetTotalEnergyConsumption": pynvml.NVML_ERROR_UNKNOWN}
    with machine(SimulatedBoard(), SimulatedBoard(faults=faults)) as (simulator, clock):
        with opened(NvmlProfiler(), clock) as profiler:
            profiler.start()
            clock.advance(1.0)
            window = profiler.stop()
            assert [m.id for m in window.missing] == [f"gpu:{simulator.uuid(1)}"]
            assert "Unknown Error" in window.missing[0].reason
        with pytest.raises(PluginUnavailable, match=r"GPU 1 .*Unknown Error"):
            NvmlProfiler(gpus="1").check_available()


def test_power_that_fails_at_an_end_does_not_lose_the_joules() -> None:
    faults = {"field:186": pynvml.NVML_ERROR_UNKNOWN}
    with (
        machine(SimulatedBoard(faults=faults)) as (_, clock),
        opened(NvmlProfiler(), clock) as profiler,
    ):
        begun = profiler.begin()
        clock.advance(1.0)
        assert profiler.end(begun)[0].energy_j == pytest.approx(100.0, rel=0.01)


def test_a_board_that_cannot_be_reached_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with machine(SimulatedBoard(), SimulatedBoard()) as (simulator, clock):
        simulator.lose(0)
        with opened(NvmlProfiler(), clock) as profiler:
            assert boards_of(profiler, simulator) == [1]
    assert "GPU 0 cannot be used: NVML says 'GPU is lost'" in caplog.text


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("error", "reason", "hint"),
    [
        (9, "driver is not loaded", "modprobe nvidia.*--gpus all"),
        (18, "different versions", "reboot"),
        (4, "may not use", "/dev/nvidiactl"),
        (12, "libnvidia-ml.so.1", "Install the NVIDIA driver.*--gpus all"),
        (999, "Unknown Error", "nvidia-smi"),
    ],
)
def test_a_driver_that_does_not_work_has_a_remedy(
    mode: type[Profiler], error: int, reason: str, hint: str
) -> None:
    with machine(SimulatedBoard(), faults={"nvmlInitWithFlags": error}):
        with pytest.raises(PluginUnavailable, match=f"(?s){reason}.*{hint}"):
            mode().check_available()
        with pytest.raises(PluginUnavailable, match=reason):
            mode().open()


@pytest.mark.parametrize("mode", MODES)
def test_a_machine_without_boards_is_unavailable(mode: type[Profiler]) -> None:
    with machine() as (simulator, _), pytest.raises(PluginUnavailable, match="has no board"):
        mode().check_available()
    assert simulator.initialised == 0


NO_DRIVER = """
import ctypes
real = ctypes.CDLL
def missing(name, *args, **kwargs):
    if "nvidia-ml" in str(name):
        raise OSError(f"{name}: cannot open shared object file")
    return real(name, *args, **kwargs)
ctypes.CDLL = missing
from greenai_core import PluginUnavailable
from greenai_plugins.profilers.nvml import NvmlProfiler
try:
    NvmlProfiler().check_available()
except PluginUnavailable as error:
    print(error)
"""


def test_without_the_library_the_remedy_is_the_driver() -> None:
    """A machine without a driver, in a process of its own (it may have one after all)."""
    done = subprocess.run(
        [sys.executable, "-c", NO_DRIVER], capture_output=True, text=True, check=True
    )
    assert "libnvidia-ml.so.1 is not on this machine" in done.stdout
    assert "Install the NVIDIA driver" in done.stdout


def test_importing_imports_no_pynvml() -> None:
    code = "import sys, greenai_plugins.profilers.nvml as m; assert 'pynvml' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)


# NVML is shared


@pytest.mark.parametrize("mode", MODES)
def test_nvml_is_initialised_only_while_open(mode: type[Profiler]) -> None:
    with machine(SimulatedBoard()) as (simulator, clock):
        mode().check_available()
        assert simulator.initialised == 0
        with opened(mode(), clock), opened(mode(), clock) as second:
            assert simulator.initialised == 2
            second.check_available()
            assert simulator.initialised == 2
            begun = second.begin()
            clock.advance(1.0)
            assert second.end(begun)[0].energy_j == pytest.approx(100.0, rel=0.01)
        assert simulator.initialised == 0
