"""Chips of Linux' hwmon that tell power or energy, and the files in which they do.

The layout is that of Documentation/hwmon/sysfs-interface.rst: ``energyN_input`` in µJ,
``powerN_average`` and ``powerN_input`` in µW, each with an optional ``_label``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from greenai_plugins.profilers.sysfs_numbers import number, text

POWER, ENERGY = "power", "energy"

LONGEST_MS = 1_000_000
"""No chip takes longer for a new value."""

_FILE = re.compile(r"(?:(energy)(\d+)_input|(power)(\d+)_(?:average|input))")


@dataclass(frozen=True)
class Sensor:
    """One file of a chip.

    Attributes:
        file: holds the µW or µJ.
        number: N in ``powerN_average``.
        label: the driver's own name for it, or what an ACPI power meter says it measures.
        period_s: between two new values, as far as the chip tells.
    """

    file: Path
    number: int
    label: str
    period_s: float | None

    @property
    def called(self) -> str:
        """Its name in ids and in the option ``map``: the label, or else the number."""
        return re.sub(r"[\s/]+", "_", self.label) or str(self.number)


@dataclass(frozen=True)
class Chip:
    """One hwmon device.

    Attributes:
        folder: that of its files.
        name: the driver's name for the kind of chip.
        device: which of that kind, as its bus names it: ``0000:03:00.0``, ``1-0040``.
        sensors: its power, or its energy.
    """

    folder: Path
    name: str
    device: str
    sensors: tuple[Sensor, ...]

    def fact(self, file: str) -> str:
        """What a file of the chip, or of its device, holds; empty if it has none."""
        return text(self.folder / file) or text(self.folder / "device" / file)


def find_chips(root: Path, shows: str) -> list[Chip]:
    """The chips that have such files, in the order of their numbers.

    Args:
        root: that of sysfs.
        shows: ``power`` or ``energy``.
    """
    found = []
    for entry in sorted(
        (root / "class" / "hwmon").glob("hwmon*"), key=lambda f: (len(f.name), f.name)
    ):
        # Below its device: the number alone is given to another one when this one is unplugged.
        folder = entry.resolve()
        link = folder / "device"
        sensors = tuple(_sensors(folder, shows))
        if sensors:
            name = text(folder / "name") or text(link / "name") or folder.name
            device = link.resolve().name if link.exists() else folder.name
            found.append(Chip(folder, name, device, sensors))
    return found


def _sensors(folder: Path, shows: str) -> Iterator[Sensor]:
    """One for each N; a mean that the chip forms misses less than what it has this instant."""
    files: dict[int, Path] = {}
    # The files of ACPI power meters lie at the device, not at its hwmon folder.
    for place in (folder / "device", folder):
        for file in sorted(place.glob(f"{shows}[0-9]*_*"), reverse=True):
            match = _FILE.fullmatch(file.name)
            if match:
                files[int(match[2] or match[4])] = file
    for n, file in sorted(files.items()):
        label = text(file.with_name(f"{shows}{n}_label"))
        label = label or text(file.with_name(f"{shows}{n}_oem_info"))
        interval = f"{shows}{n}_average_interval"
        milliseconds = number(file.with_name(interval)) or number(file.with_name("update_interval"))
        believed = milliseconds if milliseconds and 0 < milliseconds < LONGEST_MS else None
        yield Sensor(file, n, label, believed / 1000 if believed else None)
