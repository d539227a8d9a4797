"""Opening and closing a window on a server: four RAPL counters and two GPUs at once."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cases.nvml_window import EnergyOnly
from cases.outcome import Outcome
from cases.rapl_window import CALLS, tree_on_disk
from cases.timing import compare, scaled, windows
from greenai_core import Session
from greenai_core.clock import SYSTEM_CLOCK
from greenai_core.testing.nvml import NvmlSimulator
from greenai_core.testing.nvml_board import SimulatedBoard
from greenai_plugins.profilers.rapl import RaplProfiler

BOUND = 1.5


def measure(scale: float = 1.0) -> tuple[Outcome, ...]:
    """Counters at rest, boards that answer at once: what is left is greenai itself."""
    with machine() as (session, fds, nvml, handles):
        found = compare(bare(fds, nvml, handles), windows(session), scaled(1000, scale), CALLS)
    detail = (
        "simulated powercap tree, 4 files kept open; 2 simulated boards without latency behind "
        f"the real nvidia-ml-py; energy counters only: {found.text}"
    )
    return (Outcome("window on 4 RAPL channels and 2 GPUs", found.ratio, "×", BOUND, detail),)


@contextmanager
def machine() -> Iterator[tuple[Session, list[int], Any, list[Any]]]:
    """The session, and what the bare reads need: open files, NVML, its boards."""
    boards = [SimulatedBoard(), SimulatedBoard()]
    with (
        tree_on_disk() as tree,
        NvmlSimulator(boards) as simulator,
        simulator.installed(),
        contextlib.ExitStack() as stack,
    ):
        import pynvml

        rapl = RaplProfiler(root=tree.root, cpuinfo=tree.cpuinfo)
        ticker = tree.drive(SYSTEM_CLOCK)
        try:
            # Counters at rest would soon be taken for slow ones, which are watched.
            session = stack.enter_context(Session([rapl, EnergyOnly()], watch=False))
        finally:
            ticker.cancel()
        # The comparison of counter and power of the first second is no part of a window.
        session.notes()
        fds = []
        for zone in tree.zones:
            fds.append(os.open(tree.energy_file(zone), os.O_RDONLY))
            stack.callback(os.close, fds[-1])
        yield session, fds, pynvml, [pynvml.nvmlDeviceGetHandleByIndex(n) for n in (0, 1)]


def bare(fds: list[int], nvml: Any, handles: list[Any]) -> Callable[[int], float]:
    """What a window cannot do without: read each counter twice."""
    pread = os.pread

    def run(calls: int) -> float:
        began = time.perf_counter()
        for _ in range(calls):
            for _ in "be":
                for fd in fds:
                    int(pread(fd, 32, 0))
                for handle in handles:
                    nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        return time.perf_counter() - began

    return run
