"""Asking a meter over HTTP: once more after a passing failure, never elsewhere, no secret told."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from greenai_core import ConfigError, ReadingError

from .meter_deadline import Deadline

TRIES = 2
RETRY_PAUSE_S = 0.05
PASSING_STATUS = (502, 503, 504)
"""Answers of a busy meter or gateway that are often gone at the next try."""

MAX_BYTES = 1 << 20
"""No meter's answer is longer."""


Query: TypeAlias = Sequence[tuple[str, str]]


class NoAnswerError(ReadingError):
    """Nothing came back at all: the address may be wrong."""


class UntrustedError(ReadingError):
    """Who answers does not show a certificate that is trusted."""


class LockedError(ReadingError):
    """The meter wants a password, or another one."""


class Web:
    """The web server of one meter.

    Args:
        timeout_s: how long an answer may take.
        sleep: waits, s.
        headers: to send along.
        verify: whether a certificate must be trusted, or the file of the only one.
    """

    def __init__(
        self,
        timeout_s: float,
        sleep: Callable[[float], None],
        headers: Mapping[str, str] | None = None,
        verify: bool | str = True,
    ) -> None:
        import requests

        self._timeout_s = timeout_s
        self._sleep = sleep
        self._session = requests.Session()
        # A meter stands in the local network: no proxy, and no password from ~/.netrc.
        self._session.trust_env = False
        self._session.headers.update(headers or {})
        self._session.verify = verify
        self._deadline = Deadline(self._session)

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def text(self, url: str, hidden: Query = (), auth: Any = None) -> str:
        """The body of an answer with status 200.

        Args:
            url: as it may be told.
            hidden: more of its query, which is told nowhere.
            auth: what ``requests`` calls so; None for none.

        Raises:
            ReadingError: there is none; names the url.
        """
        failure: ReadingError
        for attempt in range(TRIES):
            try:
                status, body = self._ask(url, hidden, auth)
            except NoAnswerError as error:
                failure = error
                if attempt == TRIES - 1 or "within" in str(error):
                    # Silence is not tried over: by then the next sample is due anyway.
                    break
            else:
                if status == 200:
                    return body
                failure = _refusal(url, status)
                if status not in PASSING_STATUS:
                    break
            self._sleep(RETRY_PAUSE_S)
        # What `requests` says holds the whole url, with what is hidden in it.
        raise failure from None

    def _ask(self, url: str, hidden: Query, auth: Any) -> tuple[int, str]:
        import requests

        too_late = NoAnswerError(f"{url} did not answer within {self._timeout_s:g} s")
        deadline = time.monotonic() + self._timeout_s
        body = b""
        try:
            with (
                self._deadline.within(self._timeout_s),
                self._session.get(
                    url,
                    params=[*hidden],
                    auth=auth,
                    timeout=self._timeout_s,
                    allow_redirects=False,
                    stream=True,
                ) as response,
            ):
                for piece in response.iter_content(65536):
                    body += piece
                    if len(body) > MAX_BYTES:
                        raise ReadingError(f"{url} answered with more than {MAX_BYTES} bytes")
                if time.monotonic() > deadline:
                    raise too_late  # what was cut looks complete where no length was told
                return response.status_code, body.decode("utf-8", "replace")
        except UnicodeError:  # the message would hold what cannot be sent
            raise ReadingError(
                f"{url}: a header, name or password for it has characters that HTTP cannot carry"
            ) from None
        except requests.exceptions.SSLError as error:
            raise UntrustedError(
                f"{url}: its certificate is not trusted ({_root(error)})"
            ) from error
        except requests.Timeout as error:
            raise too_late from error
        except requests.RequestException as error:
            if isinstance(_root(error), TimeoutError) or time.monotonic() > deadline:
                raise too_late from error
            raise NoAnswerError(f"{url} does not answer: {_root(error)}") from error


def _refusal(url: str, status: int) -> ReadingError:
    if status in (401, 403):
        return LockedError(f"{url} answered with status {status}: it wants a password, or another")
    return ReadingError(f"{url} answered with status {status}")


def _root(error: BaseException) -> BaseException:
    """The first of a chain of errors: what the operating system said."""
    while error.__context__ is not None:
        error = error.__context__
    return error


def address(profiler: str, url: str, path: bool = False) -> tuple[str, str]:
    """The address, without a path unless it may have one, and its host.

    Raises:
        ConfigError: it is none, or holds a password.
    """
    form = "http://host[:port]" + "/path" * path
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"{profiler}: the url is no address of the form {form}") from error
    if parts.username is not None or (not path and (parts.query or parts.path.strip("/"))):
        raise ConfigError(
            f"{profiler}: the url of {host} holds more than {form}; give passwords by their own "
            "options"
        )
    if parts.scheme not in ("http", "https") or not host:
        shown = url.partition("?")[0]  # a query may hold a key
        raise ConfigError(f"{profiler}: url {shown!r} is not of the form {form}")
    if path:
        return url, host
    place = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{place}" + (f":{port}" if port else ""), host
