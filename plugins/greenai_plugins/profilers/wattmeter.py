"""Power at the wall socket, from meters that answer over HTTP: Shelly and Tasmota."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from greenai_core import Channel, ConfigError, PluginUnavailable, PowerProfiler, ReadingError

from .meter_check import CounterCheck
from .meter_http import LockedError, NoAnswerError, Web, address
from .meter_options import label_of, number
from .meter_protocols import ALL, PROTOCOLS, Gain, Protocol, Told

UPDATE_PERIOD_S = 1.0
"""Seconds between two new values of such meters. An assumption: their makers
state none, and at a few watts their pulse-counting chips take longer."""


class WattmeterProfiler(PowerProfiler):
    """A Shelly or Tasmota meter that the machine draws its power through.

    Args:
        url: ``http://host[:port]`` of the meter.
        kind: ``shelly1``, ``shelly2`` (generation 2 and later), ``tasmota``, or
            ``auto`` to try them once while opening.
        label: the channel is called ``wall:<label>``; by default the host.
        channel: index of the switch, meter or phase in a device that has several, or
            ``all`` for their sum.
        timeout_s: how long to wait for an answer.
        gain: relative standard uncertainty (k = 1) of the meter, if it was
            calibrated; None for what is typical of its kind.
        part_of: name of what this meter and others feed together, each a part of
            it (a machine with two power supplies): only then are they added up.
        user: name that the meter wants beside the password.
        password: that the meter wants.
        password_env: environment variable that holds it, instead.

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
        "channel": "index of the switch or phase in a device with several, or all (default: 0)",
        "timeout_s": "seconds to wait for an answer (default: 2)",
        "gain": "relative standard uncertainty of a calibrated meter, such as 0.01",
        "part_of": "what several meters feed together; those of one name are added up",
        "user": "name that goes with the password (default: admin)",
        "password": "password of the meter; better in a variable, see password_env",
        "password_env": "environment variable that holds the password",
    }

    def __init__(
        self,
        *,
        url: str = "",
        kind: str = "auto",
        label: str = "",
        channel: int | str | None = None,
        timeout_s: float = 2.0,
        gain: float | None = None,
        part_of: str = "",
        user: str = "admin",
        password: str = "",
        password_env: str = "",
    ) -> None:
        super().__init__()
        if kind != "auto" and kind not in PROTOCOLS:
            raise ConfigError(
                f"wattmeter: kind {kind!r} is none of {', '.join(PROTOCOLS)} and auto"
            )
        self._kind = kind
        self._url, host = address(self.name, url) if url else ("", "")
        label = label or host.replace(":", "-")
        self._label = label_of(self.name, label) if label else ""
        asked = channel is None or channel == ALL
        self._channel = channel if asked else int(number(self.name, "channel", channel or 0, 0))
        self._timeout_s = number(self.name, "timeout_s", timeout_s, 0.001)
        self._gain = None if gain is None else number(self.name, "gain", gain, 0)
        self._whole = f"wall:{label_of(self.name, part_of)}" if part_of else None
        self._user, self._password, self._password_env = user, str(password), password_env
        self._credentials: Mapping[str, Any] = {}
        self._web: Web | None = None
        self._protocol: tuple[str, Protocol] | None = None
        self._check = CounterCheck()

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

    def connect(self) -> Sequence[Channel]:
        """Find out how the meter is to be asked.

        Raises:
            PluginUnavailable: nothing answers at that address, or it wants a password.
            ReadingError: what answers is no meter of that kind.
        """
        if not self._url:
            raise PluginUnavailable(
                "no address of a wattmeter was given",
                "Give it with -O wattmeter.url=http://192.168.1.20 (in Python url=…)",
            )
        self._credentials = self._locks()
        self._web = Web(self._timeout_s, self.clock.sleep)
        self._check = CounterCheck()
        try:
            kind, protocol = self._protocol = self._probe()
        except BaseException:
            self.disconnect()
            raise
        gain = protocol.gain
        if self._gain is not None:
            gain = Gain(self._gain, "given by the user")
        number_of = "" if self._channel is None else f", channel {self._channel}"
        return [
            Channel(
                f"wall:{self._label}",
                "wall",
                "sampled",
                contained_in=self._whole,
                update_period_s=UPDATE_PERIOD_S,
                gain_uncertainty=gain.relative,
                gain_source=gain.source,
                description=f"{kind} meter{number_of}",
            )
        ]

    def disconnect(self) -> None:
        """Close the connection to the meter."""
        if self._web is not None:
            self._web.close()
        self._web = self._protocol = None
        self._credentials = {}

    def read_power(self, channel: Channel) -> float:
        """Power at the socket now, W.

        Raises:
            ReadingError: the meter is silent, or answers with what is no power.
        """
        if self._protocol is None:
            raise ReadingError(f"the wattmeter {self._url} is not open: call open() first")
        began = self.clock.now()
        told = self._ask(*self._protocol)
        self._check.add((began + self.clock.now()) / 2, told.watts, told.energy_j, told.step_j)
        return told.watts

    def notes(self) -> Sequence[str]:
        """Whether the meter's own counter disagrees with its power."""
        verdict = self._check.verdict()
        return [*super().notes(), *([f"{self._url}: {verdict}"] if verdict else [])]

    def _locks(self) -> Mapping[str, Any]:
        """Kind of meter -> what opens it: an ``auth``, or a part of the query."""
        password = self._password
        if self._password_env:
            password = os.environ.get(self._password_env, "")
            if not password:
                raise PluginUnavailable(
                    "the environment variable that password_env names is not set",
                    f"Set it to the password of {self._url}",
                )
        if not password:
            return {}
        from requests.auth import HTTPBasicAuth, HTTPDigestAuth

        return {
            "shelly2": HTTPDigestAuth(self._user, password),
            "shelly1": HTTPBasicAuth(self._user, password),
            "tasmota": (("user", self._user), ("password", password)),
        }

    def _probe(self) -> tuple[str, Protocol]:
        kinds = PROTOCOLS if self._kind == "auto" else (self._kind,)
        failures = []
        locked = None
        for kind in kinds:
            for protocol in PROTOCOLS[kind]:
                try:
                    self._ask(kind, protocol)
                except NoAnswerError as error:
                    raise PluginUnavailable(
                        str(error), "Check the address, and that the meter is on the network"
                    ) from error
                except LockedError as error:
                    locked = error
                except ReadingError as error:
                    failures.append(f"{kind}: {error}")
                else:
                    return kind, protocol
        if locked:
            raise PluginUnavailable(
                str(locked),
                "Put it into an environment variable and name that: -O wattmeter.password_env=NAME",
            ) from locked
        raise ReadingError(
            f"{self._url} is no wattmeter of the kind {self._kind}: " + "; ".join(failures)
        )

    def _ask(self, kind: str, protocol: Protocol) -> Told:
        index = self._channel if isinstance(self._channel, int) else 0
        url = self._url + protocol.path.format(channel=index)
        if self._web is None:
            raise ReadingError(f"{url} was asked while the wattmeter was closed")
        key = self._credentials.get(kind)
        hidden, auth = (key, None) if isinstance(key, tuple) else ((), key)
        body = self._web.text(url, hidden, auth)
        try:
            data = json.loads(body)
        except (ValueError, RecursionError) as error:
            shown = body[:40].replace("\n", " ")
            raise ReadingError(
                f"{url} answered with {len(body)} characters that are not JSON: {shown!r}"
            ) from error
        try:
            return protocol.told(data, self._channel)
        except ValueError as error:
            raise ReadingError(f"{url} gave no power: {error}") from error
