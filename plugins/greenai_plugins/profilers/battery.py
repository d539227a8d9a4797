"""What a laptop draws from its batteries, while no charger is plugged in."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from greenai_core import (
    Channel,
    CounterProfiler,
    PluginUnavailable,
    PowerProfiler,
    Profiler,
    ReadingError,
)
from greenai_plugins.profilers.battery_supplies import (
    Battery,
    Charged,
    Chargers,
    find_batteries,
    require_discharge,
)
from greenai_plugins.profilers.meter_options import number

ROOT = "/sys"

POWER_PERIOD_S = 10.0
"""Assumed time between two new values: gauges take 1 s to 30 s, and none tells which."""

ENERGY_PERIOD_S = 30.0
"""Likewise; a gauge counts in steps of 10 mWh, mostly, which are 36 J."""

GAIN_UNCERTAINTY = 0.05
GAIN_SOURCE = "fuel gauge of a battery, uncalibrated: 5 % assumed"

LEAST_PERIOD_S = 0.1

UWH_J = 3.6e-3

A_JUMP_UWH = 10**12
"""3.6 GJ at once: no counter profiler takes that for energy."""


class _Batteries(Profiler):
    """What both have in common: options, and the batteries that are found."""

    # Where nothing else measures it would be the total, and windows of seconds have no figure.
    automatic: ClassVar[bool] = False
    option_names: ClassVar[Mapping[str, str]] = {
        "period_s": "seconds between two new values of the fuel gauge; 10 of its power and 30 of "
        "its energy by default",
        "root": "folder of sysfs, /sys by default",
    }
    usual_period_s: ClassVar[float]

    def __init__(
        self, *, period_s: float | None = None, root: str | os.PathLike[str] = ROOT
    ) -> None:
        """Follow the batteries below this folder; see ``option_names``."""
        super().__init__()
        given = self.usual_period_s if period_s is None else period_s
        self._period_s = number(self.name, "period_s", given, LEAST_PERIOD_S)
        self._folder = Path(root) / "class" / "power_supply"
        self._batteries: list[Battery] = []
        self._chargers = Chargers(self._folder)

    def disconnect(self) -> None:
        """Nothing is kept open."""
        self._batteries = []

    def _channel(self, method: str, resolution_j: float = 0.0) -> Channel:
        return Channel(
            "battery:" + "+".join(battery.name for battery in self._batteries),
            "psys",
            method,
            resolution_j=resolution_j,
            update_period_s=self._period_s,
            gain_uncertainty=GAIN_UNCERTAINTY,
            gain_source=GAIN_SOURCE,
            description="the whole machine with its screen, by what its batteries give "
            f"({', '.join(str(battery.folder) for battery in self._batteries)})",
        )


class BatteryProfiler(_Batteries, PowerProfiler):
    """The whole machine, by the power of all batteries together, while they are discharged.

    No window in which a charger was seen has a figure: what came from where is not known.

    Args:
        period_s: see ``option_names``.
        root: folder of sysfs.
    """

    name: ClassVar[str] = "battery"
    priority: ClassVar[int] = 20
    sample_period_s: ClassVar[float] = 1.0
    usual_period_s: ClassVar[float] = POWER_PERIOD_S

    def __init__(
        self, *, period_s: float | None = None, root: str | os.PathLike[str] = ROOT
    ) -> None:
        """Follow the batteries below this folder; see ``option_names``."""
        super().__init__(period_s=period_s, root=root)
        self._begun: set[Any] = set()
        self._charged: tuple[float, str] | None = None

    def check_available(self) -> None:
        """Return if there is a battery, and the machine runs on it.

        Raises:
            PluginUnavailable: there is none, it tells no power, or a charger is plugged in.
        """
        self._find()

    def connect(self) -> Sequence[Channel]:
        """Find the batteries.

        Raises:
            PluginUnavailable: there is none, it tells no power, or a charger is plugged in.
        """
        self._batteries = self._find()
        self._charged = None
        self._begun.clear()
        return [self._channel("sampled")]

    def begin(self) -> Any:
        """Remember the instant, and that no charger may be seen from now on."""
        begun = super().begin()
        self._begun.add(begun)
        return begun

    def forget(self, begun: Any) -> None:
        """Drop what only this window needed."""
        self._begun.discard(begun)
        super().forget(begun)

    def read_power(self, channel: Channel) -> float:
        """Watts of all batteries together.

        Raises:
            ReadingError: a charger is plugged in, or was inside a window that is still open;
                or a battery is gone or cannot be read.
        """
        try:
            self._chargers.refuse(channel.id)
            watts = sum(battery.watts(channel.id) for battery in self._batteries)
        except Charged as error:
            self._charged = self.clock.now(), str(error)
            self._forget_samples()
            raise
        if self._charged and any(begun.time <= self._charged[0] for begun in [*self._begun]):
            raise ReadingError(f"{self._charged[1]} (it was plugged in inside a window)")
        return watts

    def _forget_samples(self) -> None:
        """Leave nothing that could be taken for the power while the charger gave it."""
        with self.lock:
            for series in self.series:
                series.times.clear()
                series.watts.clear()

    def _find(self) -> list[Battery]:
        batteries = find_batteries(self._folder)
        silent = [str(battery.folder) for battery in batteries if not battery.tells_power]
        if silent:
            raise PluginUnavailable(
                f"{', '.join(silent)} tells neither power nor current",
                "Use the profiler battery-energy, which counts in steps of half a minute, or a "
                "wattmeter with the battery full",
            )
        require_discharge(self._chargers, batteries, Battery.watts)
        return batteries


class BatteryEnergyProfiler(_Batteries, CounterProfiler):
    """The same by the energy that is left in the batteries: coarse, for windows of minutes.

    For machines whose batteries tell no power, and to check those that do.

    Args:
        period_s: see ``option_names``.
        root: folder of sysfs.
    """

    name: ClassVar[str] = "battery-energy"
    priority: ClassVar[int] = 15
    usual_period_s: ClassVar[float] = ENERGY_PERIOD_S

    def __init__(
        self, *, period_s: float | None = None, root: str | os.PathLike[str] = ROOT
    ) -> None:
        """Follow the batteries below this folder; see ``option_names``."""
        super().__init__(period_s=period_s, root=root)
        self._zero_uwh = 0
        self._was_charged = False

    def check_available(self) -> None:
        """Return if there is a battery, and the machine runs on it.

        Raises:
            PluginUnavailable: there is none, it tells no energy, or a charger is plugged in.
        """
        self._find()

    def connect(self) -> Sequence[Channel]:
        """Find the batteries.

        Raises:
            PluginUnavailable: there is none, it tells no energy, or a charger is plugged in.
        """
        self._batteries = self._find()
        self._was_charged = False
        self._zero_uwh = sum(battery.left_uwh("battery") for battery in self._batteries)
        return [self._channel("counter", UWH_J)]

    def read(self, channel: Channel) -> int:
        """µWh that have been taken out since it was opened.

        Raises:
            ReadingError: a charger is plugged in; or a battery is gone or cannot be read.
        """
        try:
            self._chargers.refuse(channel.id)
            left = sum(battery.left_uwh(channel.id) for battery in self._batteries)
        except Charged:
            self._was_charged = True
            raise
        if self._was_charged:
            # Less than what was used has come out of the batteries: no window may go across.
            self._was_charged = False
            self._zero_uwh += A_JUMP_UWH
        return self._zero_uwh - left

    def _find(self) -> list[Battery]:
        batteries = find_batteries(self._folder)
        silent = [str(battery.folder) for battery in batteries if not battery.tells_energy]
        if silent:
            raise PluginUnavailable(
                f"{', '.join(silent)} does not tell the energy that is left in it",
                "Use the profiler battery, which samples the power",
            )
        require_discharge(self._chargers, batteries, Battery.left_uwh)
        return batteries
