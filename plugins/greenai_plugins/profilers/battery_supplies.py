"""Batteries and chargers, as Linux shows them.

The files are those of Documentation/ABI/testing/sysfs-class-power.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from greenai_core import PluginUnavailable, ReadingError
from greenai_plugins.profilers.sysfs_numbers import read_number, text

UNPLUG = "Unplug the charger and try again, or measure with a wattmeter at the wall"

CHARGERS = ("Mains", "USB", "Wireless")
ACTIVE, AT_REST = ("Discharging",), ("Not charging", "Full", "Unknown")


class Chargers:
    """Supplies through which this machine could be charged.

    Args:
        folder: ``/sys/class/power_supply``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: list[str] = []
        self._online: list[Path] = []

    def refuse(self, what: str) -> None:
        """Return if none of them is plugged in.

        Raises:
            Charged: one is.
            ReadingError: the folder is gone.
        """
        try:
            names = os.listdir(self._folder)  # noqa: PTH208  # quicker, and asked at each read
        except OSError as error:
            raise ReadingError(f"{what}: {self._folder} is gone ({error.strerror})") from error
        if names != self._names:
            self._names = names
            self._online = [
                one / "online"
                for one in sorted(self._folder / name for name in names)
                if text(one / "type") in CHARGERS and text(one / "scope") != "Device"
            ]
        for file in self._online:
            if text(file) not in ("", "0"):  # 2: one whose voltage is programmable
                raise Charged(f"{what}: the charger {file.parent.name} is plugged in")


class Charged(ReadingError):
    """Not all that the machine uses comes from its batteries."""


@dataclass(frozen=True)
class Battery:
    """One supply of the kind.

    Attributes:
        folder: of its files.
    """

    folder: Path

    @property
    def name(self) -> str:
        """``BAT0``."""
        return self.folder.name

    @property
    def status(self) -> str:
        """``Discharging``, or another word of the kernel's."""
        return text(self.folder / "status")

    @property
    def feeds_the_machine(self) -> bool:
        """Whether it is there, and no mouse's, keyboard's or other device's."""
        return (
            text(self.folder / "type") == "Battery"
            and text(self.folder / "scope") != "Device"
            and text(self.folder / "present") != "0"
        )

    @property
    def tells_power(self) -> bool:
        """Whether it tells its power, or current and voltage."""
        return (self.folder / "power_now").exists() or (
            (self.folder / "current_now").exists() and (self.folder / "voltage_now").exists()
        )

    @property
    def tells_energy(self) -> bool:
        """Whether it tells the energy that is left in it."""
        return (self.folder / "energy_now").exists()

    def watts(self, what: str) -> float:
        """What it gives now.

        Some drivers show a discharge as negative: the sign is that of the status alone.

        Raises:
            Charged: it is.
            ReadingError: a file is gone, or cannot be read.
        """
        status = self.status
        watts = abs(self._power(what))
        # One may rest while another works, but then it gives and takes nothing.
        if status in ACTIVE or (status in AT_REST and watts == 0.0):
            return watts
        raise Charged(
            f"{what}: {self.name} says {status!r} and {watts:.3g} W, so it is not what feeds "
            "the machine"
        )

    def left_uwh(self, what: str) -> int:
        """What is left in it.

        Raises:
            Charged: it is.
            ReadingError: a file is gone, or cannot be read.
        """
        status = self.status
        left = read_number(self.folder / "energy_now", what)
        if status in ACTIVE or status in AT_REST:
            return left
        raise Charged(f"{what}: {self.name} says {status!r}, so it is not what feeds the machine")

    def _power(self, what: str) -> float:
        if (self.folder / "power_now").exists():
            return read_number(self.folder / "power_now", what) / 1e6
        volts = read_number(self.folder / "voltage_now", what) / 1e6
        return volts * read_number(self.folder / "current_now", what) / 1e6


def find_batteries(folder: Path) -> list[Battery]:
    """Those that feed this machine.

    Args:
        folder: ``/sys/class/power_supply``.

    Raises:
        PluginUnavailable: there is none.
    """
    found = [Battery(one) for one in sorted(folder.glob("*"))]
    batteries = [battery for battery in found if battery.feeds_the_machine]
    if not batteries:
        raise PluginUnavailable(
            f"no battery in {folder} feeds this machine",
            "Measure a machine without one with a wattmeter: see the profiler wattmeter",
        )
    return batteries


def require_discharge(
    chargers: Chargers, batteries: list[Battery], read: Callable[[Battery, str], object]
) -> None:
    """Return if all that the machine uses comes from these batteries, and can be read.

    Raises:
        PluginUnavailable: it does not; with the remedy.
    """
    try:
        chargers.refuse("battery")
        for battery in batteries:
            read(battery, "battery")
    except Charged as error:
        raise PluginUnavailable(str(error), UNPLUG) from error
    except ReadingError as error:
        raise PluginUnavailable(str(error), "See what upower --dump says of it") from error
    if not any(battery.status in ACTIVE for battery in batteries):
        raise PluginUnavailable("battery: none is discharged: the charger feeds all", UNPLUG)
