"""What Linux tells of outside load, throttling, clocks, swapping and power supply.

Files stay open and are read again, since opening takes longer than reading. Other
systems, and files that are missing, tell nothing.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from .profiler import Observation

ROOT = Path("/")
CPU = "sys/devices/system/cpu"

BUSY = (0, 1, 2, 5, 6)
"""user, nice, system, irq, softirq in the first line of ``/proc/stat``."""

STEAL = 7

FAMILY_S = 2.0
"""The processes that this one has started are looked for so often."""

MOST_FILES = 16
"""Clocks and counters of so many CPUs at most are read."""

DYNAMIC_DRIVERS = ("intel_pstate", "amd-pstate-epp")
"""Under these the governor ``powersave`` does not hold the clock down."""


class Files:
    """Small files, kept open and read from their beginning."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._open: list[int] = []
        for path in paths:
            with contextlib.suppress(OSError):
                self._open.append(os.open(path, os.O_RDONLY))

    def __len__(self) -> int:
        return len(self._open)

    def __del__(self) -> None:
        for file in self._open:
            with contextlib.suppress(OSError):
                os.close(file)

    def read(self, most: int = 4096) -> list[str]:
        """The beginning of each; those that fail are left out."""
        found = []
        for file in self._open:
            with contextlib.suppress(OSError):
                found.append(os.pread(file, most, 0).decode("ascii", "replace"))
        return found


def cpus() -> int:
    """CPUs of the machine."""
    return os.cpu_count() or 1


def host_probes(
    now: Callable[[], float], root: Path = ROOT
) -> list[Callable[[], list[Observation]]]:
    """The looks at this machine.

    Args:
        now: a clock in seconds.
        root: where ``proc`` and ``sys`` are.
    """
    return [OutsideLoad(now, root).look, Throttles(root).look, Clocks(root).look]


class OutsideLoad:
    """CPUs that other processes keep busy, and that a hypervisor gives to others."""

    def __init__(
        self, now: Callable[[], float], root: Path = ROOT, own_s: Callable[[], float] | None = None
    ) -> None:
        self._now = now
        self._stat = Files([root / "proc/stat"])
        self._family = Family(now, root)
        self._own_s = own_s or self._family.cpu_s
        self._last: tuple[float, float, float, float] | None = None

    def look(self) -> list[Observation]:
        """Both as means since the look before; the first look tells 0."""
        lines = self._stat.read(512)
        if not lines:
            return []
        jiffies = [int(word) for word in lines[0].split("\n", 1)[0].split()[1:]]
        step = os.sysconf("SC_CLK_TCK")
        busy, stolen = sum(jiffies[i] for i in BUSY) / step, jiffies[STEAL] / step
        seen = (self._now(), busy, stolen, self._own_s())
        last, self._last = self._last or seen, seen
        passed = max(seen[0] - last[0], 1e-9)
        outside = max((busy - last[1] - (seen[3] - last[3])) / passed, 0.0)
        return [
            Observation("host", "outside_load", outside, "CPUs"),
            Observation("host", "stolen", max(stolen - last[2], 0.0) / passed, "CPUs"),
        ]


class Family:
    """CPU time of this process and of all that it has started, ended ones included."""

    def __init__(self, now: Callable[[], float], root: Path = ROOT) -> None:
        self._now = now
        self._proc = root / "proc"
        self._looked_s = -FAMILY_S
        self._living: list[int] = []

    def cpu_s(self) -> float:
        """Seconds on all CPUs so far."""
        if self._now() - self._looked_s >= FAMILY_S:
            self._looked_s = self._now()
            self._living = list(self._children(os.getpid()))
        own = os.times()
        total = own.user + own.system + own.children_user + own.children_system
        return total + sum(map(self._spent, self._living))

    def _children(self, process: int) -> Iterator[int]:
        for file in (self._proc / str(process) / "task").glob("*/children"):
            with contextlib.suppress(OSError):
                for child in map(int, file.read_text().split()):
                    yield child
                    yield from self._children(child)

    def _spent(self, process: int) -> float:
        try:
            words = (self._proc / str(process) / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0  # it has ended, and is now among the ended ones
        return sum(map(int, words[11:15])) / os.sysconf("SC_CLK_TCK")


class Throttles:
    """How often CPUs were slowed down by heat or current since the look before."""

    def __init__(self, root: Path = ROOT) -> None:
        here = _cpu_folders(root)
        packages: dict[str, Path] = {}
        for folder in here:
            with contextlib.suppress(OSError):
                id = (folder / "topology/physical_package_id").read_text().strip()
                packages.setdefault(id, folder / "thermal_throttle/package_throttle_count")
        cores = [folder / "thermal_throttle/core_throttle_count" for folder in here[:MOST_FILES]]
        self._files = Files([*packages.values(), *cores])
        self._last: int | None = None

    def look(self) -> list[Observation]:
        """The count; the first look tells 0."""
        if not self._files:
            return []
        count = sum(map(int, self._files.read()))
        last, self._last = self._last, count
        more = 0 if last is None else max(count - last, 0)
        return [Observation("host", "throttled", float(more), "times")]


class Clocks:
    """The mean clock of the CPUs."""

    def __init__(self, root: Path = ROOT) -> None:
        folders = _cpu_folders(root)[:MOST_FILES]
        self._files = Files([folder / "cpufreq/scaling_cur_freq" for folder in folders])

    def look(self) -> list[Observation]:
        """In MHz, now."""
        values = [int(text) for text in self._files.read()]
        if not values:
            return []
        return [Observation("host", "clock", sum(values) / len(values) / 1e3, "MHz")]


def _cpu_folders(root: Path) -> list[Path]:
    """Folders of the CPUs that this process may use."""
    try:
        allowed = sorted(os.sched_getaffinity(0))
    except AttributeError:
        return []  # not Linux
    return [folder for i in allowed if (folder := root / CPU / f"cpu{i}").is_dir()]


def swapped_bytes(root: Path = ROOT) -> int:
    """Bytes moved to and from swap since the machine was started; 0 where not told."""
    try:
        text = (root / "proc/vmstat").read_text()
    except OSError:
        return 0
    pages = re.findall(r"^pswp(?:in|out) (\d+)", text, re.MULTILINE)
    return sum(map(int, pages)) * os.sysconf("SC_PAGE_SIZE")


def standing(root: Path = ROOT) -> tuple[str, ...]:
    """Advice on what slows this machine down all the time."""
    return tuple(itertools.chain(_governor(root), _battery(root)))


def _governor(root: Path) -> Iterator[str]:
    for folder in _cpu_folders(root)[:1]:
        governor = _text(folder / "cpufreq/scaling_governor")
        if governor == "powersave" and _text(folder / "cpufreq/scaling_driver") not in (
            DYNAMIC_DRIVERS
        ):
            yield (
                "the CPU's governor is powersave, its clock stays low: "
                "`sudo cpupower frequency-set -g performance`"
            )


def _battery(root: Path) -> Iterator[str]:
    supplies = sorted((root / "sys/class/power_supply").glob("*"))
    # Batteries of mice and keyboards have the scope "Device".
    own = [s for s in supplies if _text(s / "scope") != "Device"]
    if any(_text(s / "type") == "Battery" and _text(s / "status") == "Discharging" for s in own):
        yield "the machine runs on its battery, which may slow it down: connect it to the mains"


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
