"""Requests to a service that may be slow, broken, moved, or somebody else's."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
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

from .web_adapter import RETRIED, Patience, adapter
from .web_address import DEFAULT_PORTS, TOKEN_VARIABLE, Address, Token
from .web_deadline import Deadline

if TYPE_CHECKING:
    import requests

MOST_BYTES = 2**20
MOST_HOPS = 3


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

    def call(self) -> Deadline:
        """A new call: what is asked within it shares the time that patience gives in all."""
        return Deadline(self._patience.total_s)

    def ask(self, asked: Asked, deadline: Deadline) -> bytes:
        """The body of a good answer.

        Raises:
            ServiceUnreachable, ServiceUntrusted, ServiceFailed, ServiceRefused: there is none.
        """
        import requests
        from urllib3.exceptions import HTTPError

        url = self._address.base + asked.path
        shown = _shown(url)
        deadline.check(shown)
        with _session() as session:
            # Nothing of the environment: .netrc would add a password, a proxy sees everything.
            session.trust_env = False
            session.verify = self._verify
            for scheme in DEFAULT_PORTS:
                session.mount(f"{scheme}://", adapter(self._patience, deadline, shown))
            try:
                content = self._followed(session, asked, url, deadline)
            except (requests.RequestException, HTTPError) as error:
                deadline.check(shown)
                raise _as_ours(error, shown, self._patience) from error
            except ValueError as error:
                # What requests lets through: addresses and headers that cannot be decoded.
                raise ServiceFailed(f"{shown} answers with what is no HTTP") from error
        deadline.check(shown)  # a body without a length ends where the time does
        return content

    def ask_json(self, asked: Asked, deadline: Deadline) -> Any:
        """A good answer as JSON types.

        Raises:
            ServiceFailed: it is not JSON, or says one thing twice; else as ``ask``.
        """
        content = self.ask(asked, deadline)
        try:
            return json.loads(
                content, parse_constant=_refuse_constant, object_pairs_hook=_without_doubles
            )
        except (ValueError, RecursionError) as error:
            raise ServiceFailed(
                f"{self._address.base}{asked.path} answered with {len(content)} bytes that are "
                "not JSON: perhaps it is no grading service"
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

    def _followed(
        self, session: requests.Session, asked: Asked, url: str, deadline: Deadline
    ) -> bytes:
        """The body, by way of redirections within the service."""
        for _ in range(MOST_HOPS + 1):
            with self._send(session, asked, url) as answer:
                if not answer.is_redirect:
                    return _content(answer, _shown(url))
                url = self._next(url, answer.headers["Location"])
                if answer.status_code == 303:
                    asked = dataclasses.replace(asked, method="GET", form=None)
            deadline.check(_shown(url))
        raise ServiceFailed(f"{self._address.base} redirects without end")

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
            raise ServiceFailed(f"{_shown(url)} cannot be asked for: it would become another")
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
            raise ServiceFailed(f"{_shown(url)} redirects to what is no address") from None
        if (parts.scheme, parts.hostname, port) != self._address.origin:
            raise ServiceFailed(
                f"{_shown(url)} sends to another host, {_shown(target)}; nothing was sent there. "
                "If you trust it, give it as the address of the service"
            )
        if parts.username is not None or parts.password is not None:
            # requests would put them in the place of the token.
            raise ServiceFailed(f"{_shown(url)} redirects to an address with a password")
        return target


def _session() -> requests.Session:
    """A session that looks at no redirection itself: it would read its body, which may not end."""
    import requests

    class Session(requests.Session):
        def get_redirect_target(self, resp: requests.Response) -> None:
            return None

    return Session()


def _content(answer: requests.Response, url: str) -> bytes:
    """The whole body of a good answer."""
    status = answer.status_code
    if not 200 <= status < 300:
        raise _of_status(status, url)
    if answer.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        # Nobody asked for it, and a few bytes may unpack to more than fits the memory.
        raise ServiceFailed(f"{url} answers compressed, which it was not asked for")
    content = bytearray()
    # Not iter_content: it reads the lengths of chunks as lines, and those without limit.
    while chunk := answer.raw.read(4096, decode_content=False):
        content += chunk
        if len(content) > MOST_BYTES:
            raise ServiceFailed(f"{url} answers without end: no grading service does")
    told = answer.headers.get("Content-Length", "")
    if told.isdecimal() and int(told) != len(content):
        raise ServiceFailed(f"{url} broke off after {len(content)} of {told} bytes")
    return bytes(content)


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
    error: Exception, url: str, patience: Patience
) -> ServiceUnreachable | ServiceUntrusted | ServiceFailed:
    import requests
    from urllib3.exceptions import HTTPError, ReadTimeoutError

    if isinstance(error, requests.exceptions.SSLError):
        return ServiceUntrusted(
            f"{url}: the certificate is not trusted ({_root(error)}); nothing was sent. If the "
            "service is yours, give its certificate as ca_file (--ca-file)"
        )
    if isinstance(error, (requests.exceptions.ReadTimeout, ReadTimeoutError)):
        return ServiceUnreachable(f"{url} was silent for {patience.read_s:g} s")
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return ServiceUnreachable(f"{url}: no connection within {patience.connect_s:g} s")
    if isinstance(error, HTTPError):
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


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands there twice")
    return found
