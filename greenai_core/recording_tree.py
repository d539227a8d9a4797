"""What a process and all that it has started use: CPU time and memory, from ``/proc``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .errors import ConfigError
from .proc_files import PROC, TICK_S

_PARENT, _USER, _SYSTEM, _USER_REAPED, _SYSTEM_REAPED, _STARTED, _PAGES = 1, 11, 12, 13, 14, 19, 21
"""Fields of ``/proc/PID/stat`` after the name of the program (proc_pid_stat(5))."""


class TreeUse(NamedTuple):
    """What a tree of processes has used and holds.

    Attributes:
        cpu_s: CPU time since each began, with that of children that have ended.
        rss_bytes: resident memory, shared pages counted for each.
        processes: that are running.
    """

    cpu_s: float
    rss_bytes: int
    processes: int


class ProcessTree:
    """A process and its descendants, also those whose parent has ended meanwhile.

    Args:
        pid: the process at the root.
        proc: where ``/proc`` is.

    Raises:
        ConfigError: there is no such process.
    """

    def __init__(self, pid: int, proc: Path = PROC) -> None:
        self.pid = pid
        self._proc = proc
        fields = self._stat(pid)
        if fields is None:
            raise ConfigError(f"there is no process {pid}: `ps` lists those that are running")
        self._members = {pid: fields[_STARTED]}
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._spent: dict[int, tuple[int, int]] = {}
        self._ticks = 0

    @property
    def alive(self) -> bool:
        """Whether the process at the root still runs."""
        fields = self._stat(self.pid)
        return fields is not None and fields[0] not in (b"Z", b"X") and self._known(fields)

    def _known(self, fields: list[bytes]) -> bool:
        # Numbers of processes are used again: the time of its start tells whether it is the same.
        return fields[_STARTED] == self._members.get(self.pid)

    def use(self) -> TreeUse:
        """The state now; CPU time goes on also when one ends that none of the others waits for."""
        found = self._grow()
        self._count({pid: _spent(fields) for pid, fields in found.items()})
        pages = sum(int(fields[_PAGES]) for fields in found.values())
        running = sum(fields[0] not in (b"Z", b"X") for fields in found.values())
        return TreeUse(self._ticks * TICK_S, pages * self._page, running)

    def _count(self, now: dict[int, tuple[int, int]]) -> None:
        before, self._spent = self._spent, now
        own = reaped = 0
        for pid, (own_now, reaped_now) in now.items():
            own_then, reaped_then = before.get(pid, (0, 0))
            own += own_now - own_then
            reaped += reaped_now - reaped_then
        # What those that ended had used is counted already; whoever waited for them has it too.
        ended = sum(sum(before[pid]) for pid in before.keys() - now.keys())
        self._ticks += max(own, 0) + max(reaped - ended, 0)

    def _grow(self) -> dict[int, list[bytes]]:
        """Members that are there now, with their children, and theirs."""
        found: dict[int, list[bytes]] = {}
        waiting = list(self._members)
        while waiting:
            pid = waiting.pop()
            fields = None if pid in found else self._stat(pid)
            if fields is None:
                continue
            if self._members.setdefault(pid, fields[_STARTED]) != fields[_STARTED]:
                continue  # another process has its number now
            found[pid] = fields
            waiting.extend(self._children(pid))
        root = self._members[self.pid]
        self._members = {pid: fields[_STARTED] for pid, fields in found.items()}
        self._members[self.pid] = root
        return found

    def _children(self, pid: int) -> Iterator[int]:
        try:
            for task in (self._proc / str(pid) / "task").iterdir():
                yield from map(int, (task / "children").read_bytes().split())
        except FileNotFoundError:
            # The process has ended, or this kernel keeps no such list.
            if (self._proc / str(pid)).exists():
                yield from self._children_by_parent(pid)
        except OSError:
            return

    def _children_by_parent(self, parent: int) -> Iterator[int]:
        wanted = b"%d" % parent
        for entry in self._proc.iterdir():
            if entry.name.isdecimal():
                fields = self._stat(int(entry.name))
                if fields is not None and fields[_PARENT] == wanted:
                    yield int(entry.name)

    def _stat(self, pid: int) -> list[bytes] | None:
        try:
            content = (self._proc / str(pid) / "stat").read_bytes()
        except OSError:
            return None
        # The name may hold spaces and parentheses.
        return content.rpartition(b")")[2].split()


def _spent(fields: list[bytes]) -> tuple[int, int]:
    """Ticks of a process itself, and of those that ended and that it has waited for."""
    own, reaped = (_USER, _SYSTEM), (_USER_REAPED, _SYSTEM_REAPED)
    return sum(int(fields[i]) for i in own), sum(int(fields[i]) for i in reaped)
