"""RAPL: the energy counters of Intel and AMD CPUs, through Linux' powercap tree."""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import pread
from pathlib import Path
from typing import ClassVar

from greenai_core import Channel, CounterProfiler, PluginUnavailable, ReadingError

from .rapl_facts import POLL_S, channel, cpu_of, identify, lost_memory, watch
from .rapl_zones import (
    Noted,
    Zone,
    find_zones,
    one_of_each,
    one_platform,
    sockets,
    without_mirrors,
    without_single_cores,
)

ROOT = "/sys/class/powercap"

MOST_UJ = 2**63
"""The kernel holds the counters in 64 bits."""


class RaplProfiler(CounterProfiler):
    """Energy of CPU packages, their parts, DRAM and, on laptops, the platform.

    The kernel files DRAM below the package, but its energy comes on top of it.

    Args:
        root: the powercap tree.
        cpuinfo: the file that names the CPU's vendor.
    """

    name = "rapl"
    priority = 60
    option_names: ClassVar = {"root": "folder of the powercap tree, /sys/class/powercap by default"}

    def __init__(
        self, *, root: str | os.PathLike[str] = ROOT, cpuinfo: str | os.PathLike[str] | None = None
    ) -> None:
        super().__init__()
        self._root = Path(root)
        self._cpuinfo = Path(cpuinfo or "/proc/cpuinfo")
        self._fds: dict[str, int] = {}
        self._zone_of: dict[str, Zone] = {}
        self._lost: list[Noted] = []

    def check_available(self) -> None:
        """Return if the counters are there, can be read, and are not all 0.

        Raises:
            PluginUnavailable: they are not; with the remedy.
        """
        zones, _ = self._zones()
        counts = _read_all(zones)
        packages = [zone for zone in zones if zone.is_package]
        if any(counts[zone] for zone in packages):
            return
        self.clock.sleep(POLL_S)
        counts = _read_all(packages)
        if not any(counts.values()):
            raise _dead(self._root, "read a constant 0")

    def connect(self) -> Sequence[Channel]:
        """Open each counter that works; its description says which ones do not, and why.

        Raises:
            PluginUnavailable: there is none, one cannot be read, or none moves.
        """
        vendor = cpu_of(self._cpuinfo).vendor
        zones, twice = self._zones()
        zones, single = without_single_cores(zones, vendor)
        first, last = watch(
            lambda: _read_all(zones), [z for z in zones if z.is_package], self.clock
        )
        zones, dead = self._working(zones, first, last)
        zones, mirrors = without_mirrors(zones, last)
        zones, second = one_platform(zones, [z for z in zones if last[z] != first[z]])
        self._lost = [(zone, why) for zone, why in dead if zone.name == "dram"]
        left_out = [*twice, *single, *dead, *mirrors, *second]
        notes = "; ".join(f"{zone.name} ({zone.path.name}) {why}" for zone, why in left_out)
        try:
            return self._open(zones, sockets(zones, mirrors), vendor, notes)
        except BaseException:
            self.disconnect()
            raise

    def disconnect(self) -> None:
        """Close the files."""
        while self._fds:
            os.close(self._fds.popitem()[1])

    def notes(self) -> Sequence[str]:
        """Also which memory has a counter that does not work: no total holds it."""
        return [*super().notes(), *(lost_memory(str(zone.path), why) for zone, why in self._lost)]

    def read(self, channel: Channel) -> int:
        """The count in µJ.

        Raises:
            ReadingError: the file cannot be read, or holds no number.
        """
        try:
            content = self._content(channel.id)
        except OSError as error:
            raise ReadingError(self._complaint(channel, b"", error)) from error
        return self.parse(channel, content)

    def _content(self, id: str) -> bytes:
        try:
            return pread(self._fds[id], 32, 0)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
        # The zone went with the last CPU of its package, and may have come back with it.
        zone = self._zone_of[id]
        if (zone.path / "name").read_text().strip() != zone.name:
            raise OSError(errno.ENODEV, "its CPUs were unplugged, and its place is taken")
        fd = os.open(zone.energy_file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.dup2(fd, self._fds[id], inheritable=False)
        finally:
            os.close(fd)
        return pread(self._fds[id], 32, 0)

    def reader(self, channel: Channel) -> Callable[[], bytes]:
        """Reads the open file."""
        return functools.partial(pread, self._fds[channel.id], 32, 0)

    def parse(self, channel: Channel, raw: bytes) -> int:
        """The count in µJ.

        Raises:
            ReadingError: the file holds no number.
        """
        try:
            return int(raw)
        except ValueError as error:
            raise ReadingError(self._complaint(channel, raw, error)) from error

    def _complaint(self, channel: Channel, content: bytes, error: Exception) -> str:
        zone = self._zone_of.get(channel.id)
        file = zone.energy_file if zone else ""
        if isinstance(error, OSError):
            unplugged = isinstance(error, FileNotFoundError) or error.errno == errno.ENODEV
            why = ": the CPUs of its package were unplugged" if unplugged else ""
            return f"{channel.id}: {file} could not be read ({error.strerror}){why}"
        return f"{channel.id}: {file} holds {content!r} instead of a number"

    def _zones(self) -> tuple[list[Zone], list[Noted]]:
        """The zones without those that show the same energy twice, and the latter."""
        zones = find_zones(self._root)
        if not any(zone.is_package for zone in zones):
            raise PluginUnavailable(
                f"no RAPL here: {self._root} holds no package zone (a virtual machine, a "
                "container that hides it, or intel_rapl_common is not loaded)",
                "On bare metal: sudo modprobe intel_rapl_msr",
            )
        return one_of_each(zones)

    def _working(
        self, zones: list[Zone], first: Mapping[Zone, int | str], last: Mapping[Zone, int | str]
    ) -> tuple[list[Zone], list[Noted]]:
        """The zones whose counter works, and the others with what is wrong."""
        packages = [zone for zone in zones if zone.is_package]
        still = [zone for zone in packages if last[zone] == first[zone]]
        if len(still) == len(packages):
            zero = all(last[zone] == 0 for zone in packages)
            raise _dead(self._root, "read a constant 0" if zero else "do not move")
        if still:
            raise PluginUnavailable(
                f"the counter {still[0].energy_file} does not move while others do",
                "Reload its driver: sudo modprobe -r intel_rapl_msr; sudo modprobe intel_rapl_msr",
            )
        dead = []
        for zone in zones:
            if isinstance(last[zone], str):
                dead.append((zone, f"cannot be read and is left out: {last[zone]}"))
            elif last[zone] == first[zone] == 0:
                dead.append((zone, "reads a constant 0 and is left out"))
        lost = {zone for zone, _ in dead}
        return [zone for zone in zones if zone not in lost], dead

    def _open(
        self, zones: list[Zone], names: Mapping[tuple[str, int], str], vendor: str, notes: str
    ) -> list[Channel]:
        platform = any(zone.is_platform for zone in zones)
        channels = []
        for zone in zones:
            part = "psys" if zone.is_platform else "package" if zone.part is None else zone.name
            identity = identify(names[zone.branch], part, platform)
            description = f"{zone.energy_file} is {zone.name}"
            if notes and zone.part is None:
                description += f". Beside it: {notes}"
            wraps_at = _modulus(zone.path / "max_energy_range_uj")
            self._fds[identity.id] = os.open(zone.energy_file, os.O_RDONLY | os.O_CLOEXEC)
            self._zone_of[identity.id] = zone
            channels.append(channel(identity, vendor, 1e-6, wraps_at, description))
        return channels


def permission_remedy(control: str = "intel-rapl") -> str:
    """What an administrator types so that a group may read the counters."""
    folder = f"/sys/devices/virtual/powercap/{control}"
    return (
        "Let a group read it, now and after each boot: sudo sh -c 'groupadd -f rapl && "
        'usermod -aG rapl "$SUDO_USER" && printf "z %s 0440 root rapl\\n" '
        f'"{folder}/{control}:*/energy_uj" "{folder}/{control}:*/{control}:*/energy_uj" '
        "> /etc/tmpfiles.d/greenai-rapl.conf && "
        "systemd-tmpfiles --create /etc/tmpfiles.d/greenai-rapl.conf', then log in again"
    )


def _read_all(zones: Iterable[Zone]) -> dict[Zone, int | str]:
    """What each counter shows; what is wrong where a part of a package shows nothing.

    Raises:
        PluginUnavailable: permission is missing, or a package cannot be read.
    """
    counts: dict[Zone, int | str] = {}
    for zone in zones:
        file = zone.energy_file
        try:
            counts[zone] = int(file.read_text())
        except PermissionError as error:
            raise PluginUnavailable(
                f"no permission to read {file} (since Linux 5.10 only root may)",
                permission_remedy(zone.control),
            ) from error
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "no number in it"
            if zone.is_package:
                raise PluginUnavailable(
                    f"cannot read {file}: {why}", "See whether `sudo cat` can; dmesg may say why"
                ) from error
            counts[zone] = str(why)
    return counts


def _dead(root: Path, what: str) -> PluginUnavailable:
    return PluginUnavailable(
        f"the RAPL counters below {root} {what}: a virtual machine shows them without the energy",
        "Measure on the host, or with a wattmeter",
    )


def _modulus(file: Path) -> int:
    """Counts after which the counter is at 0 again.

    The file holds the highest value, that of 2^32 − 1 steps; one step more wraps.
    """
    hint = "Tell the developers which kernel and CPU this is"
    try:
        highest = int(file.read_text())
    except OSError as error:
        raise PluginUnavailable(f"cannot read {file}: {error.strerror}", hint) from error
    except ValueError as error:
        raise PluginUnavailable(f"{file} holds no number", hint) from error
    if not 0 < highest < MOST_UJ:
        raise PluginUnavailable(f"{file} holds {str(highest)[:20]}, which no counter reaches", hint)
    return round(highest * (2**32 / (2**32 - 1)))
