"""Commands as work to find the best cap for: run again and again, or followed while they run."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import threading
from collections.abc import Sequence
from types import FrameType

from greenai_core.errors import MeasurementError

from . import output
from .child import CannotStartError
from .exit_codes import NOT_EXECUTABLE, NOT_FOUND
from .left_behind import left_behind

HANDED_ON = (signal.SIGTERM, signal.SIGHUP)
"""Signals that somebody sends to us alone; Ctrl-C of a terminal reaches the command anyway."""

SILENT_S = 5.0
"""A command that ended, and whose stdout is open but silent for so long, has left a process
behind that holds it."""


class CommandFailed(MeasurementError):
    """The command that was to be repeated failed; no figure of it means anything."""


class CommandEnded(MeasurementError):
    """The command that was followed ended before the search did."""


def _start(command: Sequence[str], *, piped: bool) -> subprocess.Popen[bytes]:
    # What it prints goes to stderr: stdout is for the result.
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"} if piped else None
    try:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if piped else 2,
            env=environment,
        )
    except FileNotFoundError as error:
        raise CannotStartError(f"there is no command {command[0]!r}", NOT_FOUND) from error
    except OSError as error:
        raise CannotStartError(
            f"{command[0]!r} cannot be executed: {error.strerror}", NOT_EXECUTABLE
        ) from error


def _ended(code: int) -> str:
    """How a command ended, for people."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


class RepeatedCommand:
    """A short command; a step is one run of it."""

    def __init__(self, command: Sequence[str]) -> None:
        self.command = tuple(command)
        self._looked = False

    def step(self) -> None:
        """Run it once; the first time, see whether it leaves something running.

        Raises:
            CommandFailed: its exit code is not 0.
            CannotStartError: it is not there.
        """
        if self._looked:
            self._run()
            return
        self._looked = True
        behind: dict[int, str] = {}
        with left_behind(behind):
            self._run()
        if behind:
            named = ", ".join(f"{pid} ({name})" for pid, name in behind.items())
            output.warn(
                f"{self.command[0]!r} ended and left processes running: {named}. What they do "
                "is no part of a step, and is measured under whatever cap comes next: let the "
                "command wait for its work"
            )

    def _run(self) -> None:
        process = _start(self.command, piped=False)
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        if code:
            raise CommandFailed(
                f"{self.command[0]!r} {_ended(code)}. It must do the same work, and "
                "succeed, each time it is run"
            )

    def end(self) -> None:
        """Nothing of it runs any more."""


class FollowedCommand:
    """A long command; a step ends with each line of its stdout in which a pattern is found.

    It is started by the first step.

    Args:
        command: to start.
        pattern: a regular expression.
    """

    def __init__(self, command: Sequence[str], pattern: re.Pattern[str]) -> None:
        self.command = tuple(command)
        self._process: subprocess.Popen[bytes] | None = None
        self._pattern = pattern
        self._seen: queue.Queue[bool] = queue.Queue()
        self._steps = 0
        self._before: dict[int, object] = {}
        self._thread = threading.Thread(target=self._read, daemon=True)

    def step(self) -> None:
        """Wait for the end of a step.

        Raises:
            CannotStartError: the command is not there.
            CommandEnded: there is none any more.
        """
        if self._process is None:
            self._process = _start(self.command, piped=True)
            self._hand_signals_on()
            self._thread.start()
        if not self._next(self._process):
            self._seen.put(False)  # and so it stays
            raise CommandEnded(self._too_early(self._process))
        self._steps += 1

    def _next(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether there was another step; no when the command, and its stdout, have ended."""
        while True:
            gone = process.poll() is not None
            try:
                return self._seen.get(timeout=SILENT_S)
            except queue.Empty:
                if gone:
                    return False

    def _too_early(self, process: subprocess.Popen[bytes]) -> str:
        try:
            how = _ended(process.wait(SILENT_S))
        except subprocess.TimeoutExpired:
            how = "closed its stdout"
        told = f"the command {how} after {self._steps} steps, before the search was over. "
        if not self._steps:
            return f"{told}{self._pattern.pattern!r} was found in no line of its stdout"
        return (
            f"{told}Let it work for two minutes at least, or search with --no-confirm and a "
            "shorter --probe"
        )

    def _hand_signals_on(self) -> None:
        """Let the command know of signals that end us; handlers of before follow."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in HANDED_ON:
            before = signal.getsignal(number)
            if callable(before):
                self._before[number] = signal.signal(number, self._hand_on)

    def _hand_on(self, number: int, frame: FrameType | None) -> None:
        if self._process is not None:
            self._process.send_signal(number)
        before = self._before.get(number)
        if callable(before):
            before(number, frame)

    def wait(self) -> int:
        """Wait for its end; its exit code."""
        if self._process is None:
            return 0
        code = self._process.wait()
        self._thread.join(SILENT_S)  # a process that it left behind may hold its stdout
        if self._process.stdout is not None and not self._thread.is_alive():
            self._process.stdout.close()
        return 128 - code if code < 0 else code

    def end(self) -> None:
        """Wait for its end; a second Ctrl-C ends it."""
        try:
            self.wait()
        except BaseException:
            if self._process is not None:
                self._process.terminate()
                self._process.wait()
            raise
        finally:
            while self._before:
                number, before = self._before.popitem()
                if signal.getsignal(number) == self._hand_on and callable(before):
                    signal.signal(number, before)

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for raw in self._process.stdout:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            if self._pattern.search(line):
                self._seen.put(True)
            output.note(line)
        self._seen.put(False)
