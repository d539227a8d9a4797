"""Power at the wall socket, from meters that answer over HTTP: Shelly and Tasmota."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from urllib.parse import urlsplit

from greenai_core import Channel, ConfigError, PluginUnavailable, PowerProfiler, ReadingError

if TYPE_CHECKING:
    import requests

TRIES = 2
RETRY_PAUSE_S = 0.05
PASSING_STATUS = (502, 503, 504)
"""Answers of a busy meter or gateway that are often gone at the next try."""

MAX_POWER_W = 100_000.0
"""No meter of this kind carries as much."""

UPDATE_PERIOD_S = 1.0
"""Seconds between two new values of such meters. An assumption: their makers
state none, and at a few watts their pulse-counting chips take longer."""


class Gain(NamedTuple):
    """Relative standard uncertainty of a meter's gain, and where it comes from."""

    relative: float
    source: str


PLUG_GAIN = Gain(
    0.05 / math.sqrt(3),
    "±5 % as a uniform error, stated for pulse-counting metering chips in smart plugs by "
    "https://developer.tuya.com/en/docs/iot-device-dev/Electricity-statistics?id=Kaunfo4am6icc",
)
"""Shelly states no accuracy for its plugs; they carry chips of this kind."""

UNCALIBRATED_GAIN = Gain(
    0.10 / math.sqrt(3),
    "assumption: ±10 % as a uniform error, because Tasmota wants each device calibrated "
    "(https://tasmota.github.io/docs/Power-Monitoring-Calibration/); set `gain` after that",
)


class Protocol(NamedTuple):
    """How one family of meters is asked, and where its answer has the watts.

    Attributes:
        path: with ``{channel}`` where the index of the switch goes.
        watts: finds the power in the decoded answer; ValueError says what lacks.
        gain: typical of the family.
    """

    path: str
    watts: Callable[[Any, int], Any]
    gain: Gain


def _at(data: Any, *keys: str | int) -> Any:
    """The item at a place of decoded JSON, or a ValueError that names the place."""
    for key in keys:
        if isinstance(key, int):
            found = isinstance(data, list) and key < len(data)
        else:
            found = isinstance(data, dict) and key in data
        if not found:
            place = "".join(f"[{k}]" if isinstance(k, int) else f".{k}" for k in keys)
            raise ValueError(f"its answer has no {place.lstrip('.')}")
        data = data[key]
    return data


def _shelly2(data: Any, channel: int) -> Any:
    return _at(data, "apower")


def _shelly1(data: Any, channel: int) -> Any:
    meters = "emeters" if isinstance(data, dict) and "meters" not in data else "meters"
    meter = _at(data, meters, channel)
    if isinstance(meter, dict) and meter.get("is_valid") is False:
        raise ValueError(f"it marks {meters}[{channel}] as not valid")
    return _at(meter, "power")


def _tasmota(data: Any, channel: int) -> Any:
    power = _at(data, "StatusSNS", "ENERGY", "Power")
    if isinstance(power, list):
        return _at(power, channel)
    if channel:
        raise ValueError(f"it has one meter, so no channel {channel}")
    return power


PROTOCOLS: Mapping[str, tuple[Protocol, ...]] = {
    "shelly2": (Protocol("/rpc/Switch.GetStatus?id={channel}", _shelly2, PLUG_GAIN),),
    "shelly1": (Protocol("/status", _shelly1, PLUG_GAIN),),
    "tasmota": (
        Protocol("/cm?cmnd=Status%208", _tasmota, UNCALIBRATED_GAIN),
        Protocol("/cm?cmnd=Status%2010", _tasmota, UNCALIBRATED_GAIN),
    ),
}


class _NoAnswerError(ReadingError):
    """Nothing came back at all: the address may be wrong."""


class WattmeterProfiler(PowerProfiler):
    """A Shelly or Tasmota plug that the machine draws its power through.

    Args:
        url: ``http://host[:port]`` of the meter.
        kind: ``shelly1``, ``shelly2`` (generation 2 and later), ``tasmota``, or
            ``auto`` to try them once while opening.
        label: the channel is called ``wall:<label>``; by default the host.
        channel: index of the switch or meter in a device that has several.
        timeout_s: how long to wait for an answer.
        gain: relative standard uncertainty (k = 1) of the meter, if it was
            calibrated; None for what is typical of its kind.
        part_of: name of what this meter and others feed together, each a part of
            it (a machine with two power supplies): only then are they added up.

    Raises:
        ConfigError: an option has a value that cannot be used.
    """

    name: ClassVar[str] = "wattmeter"
    automatic: ClassVar[bool] = False
    sample_period_s: ClassVar[float] = 1.0
    option_names: ClassVar[Mapping[str, str]] = {
        "url": "address of the meter, http://host[:port]",
        "kind": "shelly1, shelly2, tasmota or auto (default: auto)",
        "label": "the channel becomes wall:<label> (default: the host)",
        "channel": "index of the switch in a device with several (default: 0)",
        "timeout_s": "seconds to wait for an answer (default: 2)",
        "gain": "relative standard uncertainty of a calibrated meter, such as 0.01",
        "part_of": "what several meters feed together; those of one name are added up",
    }

    def __init__(
        self,
        *,
        url: str = "",
        kind: str = "auto",
        label: str = "",
        channel: int = 0,
        timeout_s: float = 2.0,
        gain: float | None = None,
        part_of: str = "",
    ) -> None:
        super().__init__()
        if kind != "auto" and kind not in PROTOCOLS:
            raise ConfigError(
                f"wattmeter: kind {kind!r} is none of {', '.join(PROTOCOLS)} and auto"
            )
        self._kind = kind
        self._url, host = _address(url) if url else ("", "")
        self._label = label or host.replace(":", "-")
        if self._label and not re.fullmatch(r"[\w.-]+", self._label):
            raise ConfigError(
                f"wattmeter: label {label!r} must be made of letters, digits, '.', '_' and '-'"
            )
        self._channel = int(_number("channel", channel, 0))
        self._timeout_s = _number("timeout_s", timeout_s, 0.001)
        self._gain = None if gain is None else _number("gain", gain, 0)
        self._whole = f"wall:{part_of}" if part_of else None
        self._session: requests.Session | None = None
        self._protocol: Protocol | None = None

    def check_available(self) -> None:
        """Return if a meter answers at the address.

        Raises:
            PluginUnavailable: no address was given, or no meter answers there.
        """
        super().check_available()
        if not self.is_open:
            try:
                self.connect()
            except ReadingError as error:
                raise PluginUnavailable(
                    str(error), "Set the option kind, or mend the url"
                ) from error
            self.disconnect()

    def _check_address(self) -> None:
        if not self._url:
            raise PluginUnavailable(
                "no address of a wattmeter was given",
                "Give it with -O wattmeter.url=http://192.168.1.20 (in Python url=…)",
            )

    def connect(self) -> Sequence[Channel]:
        """Find out how the meter is to be asked.

        Raises:
            PluginUnavailable: nothing answers at that address.
            ReadingError: what answers is no meter of that kind.
        """
        self._check_address()
        import requests

        self._session = requests.Session()
        # A meter stands in the local network: no proxy, and no password from ~/.netrc.
        self._session.trust_env = False
        try:
            kind, self._protocol = self._probe()
        except _NoAnswerError as error:
            self.disconnect()
            raise PluginUnavailable(
                str(error), "Check the address, and that the meter is on the network"
            ) from error
        except BaseException:
            self.disconnect()
            raise
        gain = self._protocol.gain
        if self._gain is not None:
            gain = Gain(self._gain, "given by the user")
        return [
            Channel(
                f"wall:{self._label}",
                "wall",
                "sampled",
                contained_in=self._whole,
                update_period_s=UPDATE_PERIOD_S,
                gain_uncertainty=gain.relative,
                gain_source=gain.source,
                description=f"{kind} meter, channel {self._channel}",
            )
        ]

    def disconnect(self) -> None:
        """Close the connection to the meter."""
        if self._session is not None:
            self._session.close()
        self._session = self._protocol = None

    def read_power(self, channel: Channel) -> float:
        """Power at the socket now, W.

        Raises:
            ReadingError: the meter is silent, or answers with what is no power.
        """
        if self._protocol is None:
            raise ReadingError(f"the wattmeter {self._url} is not open: call open() first")
        return self._ask(self._protocol)

    def _probe(self) -> tuple[str, Protocol]:
        kinds = PROTOCOLS if self._kind == "auto" else (self._kind,)
        failures = []
        for kind in kinds:
            for protocol in PROTOCOLS[kind]:
                try:
                    self._ask(protocol)
                except _NoAnswerError:
                    raise
                except ReadingError as error:
                    failures.append(f"{kind}: {error}")
                else:
                    return kind, protocol
        raise ReadingError(
            f"{self._url} is no wattmeter of the kind {self._kind}: " + "; ".join(failures)
        )

    def _ask(self, protocol: Protocol) -> float:
        url = self._url + protocol.path.format(channel=self._channel)
        response = self._get(url)
        if response.status_code != 200:
            raise ReadingError(f"{url} answered with status {response.status_code}")
        try:
            data = response.json()
        except (ValueError, RecursionError) as error:
            kind = response.headers.get("Content-Type", "an unknown type")
            raise ReadingError(
                f"{url} answered with {len(response.content)} bytes of {kind} that are not JSON"
            ) from error
        try:
            return _watts(protocol.watts(data, self._channel))
        except ValueError as error:
            raise ReadingError(f"{url} gave no power: {error}") from error

    def _get(self, url: str) -> requests.Response:
        """The answer of the meter; one passing failure is tried over."""
        import requests

        if self._session is None:
            raise ReadingError(f"{url} was asked while the wattmeter was closed")
        for attempt in range(TRIES):
            last = attempt == TRIES - 1
            try:
                response = self._session.get(url, timeout=self._timeout_s, allow_redirects=False)
            except requests.Timeout as error:
                # Not tried over: by then the next sample is due anyway.
                raise _NoAnswerError(
                    f"{url} did not answer within {self._timeout_s:g} s"
                ) from error
            except requests.RequestException as error:
                if last:
                    raise _NoAnswerError(f"{url} does not answer: {_root(error)}") from error
            else:
                if last or response.status_code not in PASSING_STATUS:
                    return response
            self.clock.sleep(RETRY_PAUSE_S)
        raise AssertionError("the last try returns or raises")


def _address(url: str) -> tuple[str, str]:
    """The address without its path, and its host."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"wattmeter: url {url!r} is no address: {error}") from error
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(f"wattmeter: url {url!r} is not of the form http://host[:port]")
    if parts.username is not None or parts.query or parts.path.strip("/"):
        raise ConfigError(
            f"wattmeter: the url of {host} holds more than http://host[:port]; "
            "passwords and paths are not supported"
        )
    place = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{place}" + (f":{port}" if port else ""), host


def _number(name: str, value: float | str, least: float) -> float:
    try:
        number = float(value)
    except ValueError as error:
        raise ConfigError(f"wattmeter: {name} {value!r} is no number") from error
    if not math.isfinite(number) or number < least:
        raise ConfigError(f"wattmeter: {name} is {number}, it must be at least {least}")
    return number


def _watts(value: Any) -> float:
    """``value`` if it is a power.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{value!r} stands where watts should")
    if value < 0:
        raise ValueError(f"{value} W cannot be true; is the plug the wrong way round?")
    if not value < MAX_POWER_W:
        raise ValueError("no plug carries as many watts as it says, or it says NaN")
    return float(value)


def _root(error: BaseException) -> BaseException:
    """The first of a chain of errors: what the operating system said."""
    while error.__context__ is not None:
        error = error.__context__
    return error
