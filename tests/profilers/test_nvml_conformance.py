"""The NVML profilers keep the rules of all profilers; and their telemetry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from greenai_core import (
    LifecycleError,
    Profiler,
    ReadingError,
    Telemetry,
)
from greenai_core.testing import VirtualClock
from greenai_core.testing.c_library import compiler
from greenai_core.testing.nvml import NvmlSimulator
from greenai_core.testing.nvml_board import Pulses, SimulatedBoard
from greenai_core.testing.profiler_suite import CounterConformance, PowerConformance
from greenai_core.testing.telemetry_suite import TelemetryConformance
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


def observed(profiler: Telemetry) -> dict[tuple[str, str], float]:
    return {(o.device, o.quantity): o.value for o in profiler.observe()}


@pytest.mark.parametrize("mode", MODES)
def test_what_a_board_does_not_tell_is_absent(mode: type[Profiler]) -> None:
    not_supported = dict.fromkeys(
        (
            "nvmlDeviceGetUtilizationRates",
            "nvmlDeviceGetTemperature",
            "nvmlDeviceGetTemperatureV",
            "nvmlDeviceGetCurrentClocksEventReasons",
            "nvmlDeviceGetCurrentClocksThrottleReasons",
        ),
        pynvml.NVML_ERROR_NOT_SUPPORTED,
    )
    with (
        machine(SimulatedBoard(faults=not_supported)) as (_, clock),
        opened(mode(), clock) as profiler,
    ):
        assert isinstance(profiler, Telemetry)
        assert {quantity for _, quantity in observed(profiler)} == {
            "memory_used", "clock", "memory_clock", "power_limit",
        }  # fmt: skip


def test_older_drivers_are_asked_in_their_own_way() -> None:
    """A driver without the newer calls still tells memory, temperature and throttling."""
    newer = (
        "nvmlDeviceGetMemoryInfo_v2",
        "nvmlDeviceGetTemperatureV",
        "nvmlDeviceGetCurrentClocksEventReasons",
    )
    faults = dict.fromkeys(newer, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
    board = SimulatedBoard(memory_used=77, temperature=55, throttling=0x20, faults=faults)
    with machine(board) as (_, clock), opened(NvmlProfiler(), clock) as profiler:
        seen = {quantity: value for (_, quantity), value in observed(profiler).items()}
    assert (seen["memory_used"], seen["temperature"], seen["throttling"]) == (77, 55, 0x20)


def test_telemetry_of_a_lost_board_is_absent_and_of_all_an_error() -> None:
    with (
        machine(SimulatedBoard(), SimulatedBoard()) as (simulator, clock),
        opened(NvmlProfiler(), clock) as profiler,
    ):
        simulator.lose(0)
        assert {device for device, _ in observed(profiler)} == {f"gpu:{simulator.uuid(1)}"}
        simulator.lose(1)
        with pytest.raises(ReadingError, match=r"GPU 0 .*lost.*GPU 1 .*lost"):
            profiler.observe()


def test_telemetry_needs_an_open_profiler() -> None:
    with pytest.raises(LifecycleError):
        NvmlProfiler().observe()


# The rules of all profilers


class Boards:
    """Simulated boards for the suites, gone after each check."""

    simulator: NvmlSimulator
    clock: VirtualClock
    pulses: Pulses | None = Pulses(80.0, 0.037)

    @pytest.fixture(autouse=True)
    def _close(self) -> Iterator[None]:
        self.stack = ExitStack()
        yield
        self.stack.close()

    def install(self, simulator: NvmlSimulator) -> None:
        self.stack.close()
        self.simulator = self.stack.enter_context(simulator)
        self.stack.enter_context(simulator.installed())

    def make_hardware(self) -> None:
        self.clock = VirtualClock(start_s=1000.0)
        boards = SimulatedBoard(watts=90.0), SimulatedBoard(watts=50.0, pulses=self.pulses)
        self.install(NvmlSimulator(boards, clock=self.clock))

    def without_driver(self) -> None:
        self.clock = VirtualClock(start_s=1000.0)
        self.install(NvmlSimulator(faults={"nvmlInitWithFlags": pynvml.NVML_ERROR_UNKNOWN}))

    def board(self, channel: str) -> int:
        return [f"gpu:{self.simulator.uuid(i)}" for i in (0, 1)].index(channel)

    def true_energy(self, start: float, end: float, channel: str) -> float:
        return self.simulator.energy(self.board(channel), start, end)

    def break_sensor(self, channel: str = "") -> None:
        for index in (0, 1):
            if not channel or self.board(channel) == index:
                self.simulator.lose(index)


class TestNvml(Boards, CounterConformance):
    def make_profiler(self) -> NvmlProfiler:
        return NvmlProfiler()

    def make_absent(self) -> NvmlProfiler:
        self.without_driver()
        return NvmlProfiler()


class TestNvmlPower(Boards, PowerConformance):
    # Samples are taken at random instants: of pulses, 5 % of the intervals are meant to miss.
    pulses = None

    def make_profiler(self) -> NvmlPowerProfiler:
        return NvmlPowerProfiler()

    def make_absent(self) -> NvmlPowerProfiler:
        self.without_driver()
        return NvmlPowerProfiler()


class TestNvmlTelemetry(Boards, TelemetryConformance):
    def make_telemetry(self) -> NvmlProfiler:
        self.make_hardware()
        profiler = NvmlProfiler()
        profiler.open(self.clock)
        self.stack.callback(profiler.close)
        return profiler

    def truth(self) -> dict[tuple[str, str], float]:
        figures = {
            "utilisation": 40.0, "memory_used": 1_073_741_824.0, "temperature": 45.0,
            "clock": 1980.0, "throttling": 0.0, "memory_utilisation": 20.0,
            "memory_clock": 2619.0, "power_limit": 700.0,
        }  # fmt: skip
        return {
            (f"gpu:{self.simulator.uuid(index)}", quantity): value
            for index in (0, 1)
            for quantity, value in figures.items()
        }
