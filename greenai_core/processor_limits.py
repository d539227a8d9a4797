"""The most that each processor package may draw, as Linux tells it to anybody."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

POWERCAP = Path("/sys/class/powercap")

BELIEVABLE_W = (1.0, 1000.0)
"""Power limits of one package outside of this mean "no limit"."""


class PackageLimit(NamedTuple):
    """Power of one package at full load, and what tells it."""

    power_w: float
    kind: str

    @property
    def believable(self) -> bool:
        """Whether it can be meant: NaN and what no package draws cannot."""
        low, high = BELIEVABLE_W
        return low <= self.power_w <= high


def package_limits(powercap: Path = POWERCAP) -> list[PackageLimit]:
    """Power of each package at full load, W; empty where that of any is not told.

    The long-term limit if it is in force and can be meant; boards for games often set
    one that stands for none. Else the power that the CPU is designed for, which Intel's
    tell (``max_power_uw`` of ``Documentation/power/powercap/powercap.rst``). AMD's tell
    neither.

    Args:
        powercap: the kernel's tree of power limits.
    """
    limits = []
    for zone in sorted(powercap.glob("intel-rapl:*")):
        try:
            if not (zone / "name").read_text().startswith("package-"):
                continue
        except (OSError, ValueError):
            return []
        told = (
            PackageLimit(_micro(zone / "constraint_0_power_limit_uw"), "power limit in force"),
            PackageLimit(_micro(zone / "constraint_0_max_power_uw"), "thermal design power"),
        )
        usable = told if _micro(zone / "enabled") != 0 else told[1:]
        found = next((limit for limit in usable if limit.believable), None)
        if found is None:
            return []
        limits.append(found)
    return limits


def _micro(file: Path) -> float:
    """A millionth of the number in a file; NaN where there is none."""
    try:
        return int(file.read_text()) / 1e6
    except (OSError, ValueError):
        return math.nan
