"""The time that one call may take, whatever the other side does with it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

from greenai_core import ServiceUnreachable

if TYPE_CHECKING:
    from typing_extensions import Self


class Deadline:
    """An end to a call; use it as a context manager.

    A service that sends a byte now and then never runs into the timeout of a socket.
    So when the time is over all connections of the call are shut down, from whatever
    phase they are in: the handshake of TLS, headers, or a body.

    Args:
        total_s: from now on, s.
    """

    def __init__(self, total_s: float) -> None:
        self._total_s = total_s
        self._end = time.monotonic() + total_s
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []
        self._timer = threading.Timer(total_s, self._shut_down)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        with self._lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()

    @property
    def left_s(self) -> float:
        """Time that is left, s; 0 when it is over."""
        return max(self._end - time.monotonic(), 0.0)

    def check(self, url: str) -> None:
        """See that time is left.

        Raises:
            ServiceUnreachable: it is over.
        """
        if not self.left_s:
            raise ServiceUnreachable(f"{url} did not finish within {self._total_s:g} s")

    def watch(self, connection: socket.socket) -> None:
        """Have a connection end with the time.

        A duplicate is kept: TLS takes the socket itself over before its handshake.
        """
        with self._lock:
            self._connections.append(connection.dup())
        if not self.left_s:
            self._shut_down()

    def _shut_down(self) -> None:
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):  # the other side was quicker
                    connection.shutdown(socket.SHUT_RDWR)
