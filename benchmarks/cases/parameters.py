"""Counting the parameters of files of 1 GB: time, memory, and beside loading with the framework.

A format whose library is not installed is left out; the files are sparse.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import large_files

from cases.outcome import Outcome
from cases.timing import scaled

GIGABYTE = 10**9

NEEDS = {
    "ONNX": ("onnxruntime",),
    "ONNX with external data": ("onnxruntime",),
    "PyTorch state dict": ("torch",),
    "safetensors": ("torch", "safetensors"),
    "Keras .h5": ("keras", "tensorflow", "h5py"),
}
"""Kinds of file, and what is needed to load them; a quick look is at the first only."""

TIMED = """
import sys, time
path = sys.argv[1]
{imports}
began = time.perf_counter()
{call}
print(time.perf_counter() - began)
"""

OUR_IMPORTS = "from greenai_core import factory; factory.formats"
OUR_CALL = "print(factory.load(path).count_parameters().total, file=sys.stderr)"


def measure(scale: float = 1.0) -> tuple[Outcome, ...]:
    """The command in its own process beside a bare interpreter, and the call beside the load.

    Raises:
        RuntimeError: a process failed, or counted wrong.
    """
    size = round(GIGABYTE * min(scale, 1.0))
    rounds = scaled(9, scale)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, libraries in list(NEEDS.items())[: scaled(len(NEEDS), scale, least=1)]:
            if all(importlib.util.find_spec(library) for library in libraries):
                outcomes += _of_file(kind, _made(kind, folder, size), size, rounds)
    return tuple(outcomes)


def _made(kind: str, folder: Path, size: int) -> Path:
    """A file of that kind; made in another process, since children begin with our memory."""
    command = [sys.executable, large_files.__file__, kind, str(folder), str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


def _of_file(kind: str, path: Path, size: int, rounds: int) -> list[Outcome]:
    command = [sys.executable, "-m", "greenai_core", "params", str(path)]
    # As installed: compiled once.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(path.parent / "compiled")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    bare, ours, memory = [], [], []
    for number in range(rounds + 1):
        idle = _process([sys.executable, "-c", "pass"], environment)[0]
        seconds, kilobytes = _process(command, environment)
        if number:  # the first one compiles, and reads from disk
            bare.append(idle)
            ours.append(seconds)
            memory.append(kilobytes / 1024)
    added = (min(ours) - min(bare)) * 1e3  # other jobs on the machine only ever add to both
    count = min(_timed(OUR_IMPORTS, OUR_CALL, path) for _ in range(3))
    load = _timed(*large_files.LOADERS[kind], path)
    gigabytes = f"{size / GIGABYTE:.3g} GB"
    return [
        Outcome(
            f"greenai params, {kind}",
            added,
            "ms",
            300.0,
            f"{gigabytes}; on top of {min(bare) * 1e3:.0f} ms of a bare interpreter; the quickest "
            f"of {rounds} runs each",
        ),
        Outcome(
            f"its memory, {kind}", max(memory), "MiB", 60.0, f"{gigabytes}; peak of the process"
        ),
        Outcome(
            f"counting beside loading, {kind}",
            100 * count / load,
            "%",
            5.0,
            f"{gigabytes}; {count * 1e3:.1f} ms beside {load * 1e3:.0f} ms, imports left out: "
            f"{load / count:.0f} times as fast",
        ),
    ]


def _process(command: Sequence[str], environment: Mapping[str, str]) -> tuple[float, int]:
    """Seconds and peak memory, kB, of a command."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return seconds, usage.ru_maxrss


def _timed(imports: str, call: str, path: Path) -> float:
    """Seconds of a call in a new interpreter, its imports left out."""
    code = TIMED.format(imports=imports, call=call)
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{call} failed: {done.stderr[-500:]}")
    return float(done.stdout.split()[-1])
