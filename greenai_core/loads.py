"""Loads of a calibration: what makes a part draw more power, in steps."""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import IO, Protocol

from .burner import READY
from .errors import CalibrationError

START_PATIENCE_S = 120.0
"""For a load program to be ready: a deep-learning library may take a minute to import."""

END_PATIENCE_S = 5.0


class Load(Protocol):
    """Something whose power can be set, from nothing to as much as it can."""

    def set(self, level: float) -> None:
        """Draw this share of the most, 0 to 1, from now on."""

    def check(self) -> None:
        """Return if it still does what it was told.

        Raises:
            CalibrationError: it has ended.
        """

    def close(self) -> None:
        """End it."""


def cpu_commands() -> list[list[str]]:
    """One load program for each core that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        cores = sorted(os.sched_getaffinity(0))
    else:
        cores = list(range(os.cpu_count() or 1))
    return [[sys.executable, "-m", "greenai_core.burner", str(core)] for core in cores]


class BurnerLoad:
    """Load programs that follow ``greenai_core.burner``; busy one after the other.

    They end with their stdin, so also when this process is killed.

    Args:
        commands: one a program; half of the level keeps half of them busy.

    Raises:
        CalibrationError: one does not start.
    """

    def __init__(self, commands: Sequence[Sequence[str]]) -> None:
        self._programs: list[subprocess.Popen[bytes]] = []
        try:
            for command in commands:
                self._programs.append(_started(command))
            for program in self._programs:
                _wait_until_ready(program)
        except BaseException:
            self.close()
            raise

    def set(self, level: float) -> None:
        """Keep the first programs busy all the time, the next one for a part of it."""
        busy = level * len(self._programs)
        for index, program in enumerate(self._programs):
            share = min(max(busy - index, 0.0), 1.0)
            try:
                _pipe(program.stdin).write(f"{share:.4f}\n".encode())
                _pipe(program.stdin).flush()
            except BrokenPipeError:
                self.check()

    def check(self) -> None:
        """Return if all still run.

        Raises:
            CalibrationError: one has ended.
        """
        for program in self._programs:
            if program.poll() is not None:
                raise _ended(program)

    def close(self) -> None:
        """End them all."""
        for program in self._programs:
            with contextlib.suppress(OSError):
                _pipe(program.stdin).close()
        for program in self._programs:
            _wait_or_kill(program)
            for pipe in (program.stdout, program.stderr):
                _pipe(pipe).close()
        self._programs = []


class CommandLoad:
    """A command of the user's, started for each stair and ended after it.

    Args:
        template: the command; ``{level}`` is replaced with 0 to 100. It must run
            until it is ended. At level 0 nothing runs.
        graded: whether it must know levels between nothing and all.

    Raises:
        CalibrationError: it is graded and has no ``{level}``, or it cannot be split.
    """

    def __init__(self, template: str, graded: bool = True) -> None:
        try:
            self._words = shlex.split(template)
        except ValueError as error:
            raise CalibrationError(f"--load {template!r} is no command line: {error}") from error
        if graded and "{level}" not in template:
            raise CalibrationError(
                f"--load {template!r} has no {{level}}, which becomes 0 to 100: "
                "without it every stair would be the same"
            )
        self._program: subprocess.Popen[bytes] | None = None

    def set(self, level: float) -> None:
        """End the command, and start it at this level.

        Raises:
            CalibrationError: it cannot be started.
        """
        self.close()
        if level <= 0:
            return
        command = [word.replace("{level}", f"{100 * level:.0f}") for word in self._words]
        try:
            self._program = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise CalibrationError(
                f"the load {shlex.join(command)} cannot be started: {error.strerror}"
            ) from error

    def check(self) -> None:
        """Return if it still runs.

        Raises:
            CalibrationError: it has ended by itself.
        """
        if self._program is not None and self._program.poll() is not None:
            raise CalibrationError(
                f"the load {shlex.join(map(str, self._words))} ended with exit code "
                f"{self._program.returncode} before its stair did: it must run until it is ended"
            )

    def close(self) -> None:
        """End the command and all that it has started."""
        program, self._program = self._program, None
        if program is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            # It leads a session of its own; its group may outlive it.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(program.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                program.wait(END_PATIENCE_S)


def _started(command: Sequence[str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # Ctrl-C is for us: they end with their stdin.
            start_new_session=True,
        )
    except OSError as error:
        raise CalibrationError(
            f"the load {shlex.join(command)} cannot be started: {error.strerror}"
        ) from error


def _wait_until_ready(program: subprocess.Popen[bytes]) -> None:
    deadline, said = time.monotonic() + START_PATIENCE_S, b""
    out = _pipe(program.stdout).fileno()
    while not said.endswith(READY):
        left = max(deadline - time.monotonic(), 0.0)
        read = os.read(out, 4096) if select.select([out], [], [], left)[0] else b""
        if not read:
            raise _ended(program)
        said += read


def _ended(program: subprocess.Popen[bytes]) -> CalibrationError:
    """Why a load program is not there; it has ended, or is ended now."""
    _wait_or_kill(program)
    told = _pipe(program.stderr).read().decode(errors="replace").strip().splitlines()
    why = f": {told[-1]}" if told else ""
    return CalibrationError(
        f"the load program {shlex.join(map(str, program.args))} ended{why}. "  # type: ignore[arg-type]  # a list is given above
        "Give another one with --load"
    )


def _wait_or_kill(program: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        _pipe(program.stdin).close()
    try:
        program.wait(END_PATIENCE_S)
    except subprocess.TimeoutExpired:
        program.kill()
        program.wait()


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise AssertionError("load programs are started with pipes")
    return stream
