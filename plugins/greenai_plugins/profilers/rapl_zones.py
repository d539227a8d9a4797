"""The zones of Linux' powercap tree, and which of them show the same energy twice.

Facts: Documentation/power/powercap/powercap.rst and drivers/powercap/intel_rapl_*.c of
Linux. Zones are numbered in hexadecimal. The drivers for MSRs and for TPMI (recent
Xeons) share the control type ``intel-rapl``; that of the memory-mapped registers has
its own, for the same package.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from .rapl_facts import AMD

MAIN = "intel-rapl"
"""The control type that is believed where several show a zone."""

MIRRORED_UJ = 5_000_000
"""Two zones of a package whose counts are closer are one counter: what 500 W add in
the 10 ms that may lie between the reads. Counters of their own differ by kilojoules."""

_ZONE = re.compile(r"(intel-rapl(?:-\w+)?):([0-9a-f]+)(?::([0-9a-f]+))?")
_PACKAGE = re.compile(r"package-(\d+)(-die-\d+)?")


@dataclass(frozen=True)
class Zone:
    """One zone of the powercap tree.

    Attributes:
        path: its directory.
        control: ``intel-rapl``, ``intel-rapl-mmio``.
        index: number of the zone at the top of its branch.
        part: number below that; None for the top itself.
        name: ``package-0``, ``package-1-die-0``, ``core``, ``uncore``, ``dram``, ``psys``.
        top: name of the zone at the top of its branch.
    """

    path: Path
    control: str
    index: int
    part: int | None
    name: str
    top: str

    @property
    def energy_file(self) -> Path:
        """The counter."""
        return self.path / "energy_uj"

    @property
    def branch(self) -> tuple[str, int]:
        """What the top and its parts have in common."""
        return self.control, self.index

    @property
    def is_package(self) -> bool:
        """Whether it counts a whole package, or a whole die."""
        return self.part is None and _PACKAGE.fullmatch(self.name) is not None

    @property
    def is_platform(self) -> bool:
        """Whether it counts the platform; psys-N on machines of several packages."""
        return self.part is None and self.name.startswith("psys")


Noted: TypeAlias = tuple[Zone, str]
"""A zone that is left out, and why."""


def find_zones(root: Path) -> list[Zone]:
    """Every zone of the tree that has a name, parts after their package."""
    names = {}
    for path in root.glob("intel-rapl*:*"):
        match = _ZONE.fullmatch(path.name)
        if match is None:
            continue
        control, index, part = match.groups()
        try:
            name = (path / "name").read_text(errors="replace").strip()
        except OSError:
            continue  # a link into a part of sysfs that is hidden here
        key = control, int(index, 16), None if part is None else int(part, 16)
        names[key] = path, name
    zones = [
        Zone(path, *key, name, names.get((*key[:2], None), (path, ""))[1])
        for key, (path, name) in names.items()
    ]
    return sorted(
        zones,
        key=lambda z: (z.control != MAIN, z.control, z.index, -1 if z.part is None else z.part),
    )


def one_of_each(zones: Iterable[Zone]) -> tuple[list[Zone], list[Noted]]:
    """Without the zones that another control type shows already."""
    shown: dict[tuple[str, str], str] = {}
    kept, twice = [], []
    for zone in zones:
        first = shown.setdefault((zone.top, zone.name), zone.control)
        if first == zone.control:
            kept.append(zone)
        else:
            twice.append((zone, f"is {zone.name} of {first} again"))
    return kept, twice


def without_mirrors(
    zones: Sequence[Zone], counts: Mapping[Zone, int | str]
) -> tuple[list[Zone], list[Noted]]:
    """Without zones of a package that show the counter of another.

    Linux 6.10 and 6.11 give AMD's CPUs a zone a die, each with the package's counter.

    Args:
        zones: the zones.
        counts: what each showed, µJ, read one right after the other.
    """
    seen: dict[str, list[int]] = defaultdict(list)
    mirrors: dict[tuple[str, int], str] = {}
    for zone in zones:
        package, count = _package(zone.name), counts[zone]
        if not zone.is_package or not isinstance(count, int):
            continue
        if any(abs(count - other) < MIRRORED_UJ for other in seen[package]):
            mirrors[zone.branch] = f"shows the counter of package-{package} again"
        seen[package].append(count)
    return (
        [zone for zone in zones if zone.branch not in mirrors],
        [(zone, mirrors[zone.branch]) for zone in zones if zone.branch in mirrors],
    )


def one_platform(zones: Sequence[Zone], moving: Collection[Zone]) -> tuple[list[Zone], list[Noted]]:
    """Without a second psys: only that of the master package is valid."""
    platforms = sorted((z for z in zones if z.is_platform), key=lambda z: z not in moving)
    second = platforms[1:]
    return (
        [zone for zone in zones if zone not in second],
        [(zone, "is a second platform counter and is left out") for zone in second],
    )


def without_single_cores(zones: Sequence[Zone], vendor: str) -> tuple[list[Zone], list[Noted]]:
    """Without the core zones of AMD, each of which counts one core of many."""
    single = [z for z in zones if vendor in AMD and z.part is not None and z.name == "core"]
    return (
        [zone for zone in zones if zone not in single],
        [(zone, "counts one single core on AMD and is left out") for zone in single],
    )


def sockets(zones: Iterable[Zone], mirrors: Iterable[Noted]) -> dict[tuple[str, int], str]:
    """Name of each branch: ``cpu:0``, or ``cpu:0-die-1`` where its dies count apart.

    Args:
        zones: that are used.
        mirrors: left out, because they show one of those again.
    """
    tops = [zone for zone in zones if zone.part is None]
    mirrored = {_package(zone.name) for zone, _ in mirrors if zone.is_package}
    packages: dict[str, list[Zone]] = defaultdict(list)
    names = {}
    for zone in tops:
        if zone.is_package:
            packages[_package(zone.name)].append(zone)
        else:
            names[zone.branch] = f"cpu:{zone.index}"
    for package, branches in packages.items():
        for position, zone in enumerate(branches):
            names[zone.branch] = f"cpu:{package}" + _suffix(
                zone, position, alone=len(branches) == 1 and package in mirrored
            )
    # Parts that another control type shows of a package that is known already.
    known = {zone.name: names[zone.branch] for zone in tops}
    for zone in zones:
        names.setdefault(zone.branch, known.get(zone.top, f"cpu:{zone.index}"))
    return names


def _suffix(zone: Zone, position: int, *, alone: bool) -> str:
    match = _PACKAGE.fullmatch(zone.name)
    die = (match[2] or "") if match else ""
    if alone:
        return ""
    return die or (f"-zone-{zone.index}" if position else "")


def _package(name: str) -> str:
    match = _PACKAGE.fullmatch(name)
    return match[1] if match else ""
