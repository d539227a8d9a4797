"""Power of a server as its management controller (BMC) tells it over Redfish."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from urllib.parse import urlsplit

from greenai_core import Channel, ConfigError, PluginUnavailable, PowerProfiler, ReadingError

if TYPE_CHECKING:
    import requests

SERVICE = "/redfish/v1/"
PASSWORD_VARIABLE = "GREENAI_REDFISH_PASSWORD"  # noqa: S105  # the name of a variable, no secret

PERIOD_S = 10.0
"""The slowest that ENERGY STAR for Computer Servers (version 2.0 and later, "Standard
Performance Data Measurement and Output Requirements") lets a server sample its input."""

GAIN_UNCERTAINTY = 0.05 / math.sqrt(3)
GAIN_SOURCE = (
    "input power as BMCs tell it: ±5 % as a uniform error, which ENERGY STAR for Computer "
    "Servers asks for (but never better than ±10 W for each power supply)"
)

MAX_POWER_W = 100_000.0
MOST_CHASSIS = 64
"""So many are looked at; what claims to have more is no server."""

MOST_BYTES = 4 * 2**20
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
        password: better given in the variable ``GREENAI_REDFISH_PASSWORD``, since the
            arguments of a program are seen by all users of a machine.
        chassis: id of the chassis; needed only where several tell a power and none
            holds the others.
        verify: ``yes``, ``no``, or the file of the certificate that the BMC shows.
        period_s: seconds between two new values of this BMC.
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
        "password": f"better in the environment: {PASSWORD_VARIABLE}",
        "chassis": "id of the chassis where several tell a power",
        "verify": "yes, no, or the file of the BMC's certificate (default: yes)",
        "period_s": f"seconds between two new values of this BMC (default: {PERIOD_S:g})",
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
        chassis: str = "",
        verify: str | bool = "yes",
        period_s: float = PERIOD_S,
        timeout_s: float = 10.0,
        gain: float | None = None,
        label: str = "",
        part_of: str = "",
    ) -> None:
        super().__init__()
        self._url, self._host = _address(url) if url else ("", "")
        self._user = user
        self._password = password
        self._chassis = chassis
        self._verify = _verification(verify)
        self.sample_period_s = _number("period_s", period_s, 0.5)  # type: ignore[misc]  # of this instance alone
        self._timeout_s = _number("timeout_s", timeout_s, 0.001)
        self._gain = None if gain is None else _number("gain", gain, 0)
        self._label = label or self._host.replace(":", "-")
        if self._label and not re.fullmatch(r"[\w.-]+", self._label):
            raise ConfigError(
                f"redfish: label {label!r} must be made of letters, digits, '.', '_' and '-'"
            )
        self._whole = f"wall:{part_of}" if part_of else None
        self._session: requests.Session | None = None
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
        import requests

        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = self._verify
        password = self._password or os.environ.get(PASSWORD_VARIABLE, "")
        if self._user or password:
            self._check_secrecy()
            self._session.auth = (self._user, password)
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
                update_period_s=self.sample_period_s,
                gain_uncertainty=GAIN_UNCERTAINTY if self._gain is None else self._gain,
                gain_source=GAIN_SOURCE if self._gain is None else "given by the user",
                description=f"chassis {self._place.chassis} of the BMC {self._host}, "
                f"{self._place.path}; BMCs may tell the mean of up to 30 s",
            )
        ]

    def disconnect(self) -> None:
        """Close the connection."""
        if self._session is not None:
            self._session.close()
        self._session = self._place = None

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
        if len(outer) == 1:
            return outer[0]
        if not outer:
            wanted = f" named {self._chassis!r}" if self._chassis else ""
            raise PluginUnavailable(
                f"the BMC {self._host} has no chassis{wanted} that tells its power",
                "Its licence or firmware may lack power metering; measure at the wall instead",
            )
        names = ", ".join(place.chassis for place in outer)
        raise PluginUnavailable(
            f"several chassis of the BMC {self._host} tell a power: {names}",
            "Choose the one that feeds this machine: -O redfish.chassis=ID",
        )

    def _look(self, path: str) -> Place | None:
        """Where this chassis tells its power; None if it does not."""
        chassis = self._get(path)
        name = str(chassis.get("Id") or path.rstrip("/").rpartition("/")[2])
        links = chassis.get("Links")
        holder = _link(links, "ContainedBy") if isinstance(links, dict) else None
        inside = frozenset({holder} if holder else ())
        for link, find in (("EnvironmentMetrics", _environment), ("Power", _power_control)):
            resource = _link(chassis, link)
            if resource is None:
                continue
            try:
                _watts(find(self._get(resource)))
            except (ReadingError, ValueError):
                continue  # the other way may work; if none does, this chassis tells nothing
            return Place(name, resource, find, inside, path)
        return None

    def _get(self, path: str) -> dict[str, Any]:
        """A resource.

        Raises:
            ReadingError: no answer, or one that is no JSON object.
        """
        import requests

        if self._session is None:
            raise ReadingError(f"{self._url}{path} was asked while the connection was closed")
        url = self._url + path
        try:
            # Not followed: a redirection would take the password elsewhere.
            answer = self._session.get(url, timeout=self._timeout_s, allow_redirects=False)
        except requests.exceptions.SSLError as error:
            raise ReadingError(
                f"{url}: the certificate of the BMC is not trusted ({_root(error)}). Give its "
                "file with the option verify, or verify=no in a network that you trust"
            ) from error
        except requests.Timeout as error:
            raise ReadingError(f"{url} did not answer within {self._timeout_s:g} s") from error
        except requests.RequestException as error:
            raise ReadingError(f"{url} does not answer: {_root(error)}") from error
        if answer.status_code in (401, 403):
            raise ReadingError(f"{url} refuses this user (status {answer.status_code})")
        if answer.status_code != 200:
            raise ReadingError(f"{url} answered with status {answer.status_code}")
        if len(answer.content) > MOST_BYTES:
            raise ReadingError(f"{url} answered with {len(answer.content)} bytes: no BMC does")
        try:
            found = answer.json()
        except (ValueError, RecursionError) as error:
            raise ReadingError(
                f"{url} answered with {len(answer.content)} bytes that are not JSON"
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


def _address(url: str) -> tuple[str, str]:
    """The address without its path, and its host."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"redfish: url {url!r} is no address: {error}") from error
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(f"redfish: url {url!r} is not of the form https://host[:port]")
    if parts.username is not None or parts.query or parts.path.strip("/"):
        raise ConfigError(
            f"redfish: the url of {host} holds more than https://host[:port]; user and password "
            "are options of their own"
        )
    place = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{place}" + (f":{port}" if port else ""), host


def _verification(verify: str | bool) -> str | bool:
    words = {"yes": True, "true": True, "no": False, "false": False}
    if isinstance(verify, bool):
        return verify
    if verify.lower() in words:
        return words[verify.lower()]
    if not Path(verify).is_file():
        raise ConfigError(f"redfish: verify is yes, no, or a file; there is no file {verify!r}")
    return verify


def _number(name: str, value: float | str, least: float) -> float:
    try:
        number = float(value)
    except ValueError as error:
        raise ConfigError(f"redfish: {name} {value!r} is no number") from error
    if not math.isfinite(number) or number < least:
        raise ConfigError(f"redfish: {name} is {number}, it must be at least {least:g}")
    return number


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


def _root(error: BaseException) -> BaseException:
    """The first of a chain of errors: what the operating system said."""
    while error.__context__ is not None:
        error = error.__context__
    return error
