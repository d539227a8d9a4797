"""Where a generic meter's numbers come from: the output of a command, or an answer over HTTP."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Mapping
from typing import Protocol
from urllib.parse import parse_qsl, urlsplit

from greenai_core import PluginUnavailable, ReadingError

from .meter_http import Web


class Source(Protocol):
    """Gives text when it is asked."""

    about: str
    """What it is, for messages; holds no secret."""

    def open(self) -> None:
        """Get ready.

        Raises:
            PluginUnavailable: it cannot be asked at all.
        """

    def text(self) -> str:
        """Its answer now.

        Raises:
            ReadingError: there is none.
        """

    def close(self) -> None:
        """Give back what is held."""


class Command:
    """A command that prints.

    Args:
        command: as it would be typed.
        shell: whether a shell reads it; else it is only cut into words.
        timeout_s: how long it may take.
    """

    def __init__(self, command: str, shell: bool, timeout_s: float) -> None:
        self.words = ["/bin/sh", "-c", command] if shell else shlex.split(command)
        self._timeout_s = timeout_s
        # Its arguments may hold a password; they are told nowhere.
        self.about = f"the command {_program(command)!r}"

    def open(self) -> None:
        """Nothing is held between two runs."""

    def close(self) -> None:
        """Likewise."""

    def text(self) -> str:
        """What it prints.

        Raises:
            PluginUnavailable: there is no such program.
            ReadingError: it takes too long, or fails.
        """
        try:
            process = subprocess.Popen(
                self.words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise PluginUnavailable(
                f"{self.about} cannot be run: {error.strerror}",
                "Give its full path; pipes and variables need the option shell=true",
            ) from error
        try:
            out, err = process.communicate(timeout=self._timeout_s)
        except subprocess.TimeoutExpired as error:
            raise ReadingError(
                f"{self.about} took more than {self._timeout_s:g} s, or left a child behind that "
                "holds its output open"
            ) from error
        finally:
            _end(process)
        if process.returncode:
            said = err.decode("utf-8", "replace").strip().splitlines()
            detail = f": {said[-1][:200]}" if said else ""
            raise ReadingError(f"{self.about} ended with {process.returncode}{detail}")
        return out.decode("utf-8", "replace")


def _program(command: str) -> str:
    """The first word that is no variable, which could hold a secret."""
    words = (word for word in shlex.split(command) if "=" not in word)
    return next(words, "")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what still runs of it, without waiting for pipes that others may hold open."""
    pipes = [pipe for pipe in (process.stdout, process.stderr) if pipe is not None]
    if all(pipe.closed for pipe in pipes):
        return  # it ended, and so did its output
    # Its children too; the group is there as long as one of them is.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    for pipe in pipes:
        pipe.close()
    process.wait()


class Page:
    """A page that a meter answers with.

    Args:
        url: of the page.
        headers_env: environment variable with lines ``Name: value`` to send along.
        timeout_s: how long it may take.
        sleep: waits, s.
    """

    def __init__(
        self, url: str, headers_env: str, timeout_s: float, sleep: Callable[[float], None]
    ) -> None:
        self._url = url
        self._headers_env = headers_env
        self._timeout_s = timeout_s
        self._sleep = sleep
        self._web: Web | None = None
        # A query often holds a key; it goes along, and is told nowhere.
        parts = urlsplit(url)
        self.about = parts._replace(query="", fragment="").geturl()
        self._query = tuple(parse_qsl(parts.query, keep_blank_values=True))

    def open(self) -> None:
        """Read the headers.

        Raises:
            PluginUnavailable: they are not there, or no headers.
        """
        self._web = Web(self._timeout_s, self._sleep, headers=self._headers())

    def close(self) -> None:
        """Close the connection."""
        if self._web is not None:
            self._web.close()
            self._web = None

    def text(self) -> str:
        """The body.

        Raises:
            PluginUnavailable: nothing answers there.
            ReadingError: what answers is not the page.
        """
        if self._web is None:
            raise ReadingError(f"{self.about} was asked while the meter was closed")
        return self._web.text(self.about, self._query)

    def _headers(self) -> Mapping[str, str]:
        if not self._headers_env:
            return {}
        lines = os.environ.get(self._headers_env, "").strip().splitlines()
        pairs = [line.partition(":") for line in lines]
        if not pairs or not all(name.strip() and colon for name, colon, _ in pairs):
            raise PluginUnavailable(
                "the environment variable that headers_env names is not set, or not of the form "
                "'Name: value'",
                "For example: export METER_HEADERS='Authorization: Bearer …'",
            )
        return {name.strip(): value.strip() for name, _, value in pairs}
