"""What the operating system tells of the machine: CPUs, memory, how busy they are."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Machine:
    """The part of a machine that this process may use.

    Attributes:
        cpu: model name.
        threads: hardware threads (or virtual CPUs) that the system sees.
        cpus: how many of them may be in use: fewer in a container with a limit.
        sockets: CPU packages.
        virtual: whether a hypervisor stands between.
        memory_bytes: installed, or the limit of the container.
        jiffy_s: step of the CPU time.
        cgroup: folder whose CPU time counts, where ``cpus`` is a limit.
        note, memory_note: on the limits, for people; empty without one.
    """

    cpu: str
    threads: int
    cpus: float
    sockets: int
    virtual: bool
    memory_bytes: int
    jiffy_s: float = 0.01
    cgroup: Path | None = None
    note: str = ""
    memory_note: str = ""


def look(cpuinfo: Path = Path("/proc/cpuinfo"), cgroup: Path = CGROUP) -> Machine:
    """This machine."""
    import psutil

    try:
        text = cpuinfo.read_text()
    except OSError:
        text = ""
    threads = psutil.cpu_count() or 1
    memory = psutil.virtual_memory().total
    quota = cpu_quota(cgroup)
    limited = quota is not None and quota < threads
    allowed = memory_limit(cgroup)
    less = allowed is not None and allowed < memory
    return Machine(
        cpu=_value(text, "model name"),
        threads=threads,
        cpus=quota if quota is not None and limited else float(threads),
        sockets=len(set(re.findall(r"^physical id\s*:\s*(\d+)", text, re.MULTILINE))) or 1,
        virtual=" hypervisor" in _value(text, "flags"),
        memory_bytes=allowed if allowed is not None and less else memory,
        jiffy_s=1 / os.sysconf("SC_CLK_TCK"),
        cgroup=cgroup if limited else None,
        note=f"; this container may use {quota:g} of {threads} CPUs" if limited else "",
        memory_note=", the limit of this container" if less else "",
    )


def busy_seconds(machine: Machine) -> float:
    """CPU time spent so far: by the container where its CPUs are limited, else by all.

    Waiting for disks is no work, and what a hypervisor gave to others is not ours.

    Raises:
        OSError, ValueError: the system does not tell.
    """
    if machine.cgroup is not None:
        return _cgroup_seconds(machine.cgroup)
    import psutil

    times = psutil.cpu_times()
    # user and nice hold guest and guest_nice already.
    names = ("user", "nice", "system", "irq", "softirq")
    return float(sum(getattr(times, name, 0.0) for name in names))


def cpu_quota(cgroup: Path) -> float | None:
    """CPUs that the container may use (cgroup v2, then v1); None without a limit."""
    unified = _words(cgroup / "cpu.max")
    if len(unified) == 2 and unified[0] != "max":
        return int(unified[0]) / int(unified[1])
    quota = _words(cgroup / "cpu" / "cpu.cfs_quota_us")
    period = _words(cgroup / "cpu" / "cpu.cfs_period_us")
    if quota and period and int(quota[0]) > 0:
        return int(quota[0]) / int(period[0])
    return None


def memory_limit(cgroup: Path) -> int | None:
    """Bytes that the container may use (cgroup v2, then v1); None without a limit."""
    for file in (cgroup / "memory.max", cgroup / "memory" / "memory.limit_in_bytes"):
        words = _words(file)
        if words and words[0] != "max":
            return int(words[0])
    return None


def _cgroup_seconds(cgroup: Path) -> float:
    """CPU time of the container.

    Raises:
        OSError, ValueError: the files are not there or not as known.
    """
    old = cgroup / "cpuacct" / "cpuacct.usage"
    if old.exists():
        return _count(old, old.read_text()) / 1e9
    unified = cgroup / "cpu.stat"
    return _count(unified, _value(unified.read_text(), "usage_usec", " ")) / 1e6


def _count(file: Path, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise ValueError(f"{file} holds {text.strip()[:40]!r} instead of the CPU time") from error


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []


def _value(text: str, key: str, separator: str = ":") -> str:
    match = re.search(rf"^{key}\s*{separator}\s*(.*)$", text, re.MULTILINE)
    return match[1].strip() if match else ""
