"""Any meter: a command that prints a number, or a page of JSON that holds it."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar

from greenai_core import (
    Channel,
    ConfigError,
    CounterProfiler,
    PluginUnavailable,
    PowerProfiler,
    Profiler,
    ReadingError,
)

from .meter_http import NoAnswerError, address
from .meter_options import label_of, number
from .meter_protocols import MAX_POWER_W
from .meter_source import Command, Page, Source
from .meter_values import ENERGIES, POWERS, Value, read, step_of, values_of

WHOLES = ("wall", "psys", "other")
PARTS = ("cpu", "dram", "gpu", "accelerator")

GAIN = 0.10 / math.sqrt(3)
GAIN_SOURCE = "assumption: ±10 % as a uniform error, nothing being known of the meter; set `gain`"

OPTIONS: Mapping[str, str] = {
    "command": "command that prints the number (or JSON, with path)",
    "shell": "whether a shell reads the command (default: false)",
    "url": "page that holds the number",
    "headers_env": "environment variable with headers to send, 'Authorization: Bearer …'",
    "path": "place in the JSON, like a.b[0].c; x+y for a sum, psu1=x,psu2=y for two channels",
    "label": "the channel becomes wall:<label> (default: meter)",
    "component": "wall, psys or other; cpu, dram, gpu and accelerator need id too (default: wall)",
    "id": "of the channel, if another sensor sees the same thing",
    "part_of": "what several meters feed together; those of one name are added up",
    "gain": "relative standard uncertainty of the meter, such as 0.01",
    "period_s": "seconds between two new values of the meter (default: 1)",
    "timeout_s": "seconds to wait for an answer (default: 2)",
}


class _Generic(Profiler):
    """What the two kinds of generic meters have in common: options, source, channels."""

    automatic: ClassVar[bool] = False
    units: ClassVar[Mapping[str, Decimal]]

    def _set_options(
        self,
        *,
        command: str,
        shell: bool,
        url: str,
        headers_env: str,
        path: Any,
        unit: str,
        label: str,
        component: str,
        id: str,
        part_of: str,
        gain: float | None,
        period_s: float,
        timeout_s: float,
    ) -> None:
        if command and url:
            raise ConfigError(f"{self.name}: give a command or a url, not both")
        if unit not in self.units:
            raise ConfigError(f"{self.name}: unit {unit!r} is none of {', '.join(self.units)}")
        if component not in (*WHOLES, *PARTS):
            raise ConfigError(
                f"{self.name}: component {component!r} is none of {', '.join((*WHOLES, *PARTS))}"
            )
        if component in PARTS and not id:
            raise ConfigError(
                f"{self.name}: component {component} needs the id of what is measured, so that it "
                "is not added to another sensor of the same: as `greenai devices` shows it, or a "
                "new one if nothing else measures it"
            )
        self._unit = self.units[unit]
        self._component = component
        self._id = id
        try:
            self._values = values_of(path, label_of(self.name, label))
            if command and not shlex.split(command):
                raise ValueError("the command is empty")  # one place adds the profiler's name
        except ValueError as error:
            raise ConfigError(f"{self.name}: {error}") from error
        for value in self._values:
            label_of(self.name, value.label)
        if id and len(self._values) > 1:
            raise ConfigError(f"{self.name}: one id cannot be that of several channels")
        if url and not path:
            raise ConfigError(f"{self.name}: say where in the page the number is, with path=a.b[0]")
        self._whole = f"wall:{label_of(self.name, part_of)}" if part_of else None
        self._gain = None if gain is None else number(self.name, "gain", gain, 0)
        self._period_s = number(self.name, "period_s", period_s, 0.01)
        timeout = number(self.name, "timeout_s", timeout_s, 0.001)
        self._source: Source | None = None
        if command:
            self._source = Command(command, str(shell).lower() in ("true", "1", "yes"), timeout)
        elif url:
            address(self.name, url, path=True)
            self._source = Page(url, headers_env, timeout, self._wait)
        self._asked: tuple[float, str] | None = None

    def check_available(self) -> None:
        """Return if the meter gives its numbers.

        Raises:
            PluginUnavailable: no meter was given, or it gives none.
        """
        super().check_available()
        if not self.is_open:
            try:
                self.connect()
            except ReadingError as error:
                raise PluginUnavailable(
                    str(error), "Mend the options command, url, path or unit"
                ) from error
            self.disconnect()

    def disconnect(self) -> None:
        """Close the connection."""
        if self._source is not None:
            self._source.close()
        self._asked = None

    def _wait(self, seconds: float) -> None:
        self.clock.sleep(seconds)  # of the clock that it is opened with, later

    def _first(self) -> list[Decimal]:
        """The number of each channel, in the meter's unit; the source is open after it.

        Raises:
            PluginUnavailable: no meter was given, or it does not answer.
            ReadingError: it answers with what is no number.
        """
        source = self._source
        if source is None:
            raise PluginUnavailable(
                "neither a command nor a url of a meter was given",
                f"Give it with -O {self.name}.command='…' or -O {self.name}.url=http://… "
                f"-O {self.name}.path=…",
            )
        source.open()
        try:
            text = source.text()
            return [read(text, value, source.about) for value in self._values]
        except NoAnswerError as error:
            source.close()
            raise PluginUnavailable(
                str(error), "Check the address, and that the meter is on the network"
            ) from error
        except BaseException:
            source.close()
            raise

    def _channels_of(self, method: str, step: Decimal | None) -> list[Channel]:
        assert self._source is not None
        return [
            Channel(
                self._id_of(value),
                self._component,
                method,
                contained_in=self._whole,
                resolution_j=float(step * self._unit) if step else 0.0,
                update_period_s=self._period_s,
                gain_uncertainty=GAIN if self._gain is None else self._gain,
                gain_source=GAIN_SOURCE if self._gain is None else "given by the user",
                description=f"a number from {self._source.about}",
            )
            for value in self._values
        ]

    def _id_of(self, value: Value) -> str:
        return self._id or f"{self._component}:{value.label}"

    def _number(self, channel: Channel) -> Decimal:
        """The number of a channel now, in the meter's unit.

        Raises:
            ReadingError: the meter is silent, or says something else.
        """
        source = self._source
        if source is None or not self.is_open:
            raise ReadingError(f"the meter of {channel.id} is not open: call open() first")
        try:
            text = self._shared(source)
        except PluginUnavailable as error:
            raise ReadingError(str(error)) from error
        value = next(value for value in self._values if self._id_of(value) == channel.id)
        return read(text, value, source.about)

    def _shared(self, source: Source) -> str:
        """One answer for all channels of one sample."""
        now = self.clock.now()
        if len(self._values) > 1 and self._asked and now - self._asked[0] < self._period_s / 10:
            return self._asked[1]
        text = source.text()
        self._asked = now, text
        return text


class MeterProfiler(_Generic, PowerProfiler):
    """A meter that tells power, through a command or a page of JSON.

    Args:
        command: prints the number and nothing else, or JSON if there is a path; runs as
            the user, without a shell.
        shell: let a shell read the command: pipes, variables.
        url: of a page of JSON.
        headers_env: environment variable with lines ``Name: value`` to send along.
        path: place of the number; ``x+y`` for a sum, ``psu1=x,psu2=y`` for two channels.
        unit: W, mW or kW.
        label: the channel is called ``<component>:<label>``.
        component: what is measured, see ``Channel``.
        id: of the channel, if not that.
        part_of: name of what this meter and others feed together.
        gain: relative standard uncertainty (k = 1) of the meter.
        period_s: between two new values of the meter; it is asked as often.
        timeout_s: how long to wait for an answer.

    Raises:
        ConfigError: an option has a value that cannot be used.
    """

    name: ClassVar[str] = "meter"
    units: ClassVar[Mapping[str, Decimal]] = POWERS
    option_names: ClassVar[Mapping[str, str]] = {**OPTIONS, "unit": "W, mW or kW (default: W)"}

    def __init__(
        self,
        *,
        command: str = "",
        shell: bool = False,
        url: str = "",
        headers_env: str = "",
        path: Any = "",
        unit: str = "W",
        label: str = "meter",
        component: str = "wall",
        id: str = "",
        part_of: str = "",
        gain: float | None = None,
        period_s: float = 1.0,
        timeout_s: float = 2.0,
    ) -> None:
        super().__init__()
        self._set_options(
            command=command,
            shell=shell,
            url=url,
            headers_env=headers_env,
            path=path,
            unit=unit,
            label=label,
            component=component,
            id=id,
            part_of=part_of,
            gain=gain,
            period_s=period_s,
            timeout_s=timeout_s,
        )
        self.sample_period_s = self._period_s  # type: ignore[misc]  # of this instance alone

    def connect(self) -> Sequence[Channel]:
        """Ask the meter once.

        Raises:
            PluginUnavailable: no meter was given, or it does not answer.
            ReadingError: it answers with what is no power.
        """
        self._first()
        return self._channels_of("sampled", None)

    def read_power(self, channel: Channel) -> float:
        """Power now, W.

        Raises:
            ReadingError: the meter is silent, or answers with what is no power.
        """
        watts = float(self._number(channel) * self._unit)
        if watts > MAX_POWER_W:
            raise ReadingError(
                f"{channel.id} gave {watts:g} W, which no plug carries: is the unit right?"
            )
        return watts


class MeterEnergyProfiler(_Generic, CounterProfiler):
    """A meter that counts energy, through a command or a page of JSON.

    Args:
        step: smallest step of the counter, in its unit; None for the last digit that it
            writes when it is opened.
        wraps_at: where the counter starts again at 0, in its unit; None for nowhere.
        command, shell, url, headers_env, path, label, component, id, part_of, gain,
            period_s, timeout_s: see ``MeterProfiler``.
        unit: J, mJ, kJ, MJ, Wh, mWh, kWh or Wmin.

    Raises:
        ConfigError: an option has a value that cannot be used.
    """

    name: ClassVar[str] = "meter-energy"
    watched: bool = False
    units: ClassVar[Mapping[str, Decimal]] = ENERGIES
    option_names: ClassVar[Mapping[str, str]] = {
        **OPTIONS,
        "unit": "J, mJ, kJ, MJ, Wh, mWh, kWh or Wmin (default: J)",
        "step": "smallest step of the counter, in its unit (default: the last digit written)",
        "wraps_at": "where the counter starts again at 0, in its unit (default: nowhere)",
    }

    def __init__(
        self,
        *,
        command: str = "",
        shell: bool = False,
        url: str = "",
        headers_env: str = "",
        path: Any = "",
        unit: str = "J",
        label: str = "meter",
        component: str = "wall",
        id: str = "",
        part_of: str = "",
        gain: float | None = None,
        period_s: float = 1.0,
        timeout_s: float = 2.0,
        step: float | str | None = None,
        wraps_at: float | str | None = None,
    ) -> None:
        super().__init__()
        self._set_options(
            command=command,
            shell=shell,
            url=url,
            headers_env=headers_env,
            path=path,
            unit=unit,
            label=label,
            component=component,
            id=id,
            part_of=part_of,
            gain=gain,
            period_s=period_s,
            timeout_s=timeout_s,
        )
        self._given_step = self._positive("step", step)
        self._wraps_at = self._positive("wraps_at", wraps_at)
        self._step = Decimal(1)

    def _positive(self, option: str, value: float | str | None) -> Decimal | None:
        if value is None:
            return None
        if number(self.name, option, value, 0) == 0:
            raise ConfigError(f"{self.name}: {option} is 0")
        return Decimal(str(value))

    def connect(self) -> Sequence[Channel]:
        """Ask the meter once: the digits that it writes are its resolution.

        Raises:
            PluginUnavailable: no meter was given, or it does not answer.
            ReadingError: it answers with what is no energy.
        """
        first = self._first()
        self._step = self._given_step or step_of(first)
        found = self._channels_of("counter", self._step)
        if self._wraps_at is None:
            return found
        import dataclasses

        counts = int(self._wraps_at / self._step)
        return [dataclasses.replace(channel, wraps_at=counts) for channel in found]

    def read(self, channel: Channel) -> int:
        """The count, in steps of the meter.

        Raises:
            ReadingError: the meter is silent, or answers with what is no energy.
        """
        return int(self._number(channel) / self._step)
