"""A process with a library imported, that forks a child for each batch of damaged models.

``python fuzz_server.py LIBRARY`` reads one JSON object a line from stdin and
answers with one a line. A child that dies leaves the rest of its batch undone:
that is for the next one.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import resource
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

POLL_S = 0.02
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
IMPORTS = {
    "onnx": ("onnxruntime", "torch"),
    "torch": ("torch", "torch.export"),
    "tensorflow": ("h5py", "tensorflow", "keras"),
}


def prepare(library: str) -> None:
    """Import what the cases need, and start no thread: a fork would lose it."""
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
    sys.dont_write_bytecode = True
    for name in ("numpy", "greenai_core.inputs", *IMPORTS[library]):
        with contextlib.suppress(ModuleNotFoundError):  # then it is refused, with its name
            importlib.import_module(name)
    from greenai_core import factory

    list(factory.formats.values())
    if library == "onnx" and importlib.util.find_spec("onnx2torch"):
        from greenai_plugins.models.onnx_conversion import import_onnx2torch

        import_onnx2torch()
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def serve(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Work on models in a child, up to the first that ends it.

    Returns:
        For each model begun how it went, how long it took, and the most memory
        that the child has had so far.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _work(job, writer)
    os.close(writer)
    answers, ended_by = _follow(reader, child, job)
    os.close(reader)
    _, status, usage = os.wait4(child, 0)
    if len(answers) < len(job["paths"]):
        answers.append(
            {
                "ended_by": ended_by,
                "seconds": job["limit_s"] if ended_by == "hang" else 0.0,
                "bytes": usage.ru_maxrss * 1024,
                "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
                "status": os.waitstatus_to_exitcode(status),
            }
        )
    return answers


def _follow(reader: int, child: int, job: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """What a child answers, and why it was stopped if it was."""
    answers: list[dict[str, Any]] = []
    text, peak, ended_by, begin = b"", 0, "", time.monotonic()
    while True:
        ready, _, _ = select.select([reader], [], [], POLL_S)
        if ready:
            part = os.read(reader, 1 << 16)
            if not part:
                return answers, ended_by
            text += part
            *lines, text = text.split(b"\n")
            for line in lines:
                now = time.monotonic()
                answers.append({**json.loads(line), "seconds": now - begin, "ended_by": ""})
                begin = now
        peak = max(peak, _resident(child))
        if not ended_by and time.monotonic() - begin > job["limit_s"]:
            ended_by = "hang"
        if not ended_by and peak > job["limit_bytes"]:
            ended_by = "memory"
        if ended_by:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


def _work(job: dict[str, Any], writer: int) -> None:
    """The child: never returns."""
    status = 1
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        silence = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silence, stream)
        from fuzz_case import Watch, perform

        watch = Watch()
        for path in job["paths"]:
            answer = perform(Path(path), job["format"], job["run"], watch)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            os.write(writer, json.dumps({**answer, "bytes": peak}).encode() + b"\n")
        status = 0
    finally:
        os._exit(status)


def _resident(child: int) -> int:
    try:
        return int(Path(f"/proc/{child}/statm").read_text().split()[1]) * PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # libraries may print
    prepare(sys.argv[1])
    answers.write("ready\n")
    for line in sys.stdin:
        answers.write(json.dumps(serve(json.loads(line))) + "\n")


if __name__ == "__main__":
    main()
