"""What background sampling costs, as a share of one core."""

from __future__ import annotations

import time

from cases.outcome import Outcome
from greenai_core import Session
from greenai_core.testing.nvml import NvmlSimulator
from greenai_core.testing.nvml_board import SimulatedBoard
from greenai_plugins.profilers.nvml import NvmlPowerProfiler

RATES_HZ = {10: 0.3, 100: 2.0}
"""Samples a second -> most of a core that they may take, %."""

SECONDS = 5.0


class Sampler(NvmlPowerProfiler):
    """The sampler of NVIDIA boards at a rate of its own."""

    def __init__(self, rate_hz: float) -> None:
        """Sample so many times a second."""
        super().__init__()
        self.sample_period_s = 1 / rate_hz  # type: ignore[misc]  # of this instance alone


def measure(scale: float = 1.0) -> tuple[Outcome, ...]:
    """Processor time of the process while it does nothing else; the least of three runs."""
    outcomes = []
    with NvmlSimulator([SimulatedBoard()]) as simulator, simulator.installed():
        for rate, bound in RATES_HZ.items():
            share = min(_share(rate, max(1.0, SECONDS * scale)) for _ in range(3))
            detail = "of a core, sampling the power of one simulated board without latency"
            outcomes.append(Outcome(f"sampling at {rate} Hz", share * 100, "%", bound, detail))
    return tuple(outcomes)


def _share(rate_hz: float, seconds: float) -> float:
    with Session([Sampler(rate_hz)]):
        began, used = time.perf_counter(), time.process_time()
        time.sleep(seconds)
        return (time.process_time() - used) / (time.perf_counter() - began)
