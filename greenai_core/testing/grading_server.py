"""A grading service on loopback that speaks version 0 of the old protocol.

With its habits: decimals come back as strings, one device comes as a bare object and
none as 404, a duplicate is 404, a figure must be written with a point, and classes
that overlap are an error page with status 500. The protocol is that of the service
that scripts called at ``cpus/``, ``calculationData/``, ``softwareCalculationData/``,
``classificationData/`` and ``classificationDataC/``. It fails on request.
"""

from __future__ import annotations

import contextlib
import json
import re
import ssl
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from .grading_faults import BODIES, known, raw_bytes
from .http_answers import Answering

if TYPE_CHECKING:
    from typing_extensions import Self

SLASHES = ("redirects", "both", "without")
"""What becomes of an address without a slash at its end: a redirection to the one with
it, the same answer; ``without``: only those without exist."""

FIGURE = re.compile(r"[0-9]+\.?[0-9]+")
"""What the old service took for a number in an address; not 5, 5e-05 nor -0.01."""

EXAMPLE_CLASSES = tuple(
    {"calification": letter, "number_metrics": "1", "min_C1": low, "max_C1": high}
    for letter, low, high in (
        ("A", "0", "0.05"),
        ("B", "0.05", "0.1"),
        ("C", "0.1", "0.2"),
        ("D", "0.2", "0.4"),
        ("E", "0.4", "0.6"),
        ("F", "0.6", "0.8"),
        ("G", "0.8", "1000"),
    )
)
"""Invented for trying things out: nobody has published those of the old service."""

DEVICE_FIELDS = ("object", "object_type", "value_type", "value1", "value2", "value3")
CLASS_FIELDS = ("calification", "number_metrics", "min_C1", "max_C1", "min_C2", "max_C2")


@dataclass(frozen=True)
class Received:
    """One request as it arrived.

    Attributes:
        wire: all bytes of it.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    wire: bytes


@dataclass(frozen=True)
class _Reply:
    status: int
    content: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> bytes:
        if isinstance(self.content, bytes):
            return self.content
        return b"" if self.content is None else json.dumps(self.content).encode()


class GradingServer:
    """The service; use it as a context manager.

    Args:
        classes: rows as ``classificationData/`` takes them; they may overlap.
        token: without which nothing may be changed; None lets everybody write, as
            the old service did.
        slashes: one of ``SLASHES``.
        certificate: PEM file with key and certificate; then it speaks HTTPS.
        elsewhere: address that the fault ``moved`` redirects to.
        retry_after: the header that the faults 503 and 429 carry; empty for none.
        drip_s: seconds between two bytes of the fault ``drip``.
    """

    def __init__(
        self,
        classes: Sequence[Mapping[str, Any]] = EXAMPLE_CLASSES,
        *,
        token: str | None = None,
        slashes: str = "redirects",
        certificate: Path | None = None,
        elsewhere: str = "http://127.0.0.2:9/",
        retry_after: str = "",
        drip_s: float = 0.05,
    ) -> None:
        if slashes not in SLASHES:
            raise ValueError(f"slashes {slashes!r} is none of {SLASHES}")
        self.classes = [dict(row) for row in classes]
        self.devices: list[dict[str, str]] = []
        self.token = token
        self.slashes = slashes
        self.elsewhere = elsewhere
        self.retry_after = retry_after
        self.drip_s = drip_s
        self.requests: list[Received] = []
        """What arrived so far."""
        self.closed = threading.Event()
        self._faults: deque[str] = deque()
        self._lasting = ""
        self._server = _Server(self)
        self._scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            # The handshake belongs to the thread of the connection: it must not stop the others.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
            self._scheme = "https"

    @property
    def url(self) -> str:
        """Address of the service."""
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.closed.set()
        self._server.shutdown()
        self._server.server_close()

    def fail(self, *faults: str) -> None:
        """The next answers, one each, are these faults of ``grading_faults.FAULTS``.

        Raises:
            ValueError: there is no such fault.
        """
        self._faults.extend(known(fault) for fault in faults)

    def keep_failing(self, fault: str) -> None:
        """Every answer from now on is this fault, until ``heal``."""
        self._lasting = known(fault)

    def heal(self) -> None:
        """End all faults."""
        self._faults.clear()
        self._lasting = ""

    def next_fault(self) -> str:
        """The fault that the answer under way must show; empty for none."""
        return self._faults.popleft() if self._faults else self._lasting

    def answer(self, received: Received) -> _Reply:
        """What the service does and says."""
        slash = received.path.endswith("/")
        if self.slashes == "redirects" and not slash:
            return _Reply(301, headers={"Location": f"{received.path}/"})
        if self.slashes == "without" and slash:
            return _Reply(404, BODIES["html"])
        authorised = received.headers.get("Authorization") == f"Bearer {self.token}"
        if received.method != "GET" and self.token is not None and not authorised:
            return _Reply(401, {"detail": "Authentication credentials were not provided."})
        parts = [unquote(part) for part in received.path.strip("/").split("/")]
        return self._routed(received, parts)

    def _routed(self, received: Received, parts: list[str]) -> _Reply:
        match received.method, parts:
            case "GET", ["cpus", kind]:
                return self._listed(kind)
            case "POST", ["calculationData"]:
                return self._added(_fields(received))
            case ("GET" | "PUT" | "DELETE") as method, ["softwareCalculationData", *names]:
                return self._of_device(method, names, received)
            case "POST", ["classificationData"]:
                return self._classified(_fields(received))
            case "GET", ["classificationDataC", metrics, figure] if FIGURE.fullmatch(figure):
                return self._graded(metrics, Decimal(figure))
            case _:
                return _Reply(404, BODIES["html"])

    def _listed(self, kind: str) -> _Reply:
        found = [row for row in self.devices if row["object_type"] == kind]
        if not found:
            return _Reply(404)
        return _Reply(200, found if len(found) > 1 else found[0])

    def _added(self, fields: Mapping[str, str]) -> _Reply:
        row = _device(fields)
        if row is None or any(_name(row) == _name(known) for known in self.devices):
            return _Reply(404)
        self.devices.append(row)
        return _Reply(201, row)

    def _of_device(self, method: str, names: list[str], received: Received) -> _Reply:
        found = next((row for row in self.devices if list(_name(row)) == names), None)
        if found is None:
            return _Reply(404)
        if method == "DELETE":
            self.devices.remove(found)
            return _Reply(204)
        if method == "PUT":
            changed = _device(_fields(received))
            if changed is None:
                return _Reply(400, {"value1": ["A valid number is required."]})
            found.update(changed)
        return _Reply(200, found)

    def _classified(self, fields: Mapping[str, str]) -> _Reply:
        row = {name: fields[name] for name in CLASS_FIELDS if fields.get(name)}
        bounds = [_decimal(row.get(name, "")) for name in ("min_C1", "max_C1")]
        if not {"calification", "number_metrics"} <= set(row) or None in bounds:
            return _Reply(404)
        self.classes.append(row)
        return _Reply(201, _class(row))

    def _graded(self, metrics: str, figure: Decimal) -> _Reply:
        found = [
            row
            for row in self.classes
            if str(row["number_metrics"]) == metrics
            and Decimal(str(row["min_C1"])) <= figure < Decimal(str(row["max_C1"]))
        ]
        if len(found) > 1:
            return _Reply(500, b"<h1>Server Error (500)</h1>")
        return _Reply(200, _class(found[0])) if found else _Reply(404)


def _fields(received: Received) -> Mapping[str, str]:
    """Of a form or of JSON."""
    text = received.body.decode("utf-8", "replace")
    if "json" not in received.headers.get("Content-Type", ""):
        return dict(parse_qsl(text))
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _device(fields: Mapping[str, str]) -> dict[str, str] | None:
    """A row of the service; None where a field is missing or wrong."""
    numbers = [_decimal(fields.get(name, "")) for name in ("value1", "value2", "value3")]
    names = [fields.get(name, "") for name in ("object", "object_type", "value_type")]
    if None in numbers or not all(names):
        return None
    return dict(zip(DEVICE_FIELDS, [*names, *(f"{n:.2f}" for n in numbers)], strict=True))


def _name(row: Mapping[str, str]) -> tuple[str, str, str]:
    return row["object"], row["object_type"], row["value_type"]


def _class(row: Mapping[str, Any]) -> dict[str, str | None]:
    """A class as it is answered: decimals are strings of a fixed number of places."""
    told = {name: row.get(name) for name in CLASS_FIELDS}
    numbers = ("min_C1", "max_C1", "min_C2", "max_C2")
    return {
        name: f"{Decimal(str(value)):.6f}" if value is not None and name in numbers else value
        for name, value in told.items()
    }


def _decimal(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, service: GradingServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.service = service

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of those who do not trust the certificate, or hang up."""


class _Handler(Answering):
    server: _Server

    def do_GET(self) -> None:  # noqa: N802  # the name that http.server looks for
        service = self.server.service
        received = self._received()
        service.requests.append(received)
        fault = service.next_fault()
        if fault == "hang":
            service.closed.wait()
        if fault == "late":
            service.answer(received)
        if fault in ("hang", "reset", "late"):
            self.close_connection = True
        elif fault in ("500", "503", "429"):
            asked = {"Retry-After": service.retry_after} if service.retry_after else {}
            self._send(_Reply(int(fault), b"", {} if fault == "500" else asked))
        elif fault in ("moved", "loop"):
            target = service.elsewhere if fault == "moved" else received.path
            self._send(_Reply(302, b"", {"Location": target}))
        elif fault in BODIES:
            self._send(_Reply(200, BODIES[fault]))
        elif (pieces := raw_bytes(fault, service.closed, service.drip_s)) is not None:
            self._write(pieces)
        else:
            self._send(service.answer(received), fault)

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815  # names that http.server looks for

    def _received(self) -> Received:
        length = self.headers.get("Content-Length", "0")
        body = self.rfile.read(int(length) if length.isdecimal() else 0)
        lines = [self.requestline, *(f"{k}: {v}" for k, v in self.headers.items())]
        wire = "\r\n".join([*lines, "", ""]).encode("latin-1") + body
        return Received(self.command, self.path, dict(self.headers.items()), body, wire)

    def _send(self, reply: _Reply, fault: str = "") -> None:
        body = reply.body()
        told = len(body)
        if fault in ("half", "short"):
            body = body[: len(body) // 2]
            told = len(body) if fault == "half" else told
            self.close_connection = True
        self.send(reply.status, body, reply.headers, length=told)

    def _write(self, pieces: Iterator[bytes]) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):  # whoever listened may have enough
            for piece in pieces:
                self.wfile.write(piece)
