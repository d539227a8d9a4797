"""Recordings read back: their columns, and the energy between any two instants."""

from __future__ import annotations

import datetime
import math
import os
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .channels import Reading
from .errors import ConfigError, SchemaError
from .kept_windows import KeptReading, KeptWindow
from .recording_lines import Row, ends_in_half, last_meta, rows_of
from .recording_meta import Meta, RecordedChannel, parts_of, read_meta
from .recording_order import CSV, format_of
from .recording_rows import FAILED, MISSED, NOTES, READ, RESTARTED, TIME, UTC, notes_in
from .recording_windows import CounterRows, PowerRows
from .results import WindowResult
from .statistics import Vector

Instant = float | datetime.datetime
"""Seconds as in the column ``time_s``, or a moment of the wall clock."""

LATE_S = 6.0
"""Streams are waited for 5 s when a recording ends; what is older has stopped."""

CLOCK_SET_S = 1.0
"""Wall clocks are trimmed; when one goes back by more it was set, and tells no order."""


@dataclass(frozen=True)
class RowNote:
    """What a row tells beside its figures.

    Attributes:
        time_s: of the row.
        kind: ``failed``, ``restarted``, ``missed`` or ``resumed``.
        subject: id of the channel, name of the column, or what was missed.
        reason: why, where that is told.
    """

    time_s: float
    kind: str
    subject: str
    reason: str


class Recorded:
    """A recording that was read back; ``read_recording`` makes it.

    Attributes:
        meta: what is known beside the rows.
        files: it was read from.
        times: of the rows: seconds since the recording began.
        row_notes: of all rows, in their order.
        remarks: what a reader must know: a half row, an end that is not there.
    """

    def __init__(
        self, meta: Meta, files: Sequence[str], rows: _Rows, remarks: Sequence[str]
    ) -> None:
        self.meta = meta
        self.files = tuple(files)
        self.times: Vector = np.array(rows.columns[TIME])
        self.row_notes = tuple(rows.notes)
        self.remarks = tuple(remarks)
        self._columns = rows.columns
        self._wall: Vector = np.array(rows.wall)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns that hold figures."""
        return tuple(self._columns)

    @property
    def missed(self) -> int:
        """Ticks at which nothing was read."""
        counts = [note.subject.split()[0] for note in self.row_notes if note.kind == MISSED]
        return sum(map(int, counts))

    def column(self, name: str) -> Vector:
        """The figures of a column, one a row; NaN where nothing is known.

        Raises:
            KeyError: there is no such column.
        """
        if name not in self._columns:
            raise KeyError(f"there is no column {name!r}; there are {', '.join(self._columns)}")
        return np.array(self._columns[name])

    def time_of(self, instant: Instant) -> float:
        """The instant as in ``time_s``.

        Args:
            instant: seconds are taken as they are; a moment without a time zone is UTC.

        Raises:
            ConfigError: the wall clock was set meanwhile, so it tells no instant.
        """
        if not isinstance(instant, datetime.datetime):
            return float(instant)
        if len(self._wall) and float(np.min(np.diff(self._wall), initial=0.0)) < -CLOCK_SET_S:
            raise ConfigError(
                "the wall clock was set back while this was recorded: give the instants in seconds "
                "since its beginning (time_s)"
            )
        zone = instant.tzinfo or datetime.timezone.utc
        unix_s = instant.replace(tzinfo=zone).timestamp()
        nearest = int(np.argmin(np.abs(self._wall - unix_s)))
        return float(self.times[nearest]) + unix_s - float(self._wall[nearest])

    def at_monotonic(self, monotonic_s: float) -> float:
        """``time.monotonic()`` of any process of that machine and boot, as in ``time_s``."""
        return monotonic_s - self.meta.start_monotonic_s

    def window(
        self, start: Instant | None = None, end: Instant | None = None, name: str = "window"
    ) -> WindowResult:
        """Energy between two instants, with intervals as those of live windows.

        Args:
            start: of the window; None for the first row, or the first sample of a source
                that lags behind the rows.
            end: of the window; None for the last row or sample, likewise.
            name: of the result.

        Raises:
            ConfigError: it does not lie within the recording.
        """
        if len(self.times) < 2:
            raise ConfigError(f"{self.files[0]} holds {len(self.times)} rows: a window needs two")
        first, last = float(self.times[0]), float(self.times[-1])
        start_s = self._known()[0] if start is None else self.time_of(start)
        end_s = self._known()[1] if end is None else self.time_of(end)
        if not (math.isfinite(start_s) and math.isfinite(end_s) and start_s < end_s):
            raise ConfigError(f"a window from {start_s:g} s to {end_s:g} s has no length")
        if start_s < first or end_s > last:
            raise ConfigError(
                f"the window from {start_s:.6g} s to {end_s:.6g} s does not lie within the "
                f"recording, which goes from {first:.6g} s to {last:.6g} s"
            )
        readings = tuple(
            KeptReading(
                recorded.profiler,
                recorded.channel,
                self._reading(recorded, start_s, end_s),
                recorded.gain,
                recorded.offset_w,
            )
            for recorded in self.meta.channels
        )
        return KeptWindow(name, end_s - start_s, readings, None).result()

    def _known(self) -> tuple[float, float]:
        """From when until when every channel is known that is read behind the rows."""
        first, last = float(self.times[0]), float(self.times[-1])
        for recorded in self.meta.channels:
            if not recorded.age:
                continue
            times = self._aged(recorded.age)
            times = times[np.isfinite(times)]
            # One that told nothing for so long is missing; the others have their window.
            if len(times) and times[0] - self.times[0] < LATE_S and last - times[-1] < LATE_S:
                first, last = max(first, float(times[0])), min(last, float(times[-1]))
        return first, last

    def _reading(self, recorded: RecordedChannel, start_s: float, end_s: float) -> Reading:
        if recorded.energy:
            return self._counter(recorded).reading(start_s, end_s)
        times, watts = self._aged(recorded.age), self.column(recorded.power)
        known = np.isfinite(watts) & np.isfinite(times)
        failures = self._failures(recorded.channel.id)
        rows = PowerRows(recorded.channel, recorded.grain_s, times[known], watts[known], failures)
        return rows.reading(start_s, end_s)

    def _counter(self, recorded: RecordedChannel) -> CounterRows:
        id = recorded.channel.id
        joules = self.column(recorded.energy)
        times, spans = self._aged(recorded.age), self.column(READ)
        watts = self.column(recorded.power) if recorded.power else np.full(len(times), np.nan)
        known = np.isfinite(joules) & np.isfinite(times)
        lost = [n.time_s for n in self.row_notes if n.kind == RESTARTED and n.subject == id]
        restarts = times[np.searchsorted(self.times, lost)].tolist()
        return CounterRows(
            recorded.channel,
            recorded.grain_s,
            times[known],
            joules[known],
            spans[known],
            watts[known],
            restarts,
            self._failures(id),
        )

    def _aged(self, age: str) -> Vector:
        """When it was read: with the row, or before it."""
        return self.times - self.column(age) if age else self.times

    def _failures(self, id: str) -> list[tuple[float, str]]:
        return [
            (note.time_s, note.reason)
            for note in self.row_notes
            if note.kind == FAILED and note.subject == id
        ]


class _Rows:
    """Columns that grow row by row."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = [name for name in names if name not in (UTC, NOTES)]
        self._picks = [names.index(name) for name in self._names]
        self._utc = names.index(UTC)
        self.columns = {name: array("d") for name in self._names}
        self.wall = array("d")
        self.notes: list[RowNote] = []

    def add(self, row: Row, where: str) -> None:
        """Take over one row.

        Raises:
            SchemaError: a cell is no number.
        """
        try:
            figures = [float(row[index]) if row[index] else math.nan for index in self._picks]
            wall = datetime.datetime.fromisoformat(row[self._utc].replace("Z", "+00:00"))
        except ValueError as error:
            raise SchemaError(f"{where}: a cell holds no number ({error})") from error
        for name, figure in zip(self._names, figures, strict=True):
            self.columns[name].append(figure)
        self.wall.append(wall.timestamp())
        if row[-1]:
            self.notes += [RowNote(figures[0], *note) for note in notes_in(row[-1])]


def read_recording(path: str | os.PathLike[str], format: str | None = None) -> Recorded:
    """Read a recording back: the file, and those that it was continued in when it was full.

    Args:
        path: of the first file for the whole recording, or of a later one for that part.
        format: ``csv`` or ``jsonl``, where the suffix does not tell.

    Raises:
        SchemaError: it is no recording, or was changed since.
        ConfigError: neither suffix nor ``format`` tells what it is.
        OSError: it cannot be read.
    """
    first = Path(path)
    kind = format_of(first, format)
    meta = read_meta(first, kind)
    rows = _Rows(meta.names)
    files: list[str] = []
    remarks: list[str] = []
    end = None
    for part in parts_of(first):
        own = meta if part == first else read_meta(part, kind)
        if own.recording != meta.recording:
            continue  # of another recording that once had this name
        files.append(str(part))
        for number, row in enumerate(rows_of(part, kind, meta.names), 2):
            rows.add(row, f"{part}, row {number}")
        if ends_in_half(part):
            remarks.append(f"{part} ends in half a row, which is left out: its writer was killed")
        end = _ending(part, kind, own)
    if end is not None:
        meta = end
    else:
        remarks.append("it has no end: it goes on still, or its writer was killed")
    remarks += meta.end.notes if meta.end else ()
    if not rows.wall:
        remarks.append("it holds no rows")
    return Recorded(meta, files, rows, remarks)


def _ending(path: Path, format: str, meta: Meta) -> Meta | None:
    """What is known since the recording ended; None where it did not end in that file."""
    found = meta if format == CSV else last_meta(path)
    return found if found is not None and found.end is not None else None
