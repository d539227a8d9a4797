"""Reading a study: 10,000 cells from the journal of greenai, and from folders of AIPowerMeter.

Each in its own process, so that its memory is known. AIPowerMeter kept no journal: all its samples
have to be parsed, so its figure is for a part of the cells, and is told for each sample.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from .outcome import Outcome

CELLS = 10_000
RUNS = 10
FOREIGN_CELLS = 50
SAMPLES = 1000

MEASURE = """
import resource, sys, time
from greenai_core import summarise
began, busy = time.perf_counter(), time.process_time()
summarise(sys.argv[1])
took, used = time.perf_counter() - began, time.process_time() - busy
print(took, used, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def measure(scale: float) -> list[Outcome]:
    """Seconds and MiB of the summary."""
    cells = max(int(CELLS * scale) // RUNS * RUNS, RUNS)
    foreign = max(int(FOREIGN_CELLS * scale), 1)
    with tempfile.TemporaryDirectory() as folder:
        own, theirs = Path(folder, "own"), Path(folder, "theirs")
        _journal(own, cells)
        _recordings(theirs, foreign)
        seconds, busy, memory = min(_run(own) for _ in range(3 if scale >= 1 else 1))
        _, each, other_memory = _run(theirs)
    samples = foreign * SAMPLES
    return [
        Outcome(
            "summary of a study",
            seconds,
            "s",
            5.0 if scale >= 1 else None,
            f"{cells} cells from cells.jsonl, quickest of 3 processes, import left out; "
            f"{busy:.2f} s of processor time",
        ),
        Outcome("memory of that process", memory, "MiB", 500.0, "all of it, with Python and NumPy"),
        Outcome(
            "the same of AIPowerMeter, each sample",
            1e6 * each / samples,
            "µs",
            None,
            f"processor time; {foreign} recordings of {SAMPLES} samples of a GPU machine, all "
            f"parsed; {other_memory:.0f} MiB",
        ),
    ]


def _run(folder: Path) -> tuple[float, float, float]:
    """Seconds, seconds of processor time, and MiB."""
    found = subprocess.run(
        [sys.executable, "-c", MEASURE, str(folder)], capture_output=True, text=True, check=True
    )
    seconds, busy, memory = map(float, found.stdout.split())
    return seconds, busy, memory


def _journal(folder: Path, cells: int) -> None:
    folder.mkdir()
    figure = [1.0, 0.9, 1.1, 0.99, 1.01, "counter"]
    seen = {"device": "gpu:0", "unit": "%", "looks": 40, "mean": 50.0, "least": 1.0, "most": 99.0}
    with (folder / "cells.jsonl").open("w") as journal:
        for number in range(cells):
            cell = {
                "model": "net",
                "size": number // RUNS + 1,
                "batch_size": 1,
                "run": number % RUNS,
                "state": "done",
                "reason": "",
                "started": "2026-01-01T00:00:00+00:00",
                "ended": "2026-01-01T00:00:40+00:00",
                "folder": f"input_{number // RUNS + 1}/run_{number % RUNS}",
                "device": "cuda:0",
                "inferences": 1000,
                "target_met": True,
                "energy_per_inference_j": figure,
                "energy_per_sample_j": figure,
                "latency_s": figure,
                "power_w": figure,
                "contains": ["cpu:0/package", "cpu:0/dram", "gpu:0"],
                "channels": [
                    ["cpu:0/package", "cpu", True, figure],
                    ["cpu:0/dram", "dram", True, figure],
                    ["gpu:0", "gpu", True, figure],
                ],
                "observations": [
                    {**seen, "quantity": "utilisation"},
                    {**seen, "quantity": "memory_used"},
                ],
                "warnings": [],
            }
            journal.write(json.dumps(cell, separators=(",", ":")) + "\n")


def _recordings(folder: Path, cells: int) -> None:
    lines = []
    for number in range(SAMPLES):
        minutes, seconds = divmod(2 * number, 60)
        date = f"2023-07-27 {minutes // 60:02}:{minutes % 60:02}:{seconds:02}.125"
        by_pid = {"20379": 582656, "20381": 333759488, "20382": 4154213376}
        cpu = {
            "per_process_mem_use_abs": by_pid,
            "per_process_cpu_uses": dict.fromkeys(by_pid, 0.32258732617282004),
            "per_process_mem_use_percent": dict.fromkeys(by_pid, 0.026349884151280804),
            "intel_power": 66.30519902476047,
            "psys_power": -1,
            "total_dram_power": 11.641849004226383,
        }
        gpu = {
            "nvidia_draw_absolute": 88.16,
            "per_gpu_power_draw": {"0": 18.92, "1": 69.24},
            "per_gpu_attributable_mem_use": {"0": {}, "1": {"20382": 1821376512}},
            "per_gpu_absolute_percent_usage": {"0": 0, "1": 0.08},
            "per_gpu_attributable_power": {"1": 69.24, "all": 69.24},
        }
        lines.append(json.dumps({"date": date, "metrics": {"cpu": cpu, "gpu": gpu}}))
    for number in range(cells):
        run = folder / f"input_{number // RUNS + 1}" / f"run_{number % RUNS}"
        run.mkdir(parents=True)
        (run / "power_metrics.json").write_text("\n".join([*lines, ""]))
        (run / "latency.csv").write_text("0.01\n" * SAMPLES)
