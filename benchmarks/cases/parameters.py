"""Counting the parameters of files of 1 GB: time, memory, and beside loading with the framework.

A format whose library is not installed is left out. One file lies on the disk at a time.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import large_files

from cases.outcome import Outcome
from cases.timing import scaled

GIGABYTE = 10**9

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
        compiled = Path(name) / "compiled"
        kinds = list(large_files.MAKERS)
        for kind in kinds[: scaled(len(kinds), scale, least=1)]:
            loaders = [one for one in large_files.LOADERS[kind] if _installed(one)]
            if loaders:
                folder = Path(name) / "file"
                folder.mkdir()
                path = _made(kind, folder, size)
                outcomes += _of_command(kind, path, size, rounds, compiled)
                outcomes += _beside(kind, path, size, loaders)
                shutil.rmtree(folder)
    return tuple(outcomes)


def _installed(loader: large_files.Loader) -> bool:
    return all(importlib.util.find_spec(library) for library in loader.needs)


def _made(kind: str, folder: Path, size: int) -> Path:
    """A file of that kind; made in another process, since children begin with our memory."""
    command = [sys.executable, large_files.__file__, kind, str(folder), str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


def _of_command(kind: str, path: Path, size: int, rounds: int, compiled: Path) -> list[Outcome]:
    command = [sys.executable, "-m", "greenai_core", "params", str(path)]
    # As installed: compiled once.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(compiled)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    bare, ours, busy, memory = [], [], [], []
    for number in range(rounds + 1):
        idle, idle_busy, _ = _process([sys.executable, "-c", "pass"], environment)
        seconds, own, kilobytes = _process(command, environment)
        if number:  # the first one compiles, and reads from disk
            bare.append(idle)
            ours.append(seconds)
            busy.append(own - idle_busy)
            memory.append(kilobytes / 1024)
    added = (min(ours) - min(bare)) * 1e3  # other jobs on the machine only ever add to both
    return [
        Outcome(
            f"greenai params, {kind}",
            added,
            "ms",
            300.0,
            f"{_gigabytes(size)}; on top of {min(bare) * 1e3:.0f} ms of a bare interpreter; the "
            f"quickest of {rounds} runs each; {min(busy) * 1e3:.0f} ms of processor time",
        ),
        Outcome(
            f"its memory, {kind}",
            max(memory),
            "MiB",
            60.0,
            f"{_gigabytes(size)}; peak of the process",
        ),
    ]


def _beside(
    kind: str, path: Path, size: int, loaders: Sequence[large_files.Loader]
) -> Iterator[Outcome]:
    """The call in a warm process beside the framework's; no bound where that reads nothing."""
    count = min(_timed(OUR_IMPORTS, OUR_CALL, path) for _ in range(3))
    for loader in loaders:
        load = min(_timed(loader.imports, loader.call, path) for _ in range(2))
        yield Outcome(
            f"counting beside {'mapping' if loader.lazy else 'loading'}, {kind}",
            100 * count / load,
            "%",
            None if loader.lazy else 5.0,
            f"{_gigabytes(size)}; {count * 1e3:.1f} ms beside {load * 1e3:.0f} ms, imports left "
            f"out: {load / count:.3g} times as fast" + (f"; {loader.lazy}" if loader.lazy else ""),
        )


def _gigabytes(size: int) -> str:
    return f"{size / GIGABYTE:.3g} GB"


def _process(command: Sequence[str], environment: Mapping[str, str]) -> tuple[float, float, int]:
    """Seconds, seconds of processor time, and peak memory, kB, of a command."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss


def _timed(imports: str, call: str, path: Path) -> float:
    """Seconds of a call in a new interpreter, its imports left out."""
    code = TIMED.format(imports=imports, call=call)
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{call} failed: {done.stderr[-500:]}")
    return float(done.stdout.split()[-1])
