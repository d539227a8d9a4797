"""A management controller that is not there: Redfish on loopback with known power.

Its resources have the shape of what controllers in the field answer: OpenBMC's
``Power`` (github.com/ibm-openbmc/dev/issues/288), Dell's without a status
(github.com/bb-Ricardo/check_redfish/issues/163), and ``EnvironmentMetrics`` of the
DMTF's schemas (DSP8010), also with accelerators in chassis of their own.
"""

from __future__ import annotations

import base64
import json
import math
import ssl
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from greenai_core.clock import SYSTEM_CLOCK, Clock

from .http_answers import Answering
from .profiles import Constant, PowerProfile

if TYPE_CHECKING:
    from typing_extensions import Self

LAYOUTS = ("openbmc", "dell", "environment", "accelerators", "tray", "two", "none")
"""``accelerators``: a chassis that holds two others, each of which tells its own power;
``tray``: a chassis without a power that holds one that tells its own; ``two``: neighbours,
none of which holds the other; ``none``: no power is told."""

FAULTS = ("401", "500", "503", "reset", "hang", "half", "html", "list", "moved")
"""``hang``: no answer until the controller is closed; ``half``: a JSON cut in the middle."""

_VALUES = {"negative": -12.5, "nan": math.nan, "null": None, "zero": 0, "text": "61.5"}

ROOT = "/redfish/v1"


class FakeBmc:
    """A controller on loopback; use it as a context manager.

    Args:
        layout: one of ``LAYOUTS``.
        power: watts, or a profile of the clock's seconds; the truth of the whole server.
        clock: whose time the profile is given.
        login: user and password that it asks for; None lets everybody in.
        certificate: PEM file with key and certificate; then it speaks HTTPS.
    """

    def __init__(
        self,
        layout: str = "environment",
        power: float | PowerProfile = 400.0,
        *,
        clock: Clock = SYSTEM_CLOCK,
        login: tuple[str, str] | None = None,
        certificate: Path | None = None,
    ) -> None:
        if layout not in LAYOUTS:
            raise ValueError(f"layout {layout!r} is none of {LAYOUTS}")
        self.layout = layout
        self.clock = clock
        self.requests: list[str] = []
        """Paths asked for so far."""
        self.fault = ""
        """One of ``FAULTS`` or a bad value (negative, nan, null, zero, text); empty for none."""
        self.closed = threading.Event()
        self._power = power if isinstance(power, PowerProfile) else Constant(float(power))
        self.allowed = None if login is None else _basic(*login)
        self._server = _Server(self)
        self._scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self._scheme = "https"

    @property
    def url(self) -> str:
        """Address of the controller."""
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}"

    def energy_j(self, start: float, end: float) -> float:
        """True energy of the server between two instants of the clock, J."""
        return self._power.energy(start, end)

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

    def resource(self, path: str) -> Any:
        """What stands at a path now; None for nothing."""
        watts = self._power.power(self.clock.now())
        if self.fault in _VALUES:
            watts = _VALUES[self.fault]  # type: ignore[assignment]  # a bad value is the fault
        return _resources(self.layout, watts).get(path.rstrip("/"))


def _resources(layout: str, watts: Any) -> dict[str, Any]:
    ids = {
        "accelerators": ["Board", "HGX_GPU_1", "HGX_GPU_2"],
        "tray": ["Board", "HGX_Chassis_0"],
        "two": ["Node1", "Node2"],
    }
    names = ids.get(layout, ["1"])
    found: dict[str, Any] = {
        ROOT: {"Id": "RootService", "Chassis": _to(f"{ROOT}/Chassis")},
        f"{ROOT}/Chassis": {"Members": [_to(f"{ROOT}/Chassis/{name}") for name in names]},
    }
    for name in names:
        own = f"{ROOT}/Chassis/{name}"
        chassis: dict[str, Any] = {"@odata.id": own, "Id": name, "Links": {}}
        if layout in ("accelerators", "tray") and name != "Board":
            chassis["Links"]["ContainedBy"] = _to(f"{ROOT}/Chassis/Board")
        if layout in ("openbmc", "dell"):
            chassis["Power"] = _to(f"{own}/Power")
            found[f"{own}/Power"] = {"Id": "Power", "PowerControl": _controls(layout, watts)}
        elif layout != "none" and (layout, name) != ("tray", "Board"):
            part = watts if name in ("1", "Board") or not isinstance(watts, float) else watts / 4
            chassis["EnvironmentMetrics"] = _to(f"{own}/EnvironmentMetrics")
            found[f"{own}/EnvironmentMetrics"] = {
                "Id": "EnvironmentMetrics",
                "PowerWatts": {"DataSourceUri": f"{own}/Sensors/Power", "Reading": part},
            }
        found[own] = chassis
    return found


def _controls(layout: str, watts: Any) -> list[dict[str, Any]]:
    if layout == "dell":
        return [
            {
                "MemberId": "PowerControl",
                "Name": "System Power Control",
                "PowerConsumedWatts": watts,
                "PowerMetrics": {"AverageConsumedWatts": 135, "IntervalInMin": 1},
            }
        ]
    cpu = {"MemberId": "1", "PhysicalContext": "CPU", "PowerConsumedWatts": 96.0}
    whole = {"MemberId": "0", "Name": "Chassis Power Control", "PowerConsumedWatts": watts}
    return [cpu, whole]


def _to(path: str) -> dict[str, str]:
    return {"@odata.id": path}


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, bmc: FakeBmc) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bmc = bmc

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of those who do not trust the certificate."""


class _Handler(Answering):
    server: _Server

    def do_GET(self) -> None:  # noqa: N802  # the name that http.server looks for
        bmc = self.server.bmc
        bmc.requests.append(self.path)
        if bmc.fault == "hang":
            bmc.closed.wait()
        if bmc.fault in ("hang", "reset"):
            self.close_connection = True
            return
        closed = self.path.rstrip("/") != ROOT and bmc.allowed is not None
        if bmc.fault == "401" or (closed and self.headers.get("Authorization") != bmc.allowed):
            self.send(401, b"{}")
        elif bmc.fault in ("500", "503"):
            self.send(int(bmc.fault), b"")
        elif bmc.fault == "moved":
            self.send(302, b"", {"Location": self.path})
        elif bmc.fault == "html":
            self.send(200, b"<html><body>Please log in</body></html>")
        elif bmc.fault == "list":
            self.send(200, b"[1, 2, 3]")
        elif (found := bmc.resource(self.path)) is None:
            self.send(404, b"{}")
        else:
            body = json.dumps(found).encode()
            self.send(200, body[: len(body) // 2] if bmc.fault == "half" else body)
