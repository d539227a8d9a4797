"""What the recording process takes of a core, on four RAPL counters."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from cases.outcome import Outcome
from cases.rapl_window import tree_on_disk
from greenai_core import Recorder
from greenai_core.clock import SYSTEM_CLOCK

RATES_HZ = {10: None, 100: None, 1000: 10.0}
"""Rows a second -> most of a core that they may take, %; None for a figure that is only told."""

SECONDS = 3.0

SLEEPER = """
import time
began, used, tick = time.perf_counter(), time.process_time(), 0
while time.perf_counter() - began < {seconds}:
    tick += 1
    time.sleep(max(began + tick * 1e-3 - time.perf_counter(), 0))
print((time.process_time() - used) / (time.perf_counter() - began))
"""
"""A program that wakes up a thousand times a second and does nothing then."""


def measure(scale: float = 1.0) -> tuple[Outcome, ...]:
    """Processor time while it does nothing but record; the least of three stretches."""
    outcomes = []
    with tree_on_disk() as tree:
        ticker = tree.drive(SYSTEM_CLOCK)
        try:
            for rate, bound in RATES_HZ.items():
                share, missed = _share(tree.root, rate, max(0.3, SECONDS * scale))
                detail = (
                    "of a core, writing rows of 4 simulated RAPL counters, which move every 1 ms, "
                    f"and of the machine's state; {missed:.2%} of the ticks missed"
                )
                outcomes.append(Outcome(f"recording at {rate} Hz", share * 100, "%", bound, detail))
        finally:
            ticker.cancel()
    seconds = max(0.3, SECONDS * scale)
    detail = "of a core, in a program that wakes up 1000 times a second and does nothing else"
    outcomes.append(Outcome("... of which waking up", _waking(seconds) * 100, "%", None, detail))
    return tuple(outcomes)


def _waking(seconds: float) -> float:
    command = [sys.executable, "-c", SLEEPER.format(seconds=seconds)]
    runs = [subprocess.run(command, capture_output=True, check=True) for _ in range(3)]
    return min(float(run.stdout) for run in runs)


def _share(root: Path, rate_hz: int, seconds: float) -> tuple[float, float]:
    recorder = Recorder(
        root.parent / f"{rate_hz}.csv", 1 / rate_hz, ["rapl"], {"rapl": {"root": str(root)}}
    )
    pid = recorder.start().pid
    try:
        shares = [_of_core(pid, seconds) for _ in range(3)]
    finally:
        summary = recorder.stop()
    return min(shares), summary.missed / (summary.rows + summary.missed)


def _of_core(pid: int, seconds: float) -> float:
    began, used = time.perf_counter(), _cpu_s(pid)
    time.sleep(seconds)
    return (_cpu_s(pid) - used) / (time.perf_counter() - began)


def _cpu_s(pid: int) -> float:
    """CPU time of a process, to the nanosecond, where /proc/PID/stat tells 10 ms."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9
