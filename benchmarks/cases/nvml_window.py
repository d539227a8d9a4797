"""Opening and closing a window on a GPU, beside the bare NVML calls."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from cases.outcome import Outcome
from cases.timing import Comparison, compare, scaled, windows
from greenai_core import Session
from greenai_core.testing.nvml import NvmlSimulator
from greenai_core.testing.nvml_board import SimulatedBoard
from greenai_plugins.profilers.nvml import NvmlProfiler

ANSWER_S = 50e-6
"""Asked of the simulated board for each call; the kernel's timer adds to it, so the
outcome tells what was measured."""


class EnergyOnly(NvmlProfiler):
    """Not watched in the background: the energy counter alone, as in the bare calls."""

    watched = False
    waits_for_edge = False


def measure(scale: float = 1.0) -> tuple[Outcome, ...]:
    """Once with a board that takes a while to answer, once with one that takes no time."""
    usual = _compare(ANSWER_S, scaled(60, scale), 10)
    instant = _compare(0.0, scaled(100, scale), 50)
    detail = "simulated board behind the real nvidia-ml-py, "
    return (
        Outcome(
            "window on a GPU",
            usual.ratio,
            "×",
            1.3,
            f"{detail}asked to answer in {ANSWER_S * 1e6:.0f} µs: {usual.text}",
        ),
        Outcome(
            "... that answers at once",
            instant.ratio,
            "×",
            None,
            f"{detail}without latency, so that greenai itself stands out: {instant.text}",
        ),
    )


def _compare(latency_s: float, batches: int, calls: int) -> Comparison:
    with NvmlSimulator([SimulatedBoard(latency_s=latency_s)]) as simulator, simulator.installed():
        import pynvml

        with Session([EnergyOnly()]) as session:
            session.notes()  # by then the counter was compared with the power
            handle = pynvml.nvmlDeviceGetHandleByIndex(0)
            return compare(_bare(pynvml, handle), windows(session), batches, calls)


def _bare(nvml: Any, handle: Any) -> Callable[[int], float]:
    def run(calls: int) -> float:
        began = time.perf_counter()
        for _ in range(calls):
            nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
            nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        return time.perf_counter() - began

    return run
