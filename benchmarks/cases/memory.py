"""Memory that importing and opening a session adds."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from cases.outcome import Outcome
from cases.timing import scaled
from greenai_core.clock import SYSTEM_CLOCK
from greenai_core.testing import PowercapTree

SCRIPT = """
import json, sys

def resident():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:")) / 1024

steps = [resident()]
from greenai_core import Session
steps.append(resident())
with Session("rapl", options={"rapl": {"root": sys.argv[1]}}) as session:
    with session.window("first"):
        pass
    steps.append(resident())
print(json.dumps(steps))
"""


def measure(scale: float = 1.0) -> tuple[Outcome, ...]:
    """Resident memory of a fresh process, before and after; the least of a few runs."""
    with (
        tempfile.TemporaryDirectory() as folder,
        PowercapTree.xeon(Path(folder) / "powercap") as tree,
    ):
        ticker = tree.drive(SYSTEM_CLOCK)
        try:
            times = scaled(5, scale, least=1)
            runs = [_steps(tree.root) for _ in range(times)]
            beside = [_steps(tree.root, "import numpy") for _ in range(times)]
        finally:
            ticker.cancel()
    imported = min(run[1] - run[0] for run in runs)
    opened = min(run[2] - run[1] for run in runs)
    before = min(run[0] for run in runs)
    return (
        Outcome(
            "memory of importing Session",
            imported,
            "MiB",
            None,
            f"on top of {before:.0f} MiB of the interpreter; NumPy is most of it",
        ),
        Outcome("memory of opening it", opened, "MiB", None, "4 simulated RAPL channels"),
        Outcome(
            "memory of both beside NumPy",
            min(run[2] - run[0] for run in beside),
            "MiB",
            15.0,
            "in a process that has imported NumPy, as every one with a model has",
        ),
    )


def _steps(root: Path, before: str = "") -> list[float]:
    command = [sys.executable, "-c", f"{before}\n{SCRIPT}", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    steps: list[float] = json.loads(done.stdout)
    return steps
