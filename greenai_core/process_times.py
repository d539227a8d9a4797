"""CPU time of each process between two moments, with those that came and went.

A process that ends takes its own figures along; but who waits for it inherits them,
so that what nobody saw of it can be told from what its parent gained.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from .proc_files import Identity, Look, Times

NEVER_SEEN = -1
"""Stands for the start of a process that ended before anybody looked."""


@dataclass
class Spent:
    """CPU time of one process, in ticks.

    Attributes:
        name: of the program when it was last seen.
        own: of itself, as it was seen.
        ended: of its children that ended, and of its own time after it was last seen;
            below zero for a moment where a child ended in the middle of a look.
    """

    name: str
    own: int = 0
    ended: int = 0

    @property
    def ticks(self) -> int:
        """Both."""
        return self.own + max(self.ended, 0)


@dataclass
class Tally:
    """Adds up CPU time from one look to the next.

    Attributes:
        last: the latest look.
        own_pid: of this process, which waits for the command.
        top: PID at the top of the tree that was asked about.
        spent: by process.
        tree: the processes of the tree, those that ended included.
        busy, idle: of the machine, in ticks.
    """

    last: Look
    own_pid: int = field(default_factory=os.getpid)
    top: int = field(default_factory=os.getpid)
    spent: dict[Identity, Spent] = field(default_factory=dict)
    tree: set[Identity] = field(default_factory=set)
    busy: int = 0
    idle: int = 0
    top_name: str = ""

    def __post_init__(self) -> None:
        self._grow_tree(self.last)

    def follow(self, pid: int, name: str) -> None:
        """Ask about a child of this process instead of this process."""
        self.top, self.top_name = pid, name
        self.tree.clear()
        self._grow_tree(self.last)

    def add(self, now: Look) -> None:
        """Add the time since the look before."""
        before = self.last
        self._grow_tree(now)
        # The kernel's own figures may step back by a tick.
        self.busy += max(now.busy - before.busy, 0)
        self.idle += max(now.idle - before.idle, 0)
        gone = _gone_by_survivor(before, now)
        for id, times in now.processes.items():
            then = before.processes.get(id) or _born(id, times, before)
            spent = self.spent.setdefault(id, Spent(times.name))
            spent.name = times.name
            spent.own += max(times.own - then.own, 0)
            ended = gone.get(id, [])
            known = sum(before.processes[e].own + before.processes[e].waited for e in ended)
            gained = times.waited - then.waited - known
            # A loss takes back what was gained of a child that was still seen then.
            heir = self._heir(id, ended, now) if gained > 0 else spent
            heir.ended += gained
        self.last = now

    def _heir(self, parent: Identity, ended: Iterable[Identity], now: Look) -> Spent:
        """Whose row gets what a parent gained: the child that ended if it was one only."""
        children = [e for e in ended if self.last.processes[e].parent == parent.pid]
        top = next((id for id in self.tree if id.pid == self.top), None)
        if parent.pid == self.own_pid != self.top and (top is None or top not in now.processes):
            if top is None:
                top = Identity(self.top, NEVER_SEEN)
                self.tree.add(top)
            return self.spent.setdefault(top, Spent(self.top_name))
        heir = children[0] if len(children) == 1 else parent
        return self.spent.setdefault(heir, Spent(_name(heir, self.last, now)))

    def _grow_tree(self, look: Look) -> None:
        children: dict[int, list[Identity]] = {}
        for id, times in look.processes.items():
            children.setdefault(times.parent, []).append(id)
            # A number that was given away again is another process's.
            if id.pid == self.top and self.own_pid in (self.top, times.parent):
                self.tree.add(id)
        waiting = [id for id in self.tree if id in look.processes]
        while waiting:
            for child in children.get(waiting.pop().pid, ()):
                if child not in self.tree:
                    self.tree.add(child)
                    waiting.append(child)


def _born(id: Identity, times: Times, before: Look) -> Times:
    """What a process that was not there had spent: nothing, unless it was only not seen."""
    if before.uptime is not None and id.started < before.uptime:
        return times
    return Times(0, "", 0, 0)


def _gone_by_survivor(before: Look, now: Look) -> Mapping[Identity, list[Identity]]:
    """The processes that ended, by the nearest ancestor that did not."""
    by_pid = {id.pid: id for id in before.processes}

    def ancestors(id: Identity) -> Iterator[Identity]:
        seen = {id}
        while (above := by_pid.get(before.processes[id].parent)) is not None and above not in seen:
            seen.add(above)
            yield above
            id = above

    found: dict[Identity, list[Identity]] = {}
    for id in before.processes:
        if id not in now.processes:
            survivor = next((a for a in ancestors(id) if a in now.processes), None)
            if survivor is not None:
                found.setdefault(survivor, []).append(id)
    return found


def _name(id: Identity, before: Look, now: Look) -> str:
    times = now.processes.get(id) or before.processes.get(id)
    return times.name if times else ""
