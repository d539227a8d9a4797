"""Commands as work to find the best cap for: run again and again, or followed while they run."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import threading
from collections.abc import Sequence

from greenai_core.errors import MeasurementError

from . import output
from .child import CannotStartError
from .exit_codes import NOT_EXECUTABLE, NOT_FOUND


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


class RepeatedCommand:
    """A short command; a step is one run of it."""

    def __init__(self, command: Sequence[str]) -> None:
        self.command = tuple(command)

    def step(self) -> None:
        """Run it once.

        Raises:
            CommandFailed: its exit code is not 0.
            CannotStartError: it is not there.
        """
        process = _start(self.command, piped=False)
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        if code:
            raise CommandFailed(
                f"{self.command[0]!r} ended with exit code {code}. It must do the same work, and "
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
        self._thread = threading.Thread(target=self._read, daemon=True)

    def step(self) -> None:
        """Wait for the end of a step.

        Raises:
            CannotStartError: the command is not there.
            CommandEnded: there is none any more.
        """
        if self._process is None:
            self._process = _start(self.command, piped=True)
            self._thread.start()
        if not self._seen.get():
            self._seen.put(False)  # and so it stays
            raise CommandEnded(
                f"the command ended after {self._steps} steps, before the search did. Let it work "
                "for two minutes at least, or search with --no-confirm and a shorter --probe"
            )
        self._steps += 1

    def wait(self) -> int:
        """Wait for its end; its exit code."""
        if self._process is None:
            return 0
        code = self._process.wait()
        self._thread.join()
        if self._process.stdout is not None:
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

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for raw in self._process.stdout:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            if self._pattern.search(line):
                self._seen.put(True)
            output.note(line)
        self._seen.put(False)
