"""What a process used of the machine while a cell was measured: CPU time and memory."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROC = Path("/proc")

TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(frozen=True)
class Look:
    """One look at this process and its machine.

    Attributes:
        instant_s: on the clock of the measurement.
        own_s: CPU time of this process so far, with its threads.
        busy_s: CPU time of all processes so far; None where the system does not tell.
        shared_b: its memory, pages that others use too by their share (PSS), B; None likewise.
        unique_b: its memory that no other process uses (USS), B; None likewise.
    """

    instant_s: float
    own_s: float
    busy_s: float | None
    shared_b: int | None
    unique_b: int | None


@dataclass
class HostUse:
    """Looks now and then, and what was used between two instants.

    Args:
        now: the clock of the measurement.
        period_s: looks are at least so far apart.
    """

    now: Callable[[], float]
    period_s: float
    looks: list[Look] = field(default_factory=list)

    def look(self) -> None:
        """Look again if it is time."""
        now = self.now()
        if not self.looks or now - self.looks[-1].instant_s >= self.period_s:
            self.looks.append(Look(now, sum(os.times()[:2]), _busy_s(), *_memory()))

    def end(self) -> None:
        """Look a last time."""
        self.looks.append(Look(self.now(), sum(os.times()[:2]), _busy_s(), *_memory()))

    def between(self, start_s: float, end_s: float) -> dict[str, Any]:
        """AIPowerMeter's keys of what processes use, for this process alone."""
        pid = str(os.getpid())
        found: dict[str, Any] = {}
        before, after = self._around(start_s, end_s)
        span = after.instant_s - before.instant_s
        if span > 0:
            own = (after.own_s - before.own_s) / span * (end_s - start_s)
            found["absolute_cpu_time_per_pid"] = {pid: own}
            if before.busy_s is not None and after.busy_s is not None:
                busy = (after.busy_s - before.busy_s) / span * (end_s - start_s)
                if busy > 0:
                    found["per_process_cpu_uses"] = {pid: min(own / busy, 1.0)}
        if after.shared_b is not None:
            found["per_process_mem_use_abs"] = {pid: after.shared_b}
        if after.unique_b is not None:
            found["per_process_mem_use_uss"] = {pid: after.unique_b}
        return found

    def _around(self, start_s: float, end_s: float) -> tuple[Look, Look]:
        """The looks nearest outside a stretch of time, else the nearest there are."""
        instants = [look.instant_s for look in self.looks]
        first = max(bisect_right(instants, start_s) - 1, 0)
        last = min(bisect_right(instants, end_s), len(instants) - 1)
        return self.looks[first], self.looks[last]


def _busy_s() -> float | None:
    """User and system time of the machine since it was started, s."""
    try:
        words = (PROC / "stat").read_text().split("\n", 1)[0].split()
        user, nice, system = (int(words[at]) for at in (1, 2, 3))
    except (OSError, ValueError, IndexError):
        return None
    return (user + nice + system) / TICKS


def _memory() -> tuple[int | None, int | None]:
    """PSS and USS of this process, B."""
    try:
        lines = (PROC / "self" / "smaps_rollup").read_text().splitlines()[1:]
        sizes = {name: int(rest.split()[0]) * 1024 for name, _, rest in (
            line.partition(":") for line in lines)}  # fmt: skip
        return sizes["Pss"], sizes["Private_Clean"] + sizes["Private_Dirty"]
    except (OSError, ValueError, IndexError, KeyError):
        return None, None
