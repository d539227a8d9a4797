"""A measuring program that measures for as long as another runs: it is given one that waits.

The waiting program ends when it is told to, and when greenai is gone, so that
nothing is left running whatever happens.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Collection, Sequence
from typing import NamedTuple

from greenai_core import ReadingError

WAITER = ("sed", "-u", "2q")
"""Echoes its first line at once; ends after the second, or when its input ends. No
argument needs quotes: likwid up to 5.2 splits the command at each blank."""

BEGUN = b"greenai-begun\n"
ENDED = b"greenai-ended\n"

CHUNK = 65_536

MOST_BYTES = 2**20
"""Of what it prints; no measuring program has so much to say."""

LOOK_S = 0.05
"""How often to see whether a program that says nothing still runs."""


class Output(NamedTuple):
    """What a program printed until it ended."""

    stdout: str
    stderr: str


class WrappedProgram:
    """The program, running around the one that waits.

    Args:
        command: the program and its options; the command to wrap is appended.
        patience_s: how long it may take to begin, and to end.
        pass_fds: file descriptors that it inherits.

    Raises:
        ReadingError: it cannot be started.
    """

    def __init__(
        self, command: Sequence[str], *, patience_s: float, pass_fds: Collection[int] = ()
    ) -> None:
        self._name = os.path.basename(command[0])  # noqa: PTH119  # a name, not a path of ours
        self._patience_s = patience_s
        self._printed = b""
        try:
            self._process = subprocess.Popen(
                [*command, *WAITER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                pass_fds=tuple(pass_fds),
                # Figures with a decimal point, whatever the language of the user.
                env={**os.environ, "LC_ALL": "C"},
                # Ctrl-C ends our work, not the measurement of it.
                start_new_session=True,
            )
        except OSError as error:
            raise ReadingError(f"{command[0]} does not start: {error.strerror}") from error
        self._say(BEGUN)

    def await_begun(self) -> None:
        """Wait until the wrapped command runs: from here on the program measures.

        Raises:
            ReadingError: the program ended, or did not get there in time.
        """
        assert self._process.stdout is not None
        deadline = time.monotonic() + self._patience_s
        while BEGUN not in self._printed:
            self._printed += self.hear(self._process.stdout.fileno(), deadline)
            if len(self._printed) > MOST_BYTES:
                raise self._endless()

    def hear(self, fd: int, deadline: float | None = None) -> bytes:
        """What it writes next.

        Args:
            fd: to read from.
            deadline: until when it has time, s of the monotonic clock.

        Raises:
            ReadingError: it has ended, or writes nothing in time; then it is killed.
        """
        deadline = deadline or time.monotonic() + self._patience_s
        while not _readable([fd]):
            if self._process.poll() is not None:
                raise ReadingError(self.why_ended())
            if time.monotonic() > deadline:
                raise self.late()
        if time.monotonic() > deadline:
            raise self.late()
        piece = os.read(fd, CHUNK)
        if not piece:
            raise ReadingError(self.why_ended())
        return piece

    def end(self) -> Output:
        """Let the wrapped command end, and wait for the program to print its figures.

        Raises:
            ReadingError: it did not in time, or failed.
        """
        self._say(ENDED)
        stdout, stderr = self._rest()
        if self._process.returncode != 0:
            raise ReadingError(self._failed(stderr))
        return Output(stdout, stderr)

    def why_ended(self) -> str:
        """Why a program that ended of itself did so."""
        _, stderr = self._rest()
        return self._failed(stderr)

    def late(self) -> ReadingError:
        """What to raise when it does not answer; it is killed."""
        self.kill()
        return ReadingError(f"{self._name} did not answer for {self._patience_s:g} s: it hangs")

    def kill(self) -> None:
        """End it and what it runs, at once."""
        if self._process.poll() is None:
            # Its own group, see above: it holds the program and the command that waits.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _say(self, line: bytes) -> None:
        assert self._process.stdin is not None
        # One that has ended says why when its output is read.
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._process.stdin.write(line)

    def _endless(self) -> ReadingError:
        self.kill()
        return ReadingError(f"{self._name} prints without end: it is no measuring program")

    def _rest(self) -> tuple[str, str]:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.close()
        deadline = time.monotonic() + self._patience_s
        told = {
            process.stdout.fileno(): bytearray(self._printed),
            process.stderr.fileno(): bytearray(),
        }
        stdout, stderr = told.values()
        unread = set(told)
        while unread:
            for fd in _readable(unread):
                piece = os.read(fd, CHUNK)
                told[fd] += piece
                if not piece:
                    unread.discard(fd)
            if time.monotonic() > deadline:
                raise self.late()
            if len(stdout) + len(stderr) > MOST_BYTES:
                raise self._endless()
        try:
            process.wait(max(deadline - time.monotonic(), 0.0))
        except subprocess.TimeoutExpired as error:
            raise self.late() from error
        return stdout.decode(errors="replace"), stderr.decode(errors="replace")

    def _failed(self, stderr: str) -> str:
        code = self._process.returncode
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        lines = [line.strip() for line in stderr.splitlines() if line.strip()]
        # What is wrong stands at the beginning or at the end, advice between.
        told = lines if len(lines) <= 4 else [*lines[:2], "…", *lines[-2:]]
        return f"{self._name} {how}" + (f": {' '.join(told)}" if told else "")


def _readable(fds: Collection[int]) -> list[int]:
    """Which of these have something to read, or have ended; waits for ``LOOK_S`` at most."""
    poll = select.poll()  # select() itself fails in programs with more than 1024 open files
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return [fd for fd, _ in poll.poll(LOOK_S * 1000)]
