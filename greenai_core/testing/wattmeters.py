"""Wattmeters that are not there: an HTTP server on loopback with known power.

It speaks the protocols of Shelly (first generation; second and later) and
Tasmota, and fails on request. The power that it reports is a function of the
clock, so the true energy of any stretch of time is known.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import threading
from collections import deque
from http.server import ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from greenai_core.clock import SYSTEM_CLOCK, Clock

from .http_answers import Answering
from .profiles import Constant, PowerProfile

if TYPE_CHECKING:
    from typing_extensions import Self

KINDS = ("shelly1", "shelly2", "tasmota")

MODELS = {
    "shelly1": ("plug", "em"),
    "shelly2": ("switch", "pm1", "em1", "em"),
    "tasmota": ("plug",),
}
"""Of each kind; the first is what it is if nothing else is asked for. ``em`` has three phases."""

_RPC = {"switch": "Switch", "pm1": "PM1", "em1": "EM1", "em": "EM"}

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
    "slow head",
    "slow body",
)
"""``hang``: no answer until the meter is closed; ``half``: a JSON cut in the
middle; ``wrong``: JSON of another shape;
``moved``: a redirection to the same answer; ``reset``: the connection is cut; ``slow
head``, ``slow body``: so much of the answer comes byte by byte, for minutes."""

TRICKLE_S = 0.05
"""Between two bytes of a slow answer."""

_BAD_POWER = {"negative": -12.5, "nan": math.nan, "null": None}


class FakeWattmeter:
    """A meter on loopback; use it as a context manager.

    Args:
        kind: one of ``KINDS``.
        power: watts, or a profile of the clock's seconds; it is the truth.
        channels: how many switches it has; each reports the same power.
        clock: whose time the function is given.
        model: one of ``MODELS`` of the kind.
        password: without which it answers with status 401; the name is ``admin``.
        counter_gain: of its energy counter, whose true gain is 1.
    """

    def __init__(
        self,
        kind: str,
        power: float | PowerProfile = 100.0,
        *,
        channels: int = 1,
        clock: Clock = SYSTEM_CLOCK,
        model: str = "",
        password: str = "",
        counter_gain: float = 1.0,
    ) -> None:
        if kind not in KINDS or (model and model not in MODELS[kind]):
            raise ValueError(f"kind {kind!r}, model {model!r} is none of {MODELS}")
        self.kind = kind
        self.model = model or MODELS[kind][0]
        self.password = password
        self.counter_gain = counter_gain
        self._began = clock.now()
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

    def wait_for_close(self, seconds: float | None = None) -> bool:
        """Return when the meter is closed, or after so long; whether it is."""
        return self._closed.wait(seconds)

    def counted_j(self) -> float:
        """What its energy counter should show now, J; 0 for a profile that has no integral."""
        try:
            return self.counter_gain * self.energy_j(self._began, self.clock.now())
        except NotImplementedError:
            return 0.0

    def answer(self, path: str, power: float | None) -> Any:
        """What the meter says to a request: an object, or None for not found."""
        parts = urlsplit(path)
        query = {key: unquote(values[0]) for key, values in parse_qs(parts.query).items()}
        if self.kind == "shelly2" and parts.path == f"/rpc/{_RPC[self.model]}.GetStatus":
            index = int(query.get("id", "0"))
            return self._shelly2(index, power) if index < self.channels else None
        if self.kind == "shelly1" and parts.path == "/status":
            return self._shelly1(power)
        if self.kind == "tasmota" and parts.path == "/cm":
            if self.password and query.get("password") != self.password:
                return {"WARNING": "Need user=<username>&password=<password>"}
            known = query.get("cmnd") in ("Status 8", "Status 10")
            total_kwh = round(self.counted_j() / 3.6e6, 3)
            return _tasmota(self.channels, power, total_kwh) if known else {"Command": "Unknown"}
        return None

    def _shelly1(self, power: float | None) -> Any:
        if self.model == "em":
            clamp = {"power": power, "is_valid": True, "total": round(self.counted_j() / 3600, 1)}
            return {"emeters": [clamp] * 3, "total_power": power and 3 * power}
        meter = {"power": power, "is_valid": True, "total": int(self.counted_j() / 60)}
        return {"relays": [{"ison": True}], "meters": [meter] * self.channels}

    def _shelly2(self, index: int, power: float | None) -> Any:
        if self.model == "em":
            phases = {f"{phase}_act_power": power for phase in "abc"}
            return {"id": 0, **phases, "total_act_power": power and 3 * power}
        if self.model == "em1":
            return {"id": index, "act_power": power, "voltage": 230.1, "calibration": "factory"}
        total_wh = round(self.counted_j() / 3600, 3)
        return {
            "id": index,
            "source": "init",
            "output": True,
            "apower": power,
            "voltage": 230.1,
            "aenergy": {"total": total_wh, "by_minute": [0.0] * 3, "minute_ts": 1654511972},
        }

    def opens(self, method: str, header: str) -> bool:
        """Whether an ``Authorization`` header opens it: basic, or digest with SHA-256."""
        if not self.password or self.kind == "tasmota":
            return True
        if self.kind == "shelly1":
            wanted = base64.b64encode(f"admin:{self.password}".encode()).decode()
            return header == f"Basic {wanted}"
        found = dict(re.findall(r'(\w+)="?([^",]+)"?', header))
        if not header.startswith("Digest ") or found.get("algorithm") != "SHA-256":
            return False
        secret = _sha256(f"admin:{REALM}:{self.password}")
        asked = _sha256(f"{method}:{found.get('uri')}")
        middle = ":".join(found.get(key, "") for key in ("nonce", "nc", "cnonce", "qop"))
        return found.get("response") == _sha256(f"{secret}:{middle}:{asked}")

    def challenge(self) -> str:
        """The ``WWW-Authenticate`` header."""
        if self.kind == "shelly1":
            return f'Basic realm="{REALM}"'
        return f'Digest qop="auth", realm="{REALM}", nonce="60dc2d0a", algorithm=SHA-256'


REALM = "shellyplus1pm-000000000000"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _known(fault: str) -> str:
    if fault not in FAULTS:
        raise ValueError(f"fault {fault!r} is none of {FAULTS}")
    return fault


def _tasmota(channels: int, power: float | None, total_kwh: float) -> Any:
    powers = power if channels == 1 else [power] * channels
    energy = {"Total": total_kwh, "Power": powers, "Voltage": 230}
    return {"StatusSNS": {"Time": "2024-01-01T00:00:00", "ENERGY": energy}}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, meter: FakeWattmeter) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.meter = meter


class _Handler(Answering):
    server: _Server

    def do_GET(self) -> None:  # noqa: N802  # the name that http.server looks for
        meter = self.server.meter
        meter.requests.append(self.path)
        fault = meter.next_fault()
        if fault == "hang":
            meter.wait_for_close()
        if fault in ("hang", "reset"):
            self.close_connection = True
            return
        if fault.startswith("slow"):
            self._trickle(fault)
            return
        if not meter.opens("GET", self.headers.get("Authorization", "")):
            self.send(401, b"", {"WWW-Authenticate": meter.challenge()}, kind="text/plain")
            return
        power = _BAD_POWER[fault] if fault in _BAD_POWER else meter.power_w(meter.clock.now())
        content = meter.answer(self.path, power)
        if fault in ("500", "503"):
            self.send(int(fault), b"", kind="text/plain")
        elif fault == "moved":
            self.send(302, b"", {"Location": self.path}, kind="text/plain")
        elif fault == "html":
            self.send(200, b"<html><body>Please log in</body></html>", kind="text/html")
        elif fault == "wrong":
            self.send(200, b'{"relays": [], "uptime": 5}')
        elif (scripted := meter.scripted()) is not None:
            self.send(200, scripted)
        elif content is None:
            self.send(404, b"Not Found", kind="text/plain")
        else:
            body = json.dumps(content).encode()
            self.send(200, body[: len(body) // 2] if fault == "half" else body)

    def _trickle(self, fault: str) -> None:
        self.close_connection = True
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n"
        if fault == "slow body":
            self.wfile.write(head + b"\r\n")
            head = b""
        for byte in head + b"X: " + b" " * 4000:
            if self.server.meter.wait_for_close(TRICKLE_S):
                return
            try:
                self.wfile.write(bytes([byte]))
            except OSError:
                return  # the other end has had enough
