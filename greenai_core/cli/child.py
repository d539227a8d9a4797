"""Run another program so that it notices nothing: streams, signals, exit code."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from types import FrameType

from greenai_core.errors import GreenAIError

from . import exit_codes
from .signals import handled

RELAYED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
FROM_KEYBOARD = (signal.SIGINT, signal.SIGQUIT)


class CannotStartError(GreenAIError):
    """The program could not be started; ``code`` is what a shell would say: 126 or 127."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class _Relay:
    """Hands signals that reach us on to the program."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if number in FROM_KEYBOARD and keyboard_reaches_child():
            return
        if self._process is None:
            self._early.append(number)
        else:
            self._process.send_signal(number)

    def started(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        for number in self._early:
            process.send_signal(number)


def run(command: Sequence[str], started: Callable[[int], None] = lambda pid: None) -> int:
    """Run a program with our streams, in our process group.

    Ctrl-C on a terminal reaches the program without our help; other signals are
    handed on. Inherited file descriptors stay open, as in a shell.

    Args:
        command: the program and its arguments.
        started: told its PID as soon as it runs.

    Returns:
        Its exit code, or 128 + n when signal n ended it.

    Raises:
        CannotStartError: it is not there, or cannot be executed.
    """
    relay = _Relay()
    with handled(RELAYED, relay):
        try:
            process = subprocess.Popen(list(command), close_fds=False)
        except OSError as error:
            raise _cannot_start(command[0], error) from error
        relay.started(process)
        started(process.pid)
        code = process.wait()
    return exit_codes.SIGNAL - code if code < 0 else code


def _cannot_start(program: str, error: OSError) -> CannotStartError:
    if isinstance(error, FileNotFoundError):
        return CannotStartError(
            f"there is no command {program!r} (or no interpreter for it). Check the name and PATH",
            exit_codes.NOT_FOUND,
        )
    return CannotStartError(
        f"{program!r} cannot be executed: {error.strerror}. "
        "A script needs a #! line and the permission to execute",
        exit_codes.NOT_EXECUTABLE,
    )


def keyboard_reaches_child() -> bool:
    """Whether the terminal sends Ctrl-C to our whole group, the program included."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
