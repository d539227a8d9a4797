"""Where a service is, and the token that it asks for."""

from __future__ import annotations

import ipaddress
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from greenai_core import ConfigError

TOKEN_VARIABLE = "GREENAI_TOKEN"  # noqa: S105  # the name of a variable, no secret

DEFAULT_PORTS = {"http": 80, "https": 443}


PATH = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)*/*")
"""Paths that everybody writes the same way: no escapes, no steps up."""

HOST = re.compile(r"[A-Za-z0-9._:-]+")


class Token:
    """A secret that is shown to nobody, not even in a traceback with local variables.

    Raises:
        ConfigError: it holds what no token can, such as a line break.
    """

    __slots__ = ("_secret",)

    def __init__(self, secret: str, source: str) -> None:
        if not re.fullmatch(r"[A-Za-z0-9._~+/=:-]+", secret):
            raise ConfigError(f"the token in {source} is empty, or has a sign that no token has")
        self._secret = secret

    def header(self) -> str:
        """The value of ``Authorization``."""
        return f"Bearer {self._secret}"

    def __repr__(self) -> str:
        return "<token>"


@dataclass(frozen=True)
class Address:
    """An address that was checked.

    Attributes:
        base: without a slash at its end.
        host: as it is spoken of.
        origin: scheme, host and port; only there a token may go.
    """

    base: str
    host: str
    origin: tuple[str, str, int]


def address(url: str) -> Address:
    """The address of a service.

    Raises:
        ConfigError: it is none, holds a password or a query, or would be talked to
            readable to all.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"web: the url {url!r} is no address: {error}") from error
    if parts.scheme not in DEFAULT_PORTS or not host:
        raise ConfigError(f"web: the url {url!r} is not of the form https://host[:port][/path]")
    if parts.username is not None or parts.password is not None:
        raise ConfigError(
            f"web: the url of {host} holds a user or a password. A token belongs into the "
            f"variable {TOKEN_VARIABLE} or a file"
        )
    plain = PATH.fullmatch(parts.path) and HOST.fullmatch(host)
    if parts.query or parts.fragment or not plain:
        raise ConfigError(f"web: the url of {host} is not of the form https://host[:port][/path]")
    if parts.scheme == "http" and not is_loopback(host):
        raise ConfigError(
            f"web: http://{host} would be readable to everybody on the way: use https. Plain http "
            "is for services on this very machine"
        )
    origin = (parts.scheme, host, port or DEFAULT_PORTS[parts.scheme])
    place = f"[{host}]" if ":" in host else host
    base = f"{parts.scheme}://{place}" + (f":{port}" if port is not None else "")
    return Address(base + parts.path.rstrip("/"), host, origin)


def is_loopback(host: str) -> bool:
    """Whether a host is this very machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def default_token_file() -> Path:
    """``$XDG_CONFIG_HOME/greenai/token``."""
    home = os.environ.get("XDG_CONFIG_HOME", "")
    base = Path(home) if Path(home).is_absolute() else Path("~/.config").expanduser()
    return base / "greenai" / "token"


def find_token(file: str | os.PathLike[str] | None) -> Token | None:
    """The token of the variable, else of the file; None where there is neither.

    Args:
        file: None for the default, which need not exist.

    Raises:
        ConfigError: others may read the file, or it holds no token.
    """
    given = os.environ.get(TOKEN_VARIABLE, "")
    if given:
        return Token(given, f"the variable {TOKEN_VARIABLE}")
    try:
        path = default_token_file() if file is None else Path(file)
    except RuntimeError:  # a user without a home folder has no file there
        return None
    # Path.exists raises where another's home is closed to this user.
    if file is None and not os.path.exists(path):  # noqa: PTH110
        return None
    try:
        with path.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            if not stat.S_ISREG(mode) or mode & 0o077:
                raise ConfigError(
                    f"the token file {path} may be read by others: `chmod 600 {path}`, and get a "
                    "new token if others use this machine"
                )
            content = opened.read(4096)
    except OSError as error:
        raise ConfigError(f"the token file {path} cannot be read: {error.strerror}") from error
    return Token(content.decode("utf-8", "replace").strip(), str(path))
