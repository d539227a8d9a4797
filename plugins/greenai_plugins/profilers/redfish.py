"""Power of a server as its management controller (BMC) tells it over Redfish."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from greenai_core import Channel, ConfigError, PluginUnavailable, PowerProfiler, ReadingError

from .meter_http import NoAnswerError, UntrustedError, Web, address
from .meter_options import label_of, number

SERVICE = "/redfish/v1/"

PERIOD_S = 10.0
"""The slowest that ENERGY STAR for Computer Servers (version 2.0 and later, "Standard
Performance Data Measurement and Output Requirements") lets a server sample its input."""

MEAN_S = 30.0
"""Of how long a value may be the mean: the longest that the same requirements let a server
average. By so much it is late where the user does not say how quick this BMC is."""

GAIN_UNCERTAINTY = 0.05 / math.sqrt(3)
GAIN_SOURCE = (
    "input power as BMCs tell it: ±5 % as a uniform error, which ENERGY STAR for Computer "
    "Servers asks for (but never better than ±10 W for each power supply)"
)

MAX_POWER_W = 100_000.0
MOST_CHASSIS = 64
"""So many are looked at; what claims to have more is no server."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Place(NamedTuple):
    """Where a chassis tells its power.

    Attributes:
        chassis: id of the chassis.
        path: of the resource.
        watts: finds the power in it; ValueError says what lacks.
        inside: paths of the chassis that hold it.
        own: path of the chassis.
    """

    chassis: str
    path: str
    watts: Callable[[Any], Any]
    inside: frozenset[str]
    own: str


class RedfishProfiler(PowerProfiler):
    """The input power of a server, told by its BMC at most once a second or slower.

    Args:
        url: ``https://host[:port]`` of the BMC.
        user: name to log in with; a role that may only read is enough.
        password: of that user; better in a variable, since the arguments of a program
            are seen by all users of a machine.
        password_env: environment variable that holds it, instead.
        chassis: id of the chassis; needed only where several tell a power and none
            holds the others.
        verify: ``yes``, ``no``, or the file of the certificate that the BMC shows.
        period_s: seconds between two new values of this BMC, each the mean of no longer;
            10 if not given, each the mean of 30.
        timeout_s: how long to wait for an answer.
        gain: relative standard uncertainty (k = 1), if known better.
        label: the channel is called ``wall:<label>``; by default the host.
        part_of: name of what this and other meters feed together, each a part of it.

    Raises:
        ConfigError: an option has a value that cannot be used.
    """

    name: ClassVar[str] = "redfish"
    automatic: ClassVar[bool] = False
    option_names: ClassVar[Mapping[str, str]] = {
        "url": "address of the BMC, https://host[:port]",
        "user": "name to log in with; reading rights are enough",
        "password": "of that user; better in a variable, see password_env",
        "password_env": "environment variable that holds the password",
        "chassis": "id of the chassis where several tell a power",
        "verify": "yes, no, or the file of the BMC's certificate (default: yes)",
        "period_s": "seconds between two new values of this BMC, each the mean of no longer "
        f"(default: {PERIOD_S:g}, means of {MEAN_S:g})",
        "timeout_s": "seconds to wait for an answer (default: 10)",
        "gain": "relative standard uncertainty, if known better than ±5 %",
        "label": "the channel becomes wall:<label> (default: the host)",
        "part_of": "what several meters feed together; those of one name are added up",
    }

    def __init__(
        self,
        *,
        url: str = "",
        user: str = "",
        password: str = "",
        password_env: str = "",
        chassis: str = "",
        verify: str | bool = "yes",
        period_s: float | None = None,
        timeout_s: float = 10.0,
        gain: float | None = None,
        label: str = "",
        part_of: str = "",
    ) -> None:
        super().__init__()
        self._url, self._host = address("redfish", url) if url else ("", "")
        self._user, self._password, self._password_env = user, password, password_env
        self._chassis = chassis
        self._verify = _verification(verify)
        told_s = None if period_s is None else number("redfish", "period_s", period_s, 0.5)
        self.sample_period_s = told_s or PERIOD_S  # type: ignore[misc]  # of this instance alone
        self._late_s = told_s or MEAN_S
        self._timeout_s = number("redfish", "timeout_s", timeout_s, 0.001)
        self._gain = None if gain is None else number("redfish", "gain", gain, 0)
        label = label or self._host.replace(":", "-")
        self._label = label_of("redfish", label) if label else ""
        self._whole = f"wall:{part_of}" if part_of else None
        self._web: Web | None = None
        self._auth: tuple[str, str] | None = None
        self._place: Place | None = None

    def check_available(self) -> None:
        """Return if a BMC answers and tells its server's power.

        Raises:
            PluginUnavailable: no address was given, or there is no such BMC.
        """
        super().check_available()
        if not self.is_open:
            try:
                self.connect()
            finally:
                self.disconnect()

    def connect(self) -> Sequence[Channel]:
        """Log in, and find the chassis that tells its power.

        Raises:
            PluginUnavailable: nothing answers, it lets nobody in, or tells no power.
        """
        if not self._url:
            raise PluginUnavailable(
                "no address of a BMC was given",
                "Give it with -O redfish.url=https://bmc.example (in Python url=…)",
            )
        password = self._secret()
        if self._user or password:
            self._check_secrecy()
            self._auth = (self._user, password)
        self._web = Web(self._timeout_s, self.clock.sleep, verify=self._verify)
        try:
            self._place = self._find()
            _watts(self._place.watts(self._get(self._place.path)))
        except (ReadingError, ValueError) as error:
            self.disconnect()
            raise PluginUnavailable(
                str(error),
                "Look at it by hand: curl -k -u USER "
                f"{self._url}{SERVICE}Chassis; user and password may be missing",
            ) from error
        except BaseException:
            self.disconnect()
            raise
        return [
            Channel(
                f"wall:{self._label}",
                "wall",
                "sampled",
                contained_in=self._whole,
                update_period_s=self._late_s,
                gain_uncertainty=GAIN_UNCERTAINTY if self._gain is None else self._gain,
                gain_source=GAIN_SOURCE if self._gain is None else "given by the user",
                description=f"chassis {self._place.chassis} of the BMC {self._host}, "
                f"{self._place.path}: a mean of up to {self._late_s:g} s",
            )
        ]

    def disconnect(self) -> None:
        """Close the connection."""
        if self._web is not None:
            self._web.close()
        self._web = self._place = self._auth = None

    def read_power(self, channel: Channel) -> float:
        """Input power of the server, W.

        Raises:
            ReadingError: the BMC is silent, or answers with what is no power.
        """
        place = self._place
        if place is None:
            raise ReadingError(f"the BMC {self._url} is not open: call open() first")
        try:
            return _watts(place.watts(self._get(place.path)))
        except ValueError as error:
            raise ReadingError(f"{self._url}{place.path} gave no power: {error}") from error

    def _secret(self) -> str:
        if not self._password_env:
            return self._password
        password = os.environ.get(self._password_env, "")
        if not password:
            raise PluginUnavailable(
                f"the environment variable {self._password_env}, which password_env names, is "
                "not set",
                f"export {self._password_env}=… before the run",
            )
        return password

    def _check_secrecy(self) -> None:
        if self._url.startswith("http:") and self._host not in LOOPBACK:
            raise ConfigError(
                f"redfish: the password would cross the network readable to all: use https for "
                f"{self._host}"
            )

    def _find(self) -> Place:
        """The outermost chassis that tells a power.

        Raises:
            ReadingError: an answer is missing or not of Redfish.
            PluginUnavailable: none tells a power, or several do.
        """
        root = _link(self._get(SERVICE), "Chassis")
        if root is None:
            raise ReadingError(f"{self._url}{SERVICE} is no Redfish service: it has no Chassis")
        members = self._get(root).get("Members")
        paths = [_link({"m": m}, "m") for m in members] if isinstance(members, list) else []
        known = [path for path in paths[:MOST_CHASSIS] if path is not None]
        places = [place for path in known if (place := self._look(path)) is not None]
        if self._chassis:
            places = [place for place in places if place.chassis == self._chassis]
        own = {place.own for place in places}
        outer = [place for place in places if not place.inside & own]
        if len(outer) == 1 and (self._chassis or not outer[0].inside & set(known)):
            return outer[0]
        if not outer:
            wanted = f" named {self._chassis!r}" if self._chassis else ""
            raise PluginUnavailable(
                f"the BMC {self._host} has no chassis{wanted} that tells its power",
                "Its licence or firmware may lack power metering; measure at the wall instead",
            )
        names = ", ".join(place.chassis for place in outer)
        what = (
            f"several chassis of the BMC {self._host} tell a power: {names}"
            if len(outer) > 1
            else f"of the BMC {self._host} only {names} tells a power, and it is inside another "
            "chassis: a tray of accelerators, perhaps, not the machine"
        )
        raise PluginUnavailable(
            what, "Choose the one that feeds this machine: -O redfish.chassis=ID"
        )

    def _look(self, path: str) -> Place | None:
        """Where this chassis tells its power; None if it does not."""
        chassis = self._get(path)
        told = str(chassis.get("Id") or path.rstrip("/").rpartition("/")[2])
        name = "".join(filter(str.isprintable, told))
        links = chassis.get("Links")
        holder = _link(links, "ContainedBy") if isinstance(links, dict) else None
        inside = frozenset({holder} if holder else ())
        for link, find in (("EnvironmentMetrics", _environment), ("Power", _power_control)):
            resource = _link(chassis, link)
            if resource is None:
                continue
            try:
                _watts(find(self._get(resource)))
            except NoAnswerError:
                raise  # or 64 chassis would be waited for in turn
            except (ReadingError, ValueError):
                continue  # the other way may work; if none does, this chassis tells nothing
            return Place(name, resource, find, inside, path)
        return None

    def _get(self, path: str) -> dict[str, Any]:
        """A resource.

        Raises:
            ReadingError: no answer, or one that is no JSON object.
        """
        url = self._url + path
        if self._web is None:
            raise ReadingError(f"{url} was asked while the connection was closed")
        try:
            body = self._web.text(url, auth=self._auth)
        except UntrustedError as error:
            raise ReadingError(
                f"{error}. Give its file with the option verify, or verify=no in a network that "
                "you trust"
            ) from error
        try:
            found = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise ReadingError(
                f"{url} answered with {len(body)} characters that are not JSON"
            ) from error
        if not isinstance(found, dict):
            raise ReadingError(f"{url} answered with JSON that is no object")
        return found


def _environment(resource: Mapping[str, Any]) -> Any:
    """``PowerWatts.Reading`` (schema EnvironmentMetrics 1.0 and later)."""
    sensor = resource.get("PowerWatts")
    if not isinstance(sensor, dict) or "Reading" not in sensor:
        raise ValueError("it has no PowerWatts.Reading")
    return sensor["Reading"]


def _power_control(resource: Mapping[str, Any]) -> Any:
    """``PowerControl[].PowerConsumedWatts`` of the whole chassis (schema Power 1.x).

    Other members stand for CPUs or memory (``PhysicalContext``), which the first holds.
    """
    members = resource.get("PowerControl")
    for member in members if isinstance(members, list) else ():
        if not isinstance(member, dict):
            continue
        if member.get("PhysicalContext", "Chassis") not in ("Chassis", "SystemBoard", None):
            continue
        if member.get("PowerConsumedWatts") is not None:
            return member["PowerConsumedWatts"]
    raise ValueError("it has no PowerControl[].PowerConsumedWatts")


def _link(resource: Any, name: str) -> str | None:
    """Path of a linked resource, on this very host; None without one."""
    target = resource.get(name) if isinstance(resource, dict) else None
    path = target.get("@odata.id") if isinstance(target, dict) else None
    return path if isinstance(path, str) and re.match(r"/(?!/)", path) else None


def _verification(verify: str | bool) -> str | bool:
    words = {"yes": True, "true": True, "no": False, "false": False}
    if isinstance(verify, bool):
        return verify
    if verify.lower() in words:
        return words[verify.lower()]
    if not Path(verify).is_file():
        raise ConfigError(f"redfish: verify is yes, no, or a file; there is no file {verify!r}")
    return verify


def _watts(value: Any) -> float:
    """``value`` if it is the power of a server.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{value!r} stands where watts should")
    if not 0 < value < MAX_POWER_W:
        raise ValueError(f"{value} W cannot be the power of a server that is on")
    return float(value)
