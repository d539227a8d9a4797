"""What each process of this machine is made out to have used.

CPU packages and memory are split by CPU time, accelerators by the time that each process
kept them busy. That is a model: it is labelled so, wide, and in no total.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from .channels import Channel, contents
from .clock import Clock, Ticker
from .errors import LifecycleError, ReadingError
from .proc_files import PROC, TICK_S, Identity, command_line, look
from .process_results import PROCESS, UNATTRIBUTED, EnergySplit
from .process_split import Pool, Row, split
from .process_times import Tally
from .profiler import ProcessUtilisation, Profiler
from .results import ChannelEnergy, WindowResult

if TYPE_CHECKING:
    from typing_extensions import Self

    from .session import Session

PERIOD_S = 1.0
"""A look at all processes so often: what lives longer is seen."""

MOST_COST = 0.01
"""Of one CPU, for looking; where a look takes long there are fewer."""

HIDDEN = (
    "{} processes do not tell their CPU time to this user (/proc is mounted with hidepid): theirs "
    "is in the row of nobody. Root, or the group of the mount option gid, sees them"
)
UNTOLD = "{}: which process used it is not told, so its energy is not split"
UNSEEN = "nobody that can be seen"
"""Hidden processes, orphans that ended between two looks, interrupts."""


class ProcessTimes:
    """Follows the CPU time of all processes, and their time on accelerators.

    A context manager; put the window whose energy is to be split inside it.

    Args:
        profilers: those that are asked for processes on their devices.
        clock: of the session.
        root: where ``/proc`` is.
        own_pid: of this process; the tree that is asked about begins there until
            ``follow`` says otherwise.
    """

    def __init__(
        self,
        profilers: Iterable[Profiler],
        clock: Clock,
        *,
        root: Path = PROC,
        own_pid: int | None = None,
    ) -> None:
        self._profilers = [p for p in profilers if isinstance(p, ProcessUtilisation)]
        self._clock = clock
        self._root = root
        self._own_pid = os.getpid() if own_pid is None else own_pid
        self._lock = threading.Lock()
        self._tally: Tally | None = None
        self._ticker: Ticker | None = None
        self._cost_s = 0.0
        self._then = 0.0
        self._commands: dict[Identity, tuple[str, str]] = {}
        self._accelerators: dict[str, dict[int, float]] = {}
        self._watched_s = 0.0
        self.notes: tuple[str, ...] = ()
        """What readers of the shares must know."""

    def __enter__(self) -> Self:
        """Look for the first time.

        Raises:
            ReadingError: the system does not tell the CPU time of processes.
        """
        self._tally = Tally(look(self._root), self._own_pid, self._own_pid)
        self._accelerators, self._watched_s = {}, 0.0
        self._ask()
        self._then = self._clock.now()
        self._ticker = self._clock.repeat(self._tick, self._delay_s)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        self._tick()

    def follow(self, pid: int, command: Sequence[str]) -> None:
        """Ask about a child of this process, and what it starts, instead of this process.

        Raises:
            LifecycleError: outside of the ``with`` block.
        """
        with self._lock:
            tally = self._opened()
            tally.follow(pid, Path(command[0]).name)
            self._command_of_top = " ".join(command)

    _command_of_top = ""

    def splits(
        self,
        window: WindowResult,
        channels: Sequence[Channel],
        idle: WindowResult | None = None,
    ) -> tuple[EnergySplit, ...]:
        """Split the energy of a window that lay inside.

        Args:
            window: what to split.
            channels: of the session that measured it.
            idle: a window in which nothing was done, for the power of that.

        Raises:
            LifecycleError: it was never entered.
        """
        with self._lock:
            found = []
            for component, ids in _groups(channels):
                energies = [c for c in window.channels if c.id in ids]
                if len(energies) == len(ids):
                    pool = self._pool(component, energies, window, idle)
                    rows = self._rows(component, ids)
                    if rows is None:
                        self._note(UNTOLD.format(ids[0]))
                    else:
                        found.append(split(pool, rows))
            return tuple(found)

    def _opened(self) -> Tally:
        if self._tally is None:
            raise LifecycleError("processes are followed inside of the with block only")
        return self._tally

    def _delay_s(self) -> float:
        return max(PERIOD_S, self._cost_s / MOST_COST)

    def _tick(self) -> None:
        began = time.thread_time()
        with self._lock:
            tally = self._opened()
            try:
                tally.add(look(self._root))
            except ReadingError as error:
                self._note(str(error))
            if tally.last.hidden:
                self._note(HIDDEN.format(tally.last.hidden))
            self._read_commands(tally)
            now = self._clock.now()
            passed, self._then = now - self._then, now
            self._watched_s += passed
            for channel, processes in self._ask().items():
                busy = self._accelerators.setdefault(channel, {})
                for pid, share in processes.items():
                    busy[pid] = busy.get(pid, 0.0) + min(max(share, 0.0), 1.0) * passed
        self._cost_s = time.thread_time() - began

    def _read_commands(self, tally: Tally) -> None:
        """Of the tree; anew where another program has taken the place of the first (exec)."""
        for id in tally.tree:
            times = tally.last.processes.get(id)
            if times is not None and self._commands.get(id, ("", ""))[0] != times.name:
                self._commands[id] = times.name, command_line(id.pid, self._root)

    def _ask(self) -> Mapping[str, Mapping[int, float]]:
        told: dict[str, Mapping[int, float]] = {}
        for profiler in self._profilers:
            try:
                told.update(profiler.processes())
            except Exception as error:  # noqa: BLE001  # shares are an extra: the window stands without
                self._note(f"processes on accelerators are not told: {error}")
        return told

    def _note(self, text: str) -> None:
        kind = text.split(" ", 1)[-1]
        others = tuple(note for note in self.notes if note.split(" ", 1)[-1] != kind)
        self.notes = (*others, text)

    def _pool(
        self,
        component: str,
        energies: Sequence[ChannelEnergy],
        window: WindowResult,
        idle: WindowResult | None,
    ) -> Pool:
        ids = tuple(channel.id for channel in energies)
        on_cpu = component in ("cpu", "dram")
        idle_s = self._opened().idle * TICK_S if on_cpu else self._idle_of(ids[0])
        idle_j, idle_u = _idle_of_window(ids, window, idle)
        return Pool(
            component=component,
            channels=ids,
            energy_j=math.fsum(c.energy_j for c in energies),
            low_j=math.fsum(c.low_j for c in energies),
            high_j=math.fsum(c.high_j for c in energies),
            by="CPU time" if on_cpu else "the time that each process kept it busy",
            idle_s=idle_s,
            idle_j=idle_j,
            idle_u_j=idle_u,
            tick_s=TICK_S if on_cpu else 0.0,
        )

    def _idle_of(self, channel: str) -> float:
        busy = math.fsum(self._accelerators.get(channel, {}).values())
        return max(self._watched_s - busy, 0.0)

    def _rows(self, component: str, ids: Sequence[str]) -> list[Row] | None:
        if component in ("cpu", "dram"):
            return list(self._rows_of_cpu())
        busy = self._accelerators.get(ids[0])
        return None if busy is None else list(self._rows_of_accelerator(busy))

    def _rows_of_cpu(self) -> Iterator[Row]:
        tally = self._opened()
        known = 0
        for id, spent in tally.spent.items():
            known += spent.ticks
            ended_s = max(spent.ended, 0) * TICK_S
            yield self._row(id, spent.name, spent.ticks * TICK_S, ended_s)
        unseen = (tally.busy - known) * TICK_S
        yield Row(UNATTRIBUTED, max(unseen, 0.0), name=UNSEEN)

    def _rows_of_accelerator(self, busy: Mapping[int, float]) -> Iterator[Row]:
        tally = self._opened()
        by_pid = {id.pid: (id, spent.name) for id, spent in tally.spent.items()}
        for pid, seconds in busy.items():
            if pid in by_pid:
                yield self._row(*by_pid[pid], seconds, 0.0)
            else:
                yield Row(PROCESS, seconds, pid=pid, name="a process that is not seen from here")

    def _row(self, id: Identity, name: str, busy_s: float, ended_s: float) -> Row:
        tally = self._opened()
        inside = id in tally.tree
        command = self._commands.get(id, ("", ""))[1]  # known of the tree only
        if inside and id.pid == tally.top:
            command = self._command_of_top or command
        return Row(PROCESS, busy_s, ended_s, id.pid, name, command, inside)


class ProcessShares:
    """A window whose energy is split over processes; a context manager.

    Inside, processes are looked at once a second, for at most 1 % of one CPU::

        with Session() as session, ProcessShares(session) as shares:
            work()
        for split in shares.result.by_process:
            own = of_tree(split)

    Args:
        session: open, until ``result`` has been asked for.
        name: of the window.
        idle: a window in which the machine did nothing; without one, idle power is not
            told apart, see ``docs/sensors.md``.
        root: where ``/proc`` is.
        own_pid: the process that is asked about, with all that it starts; this one.
    """

    def __init__(
        self,
        session: Session,
        *,
        name: str = "window",
        idle: WindowResult | None = None,
        root: Path = PROC,
        own_pid: int | None = None,
    ) -> None:
        self._idle = idle
        self._channels = session.channels
        self._window = session.window(name)
        profilers = [source.profiler for source in session.sources]
        self.times = ProcessTimes(profilers, session.clock, root=root, own_pid=own_pid)
        self._stack: contextlib.ExitStack | None = None

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.times)
            stack.enter_context(self._window)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stack is not None:
            self._stack.close()

    @property
    def result(self) -> WindowResult:
        """The window with ``by_process``.

        Raises:
            LifecycleError: it has not ended.
        """
        window = self._window.result
        return replace(window, by_process=self.times.splits(window, self._channels, self._idle))

    @property
    def notes(self) -> tuple[str, ...]:
        """What readers of the shares must know."""
        return self.times.notes


def _groups(channels: Sequence[Channel]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Channels whose energy is split together, without anything twice."""
    for component in ("cpu", "dram"):
        ids = contents([c for c in channels if c.component == component])
        if ids:
            yield component, ids
    for channel in channels:
        if channel.component in ("gpu", "accelerator"):
            yield channel.component, (channel.id,)


def _idle_of_window(
    ids: Sequence[str], window: WindowResult, idle: WindowResult | None
) -> tuple[float | None, float]:
    """Joules of idling for as long as the window, and how well they repeat, 95 %."""
    if idle is None or idle.duration_s <= 0:
        return None, 0.0
    found = [channel for channel in idle.channels if channel.id in ids]
    if len(found) < len(ids):
        return None, 0.0
    longer = window.duration_s / idle.duration_s
    joules = math.fsum(c.energy_j for c in found) * longer
    return joules, math.fsum(c.repeat_high_j - c.energy_j for c in found) * longer
