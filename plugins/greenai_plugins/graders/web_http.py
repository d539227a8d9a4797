"""Requests to a service that may be slow, broken, moved, or somebody else's."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urljoin, urlsplit

from greenai_core import (
    ServiceFailed,
    ServiceRefused,
    ServiceUnreachable,
    ServiceUntrusted,
)

from .web_address import DEFAULT_PORTS, TOKEN_VARIABLE, Address, Token

if TYPE_CHECKING:
    import requests
    from requests.adapters import HTTPAdapter

RETRIED = (408, 429, 502, 503, 504)
"""What a service says when the same request may work later."""

TRIES = 4
FIRST_WAIT_S = 0.5
MOST_WAIT_S = 30.0
"""No ``Retry-After`` is waited for longer."""

MOST_BYTES = 2**20
MOST_HOPS = 3


@dataclass(frozen=True)
class Patience:
    """How long to wait, and how often to try.

    Attributes:
        connect_s, read_s: timeouts of a connection and of silence on it, s.
        tries: with the first.
        first_wait_s: before the second try; doubled for each one after.
        most_wait_s: the longest between two tries, s.
        sleep, chance: replaced in tests; ``chance`` gives 0 to 1.
    """

    connect_s: float = 5.0
    read_s: float = 15.0
    tries: int = TRIES
    first_wait_s: float = FIRST_WAIT_S
    most_wait_s: float = MOST_WAIT_S
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random

    def wait_s(self, failures: int, asked_s: float | None) -> float:
        """Seconds before the next try: what the service asks for, else 50 to 100 % of the step."""
        if asked_s is not None:
            return min(asked_s, self.most_wait_s)
        step: float = self.first_wait_s * 2 ** (failures - 1)
        return min(step * (0.5 + 0.5 * self.chance()), self.most_wait_s)


@dataclass(frozen=True)
class Asked:
    """One request.

    Attributes:
        path: below the address of the service, quoted.
        form: fields of a form; None for no body.
        key: for ``Idempotency-Key``; empty for none.
    """

    method: str
    path: str
    form: Mapping[str, str] | None = None
    key: str = ""


class Transport:
    """Asks one service; certificates are always checked, redirections never leave it.

    Args:
        address: of the service.
        token: sent to that very origin alone; None for none.
        ca_file: certificates to trust instead of the usual ones.
        patience: timeouts and tries.
    """

    def __init__(
        self,
        address: Address,
        token: Token | None = None,
        ca_file: str | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._address = address
        self._token = token
        self._verify: str | bool = ca_file or True
        self._patience = patience or Patience()

    def ask(self, asked: Asked) -> bytes:
        """The body of a good answer.

        Raises:
            ServiceUnreachable, ServiceUntrusted, ServiceFailed, ServiceRefused: there is none.
        """
        import requests

        url = self._address.base + asked.path
        with requests.Session() as session:
            # Nothing of the environment: .netrc would add a password, a proxy sees everything.
            session.trust_env = False
            session.verify = self._verify
            session.mount("http://", _adapter(self._patience))
            session.mount("https://", _adapter(self._patience))
            try:
                for _ in range(MOST_HOPS + 1):
                    with self._send(session, asked, url) as answer:
                        if not answer.is_redirect:
                            return _content(answer, url)
                        url = self._next(url, answer.headers["Location"])
            except requests.RequestException as error:
                raise _as_ours(error, url, self._patience) from error
            except ValueError as error:
                # What requests lets through: addresses and headers that cannot be decoded.
                raise ServiceFailed(f"{url} answers with what is no HTTP") from error
        raise ServiceFailed(f"{self._address.base} redirects without end")

    def ask_json(self, asked: Asked) -> Any:
        """A good answer as JSON types.

        Raises:
            ServiceFailed: it is not JSON; else as ``ask``.
        """
        content = self.ask(asked)
        try:
            return json.loads(content, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise ServiceFailed(
                f"{self._address.base}{asked.path} answered with {len(content)} bytes that are "
                "not JSON. Is it the address of a grading service?"
            ) from error

    def wire(self, asked: Asked) -> bytes:
        """The bytes of a request; in place of the token the word ``TOKEN``."""
        prepared = self._prepared(asked, self._address.base + asked.path)
        netloc = urlsplit(self._address.base).netloc
        headers = dict(prepared.headers)
        if "Authorization" in headers:
            headers["Authorization"] = "Bearer TOKEN"
        lines = [f"{asked.method} {prepared.path_url} HTTP/1.1", f"Host: {netloc}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        body = prepared.body or b""
        head = "\r\n".join([*lines, "", ""]).encode("ascii")
        return head + (body.encode() if isinstance(body, str) else bytes(body))

    def _send(self, session: requests.Session, asked: Asked, url: str) -> requests.Response:
        return session.send(
            self._prepared(asked, url),
            timeout=(self._patience.connect_s, self._patience.read_s),
            allow_redirects=False,
            stream=True,
        )

    def _prepared(self, asked: Asked, url: str) -> requests.PreparedRequest:
        """The request; these headers and those of a body are all that there are."""
        import requests

        headers = {
            "User-Agent": f"greenai/{metadata.version('greenai-core')}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        }
        if asked.key:
            headers["Idempotency-Key"] = asked.key
        if self._token is not None:
            headers["Authorization"] = self._token.header()
        body = None if asked.form is None else urlencode(asked.form)
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        prepared = requests.Request(asked.method, url, headers=headers, data=body).prepare()
        if prepared.url != url:
            raise ServiceFailed(f"{url} cannot be asked for: it would become {prepared.url}")
        return prepared

    def _next(self, url: str, location: str) -> str:
        """Where a redirection leads, if that is the same service.

        Raises:
            ServiceFailed: it leads elsewhere. Nothing goes there: neither the token,
                nor what was to be graded, and its answer would be a stranger's.
        """
        try:
            target = urljoin(url, location)
            parts = urlsplit(target)
            port = parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
        except ValueError:
            raise ServiceFailed(f"{url} redirects to what is no address") from None
        if (parts.scheme, parts.hostname, port) != self._address.origin:
            raise ServiceFailed(
                f"{url} sends to another host, {_shown(target)}; nothing was sent there. If you "
                "trust it, give it as the address of the service"
            )
        return target


def _adapter(patience: Patience) -> HTTPAdapter:
    """An adapter that tries again by urllib3's ``Retry``, as patience says."""
    from requests.adapters import HTTPAdapter
    from urllib3.exceptions import HTTPError, ReadTimeoutError, SSLError
    from urllib3.util.retry import Retry

    class Patient(Retry):
        RETRY_AFTER_STATUS_CODES = frozenset()  # or 413 would be tried again too

        def increment(self, *args: Any, **more: Any) -> Any:
            error = more.get("error")
            # Neither a wrong certificate nor silence gets better by asking at once again.
            if isinstance(error, (SSLError, ReadTimeoutError)):
                raise error
            return super().increment(*args, **more)

        def sleep(self, response: Any = None) -> None:
            asked_s = None
            if response is not None:
                try:
                    asked_s = self.get_retry_after(response)
                except (HTTPError, ValueError, OverflowError, TypeError):
                    asked_s = None  # what is no time is not waited for
            patience.sleep(patience.wait_s(len(self.history), asked_s))

    return HTTPAdapter(
        max_retries=Patient(
            total=patience.tries - 1,
            redirect=0,
            status_forcelist=RETRIED,
            allowed_methods=None,  # POST as well: it carries an Idempotency-Key
            raise_on_status=False,
        )
    )


def _content(answer: requests.Response, url: str) -> bytes:
    """The whole body of a good answer."""
    status = answer.status_code
    if not 200 <= status < 300:
        raise _of_status(status, url)
    content = b""
    for chunk in answer.iter_content(4096):
        content += chunk
        if len(content) > MOST_BYTES:
            raise ServiceFailed(f"{url} answers without end: no grading service does")
    told = answer.headers.get("Content-Length", "")
    if told.isdecimal() and int(told) != len(content):
        raise ServiceFailed(f"{url} broke off after {len(content)} of {told} bytes")
    return content


def _of_status(status: int, url: str) -> ServiceFailed | ServiceRefused:
    if status in (401, 403):
        return ServiceRefused(
            f"{url} lets nobody in without the right token (status {status}). Put it into the "
            f"variable {TOKEN_VARIABLE}, or into a file that only you may read",
            status,
        )
    if status in RETRIED:
        return ServiceFailed(f"{url} is busy or down (status {status}, after all tries)")
    if 400 <= status < 500:
        return ServiceRefused(f"{url} refuses (status {status})", status)
    return ServiceFailed(f"{url} failed (status {status}): that is a fault of the service")


def _as_ours(
    error: requests.RequestException, url: str, patience: Patience
) -> ServiceUnreachable | ServiceUntrusted | ServiceFailed:
    import requests

    if isinstance(error, requests.exceptions.SSLError):
        return ServiceUntrusted(
            f"{url}: the certificate is not trusted ({_root(error)}); nothing was sent. If the "
            "service is yours, give its certificate as ca_file"
        )
    if isinstance(error, requests.exceptions.ReadTimeout):
        return ServiceUnreachable(f"{url} was silent for {patience.read_s:g} s")
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return ServiceUnreachable(f"{url}: no connection within {patience.connect_s:g} s")
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return ServiceFailed(f"{url} broke off in the middle of its answer")
    return ServiceUnreachable(f"{url} does not answer: {_root(error)}")


def _root(error: BaseException) -> str:
    """The first of a chain of errors: what the operating system said, fit to be shown."""
    while error.__context__ is not None:
        error = error.__context__
    return _shown(str(error) or type(error).__name__)


def _shown(text: str) -> str:
    """A text from outside, without what would steer a terminal."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)[:200]


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
