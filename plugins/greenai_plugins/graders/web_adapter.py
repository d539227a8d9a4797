"""When a request is tried again, by urllib3's ``Retry``, and when it is given up."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from greenai_core import ServiceFailed

from .web_deadline import Deadline

if TYPE_CHECKING:
    from requests.adapters import HTTPAdapter

RETRIED = (408, 429, 502, 503, 504)
"""What a service says when the same request may work later."""

TRIES = 4
FIRST_WAIT_S = 0.5
MOST_WAIT_S = 30.0
"""No ``Retry-After`` is waited for longer; one that asks for more ends the tries."""

TOTAL_S = 20.0
"""After so long a call is given up, with all its tries."""


@dataclass(frozen=True)
class Patience:
    """How long to wait, and how often to try.

    Attributes:
        connect_s, read_s: timeouts of a connection and of silence on it, s.
        total_s: the longest that one call may take, with all its requests and tries, s.
        tries: with the first.
        first_wait_s: before the second try; doubled for each one after.
        most_wait_s: the longest between two tries, s.
        sleep, chance: replaced in tests; ``chance`` gives 0 to 1.
    """

    connect_s: float = 5.0
    read_s: float = 15.0
    total_s: float = TOTAL_S
    tries: int = TRIES
    first_wait_s: float = FIRST_WAIT_S
    most_wait_s: float = MOST_WAIT_S
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random

    def wait_s(self, failures: int, asked_s: float | None) -> float:
        """Seconds before the next try: what the service asks for, else 50 to 100 % of the step."""
        if asked_s is not None:
            return asked_s
        step: float = self.first_wait_s * 2 ** (failures - 1)
        return min(step * (0.5 + 0.5 * self.chance()), self.most_wait_s)


def adapter(patience: Patience, deadline: Deadline, url: str) -> HTTPAdapter:
    """What carries requests: it tries again, and ends with the deadline.

    Args:
        patience: timeouts and tries.
        deadline: of the call.
        url: for messages.
    """
    from requests.adapters import HTTPAdapter

    made = HTTPAdapter(max_retries=_retry(patience, deadline, url))
    made.poolmanager.pool_classes_by_scheme = _pools(deadline)
    return made


def _retry(patience: Patience, deadline: Deadline, url: str) -> Any:
    from urllib3.exceptions import HTTPError, ReadTimeoutError, SSLError
    from urllib3.util.retry import Retry

    class Patient(Retry):
        RETRY_AFTER_STATUS_CODES = frozenset()  # or 413 would be tried again too
        wait_s = 0.0

        def increment(self, *args: Any, **more: Any) -> Any:
            error, response = more.get("error"), more.get("response")
            # Neither a wrong certificate nor silence gets better by asking at once again.
            if isinstance(error, (SSLError, ReadTimeoutError)):
                raise error
            deadline.check(url)
            if response is not None:
                response.close()  # else its body is read to the end, and it may have none
            following = super().increment(*args, **more)
            asked_s = self._asked_s(response)
            most_s = min(patience.most_wait_s, deadline.left_s)
            if response is not None and asked_s is not None and asked_s > most_s:
                raise ServiceFailed(
                    f"{url} is busy or down (status {response.status}), and asks to be left alone "
                    f"for longer than the {most_s:.3g} s that there are to wait"
                )
            following.wait_s = min(patience.wait_s(len(following.history), asked_s), most_s)
            return following

        def sleep(self, response: Any = None) -> None:
            patience.sleep(self.wait_s)

        def _asked_s(self, response: Any) -> float | None:
            """What ``Retry-After`` says; None where that is nothing, or no time."""
            if response is None:
                return None
            try:
                told = self.get_retry_after(response)
                return None if told is None else float(told)
            except (HTTPError, ValueError, OverflowError, TypeError):
                return None

    return Patient(
        total=patience.tries - 1,
        redirect=0,
        status_forcelist=RETRIED,
        allowed_methods=None,  # POST as well: it carries an Idempotency-Key
        raise_on_status=False,
    )


def _pools(deadline: Deadline) -> dict[str, Any]:
    """Pools of connections that end with the deadline."""
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    class Watched:
        timeout: Any

        def _new_conn(self) -> socket.socket:
            if isinstance(self.timeout, (int, float)):
                self.timeout = min(self.timeout, max(deadline.left_s, 0.001))
            made: socket.socket = super()._new_conn()  # type: ignore[misc]  # of the class beside
            deadline.watch(made)
            return made

    class Plain(Watched, HTTPConnection):
        pass

    class Secure(Watched, HTTPSConnection):
        pass

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}
