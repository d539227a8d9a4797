"""Sensors of Linux' hwmon: ``hwmon`` samples power, ``hwmon-energy`` reads counters."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from greenai_core import Channel, CounterProfiler, PluginUnavailable, PowerProfiler, ReadingError
from greenai_core import Profiler as _Profiler
from greenai_plugins.profilers.hwmon_chips import ENERGY, POWER, Chip, find_chips
from greenai_plugins.profilers.hwmon_places import Place, parse_map, places
from greenai_plugins.profilers.sysfs_numbers import denied, read_number, text

ROOT = "/sys"

WAKING_S = 0.1
"""Time in which every counter that works leaves 0."""

OPTIONS = {
    "map": "where sensors are that only you know, commas between: CHIP/SENSOR=COMPONENT, as in "
    "corsairpsu/power_total=wall; COMPONENT is cpu, dram, gpu, accelerator, wall, psys, other, or "
    "an id such as cpu:0/package",
    "root": "folder of sysfs, /sys by default",
}

AWAKE = "Wake the device up, for example by running something on it, and try again"


class LeftOut(NamedTuple):
    """A sensor that is not read: why, and what mends it."""

    why: str
    hint: str


class _Hwmon(_Profiler):
    """What both have in common: chips, where they are, and permissions."""

    option_names: ClassVar[Mapping[str, str]] = OPTIONS
    shows: ClassVar[str]

    def __init__(self, *, map: str = "", root: str | os.PathLike[str] = ROOT) -> None:
        """Follow the sensors below this folder; see ``option_names``."""
        super().__init__()
        self._map = map
        self._root = Path(root)
        self._places: dict[str, Place] = {}
        self._left_out: list[LeftOut] = []

    def check_available(self) -> None:
        """Return if a sensor is there and can be read.

        Raises:
            PluginUnavailable: there is none, or none may be read; with the remedy.
            ConfigError: ``map`` is not of its form, or names what is not there.
        """
        self._choose()

    def connect(self) -> Sequence[Channel]:
        """Find the sensors and read each once.

        Raises:
            PluginUnavailable: there is none, or none may be read; with the remedy.
            ConfigError: ``map`` is not of its form, or names what is not there.
        """
        chosen, self._left_out = self._choose()
        self._places = {place.id: place for place in chosen}
        return [self._channel(place) for place in chosen]

    def disconnect(self) -> None:
        """Nothing is kept open."""
        self._places = {}

    def notes(self) -> Sequence[str]:
        """Also which sensors are left out, and why."""
        return [*super().notes(), *(f"{one.why}. {one.hint}" for one in self._left_out)]

    @abstractmethod
    def _channel(self, place: Place) -> Channel:
        """The channel of a place."""

    def _sum(self, channel: Channel) -> int:
        """The µW or µJ of a channel's files."""
        terms = self._places[channel.id].terms
        return sum(sign * read_number(file, channel.id) for file, sign in terms)

    def _choose(self) -> tuple[list[Place], list[LeftOut]]:
        """The places to be read, and what is left out.

        One that fails now for another reason than its permissions keeps its channel: its
        readings will say why there are no joules.
        """
        chips = find_chips(self._root, self.shows)
        found = places(chips, parse_map(self._map, self.name), self.name)
        if not found:
            raise self._nothing_here(chips)
        judged = [(place, self._unfit(place)) for place in found]
        chosen = [place for place, why in judged if why is None]
        left_out = [why for _, why in judged if why is not None]
        if not chosen:
            raise _unavailable(left_out)
        return chosen, left_out

    def _unfit(self, place: Place) -> LeftOut | None:
        file = place.terms[0][0]
        if _asleep(file):
            return LeftOut(f"{place.id} is switched off and left out ({file})", AWAKE)
        try:
            for file, _ in place.terms:
                read_number(file, place.id)
        except ReadingError as error:
            if denied(error):
                return LeftOut(
                    f"no permission to read {file}, so {place.id} is left out",
                    permission_remedy(file),
                )
        return None

    def _nothing_here(self, chips: Sequence[Chip]) -> PluginUnavailable:
        folder = self._root / "class" / "hwmon"
        if chips:
            return PluginUnavailable(
                f"the {self.shows} in {folder} is that of single cores, or of a battery",
                "Use the profiler rapl, or the profiler battery",
            )
        return PluginUnavailable(
            f"no chip in {folder} tells {self.shows} (they tell temperatures and fans, mostly)",
            "Load the driver of the sensor, where the machine has one: sudo sensors-detect",
        )


class HwmonProfiler(_Hwmon, PowerProfiler):
    """Chips that tell power: amdgpu, ACPI power meters (Grace too), INA226 and their like.

    Args:
        map: see ``option_names``.
        root: folder of sysfs.
    """

    name: ClassVar[str] = "hwmon"
    # Below those that know the device better: RAPL, NVML, amdsmi, and the counters of hwmon.
    priority: ClassVar[int] = 30
    shows: ClassVar[str] = POWER

    def _unfit(self, place: Place) -> LeftOut | None:
        """Also a board that tells 0 W: the second die of an MI250, whose first tells both."""
        unfit = super()._unfit(place)
        if unfit is None and place.component == "gpu" and _shows_zero(place):
            return LeftOut(
                f"{place.terms[0][0]} reads 0 W, so {place.id} is left out",
                "A board that is on draws more: another die of it may tell the power of both",
            )
        return unfit

    def read_power(self, channel: Channel) -> float:
        """Watts.

        Raises:
            ReadingError: a file is gone, cannot be read, or holds no number.
        """
        return self._sum(channel) / 1e6

    def _channel(self, place: Place) -> Channel:
        gain, source = place.gain
        return Channel(
            place.id,
            place.component,
            "sampled",
            contained_in=place.inside,
            update_period_s=place.period_s,
            gain_uncertainty=gain,
            gain_source=source,
            description=place.description,
        )


class HwmonEnergyProfiler(_Hwmon, CounterProfiler):
    """Chips that count energy: amd_energy, Intel's boards (i915, xe), LTC2947 and their like.

    Args:
        map: see ``option_names``.
        root: folder of sysfs.
    """

    name: ClassVar[str] = "hwmon-energy"
    priority: ClassVar[int] = 35
    shows: ClassVar[str] = ENERGY

    def read(self, channel: Channel) -> int:
        """The count in µJ.

        Raises:
            ReadingError: the file is gone, cannot be read, or holds no number.
        """
        return self._sum(channel)

    def reader(self, channel: Channel) -> Callable[[], int]:
        """Reads the one file of the channel."""
        file, id = self._places[channel.id].terms[0][0], channel.id
        return lambda: read_number(file, id)

    def _choose(self) -> tuple[list[Place], list[LeftOut]]:
        """Without the counters that stay at 0: a virtual machine shows them so."""
        chosen, left_out = super()._choose()
        zero = [place for place in chosen if _shows_zero(place)]
        if zero:
            self.clock.sleep(WAKING_S)
        dead = [place for place in zero if _shows_zero(place)]
        left_out = left_out + [
            LeftOut(
                f"{place.terms[0][0]} reads a constant 0, so {place.id} is left out",
                "A virtual machine shows counters so: measure on the host, or with a wattmeter",
            )
            for place in dead
        ]
        if len(dead) == len(chosen):
            raise _unavailable(left_out)
        return [place for place in chosen if place not in dead], left_out

    def _channel(self, place: Place) -> Channel:
        gain, source = place.gain
        return Channel(
            place.id,
            place.component,
            "counter",
            contained_in=place.inside,
            resolution_j=1e-6,
            wraps_at=place.wraps_at,
            update_period_s=place.period_s,
            gain_uncertainty=gain,
            gain_source=source,
            description=place.description,
        )


def permission_remedy(file: Path) -> str:
    """What an administrator types so that a group may read such a file.

    The number in ``hwmonN`` changes from one boot to the next.
    """
    folder = file.parent.resolve()
    pattern = str(folder.parent / "hwmon*") if folder.name.startswith("hwmon") else str(folder)
    kind = "energy*_input" if file.name.startswith(ENERGY) else "power*"
    return (
        "Let a group read it, now and after each boot: sudo sh -c 'groupadd -f power && "
        'usermod -aG power "$SUDO_USER" && printf "z %s 0440 root power\\n" '
        f'"{pattern}/{kind}" > /etc/tmpfiles.d/greenai-hwmon.conf && '
        "systemd-tmpfiles --create /etc/tmpfiles.d/greenai-hwmon.conf', then log in again"
    )


def _unavailable(left_out: Sequence[LeftOut]) -> PluginUnavailable:
    hints = dict.fromkeys(one.hint for one in left_out)
    return PluginUnavailable("; ".join(one.why for one in left_out), ". ".join(hints))


def _asleep(file: Path) -> bool:
    """Whether the device is switched off at the moment: reading it would wake it up."""
    return text(file.parent / "device" / "power" / "runtime_status") == "suspended"


def _shows_zero(place: Place) -> bool:
    try:
        return all(read_number(file, place.id) == 0 for file, _ in place.terms)
    except ReadingError:
        return False
