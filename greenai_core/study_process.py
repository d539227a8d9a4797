"""Cells measured in processes of their own: what kills one is told, and the study goes on."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from threading import Event, Timer
from typing import IO, Any

from . import errors
from .errors import GreenAIError, ModelError
from .report_files import from_json
from .results import InferenceResult
from .study_cell import MeasuredCell, Progress
from .study_cells import CellKey
from .study_plan import StudyPlan
from .study_toml_writing import plan_to_toml

GRACE_S = 2.0
"""Time a process has to end after it was asked to."""

WORDS = 200
"""Characters of what a process printed last that are told when it crashed."""

CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)


@dataclass(frozen=True)
class Sensors:
    """Which sensors cells are measured with.

    Attributes:
        profilers: names, or ``("auto",)``.
        options: of profilers, by their name.
        calibrations: the folder where they are kept, empty for the usual one; None for none.
    """

    profilers: tuple[str, ...] = ("auto",)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    calibrations: str | None = ""


class ProcessCells:
    """Measures cells, each in a fresh process or, if the plan says so, all in one.

    After a failure the next cell has a fresh process in any case. Close it in the end.

    Args:
        plan: of the study, with its seed.
        sensors: to measure with.
    """

    def __init__(self, plan: StudyPlan, sensors: Sensors) -> None:
        self._fresh = plan.fresh_process
        self._limit_s = plan.cell_timeout_s
        self._setup = json.dumps(
            {
                "plan": plan_to_toml(replace(plan, profiler_options={}), None),
                "sensors": {
                    "profilers": list(sensors.profilers),
                    "options": {name: dict(given) for name, given in sensors.options.items()},
                    "calibrations": sensors.calibrations,
                },
            }
        )
        self._worker: _Process | None = None

    def check(self, model: str) -> dict[tuple[int, int], str]:
        """See ``study_cell.refusals``."""
        answer = self._ask({"check": model}, lambda share, text: None)
        return {(size, batch): why for size, batch, why in answer["refused"]}

    def measure(self, cell: CellKey, macs: bool, progress: Progress) -> MeasuredCell:
        """Measure one cell.

        Args:
            cell: which.
            macs: whether to count the multiply-accumulates too.
            progress: told the share done and a word on the state.

        Raises:
            GreenAIError: what went wrong, of the kind that was raised there.
            ModelError: its process crashed, was killed, or took longer than the plan allows.
        """
        key = [cell.model, cell.size, cell.batch_size, cell.run]
        data = self._ask({"cell": key, "macs": macs}, progress)["cell"]
        if self._fresh:
            self.close()
        return MeasuredCell(
            from_json(InferenceResult, data["result"], "the result of a cell"),
            tuple(data["power"]),
            tuple(data["latencies"]),
            data["every"],
            data["macs"],
            data["note"],
        )

    def _ask(self, request: Mapping[str, Any], progress: Progress) -> Mapping[str, Any]:
        worker = self._worker = self._worker or _Process(self._setup)
        done = False
        try:
            answer = worker.ask(request, progress, self._limit_s)
            done = True
        finally:
            if not done:
                self.close()
        if "error" in answer:
            self.close()
            raise _error(answer["error"])
        return answer

    def close(self) -> None:
        """End the process, if there is one."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()


class _Process:
    """One process, in a session of its own, so that a terminal's Ctrl-C is ours to handle."""

    def __init__(self, setup: str) -> None:
        self._printed: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed by close()
        reading, writing = os.pipe()
        self._answers = os.fdopen(reading, "rb")
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _program(), str(writing)],
                stdin=subprocess.PIPE,
                stdout=self._printed,
                stderr=self._printed,
                pass_fds=(writing,),
                start_new_session=True,
            )
        finally:
            os.close(writing)
        self._send(setup)

    def ask(
        self, request: Mapping[str, Any], progress: Progress, limit_s: float | None = None
    ) -> Mapping[str, Any]:
        """The answer to a request.

        Args:
            request: as JSON types.
            progress: told the share done and a word on the state.
            limit_s: after so long the process is killed; None for never. s.

        Raises:
            ModelError: the process ended instead, or was given up.
        """
        late = Event()

        def give_up() -> None:
            late.set()
            self._kill()

        state = "loading"
        with _alarm(limit_s, give_up):
            self._send(json.dumps(request))
            for line in self._answers:
                if not line.endswith(b"\n"):
                    break
                answer: dict[str, Any] = json.loads(line)
                if "progress" not in answer:
                    return answer
                state = answer["progress"][1]
                progress(*answer["progress"])
        code = self._process.wait()
        if late.is_set():
            raise ModelError(
                f"it had not ended after {limit_s:g} s (--cell-timeout) and was given up; it was "
                f"at: {state}{self._printed_last()}"
            )
        raise ModelError(self._last_words(code))

    def _kill(self) -> None:
        """End it with all that it started; it leads a session of its own."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _send(self, line: str) -> None:
        if self._process.stdin is None:
            raise AssertionError("the process was started with a pipe")
        # One that ended early reads nothing; its exit code tells why.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    def close(self) -> None:
        """End it, in an orderly way if it listens; by its own id, whatever else runs."""
        process = self._process
        with contextlib.suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._kill()
            process.wait()
        finally:
            if process.poll() is None:  # a second Ctrl-C
                self._kill()
                process.wait()
            self._answers.close()
            self._printed.close()

    def _printed_last(self) -> str:
        self._printed.seek(0)
        printed = " ".join(self._printed.read().decode(errors="replace").split())
        said = "".join(c if c.isprintable() else "?" for c in printed)[-WORDS:]
        return f". It printed last: {said}" if said else ""

    def _last_words(self, code: int) -> str:
        tail = self._printed_last()
        if code >= 0:
            return f"its process ended with exit code {code} and no result{tail}"
        name = signal.Signals(-code).name
        if -code == signal.SIGKILL:
            return (
                f"out of memory? Its process was killed ({name}), as Linux does when memory runs "
                f"out{tail}"
            )
        if -code in CRASHES:
            return f"the library crashed while it read or ran the model ({name}){tail}"
        return f"its process was ended from outside ({name}){tail}"


@contextlib.contextmanager
def _alarm(after_s: float | None, ring: Callable[[], None]) -> Iterator[None]:
    """Call ``ring`` in a thread if the block takes longer."""
    if after_s is None:
        yield
        return
    timer = Timer(after_s, ring)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _program() -> str:
    """It finds the modules that this process finds, whatever lies in the current folder."""
    return (
        f"import sys; sys.path[:] = {sys.path!r}; "
        "from greenai_core.study_worker import main; sys.exit(main())"
    )


def _error(told: Mapping[str, Any]) -> GreenAIError:
    """The error of a process, as near to its own class as the exit code needs."""
    for name in told["kinds"]:
        kind = getattr(errors, name, None)
        if isinstance(kind, type) and issubclass(kind, GreenAIError):
            with contextlib.suppress(TypeError):
                return kind(told["message"])
    return ModelError(f"{told['kinds'][0]}: {told['message']}")
