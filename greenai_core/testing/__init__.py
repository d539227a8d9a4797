"""For authors of plugins: conformance suites, and simulated hardware with known truth.

Nothing here is imported by greenai itself. The suites need pytest
(the extra ``testing``). A name is imported when it is first used::

    from greenai_core.testing import PowercapTree, SimulatedWork, VirtualClock
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .amdsmi import AmdSmiSimulator as AmdSmiSimulator
    from .amdsmi import SimulatedAmdBoard as SimulatedAmdBoard
    from .bmc import FakeBmc as FakeBmc
    from .capped_gpu import CappedGpu as CappedGpu
    from .capped_gpu import CappedWork as CappedWork
    from .clock import VirtualClock as VirtualClock
    from .controls import SimulatedLimiter as SimulatedLimiter
    from .controls import SimulatedTelemetry as SimulatedTelemetry
    from .exporter_suite import ExporterConformance as ExporterConformance
    from .grader_suite import GraderConformance as GraderConformance
    from .grading_server import GradingServer as GradingServer
    from .hardware import Fails as Fails
    from .hardware import Fault as Fault
    from .hardware import Gives as Gives
    from .hardware import Jumps as Jumps
    from .hardware import Latch as Latch
    from .hardware import Resets as Resets
    from .hardware import SimulatedCounter as SimulatedCounter
    from .hardware import SimulatedGauge as SimulatedGauge
    from .hardware import Slow as Slow
    from .hardware import Sticks as Sticks
    from .hardware import nvml_counter as nvml_counter
    from .hardware import power_gauge as power_gauge
    from .hardware import rapl_counter as rapl_counter
    from .hardware import vanishes as vanishes
    from .limiter_suite import LimiterConformance as LimiterConformance
    from .model_suite import ModelConformance as ModelConformance
    from .nvml import NvmlSimulator as NvmlSimulator
    from .nvml_board import Pulses as Pulses
    from .nvml_board import SimulatedBoard as SimulatedBoard
    from .omegawatt import SimulatedOmegawatt as SimulatedOmegawatt
    from .perf_events import PerfEventSimulator as PerfEventSimulator
    from .power_pmu import PmuMeter as PmuMeter
    from .power_pmu import PowerPmu as PowerPmu
    from .powercap import PowercapTree as PowercapTree
    from .powercap import Zone as Zone
    from .profiler_suite import CounterConformance as CounterConformance
    from .profiler_suite import PowerConformance as PowerConformance
    from .profiler_suite import StreamConformance as StreamConformance
    from .profiler_suite import WindowConformance as WindowConformance
    from .profiles import Bursts as Bursts
    from .profiles import Constant as Constant
    from .profiles import DrivenPower as DrivenPower
    from .profiles import PowerProfile as PowerProfile
    from .profiles import Ramp as Ramp
    from .profiles import Sine as Sine
    from .profiles import SquareWave as SquareWave
    from .profiles import Step as Step
    from .profiles import Sum as Sum
    from .simulated import SimulatedCounterProfiler as SimulatedCounterProfiler
    from .simulated import SimulatedPowerProfiler as SimulatedPowerProfiler
    from .simulated import SimulatedStreamProfiler as SimulatedStreamProfiler
    from .simulated import SimulatedWindowProfiler as SimulatedWindowProfiler
    from .sysfs import Number as Number
    from .sysfs import SysfsTree as SysfsTree
    from .telemetry_suite import TelemetryConformance as TelemetryConformance
    from .wattmeters import FakeWattmeter as FakeWattmeter
    from .work import SimulatedWork as SimulatedWork

_HOMES = {
    "amdsmi": ("AmdSmiSimulator", "SimulatedAmdBoard"),
    "bmc": ("FakeBmc",),
    "capped_gpu": ("CappedGpu", "CappedWork"),
    "clock": ("VirtualClock",),
    "controls": ("SimulatedLimiter", "SimulatedTelemetry"),
    "exporter_suite": ("ExporterConformance",),
    "grader_suite": ("GraderConformance",),
    "grading_server": ("GradingServer",),
    "hardware": (
        "Fails", "Fault", "Gives", "Jumps", "Latch", "Resets", "SimulatedCounter",
        "SimulatedGauge", "Slow", "Sticks", "nvml_counter", "power_gauge", "rapl_counter",
        "vanishes",
    ),
    "limiter_suite": ("LimiterConformance",),
    "model_suite": ("ModelConformance",),
    "nvml": ("NvmlSimulator",),
    "nvml_board": ("Pulses", "SimulatedBoard"),
    "perf_events": ("PerfEventSimulator",),
    "power_pmu": ("PmuMeter", "PowerPmu"),
    "omegawatt": ("SimulatedOmegawatt",),
    "powercap": ("PowercapTree", "Zone"),
    "profiler_suite": (
        "CounterConformance", "PowerConformance", "StreamConformance", "WindowConformance",
    ),
    "profiles": (
        "Bursts", "Constant", "DrivenPower", "PowerProfile", "Ramp", "Sine", "SquareWave",
        "Step", "Sum",
    ),
    "simulated": (
        "SimulatedCounterProfiler", "SimulatedPowerProfiler", "SimulatedStreamProfiler",
        "SimulatedWindowProfiler",
    ),
    "sysfs": ("Number", "SysfsTree"),
    "telemetry_suite": ("TelemetryConformance",),
    "wattmeters": ("FakeWattmeter",),
    "work": ("SimulatedWork",),
}  # fmt: skip
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME)  # noqa: PLE0605  # a list, made of the table above


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
