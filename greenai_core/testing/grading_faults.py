"""How ``GradingServer`` fails: what goes over the wire in place of an answer."""

from __future__ import annotations

import functools
import gzip
import threading
from collections.abc import Callable, Iterator
from itertools import chain

FAULTS = (
    "hang",
    "drip",
    "drip-head",
    "stall",
    "reset",
    "500",
    "503",
    "429",
    "moved",
    "loop",
    "html",
    "half",
    "short",
    "wrong",
    "list",
    "late",
    "garbage",
    "endless",
    "gzip",
)
"""``hang``: no answer until the server is closed; ``drip``: a byte of the body now and
then; ``drip-head``: the same of a header; ``stall``: silence in the middle of the body;
``moved``: a redirection to ``elsewhere``; ``loop``: one to itself; ``half``: a JSON cut in
the middle; ``short``: fewer bytes than announced; ``wrong``: JSON of another shape;
``list``: JSON without a row; ``late``: what was asked is done, and the line breaks
before the answer; ``garbage``: no HTTP; ``endless``: a body that never ends; ``gzip``: a
few bytes that unpack to 16 MiB."""

BODIES = {
    "html": b"<html><body>Please log in</body></html>",
    "wrong": b'{"detail": "It worked!"}',
    "list": b"[]",
}
"""Bodies of the faults that are good HTTP."""

UNPACKED_BYTES = 16 * 2**20

_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def known(fault: str) -> str:
    """The fault.

    Raises:
        ValueError: there is none of that name.
    """
    if fault not in FAULTS:
        raise ValueError(f"fault {fault!r} is none of {FAULTS}")
    return fault


def raw_bytes(fault: str, closed: threading.Event, drip_s: float) -> Iterator[bytes] | None:
    """What is written piece by piece, from the status line on; None where the fault is another.

    Args:
        fault: one of ``FAULTS``.
        closed: ends what never ends by itself.
        drip_s: seconds between two bytes that drip.
    """
    pieces: dict[str, Callable[[], Iterator[bytes]]] = {
        "drip": lambda: chain([_OK + b"\r\n"], _dripping(b" ", closed, drip_s)),
        "drip-head": lambda: chain([_OK + b"X-Long: "], _dripping(b"x", closed, drip_s)),
        "stall": lambda: chain([_OK + b'Content-Length: 500\r\n\r\n{"cal'], _silent(closed)),
        "garbage": lambda: iter([b"\x16\x03\x01\x02\x00\x01\x00 no HTTP\r\n\r\n"]),
        "endless": lambda: chain([_OK + b"\r\n"], _dripping(b" " * 65536, closed, 0)),
        "gzip": lambda: iter([_packed()]),
    }
    return pieces[fault]() if fault in pieces else None


@functools.cache
def _packed() -> bytes:
    body = gzip.compress(bytes(UNPACKED_BYTES), compresslevel=1)
    return _OK + f"Content-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _dripping(byte: bytes, closed: threading.Event, drip_s: float) -> Iterator[bytes]:
    while not closed.wait(drip_s):
        yield byte


def _silent(closed: threading.Event) -> Iterator[bytes]:
    closed.wait()
    yield from ()
