"""How long `greenai bench` of a 20 ms model takes on counters that move every 1 ms."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cases.outcome import Outcome
from cases.timing import scaled
from greenai_core.clock import SYSTEM_CLOCK
from greenai_core.testing import PowercapTree

FORMAT = Path(__file__).parents[1] / "format"
WATTS = 2 * (150.0 + 20.0)
"""Of the simulated machine: two packages and their DRAM."""


def measure(scale: float = 1.0) -> tuple[Outcome, ...]:
    """The whole command in its own process, from start to end; the median of a few.

    Raises:
        RuntimeError: the command failed.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _install_format(folder)
        (folder / "model.spin").write_bytes(b"spin")
        with PowercapTree.xeon(folder / "powercap") as tree:
            ticker = tree.drive(SYSTEM_CLOCK)
            try:
                most = 60.0 if scale >= 1 else 0.5
                runs = [_run(folder, tree.root, most) for _ in range(scaled(3, scale, least=1))]
            finally:
                ticker.cancel()
    result = runs[-1][1]["results"][0]
    energy, latency = result["energy_per_inference_j"], result["latency_s"]["value"]
    half = (energy["repeat_high"] - energy["repeat_low"]) / 2 / energy["value"]
    detail = (
        f"simulated RAPL of {WATTS:.0f} W and a busy loop: {latency * 1e3:.1f} ms, "
        f"{energy['value']:.3g} J ± {half:.1%} (truth {WATTS * latency:.3g} J), "
        f"{result['inferences']} inferences, "
        f"target {'met' if result['target_met'] else 'not met'}"
    )
    seconds = statistics.median(seconds for seconds, _ in runs)
    return (Outcome("greenai bench of a 20 ms model", seconds, "s", 15.0, detail),)


def _install_format(folder: Path) -> None:
    """A distribution with one format, found through PYTHONPATH like any other."""
    info = folder / "greenai_spin_model-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: greenai-spin-model\nVersion: 1.0\n"
    )
    (info / "entry_points.txt").write_text("[greenai.models]\nspin = spin_model:SpinModel\n")


def _run(folder: Path, root: Path, most_s: float) -> tuple[float, Any]:
    flags = ["--profiler", "rapl", "-O", f"rapl.root={root}", "--precision", "2%"]
    limits = ["--max-time", f"{most_s}", "--out", str(folder / "report"), "--json"]
    command = [sys.executable, "-m", "greenai_core", "bench", "model.spin", *flags, *limits]
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("GREENAI_")},
        "PYTHONPATH": f"{folder}{os.pathsep}{FORMAT}",
        "XDG_CONFIG_HOME": str(folder / "configuration"),
    }
    began = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"greenai bench ended with {done.returncode}: {done.stderr}")
    return seconds, json.loads(done.stdout)
