"""Power limits of CPU packages, through Linux' powercap tree.

Facts: Documentation/power/powercap/powercap.rst and drivers/powercap/intel_rapl_common.c of
Linux. A package has a long-term limit, kept to on average over up to half a minute, and a
short-term one above it. Only both together cap what a measurement of seconds sees, so both
are lowered, and both are given back.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from greenai_core import (
    LifecycleError,
    PluginUnavailable,
    PowerCapError,
    PowerCapForbidden,
    PowerCapKept,
    PowerLimit,
    PowerLimiter,
)
from greenai_plugins.profilers.rapl_zones import Zone, find_zones, one_of_each, sockets

POWERCAP = Path("/sys/class/powercap")

LONG, SHORT = "long_term", "short_term"

LOWEST_SHARE = 0.25
"""Linux does not tell how low a package can be capped. Below a quarter of its design power
machines become unusable: an assumption."""

TOLERANCE_W = 1.0
"""The registers count in eighths of a watt, and some firmware in whole ones."""


@dataclass(frozen=True)
class Package:
    """One CPU package.

    Attributes:
        device: id of its channel, ``cpu:0/package``.
        name: as Linux has it.
        constraints: kind of limit -> beginning of its files.
    """

    device: str
    name: str
    folder: Path
    constraints: Mapping[str, str]

    def file(self, kind: str, what: str = "power_limit_uw") -> Path:
        """A file of one of its limits."""
        return self.folder / f"{self.constraints[kind]}_{what}"


class RaplLimiter(PowerLimiter):
    """The long-term and short-term power limits of every CPU package.

    Args:
        root: where the powercap tree is.
    """

    name: ClassVar[str] = "rapl"

    def __init__(self, root: str = str(POWERCAP)) -> None:
        self._root = Path(root)
        self.options = {"root": str(root)}
        self._packages: dict[str, Package] | None = None

    def check_available(self) -> None:
        """Return if a package here has a limit.

        Raises:
            PluginUnavailable: none has.
        """
        self._find()

    def open(self) -> None:
        """Find the packages that have a limit.

        Raises:
            LifecycleError: it is open already.
            PluginUnavailable: none has.
        """
        if self._packages is not None:
            raise LifecycleError(f"the limiter {self.name!r} is open already")
        self._packages = {package.device: package for package in self._find()}

    def close(self) -> None:
        """Nothing is held open."""
        self._packages = None

    def limits(self) -> Sequence[PowerLimit]:
        """The long-term limit of each package.

        Raises:
            LifecycleError: it is not open.
            PowerCapError: a limit cannot be read.
        """
        return [self._limit(package) for package in self._known().values()]

    def limit(self, device: str) -> PowerLimit:
        """That of one package. See ``limits``."""
        return self._limit(self._package(device))

    def also(self, device: str) -> Mapping[str, float]:
        """The short-term limit, W.

        Raises:
            LifecycleError: it is not open.
            PowerCapError: it cannot be read.
        """
        package = self._package(device)
        if SHORT not in package.constraints:
            return {}
        return {SHORT: _watts(package.file(SHORT))}

    def by_hand(self, device: str, value: float) -> str:
        """What root would type, W."""
        package = self._package(device)
        return " && ".join(
            f"echo {round(value * 1e6)} > {package.file(kind)}" for kind in package.constraints
        )

    def set_limit(self, device: str, watts: float) -> None:
        """Set the long-term limit, and lower the short-term one that is above it.

        Raises:
            LifecycleError: it is not open.
            PowerCapForbidden: no permission.
            PowerCapKept: the package keeps another limit; its firmware may have locked it.
            PowerCapError: no such package, or out of its range.
        """
        package = self._package(device)
        limit = self._limit(package)
        if not limit.low_w <= watts <= limit.high_w:
            raise PowerCapError(
                f"{watts:g} W is out of the range of {device} ({package.name}): it takes "
                f"{limit.low_w:g} to {limit.high_w:g} W"
            )
        self._write(package, LONG, watts)
        if self.also(device).get(SHORT, 0.0) > watts:
            self._write(package, SHORT, watts)

    def restore(self, device: str, watts: float, also: Mapping[str, float]) -> None:
        """Give both limits back. See ``set_limit``."""
        package = self._package(device)
        if SHORT in also:  # first: the other is never above it
            self._write(package, SHORT, also[SHORT])
        self._write(package, LONG, watts)

    def _write(self, package: Package, kind: str, watts: float) -> None:
        file = package.file(kind)
        try:
            _write_number(file, round(watts * 1e6))
        except PermissionError as error:
            raise PowerCapForbidden(
                f"setting the power limit of {package.device} needs root, and firmware that has "
                f"not locked it: {file} cannot be written. Run the command with sudo, or set it "
                f"yourself: sudo sh -c '{self.by_hand(package.device, watts)}'",
                self.by_hand(package.device, watts),
            ) from error
        except OSError as error:
            raise PowerCapError(
                f"the power limit of {package.device} cannot be set: {file}: {error.strerror}"
            ) from error
        kept = _watts(file)
        if abs(kept - watts) > TOLERANCE_W:
            raise PowerCapKept(
                f"{package.device} was asked for a {kind} limit of {watts:g} W and took it, but "
                f"keeps {kept:g} W ({file}). Its firmware may have fixed it: see the BIOS",
                kept,
            )

    def _limit(self, package: Package) -> PowerLimit:
        current = _watts(package.file(LONG))
        try:
            design = _watts(package.file(LONG, "max_power_uw"))
        except PowerCapError:
            design = 0.0  # some kernels do not tell
        default = design or current
        return PowerLimit(
            package.device,
            current,
            default,
            min(LOWEST_SHARE * default, current),
            max(current, default),
            all(os.access(package.file(kind), os.W_OK) for kind in package.constraints),
            None,
            package.name,
            _switched_off(package.folder / "enabled"),
        )

    def _find(self) -> list[Package]:
        zones, _ = one_of_each(find_zones(self._root))
        names = sockets(zones, ())
        packages = [_packaged(zone, names[zone.branch]) for zone in zones if zone.is_package]
        found = [package for package in packages if LONG in package.constraints]
        if not found:
            raise PluginUnavailable(
                f"no CPU package has a power limit in {self._root} (a virtual machine, a CPU of "
                "AMD, or intel_rapl_common is not loaded)",
                "On bare metal with an Intel CPU: sudo modprobe intel_rapl_msr",
            )
        return found

    def _known(self) -> dict[str, Package]:
        if self._packages is None:
            raise LifecycleError(f"the limiter {self.name!r} is not open: call open() first")
        return self._packages

    def _package(self, device: str) -> Package:
        package = self._known().get(device)
        if package is None:
            raise PowerCapError(
                f"no device {device!r} has a power limit here. There are {', '.join(self._known())}"
            )
        return package


def _packaged(zone: Zone, socket: str) -> Package:
    constraints = {}
    for file in sorted(zone.path.glob("constraint_*_name")):
        kind = file.read_text(encoding="ascii", errors="replace").strip()
        if kind in (LONG, SHORT):
            constraints[kind] = file.name.removesuffix("_name")
    return Package(f"{socket}/package", zone.name, zone.path, constraints)


def _switched_off(file: Path) -> str:
    try:
        off = file.read_text(encoding="ascii").strip() == "0"
    except OSError:
        return ""
    return f"its power limits are switched off: sudo sh -c 'echo 1 > {file}'" if off else ""


def _watts(file: Path) -> float:
    try:
        return int(file.read_text(encoding="ascii")) / 1e6
    except (OSError, ValueError) as error:
        raise PowerCapError(f"the power limit in {file} cannot be read: {error}") from error


def _write_number(file: Path, number: int) -> None:
    # Not Path.write_text: that would make a file where there is none.
    handle = os.open(file, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    try:
        os.write(handle, f"{number}\n".encode("ascii"))
    finally:
        os.close(handle)
