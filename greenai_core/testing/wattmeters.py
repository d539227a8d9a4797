"""Wattmeters that are not there: an HTTP server on loopback with known power.

It speaks the protocols of Shelly (first generation; second and later) and
Tasmota, and fails on request. The power that it reports is a function of the
clock, so the true energy of any stretch of time is known.
"""

from __future__ import annotations

import json
import math
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from greenai_core.clock import SYSTEM_CLOCK, Clock

from .profiles import Constant, PowerProfile

if TYPE_CHECKING:
    from typing_extensions import Self

KINDS = ("shelly1", "shelly2", "tasmota")

FAULTS = (
    "500",
    "503",
    "reset",
    "hang",
    "half",
    "html",
    "wrong",
    "moved",
    "negative",
    "nan",
    "null",
)
"""``hang``: no answer until the meter is closed; ``half``: a JSON cut in the
middle; ``wrong``: JSON of another shape;
``moved``: a redirection to the same answer; ``reset``: the connection is cut."""

_BAD_POWER = {"negative": -12.5, "nan": math.nan, "null": None}


class FakeWattmeter:
    """A meter on loopback; use it as a context manager.

    Args:
        kind: one of ``KINDS``.
        power: watts, or a profile of the clock's seconds; it is the truth.
        channels: how many switches it has; each reports the same power.
        clock: whose time the function is given.
    """

    def __init__(
        self,
        kind: str,
        power: float | PowerProfile = 100.0,
        *,
        channels: int = 1,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"kind {kind!r} is none of {KINDS}")
        self.kind = kind
        self.channels = channels
        self.clock = clock
        self.requests: list[str] = []
        """Paths asked for so far."""
        self._power = power if isinstance(power, PowerProfile) else Constant(float(power))
        self._faults: deque[str] = deque()
        self._lasting = ""
        self._body: bytes | None = None
        self._closed = threading.Event()
        self._server = _Server(self)

    @property
    def url(self) -> str:
        """Address of the meter."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()

    def fail(self, *faults: str) -> None:
        """The next answers, one each, are these faults.

        Raises:
            ValueError: there is no such fault.
        """
        self._faults.extend(_known(fault) for fault in faults)

    def keep_failing(self, fault: str) -> None:
        """Every answer from now on is this fault, until ``heal``."""
        self._lasting = _known(fault)

    def say(self, body: bytes) -> None:
        """Every answer from now on has this body, until ``heal``."""
        self._body = body

    def heal(self) -> None:
        """End all faults."""
        self._faults.clear()
        self._lasting = ""
        self._body = None

    def power_w(self, time: float) -> float:
        """True power at an instant of the clock, W."""
        return self._power.power(time)

    def energy_j(self, start: float, end: float) -> float:
        """True energy between two instants of the clock, J."""
        return self._power.energy(start, end)

    def next_fault(self) -> str:
        """The fault that the answer under way must show; empty for none."""
        return self._faults.popleft() if self._faults else self._lasting

    def scripted(self) -> bytes | None:
        """What ``say`` was given."""
        return self._body

    def wait_for_close(self) -> None:
        """Return when the meter is closed."""
        self._closed.wait()

    def answer(self, path: str, power: float | None) -> Any:
        """What the meter says to a request: an object, or None for not found."""
        parts = urlsplit(path)
        query = {key: unquote(values[0]) for key, values in parse_qs(parts.query).items()}
        if self.kind == "shelly2" and parts.path == "/rpc/Switch.GetStatus":
            index = int(query.get("id", "0"))
            return _shelly2(index, power) if index < self.channels else None
        if self.kind == "shelly1" and parts.path == "/status":
            meter = {"power": power, "is_valid": True, "total": 4217}
            return {"relays": [{"ison": True}], "meters": [meter] * self.channels}
        if self.kind == "tasmota" and parts.path == "/cm":
            known = query.get("cmnd") in ("Status 8", "Status 10")
            return _tasmota(self.channels, power) if known else {"Command": "Unknown"}
        return None


def _known(fault: str) -> str:
    if fault not in FAULTS:
        raise ValueError(f"fault {fault!r} is none of {FAULTS}")
    return fault


def _shelly2(index: int, power: float | None) -> Any:
    return {
        "id": index,
        "source": "init",
        "output": True,
        "apower": power,
        "voltage": 230.1,
        "aenergy": {"total": 11.679, "by_minute": [0.0, 0.0, 0.0], "minute_ts": 1654511972},
    }


def _tasmota(channels: int, power: float | None) -> Any:
    powers = power if channels == 1 else [power] * channels
    energy = {"Total": 3.185, "Power": powers, "Voltage": 230}
    return {"StatusSNS": {"Time": "2024-01-01T00:00:00", "ENERGY": energy}}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, meter: FakeWattmeter) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.meter = meter


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer waits 40 ms for an acknowledgement
    server: _Server

    def do_GET(self) -> None:
        meter = self.server.meter
        meter.requests.append(self.path)
        fault = meter.next_fault()
        if fault == "hang":
            meter.wait_for_close()
        if fault in ("hang", "reset"):
            self.close_connection = True
            return
        power = _BAD_POWER[fault] if fault in _BAD_POWER else meter.power_w(meter.clock.now())
        content = meter.answer(self.path, power)
        if fault in ("500", "503"):
            self._send(int(fault), b"", "text/plain")
        elif fault == "moved":
            self._send(302, b"", "text/plain", location=self.path)
        elif fault == "html":
            self._send(200, b"<html><body>Please log in</body></html>", "text/html")
        elif fault == "wrong":
            self._send(200, b'{"relays": [], "uptime": 5}', "application/json")
        elif (scripted := meter.scripted()) is not None:
            self._send(200, scripted, "application/json")
        elif content is None:
            self._send(404, b"Not Found", "text/plain")
        else:
            body = json.dumps(content).encode()
            self._send(200, body[: len(body) // 2] if fault == "half" else body, "application/json")

    def _send(self, status: int, body: bytes, kind: str, location: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the tests look at ``requests``."""
