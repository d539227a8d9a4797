"""What Linux tells of CPU time: of every process, and of the machine (``proc(5)``)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from .errors import ReadingError

PROC = Path("/proc")

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
"""Unit of all CPU times in ``/proc``."""

LONGEST_COMMAND = 300
"""Characters of a command line that are kept."""

_BUSY = (0, 1, 2, 5, 6)
_IDLE = (3, 4)
"""Columns of the first line of ``/proc/stat``: user, nice, system, irq, softirq; idle,
iowait. What a hypervisor gave to others (steal) is neither."""


class Identity(NamedTuple):
    """A process; the kernel gives its number to another one later, but at another time."""

    pid: int
    started: int


class Times(NamedTuple):
    """CPU time of a process so far, in ticks.

    Attributes:
        parent: its PID.
        name: of the program, at most 15 characters.
        own: user and system time of its threads.
        waited: the same of children that ended and that it has waited for, with theirs.
    """

    parent: int
    name: str
    own: int
    waited: int


@dataclass(frozen=True)
class Look:
    """All CPU times at one moment, in ticks.

    Attributes:
        processes: those that this user may see.
        busy, idle: of all CPUs.
        uptime: since the machine was started; None where not told.
        hidden: processes that are there, but whose times may not be read.
    """

    processes: Mapping[Identity, Times]
    busy: int
    idle: int
    uptime: int | None = None
    hidden: int = 0


def look(root: Path = PROC) -> Look:
    """Read the CPU times of all processes and of the machine.

    Args:
        root: where ``/proc`` is.

    Raises:
        ReadingError: the system has no ``/proc`` that can be read.
    """
    # First: what was started before this moment is in the list that follows.
    uptime = _uptime(root)
    try:
        numbers = [name for name in os.listdir(root) if name.isdecimal()]  # noqa: PTH208  # in a hot loop
        processes: dict[Identity, Times] = {}
        hidden = 0
        for number in numbers:
            try:
                found = _parse(_read(f"{root}/{number}/stat"))
            except PermissionError:
                hidden += 1
            except (OSError, ValueError):
                continue  # it has ended meanwhile
            else:
                if found is not None:
                    processes[Identity(int(number), found[0])] = found[1]
        busy, idle = _machine(_read(f"{root}/stat"))
    except (OSError, ValueError) as error:
        raise ReadingError(
            f"the CPU time of processes cannot be read ({error}). On Linux: mount /proc; other "
            "systems do not tell it"
        ) from error
    return Look(processes, busy, idle, uptime, hidden)


def command_line(pid: int, root: Path = PROC) -> str:
    """The command of a process with its arguments; empty where it is not told."""
    try:
        words = _read(f"{root}/{pid}/cmdline").decode("utf-8", "replace").split("\0")
    except OSError:
        return ""
    return " ".join(words).strip()[:LONGEST_COMMAND]


def _read(path: str) -> bytes:
    file = os.open(path, os.O_RDONLY)
    try:
        return os.read(file, 4096)
    finally:
        os.close(file)


def _parse(line: bytes) -> tuple[int, Times] | None:
    # The name may hold blanks and brackets: it ends with the last one.
    head, _, rest = line.rpartition(b")")
    words = rest.split(None, 21)
    if len(words) < 20:
        return None  # ended between opening and reading
    own, waited = int(words[11]) + int(words[12]), int(words[13]) + int(words[14])
    name = head.partition(b"(")[2].decode("utf-8", "replace")
    return int(words[19]), Times(int(words[1]), name, own, waited)


def _machine(text: bytes) -> tuple[int, int]:
    words = text.split(b"\n", 1)[0].split()
    if not words or words[0] != b"cpu" or len(words) < 8:
        raise OSError("/proc/stat is not as known")
    ticks = [int(word) for word in words[1:]]
    return sum(ticks[i] for i in _BUSY), sum(ticks[i] for i in _IDLE)


def _uptime(root: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(float(_read(f"{root}/uptime").split()[0]) / TICK_S)
    return None


def descendants(pid: int, root: Path = PROC) -> set[int]:
    """PIDs of the children of a process, their children, and so on.

    Args:
        pid: of the process.
        root: where ``/proc`` is.
    """
    try:
        processes = look(root).processes
    except ReadingError:
        return set()
    children: dict[int, list[int]] = {}
    for identity, times in processes.items():
        children.setdefault(times.parent, []).append(identity.pid)
    found: set[int] = set()
    queue = [pid]
    while queue:
        new = [child for child in children.get(queue.pop(), []) if child not in found]
        found.update(new)
        queue += new
    return found
