"""A /sys/class/powercap tree on disk, driven by known power.

The layout is the kernel's: zones nested below their control type, and a flat
symbolic link to each. ``energy_uj`` is overwritten in place with a number of fixed
width, so readers may keep it open, in this process or another::

    with PowercapTree.xeon(tmp_path / "powercap") as tree:
        ticker = tree.drive(clock)  # VirtualClock, or SYSTEM_CLOCK for real time
        ...
        truth = tree.energy("intel-rapl:0", start, end)
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from greenai_core.clock import Clock, Ticker

from .profiles import Constant, PowerProfile

if TYPE_CHECKING:
    from typing_extensions import Self

INTEL_STEP_UJ = 61.035
"""Energy unit of most Intel CPUs, 2^-14 J, as the Linux driver rounds it."""

AMD_STEP_UJ = 15.258
"""Energy unit of AMD's Zen, 2^-16 J, as the Linux driver rounds it."""

COUNTS = 2**32

WRITE_ONLY = ("/sys/bus/platform/drivers_probe", "/sys/bus/cpu/drivers_probe")
"""Files of sysfs that not even root may read: a real EACCES for every user."""


SHORT_TERM = 1.25
"""The limit of a few milliseconds over that of half a minute."""

Load = PowerProfile | float
"""A profile, or constant watts."""


@dataclass(frozen=True)
class Zone:
    """One zone of the tree.

    Attributes:
        directory: ``intel-rapl:0`` or, for a part, ``intel-rapl:0:1``.
        name: what its ``name`` file holds: ``package-0``, ``core``, ``dram``, ``psys``.
        load: its power.
        step_uj: energy of one step of its 32-bit counter.
        start_uj: what the counter stands on at time 0.
        limit_w: long-term power limit; None: the zone has no limits.
    """

    directory: str
    name: str
    load: Load
    step_uj: float = INTEL_STEP_UJ
    start_uj: float = 123_456_789_000
    limit_w: float | None = None

    @property
    def profile(self) -> PowerProfile:
        """The power, as a profile."""
        return self.load if isinstance(self.load, PowerProfile) else Constant(self.load)

    @property
    def max_uj(self) -> int:
        """The highest value that the counter shows, as the driver computes it."""
        return math.floor((COUNTS - 1) * self.step_uj)


class PowercapTree:
    """Builds the tree and keeps its counters moving.

    Args:
        root: what stands for ``/sys/class/powercap``; created.
        zones: by default those of ``desktop``.
        vendor: of the CPU, as in ``/proc/cpuinfo``; ``cpuinfo`` is such a file.
    """

    def __init__(
        self, root: Path, zones: Sequence[Zone] | None = None, vendor: str = "GenuineIntel"
    ) -> None:
        self.root = root
        self.zones = {zone.directory: zone for zone in zones or desktop()}
        self._base = {zone.directory: (zone.start_uj, 0.0) for zone in self.zones.values()}
        self._fds: dict[str, int] = {}
        root.mkdir(parents=True, exist_ok=True)
        self.cpuinfo = root / ".cpuinfo"
        self.cpuinfo.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\n")
        for zone in self.zones.values():
            self._build(zone)
        self.update(0.0)

    @classmethod
    def desktop(cls, root: Path, package: Load = 40.0) -> Self:
        """An Intel desktop: package, core, uncore, and the mmio duplicate."""
        return cls(root, desktop(package))

    @classmethod
    def xeon(
        cls,
        root: Path,
        package: Load = 150.0,
        dram: Load = 20.0,
        sockets: int = 2,
    ) -> Self:
        """An Intel server: package and dram of each socket."""
        return cls(root, xeon(package, dram, sockets))

    @classmethod
    def epyc(cls, root: Path, package: Load = 180.0, sockets: int = 1) -> Self:
        """An AMD server: package, and the core zone that shows one core only."""
        return cls(root, epyc(package, sockets), "AuthenticAMD")

    @classmethod
    def laptop(
        cls,
        root: Path,
        package: Load = 12.0,
        psys: Load = 21.0,
    ) -> Self:
        """An Intel laptop: package, core, uncore, dram, and the whole platform."""
        return cls(root, laptop(package, psys))

    @classmethod
    def virtual_machine(cls, root: Path) -> Self:
        """A virtual machine that passes the zones on, but no energy."""
        zone = Zone("intel-rapl:0", "package-0", 0.0, start_uj=0)
        return cls(root, [zone])

    # Time

    def update(self, t: float) -> None:
        """Show what each counter stands on at ``t``, seconds of the driving clock."""
        for directory, fd in self._fds.items():
            os.pwrite(fd, b"%020d\n" % self.count_uj(directory, t), 0)

    def drive(self, clock: Clock, period_s: float = 1e-3) -> Ticker:
        """Update now and from now on; end it with ``cancel``.

        On ``SYSTEM_CLOCK`` a daemon thread does it, for readers in other processes.
        """
        self.update(clock.now())
        return clock.repeat(lambda: self.update(clock.now()), lambda: period_s)

    def count_uj(self, directory: str, t: float) -> int:
        """What the counter of a zone stands on at ``t``, µJ."""
        zone = self.zones[directory]
        start_uj, since = self._base[directory]
        steps = (start_uj + zone.profile.energy(since, t) * 1e6) / zone.step_uj
        return math.floor(math.floor(steps + 1e-6) % COUNTS * zone.step_uj)

    def energy(self, directory: str, start: float, end: float) -> float:
        """The truth: joules of a zone between two instants."""
        return self.zones[directory].profile.energy(start, end)

    # Faults

    def reset(self, directory: str, t: float) -> None:
        """The counter starts again at 0 at ``t``."""
        self._base[directory] = (0.0, t)

    def stick(self, directory: str) -> None:
        """The counter does not move any more."""
        os.close(self._fds.pop(directory))

    def write(self, directory: str, content: str) -> None:
        """``energy_uj`` holds this from now on; empty, garbage, a negative number."""
        fd = self._fds.pop(directory)
        os.ftruncate(fd, 0)
        os.pwrite(fd, content.encode(), 0)
        os.close(fd)

    def deny(self, directory: str) -> None:
        """Opening ``energy_uj`` for reading ends in EACCES, for root too where possible."""
        self.stick(directory)
        file = self.energy_file(directory)
        hidden = next((path for path in WRITE_ONLY if Path(path).exists()), None)
        if hidden is None:
            file.chmod(0)
        else:
            file.unlink()
            file.symlink_to(hidden)

    def fail(self, directory: str) -> None:
        """``energy_uj`` opens, but each read of it ends in an error (EISDIR for EIO)."""
        self.stick(directory)
        file = self.energy_file(directory)
        file.unlink()
        file.mkdir()

    def remove(self, directory: str) -> None:
        """The zone is gone from the tree."""
        self.stick(directory)
        shutil.rmtree((self.root / directory).resolve())
        (self.root / directory).unlink()

    def limit_w(self, directory: str, constraint: int = 0) -> float:
        """The limit in force, whoever set it, W; the long-term one by default."""
        file = self.root / directory / f"constraint_{constraint}_power_limit_uw"
        return int(file.read_text()) / 1e6

    def energy_file(self, directory: str) -> Path:
        """Path of the counter of a zone."""
        return self.root / directory / "energy_uj"

    def close(self) -> None:
        """Close the files; the tree stays."""
        while self._fds:
            os.close(self._fds.popitem()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _build(self, zone: Zone) -> None:
        control, *numbers = zone.directory.split(":")
        path = Path(control)
        for depth in range(1, len(numbers) + 1):
            path /= ":".join([control, *numbers[:depth]])
        folder = self.root / path
        folder.mkdir(parents=True)
        (self.root / control / "enabled").write_text("1\n")
        (self.root / zone.directory).symlink_to(path)
        files = {"name": zone.name, "max_energy_range_uj": zone.max_uj, "enabled": 1}
        if zone.limit_w is not None:
            files |= {
                "constraint_0_name": "long_term",
                "constraint_0_power_limit_uw": math.floor(zone.limit_w * 1e6),
                "constraint_0_max_power_uw": math.floor(zone.limit_w * 1e6),
                "constraint_0_time_window_us": 27_983_872,
                "constraint_1_name": "short_term",
                "constraint_1_power_limit_uw": math.floor(zone.limit_w * SHORT_TERM * 1e6),
                "constraint_1_max_power_uw": 0,
                "constraint_1_time_window_us": 2440,
            }
        for name, content in files.items():
            (folder / name).write_text(f"{content}\n")
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._fds[zone.directory] = os.open(folder / "energy_uj", flags, 0o644)


def desktop(package: Load = 40.0) -> list[Zone]:
    """Zones of an Intel desktop."""
    return [
        Zone("intel-rapl:0", "package-0", package, limit_w=125.0),
        Zone("intel-rapl:0:0", "core", 25.0, start_uj=98_765_432_000),
        Zone("intel-rapl:0:1", "uncore", 1.0, start_uj=1_234_567_000),
        Zone("intel-rapl-mmio:0", "package-0", package, limit_w=125.0),
    ]


def xeon(
    package: Load = 150.0,
    dram: Load = 20.0,
    sockets: int = 2,
) -> list[Zone]:
    """Zones of an Intel server."""
    return [
        zone
        for n in range(sockets)
        for zone in (
            Zone(f"intel-rapl:{n}", f"package-{n}", package, limit_w=205.0),
            Zone(f"intel-rapl:{n}:0", "dram", dram, start_uj=34_567_890_000),
        )
    ]


def epyc(package: Load = 180.0, sockets: int = 1) -> list[Zone]:
    """Zones of an AMD server; they have no limits."""
    return [
        zone
        for n in range(sockets)
        for zone in (
            Zone(f"intel-rapl:{n}", f"package-{n}", package, AMD_STEP_UJ, 43_210_987_000),
            Zone(f"intel-rapl:{n}:0", "core", 2.0, AMD_STEP_UJ, 1_987_654_000),
        )
    ]


def laptop(package: Load = 12.0, psys: Load = 21.0) -> list[Zone]:
    """Zones of an Intel laptop with a counter of the whole platform."""
    parts: Iterable[tuple[str, float]] = [("core", 6.0), ("uncore", 0.5), ("dram", 1.5)]
    return [
        Zone("intel-rapl:0", "package-0", package, limit_w=28.0),
        *(Zone(f"intel-rapl:0:{index}", name, watts) for index, (name, watts) in enumerate(parts)),
        Zone("intel-rapl:1", "psys", psys, limit_w=60.0),
    ]
