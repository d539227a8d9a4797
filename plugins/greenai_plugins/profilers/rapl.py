"""RAPL: the energy counters of Intel and AMD CPUs, through Linux' powercap tree."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from os import pread
from pathlib import Path
from typing import ClassVar

from greenai_core import Channel, CounterProfiler, PluginUnavailable, ReadingError

ROOT = "/sys/class/powercap"

UPDATE_PERIOD_S = 1e-3
"""Intel SDM, vol. 3B, "RAPL Interfaces": "updated every ~1msec"; AMD's alike."""

GAINS = {
    "GenuineIntel": (0.03, "RAPL of Intel, uncalibrated: 3 % assumed"),
    "AuthenticAMD": (0.10, "RAPL of AMD, uncalibrated: 10 % assumed"),
}
"""CPU vendor -> relative gain uncertainty (k = 1) and its source: assumptions, to be
replaced by a calibration against a meter. Other vendors are taken for AMD's."""

POLL_S = 0.003
POLLS = 15
"""A package draws milliwatts at least, so its counter moves within a few updates."""

_ZONE = re.compile(r"(intel-rapl(?:-mmio)?):(\d+)(?::(\d+))?")
_PACKAGE = re.compile(r"package-(\d+)(-die-\d+)?")


@dataclass(frozen=True)
class Zone:
    """One zone of the powercap tree.

    Attributes:
        path: its directory.
        control: ``intel-rapl`` or ``intel-rapl-mmio``.
        index: number of the zone at the top of its branch.
        part: number below that; None for the top itself.
        name: ``package-0``, ``package-1-die-0``, ``core``, ``uncore``, ``dram``, ``psys``.
    """

    path: Path
    control: str
    index: int
    part: int | None
    name: str

    @property
    def energy_file(self) -> Path:
        """The counter."""
        return self.path / "energy_uj"


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
        self._files: dict[str, Path] = {}

    def check_available(self) -> None:
        """Return if the counters are there, can be read, and are not all 0.

        Raises:
            PluginUnavailable: they are not; with the remedy.
        """
        zones, _ = self._zones()
        counts = _read_all(zones)
        packages = [zone for zone in zones if _is_package(zone)]
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
        zones, notes = self._zones()
        alive, dead = self._moving(zones)
        alive, doubled = _one_platform(alive)
        notes += [f"{zone.name} ({zone.path.name}) {why}" for zone, why in [*dead, *doubled]]
        try:
            return self._open(alive, "; ".join(notes))
        except BaseException:
            self.disconnect()
            raise

    def disconnect(self) -> None:
        """Close the files."""
        while self._fds:
            os.close(self._fds.popitem()[1])

    def read(self, channel: Channel) -> int:
        """The count in µJ.

        Raises:
            ReadingError: the file cannot be read, or holds no number.
        """
        try:
            content = pread(self._fds[channel.id], 32, 0)
        except OSError as error:
            raise ReadingError(self._complaint(channel, b"", error)) from error
        return self.parse(channel, content)

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
        file = self._files.get(channel.id)
        if isinstance(error, OSError):
            return f"{channel.id}: {file} could not be read ({error.strerror})"
        return f"{channel.id}: {file} holds {content!r} instead of a number"

    def _zones(self) -> tuple[list[Zone], list[str]]:
        """The zones without those that show the same energy twice, and notes on the latter."""
        zones = list(find_zones(self._root))
        if not any(_is_package(zone) for zone in zones):
            raise PluginUnavailable(
                f"no RAPL here: {self._root} holds no package zone (a virtual machine, a "
                "container that hides it, or intel_rapl_common is not loaded)",
                "On bare metal: sudo modprobe intel_rapl_msr",
            )
        own = [zone for zone in zones if zone.control == "intel-rapl"]
        names = {zone.name for zone in own}
        others = [z for z in zones if z.control != "intel-rapl" and z.part is None]
        twice = [zone for zone in others if zone.name in names]
        unique = {(z.control, z.index) for z in others if z.name not in names}
        own += [zone for zone in zones if (zone.control, zone.index) in unique]
        return own, [f"{zone.path.name} shows {zone.name} again" for zone in twice]

    def _moving(self, zones: list[Zone]) -> tuple[list[Zone], list[tuple[Zone, str]]]:
        """The zones whose counter works, and the others with what is wrong."""
        first = counts = _read_all(zones)
        packages = [zone for zone in zones if _is_package(zone)]
        for _ in range(POLLS):
            if all(counts[zone] != first[zone] for zone in packages):
                break
            self.clock.sleep(POLL_S)
            counts = _read_all(zones)
        still = [zone for zone in packages if counts[zone] == first[zone]]
        if len(still) == len(packages):
            zero = all(counts[zone] == 0 for zone in packages)
            raise _dead(self._root, "read a constant 0" if zero else "do not move")
        if still:
            raise PluginUnavailable(
                f"the counter {still[0].energy_file} does not move while others do",
                "Reload its driver: sudo modprobe -r intel_rapl_msr; sudo modprobe intel_rapl_msr",
            )
        dead = []
        for zone in zones:
            if isinstance(counts[zone], str):
                dead.append((zone, f"cannot be read and is left out: {counts[zone]}"))
            elif counts[zone] == first[zone] == 0:
                dead.append((zone, "reads a constant 0 and is left out"))
        lost = {zone for zone, _ in dead}
        return [zone for zone in zones if zone not in lost], dead

    def _open(self, zones: list[Zone], notes: str) -> list[Channel]:
        vendor = _vendor(self._cpuinfo)
        gain, source = GAINS.get(vendor, GAINS["AuthenticAMD"])
        platform = any(_is_platform(zone) for zone in zones)
        tops = {(z.control, z.index): z.name for z in zones if z.part is None}
        channels = []
        for zone in zones:
            id, component, parent = identify(
                zone, tops.get((zone.control, zone.index), ""), platform
            )
            description = f"{zone.energy_file} is {zone.name}"
            if component == "core" and vendor == "AuthenticAMD":
                description += ", which on AMD counts one single core"
            if notes and zone.part is None:
                description += f". Beside it: {notes}"
            self._files[id] = zone.energy_file
            self._fds[id] = os.open(zone.energy_file, os.O_RDONLY | os.O_CLOEXEC)
            channels.append(
                Channel(
                    id,
                    component,
                    "counter",
                    contained_in=parent,
                    resolution_j=1e-6,
                    wraps_at=_modulus(zone.path / "max_energy_range_uj"),
                    update_period_s=UPDATE_PERIOD_S,
                    gain_uncertainty=gain,
                    gain_source=source,
                    description=description,
                )
            )
        return channels


def find_zones(root: Path) -> Iterable[Zone]:
    """Every zone of the tree that has an energy counter, parts after their package."""
    found = []
    for path in root.glob("intel-rapl*:*"):
        match = _ZONE.fullmatch(path.name)
        if match is None:
            continue
        control, index, part = match.groups()
        try:
            name = (path / "name").read_text().strip()
        except OSError:
            continue  # a link into a part of sysfs that is hidden here
        found.append(Zone(path, control, int(index), None if part is None else int(part), name))
    return sorted(found, key=lambda z: (z.control, z.index, -1 if z.part is None else z.part))


def identify(zone: Zone, top: str, platform: bool) -> tuple[str, str, str | None]:
    """Channel id, component, and id of the channel that contains it.

    Args:
        zone: the zone.
        top: name of the zone at the top of its branch.
        platform: whether there is a psys channel, which contains all others.
    """
    whole = "psys" if platform else None
    if _is_platform(zone):
        return "psys", "psys", None
    match = _PACKAGE.fullmatch(top)
    socket = f"cpu:{match[1]}{match[2] or ''}" if match else f"cpu:{zone.index}"
    if zone.part is None:
        return f"{socket}/package", "cpu", whole
    if zone.name == "dram":
        return f"{socket}/dram", "dram", whole
    component = zone.name if zone.name in ("core", "uncore") else "other"
    return f"{socket}/{zone.name}", component, f"{socket}/package"


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


def _is_package(zone: Zone) -> bool:
    return _PACKAGE.fullmatch(zone.name) is not None


def _is_platform(zone: Zone) -> bool:
    # On machines of several packages the kernel calls it psys-N.
    return zone.part is None and zone.name.startswith("psys")


def _one_platform(zones: list[Zone]) -> tuple[list[Zone], list[tuple[Zone, str]]]:
    """Without a second psys: only that of the master package is valid."""
    second = [zone for zone in zones if _is_platform(zone)][1:]
    return (
        [zone for zone in zones if zone not in second],
        [(zone, "is a second platform counter and is left out") for zone in second],
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
            if _is_package(zone):
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
    try:
        highest = int(file.read_text())
    except (OSError, ValueError) as error:
        raise PluginUnavailable(f"cannot read {file}: {error}") from error
    return round(highest * (2**32 / (2**32 - 1)))


def _vendor(cpuinfo: Path) -> str:
    try:
        match = re.search(r"^vendor_id\s*:\s*(\S+)", cpuinfo.read_text(), re.MULTILINE)
    except OSError:
        return ""
    return match[1] if match else ""
