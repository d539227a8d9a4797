"""``bench --isolate``: starts the fresh processes, reads their answers, ends them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import IO, Any

from greenai_core import errors
from greenai_core.errors import GreenAIError, ModelError
from greenai_core.loop import LoopSettings
from greenai_core.report_files import from_json, to_json
from greenai_core.results import InferenceResult

from . import output, watcher
from .worker import Request

GRACE_S = 2.0
"""Time a process has to end after SIGTERM."""

WORDS = 200
"""Characters of what a process printed last that are told when it crashed."""


def measure(request: Request, loop: LoopSettings) -> InferenceResult:
    """Measure in one fresh process.

    Raises:
        GreenAIError: what went wrong in it, of the kind that was raised there.
        ModelError: it crashed, or was killed.
        KeyboardInterrupt: Ctrl-C; the process has ended by then.
    """
    asked = replace(request, parent=os.getpid(), loop=loop)
    text = json.dumps(to_json(asked)).encode()
    with tempfile.TemporaryFile() as printed, _started(printed) as (process, answers):
        _ask(process, text)
        answer = answers.read()
        code = process.wait()
        return _result(answer, code, printed)


def _ask(process: subprocess.Popen[bytes], request: bytes) -> None:
    if process.stdin is None:
        raise AssertionError("the process was started with a pipe")
    # One that ended early reads nothing; its exit code tells why.
    with contextlib.suppress(BrokenPipeError), process.stdin as stream:
        stream.write(request)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it, in an orderly way if it listens; by its own id, whatever else runs."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


@contextlib.contextmanager
def _started(printed: IO[bytes]) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """A fresh process in a session of its own, so that a terminal's Ctrl-C is ours to handle."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as answers:
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", _program(), str(writing)],
                stdin=subprocess.PIPE,
                stdout=printed,
                stderr=printed,
                pass_fds=(writing,),
                start_new_session=True,
            )
        finally:
            os.close(writing)
        try:
            yield process, answers
        finally:
            _end(process)


def _program() -> str:
    """It finds the modules that this process finds, whatever lies in the current folder."""
    return (
        f"import sys; sys.path[:] = {sys.path!r}; "
        "from greenai_core.cli.worker import main; sys.exit(main())"
    )


def _result(answer: bytes, code: int, printed: IO[bytes]) -> InferenceResult:
    if answer:
        data: Mapping[str, Any] = json.loads(answer)
        if "result" in data:
            return from_json(InferenceResult, data["result"], "the result of a process")
        raise _error(data["error"])
    printed.seek(0)
    last = output.one_line(printed.read().decode(errors="replace"))[-WORDS:]
    said = f" It printed last: {last}" if last else ""
    if code < 0:
        name = signal.Signals(-code).name
        if -code == signal.SIGKILL:
            raise ModelError(
                f"its process was killed ({name}), as Linux does when memory runs out. "
                f"Use a smaller batch or model, or free some memory.{said}"
            )
        if -code in watcher.CRASHES:
            raise ModelError(
                f"the library crashed while it read or ran the model ({name}). The file is "
                f"probably damaged: get it again, or look at it with `greenai params`.{said}"
            )
        raise ModelError(f"its process was ended from outside ({name}).{said}")
    raise ModelError(
        f"its process ended with exit code {code} and no result. Measure without --isolate "
        f"to see what the model does.{said}"
    )


def _error(told: Mapping[str, Any]) -> GreenAIError:
    """The error of a process, as near to its own class as the exit code needs."""
    for name in told["kinds"]:
        kind = getattr(errors, name, None)
        if isinstance(kind, type) and issubclass(kind, GreenAIError):
            return kind(told["message"])
    return GreenAIError(told["message"])
