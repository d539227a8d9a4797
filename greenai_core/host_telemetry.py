"""How busy, full, hot and fast this machine is; no energy."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from . import host_conditions
from .errors import ReadingError
from .host_conditions import BUSY, ROOT, Clocks, Files
from .profiler import Observation, Telemetry

HWMON = "sys/class/hwmon"

CPU_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
"""Names of the kernel's drivers for the temperature of CPUs (Documentation/hwmon)."""

MOST_PARTS = 8
"""Temperatures of so many parts of a chip at most are read."""

CLOCK_BYTES = 16384
"""Of ``/proc/cpuinfo``, which the kernel writes CPU by CPU: about ten of them."""


class HostTelemetry(Telemetry):
    """Utilisation, memory in use, temperature and clock of the machine, as the device ``host``.

    The files stay open between two calls: one call takes about 0.1 ms.

    Args:
        now: a clock, s.
        root: where ``proc`` and ``sys`` are.
        busy_s: CPU time that was spent so far, s; that of the whole machine by default.
        cpus: over so many it is spread; all of the machine by default.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float] = time.perf_counter,
        root: Path = ROOT,
        busy_s: Callable[[], float] | None = None,
        cpus: float | None = None,
    ) -> None:
        self._now = now
        self._jiffy_s = 1 / os.sysconf("SC_CLK_TCK")
        self._stat = Files([root / "proc/stat"])
        self._busy_s = busy_s or self._machine_s
        self._cpus = cpus or host_conditions.cpus()
        self._memory = Files([root / "proc/meminfo"])
        self._hot = Files(_temperatures(root))
        self._clocks = Clocks(root)
        self._cpuinfo = Files([root / "proc/cpuinfo"])
        self._seen: tuple[float, float] | None = None
        with contextlib.suppress(OSError, ValueError, ReadingError):
            self._seen = (now(), self._busy_s())

    def observe(self) -> Sequence[Observation]:
        """The state now; what the system does not tell is left out.

        The utilisation is the mean since the call before, or since the beginning; so
        soon after it that the system's own CPU time did not go on, it is left out.

        Raises:
            ReadingError: the system does not tell the CPU time.
        """
        found = list(self._utilisation())
        used = self._memory_used()
        if used is not None:
            found.append(Observation("host", "memory_used", used, "B"))
        degrees = [float(text) / 1000 for text in self._hot.read(32) if _is_number(text)]
        if degrees:
            found.append(Observation("host", "temperature", max(degrees), "°C"))
        return found + (self._clocks.look() or list(self._clock_of_cpuinfo()))

    def _utilisation(self) -> Iterator[Observation]:
        try:
            seen = (self._now(), self._busy_s())
        except (OSError, ValueError) as error:
            raise ReadingError(f"the system does not tell the CPU time: {error}") from error
        last = self._seen
        if last is None:
            self._seen = seen
        elif seen[0] - last[0] >= 2 * self._jiffy_s:
            self._seen = seen
            # The kernel's figures may step back by a jiffy.
            share = (seen[1] - last[1]) / ((seen[0] - last[0]) * self._cpus)
            yield Observation("host", "utilisation", 100 * min(max(share, 0.0), 1.0), "%")

    def _machine_s(self) -> float:
        lines = self._stat.read(512)
        if not lines or not lines[0].startswith("cpu "):
            raise OSError("there is no /proc/stat")
        jiffies = [int(word) for word in lines[0].split("\n", 1)[0].split()[1:]]
        return sum(jiffies[i] for i in BUSY) * self._jiffy_s

    def _memory_used(self) -> float | None:
        text = "".join(self._memory.read())
        sizes = dict(re.findall(r"^(MemTotal|MemAvailable):\s*(\d+) kB", text, re.MULTILINE))
        if len(sizes) < 2:
            return None
        return 1024.0 * (int(sizes["MemTotal"]) - int(sizes["MemAvailable"]))

    def _clock_of_cpuinfo(self) -> Iterator[Observation]:
        # Virtual machines have no cpufreq.
        text = "".join(self._cpuinfo.read(CLOCK_BYTES))
        clocks = [float(mhz) for mhz in re.findall(r"^cpu MHz\s*: ([\d.]+)$", text, re.MULTILINE)]
        if clocks:
            yield Observation("host", "clock", sum(clocks) / len(clocks), "MHz")


def _is_number(text: str) -> bool:
    return text.strip().lstrip("-").isdecimal()


def _temperatures(root: Path) -> list[Path]:
    """Files of the temperatures of the CPU packages, or of their parts where these tell none.

    That of a package is the highest of its cores, and reading those wakes them up.
    """
    found: list[Path] = []
    for chip in sorted((root / HWMON).glob("hwmon*")):
        if _text(chip / "name") not in CPU_CHIPS:
            continue
        labels = {file: _label(file) for file in sorted(chip.glob("temp*_input"))}
        packages = [file for file, label in labels.items() if label.startswith("Package")]
        # Tctl is Tdie on a scale of its own where there are both (kernel: hwmon/k10temp).
        true = [f for f, label in labels.items() if label != "Tctl"] or list(labels)
        found += packages or true[:MOST_PARTS]
    return found


def _label(file: Path) -> str:
    return _text(file.with_name(file.name.replace("_input", "_label")))


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
