"""The serial port of a meter: opened, or refused with the remedy."""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from greenai_core import PluginUnavailable

BAUD = 921_600


class Port(Protocol):
    """What of pyserial's ``Serial`` is used."""

    def read(self, size: int) -> bytes:
        """Up to so many of the bytes that have arrived; does not wait."""

    def reset_input_buffer(self) -> None:
        """Throw away what has arrived."""

    def close(self) -> None:
        """Give the port back."""


OpenPort = Callable[[str], Port]


def open_serial(name: str) -> Port:
    """The port at the speed of the meter, for nobody else beside us.

    Raises:
        OSError: it cannot be opened.
    """
    import serial

    port: Any = serial.Serial(name, BAUD, timeout=0, exclusive=True)
    opened: Port = port
    return opened


def opened(name: str, open_port: OpenPort) -> Port:
    """The port, open.

    Raises:
        PluginUnavailable: it cannot be opened.
    """
    try:
        return open_port(name)
    except OSError as error:
        raise PluginUnavailable(
            f"the port {name} cannot be opened: {_cause(error)}", _remedy(name, error)
        ) from error
    except ValueError as error:  # pyserial: a speed that the device cannot have
        raise PluginUnavailable(
            f"the port {name} has no {BAUD} baud: {error}", "Give the port of the meter"
        ) from error


def emptied(port: Port) -> None:
    """Throw away what has arrived.

    Raises:
        OSError: the port is gone.
    """
    try:
        port.reset_input_buffer()
    except OSError:
        raise
    except Exception as error:  # termios.error, which pyserial hands on, is no OSError
        raise OSError(*error.args) from error


def _cause(error: OSError) -> str:
    # pyserial puts the port and the number into its own text again.
    return os.strerror(error.errno) if error.errno else str(error)


def _remedy(name: str, error: OSError) -> str:
    if error.errno == errno.EACCES:
        return f"Allow it: sudo usermod -aG {_group(name)} $USER, then log in again"
    if error.errno in (errno.EBUSY, errno.EAGAIN) or "lock" in str(error):
        return (
            "Another program reads it: stop wattmetre-read, or read its log with the profiler "
            "omegawatt-log"
        )
    there = ", ".join(sorted(str(p) for kind in ("USB", "ACM") for p in _ports(kind)))
    return f"Plug the meter in, and give its port (here: {there or 'no serial port over USB'})"


def _ports(kind: str) -> list[Path]:
    return [*Path("/dev").glob(f"tty{kind}*")]


def _group(name: str) -> str:
    try:
        return shlex.quote(Path(name).group())
    except (OSError, KeyError):
        return "dialout"
