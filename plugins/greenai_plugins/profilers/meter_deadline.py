"""The end of an HTTP request, however slowly its bytes trickle in.

The timeout of ``requests`` begins again with each byte that arrives, so it bounds
nothing that a slow or hostile server sends.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING
from weakref import WeakSet

if TYPE_CHECKING:
    import requests


class Deadline:
    """Cuts the connections of a session that are open when the time is up.

    Args:
        session: whose.
    """

    def __init__(self, session: requests.Session) -> None:
        from requests.adapters import HTTPAdapter
        from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
        from urllib3.connection import HTTPConnection, HTTPSConnection

        opened = self._sockets = WeakSet[socket.socket]()

        class Plain(HTTPConnection):
            def connect(self) -> None:
                super().connect()
                opened.add(self.sock)

        class Secure(HTTPSConnection):
            def connect(self) -> None:
                super().connect()
                opened.add(self.sock)

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(HTTPSConnectionPool):
            ConnectionCls = Secure

        for scheme, pool in (("http", PlainPool), ("https", SecurePool)):
            adapter = HTTPAdapter()
            adapter.poolmanager.pool_classes_by_scheme = {scheme: pool}
            session.mount(f"{scheme}://", adapter)

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """What is read inside fails, or ends, after so long."""
        timer = threading.Timer(seconds, self._cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _cut(self) -> None:
        for one in [*self._sockets]:
            with contextlib.suppress(OSError):  # it was closed meanwhile
                one.shutdown(socket.SHUT_RDWR)
