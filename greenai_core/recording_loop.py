"""A recording under way: one row at each tick, from the first to the last."""

from __future__ import annotations

import datetime
import math
import os
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import environment, recording_totals
from .errors import ConfigError
from .recording_files import RowFile, WriteError, earlier
from .recording_lines import rows_of
from .recording_meta import Ending, Meta, boot_id, parts_of
from .recording_order import Order, Started, Summary
from .recording_rows import BETWEEN_NOTES, MISSED, RESUMED, Column, UtcText, leading, note
from .recording_schedule import Schedule, Tick
from .recording_sources import Sources
from .recording_tree import ProcessTree
from .results import WindowResult
from .session import Session

BROKEN = "its file could not be written any more"


class LiveRecording:
    """Rows of an open session.

    Args:
        order: what to record.
        session: open.
    """

    def __init__(self, order: Order, session: Session) -> None:
        self._order = order
        self._session = session
        self._now = session.clock.now
        self.progress = order.progress
        self._before = earlier(order) if order.append else None
        resumed, self._resumed_s = _last_values(order, self._before)
        self._sources = Sources(
            session, order.interval_s, order.tree or order.pid is not None, resumed
        )
        self._utc = UtcText()
        self._rows = self._missed = 0
        self._first_s = self._last_s = 0.0
        self._failure: WriteError | None = None
        self._shown: tuple[float, dict[str, float]] = (0.0, {})
        self._counters = self._sources.counters
        self._others = self._sources.all[len(self._counters) :]
        meta = self._meta()
        self._start_s = meta.start_monotonic_s
        self._file = RowFile(order, meta)
        self._leading = leading(order.format)
        self._empty = [""] * (1 + len(meta.columns))
        self._schedule = Schedule(self._start_s, order.interval_s)
        self._planned: Tick = (0, self._start_s, 0)

    def begin(self) -> Started:
        """Open the file and write the first row.

        Raises:
            ConfigError: the file is there already, or cannot be continued.
            WriteError: it cannot be written.
        """
        now = self._now()
        if self._before is None:
            self._file.create(now)
        else:
            self._file.resume(now)
            last = self._schedule.slot(now)
            self._schedule = Schedule(self._start_s, self._order.interval_s, last)
        self._planned = self._schedule.next(now)
        if self.tick():
            raise self._failure or WriteError(None, "the first row could not be written")
        return Started(
            pid=os.getpid(),
            start_monotonic_s=self._start_s,
            columns=self._file.meta.names,
            skipped=self._session.skipped,
            notes=(*self._session.unused_calibrations, *self._sources.notes),
            calibrated=tuple(calibration.channel for calibration in self._session.calibrations),
        )

    def _meta(self) -> Meta:
        machine = environment.describe()
        fresh = Meta(
            recording=uuid.uuid4().hex,
            part=0,
            created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            greenai=str(machine["greenai_core"]),
            machine=machine,
            boot=boot_id(),
            start_monotonic_s=self._now(),
            interval_s=self._order.interval_s,
            columns=self._sources.columns,
            channels=self._sources.channels(),
            skipped=self._session.skipped,
        )
        if self._before is None:
            return fresh
        problem = _different(self._before, fresh)
        if problem:
            raise ConfigError(
                f"{self._order.out} cannot be continued: {problem}. Record to another file"
            )
        return replace(self._before, channels=fresh.channels, skipped=fresh.skipped, end=None)

    def follow(self, pid: int) -> None:
        """Record what a process and its children use from now on, and end with it.

        Raises:
            ConfigError: there is no such process.
        """
        self._sources.observed.tree = ProcessTree(pid)

    def followed_ended(self) -> str:
        """Why the recording ends with the process that it follows."""
        tree = self._sources.observed.tree
        return f"the process {tree.pid} ended" if tree else ""

    def next_due(self, now_s: float) -> float:
        """Instant of the next row, given the time now."""
        self._planned = planned = self._schedule.next(now_s)
        return planned[1]

    def tick(self) -> str:
        """Write the row that was planned; why the recording ends, or empty if it goes on."""
        # Flat, and few calls: a thousand times a second each of them costs twice, since
        # between two ticks other programs have the caches.
        number, _, missed = self._planned
        row = self._empty.copy()
        notes: list[str] = []
        now = self._now
        before = now()
        for counters in self._counters:
            counters.read(before, row, notes)
        after = now()
        middle = (before + after) / 2
        for others in self._others:
            if middle >= others.due_s:
                others.read(middle, row, notes)
        if missed:
            self._missed += missed
            notes.append(note(MISSED, f"{missed} ticks"))
        if not self._rows:
            self._first_row(middle, notes)
        self._last_s = middle
        utc = self._utc(time.time() - now() + middle)
        row[0] = self._leading % (middle - self._start_s, utc, number, after - before)
        try:
            self._file.write(row, BETWEEN_NOTES.join(notes) if notes else "", middle)
        except WriteError as error:
            self._failure = error
            return str(error)
        self._rows += 1
        self._planned = number + 1, middle, 0  # unless a later one is planned
        return ""

    def _first_row(self, instant_s: float, notes: list[str]) -> None:
        self._first_s = instant_s
        if self._resumed_s is not None:
            pause_s = instant_s - self._start_s - self._resumed_s
            notes.append(note(RESUMED, f"after {pause_s:.1f} s"))

    def check(self) -> str:
        """Why the recording must end now; empty if it need not."""
        tree = self._sources.observed.tree
        if tree is not None and not tree.alive:
            return self.followed_ended()
        try:
            self._file.check()
        except WriteError as error:
            self._failure = error
            return str(error)
        return ""

    @property
    def over_s(self) -> float:
        """Instant at which it shall end; infinite for none."""
        duration = self._order.duration_s
        return math.inf if duration is None else self._first_s + duration

    def state(self) -> dict[str, Any]:
        """How far it is, and the power of what a total contains since the last time."""
        last_s, last = self._shown
        now_j = self._sources.joules()
        self._shown = self._last_s, now_j
        watts = None
        inside = self._session.contains
        if last and self._last_s > last_s and all(id in last for id in inside):
            watts = sum(now_j[id] - last[id] for id in inside) / (self._last_s - last_s)
        return {
            "rows": self._rows,
            "missed": self._missed,
            "time_s": self._last_s - self._first_s,
            "power_w": watts,
        }

    def end(self, reason: str) -> Summary:
        """Write a last row, and how it ended."""
        file = self._file
        for powers in self._sources.powers:
            powers.await_late()
        if self._failure is None:
            self.tick()
        notes = self._session.notes()
        channels = self._sources.channels()
        time_s = self._last_s - self._start_s
        ended = reason if self._failure is None else BROKEN
        ending = Ending(self._rows, self._missed, time_s, ended, notes)
        try:
            file.close(ending, replace(file.meta, channels=channels))
        except WriteError as error:
            self._failure = self._failure or error
        failure = self._failure
        if failure is not None:
            reason = BROKEN
        return Summary(
            files=tuple(file.files),
            rows=self._rows,
            missed=self._missed,
            duration_s=self._last_s - self._first_s,
            ended_by=reason,
            energy=self._energy(),
            failure=str(failure) if failure else "",
            errno=failure.errno if failure else None,
            notes=notes,
        )

    def _energy(self) -> WindowResult | None:
        duration = self._last_s - self._first_s
        if duration <= 0:
            return None
        readings = self._sources.readings()
        return recording_totals.result(self._session.sources, readings, duration)

    def close(self) -> None:
        """End what runs in the background, and close the file as it is."""
        self._sources.close()
        self._file.release()


def _different(before: Meta, now: Meta) -> str:
    """Why rows of now cannot follow those of before; empty if they can."""
    if before.boot != now.boot:
        return "the machine was started anew since, and its monotonic clock with it"
    if before.interval_s != now.interval_s:
        return f"its interval is {before.interval_s:g} s, not {now.interval_s:g} s"
    old, new = _names(before.columns), _names(now.columns)
    if old != new:
        lost = ", ".join(name for name in old if name not in new)
        more = ", ".join(name for name in new if name not in old)
        parts = [f"it has {lost}" * bool(lost), f"there is {more} now" * bool(more)]
        return "its columns are others: " + ("; ".join(filter(None, parts)) or "in another order")
    units = [(c.channel.id, c.channel.resolution_j) for c in before.channels]
    if units != [(c.channel.id, c.channel.resolution_j) for c in now.channels]:
        return "its channels count in other units"
    return ""


def _names(columns: tuple[Column, ...]) -> list[str]:
    return [column.name for column in columns]


def _last_values(order: Order, before: Meta | None) -> tuple[dict[str, float], float | None]:
    """The newest joules of each column of energy of a recording, and ``time_s`` of its last row."""
    if before is None:
        return {}, None
    names = before.names
    picks = [
        (names.index(column.name), column.name)
        for column in before.columns
        if column.quantity == "energy"
    ]
    values = {name: 0.0 for _, name in picks}
    time_s = 0.0
    for row in rows_of(parts_of(Path(order.out))[-1], order.format, names):
        time_s = float(row[0])
        for index, name in picks:
            if row[index]:
                values[name] = float(row[index])
    return values, time_s
