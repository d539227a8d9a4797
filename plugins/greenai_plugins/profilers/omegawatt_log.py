"""Power at the wall socket from the log that ``wattmetre-read`` writes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

from greenai_core import (
    Channel,
    ConfigError,
    PluginUnavailable,
    ReadingError,
    Sample,
    StreamProfiler,
)

from .meter_options import label_of, number
from .omegawatt_means import MEAN_S, Means
from .omegawatt_plugs import Plugs, channels, parse_plugs, revised, table
from .omegawatt_rows import Row, RowParser, counted
from .omegawatt_tail import Tail
from .omegawatt_walltime import WallTime

KEPT_BYTES = 65536
"""The header is found in the first of so many bytes, the newest rows in the last."""

LATE_S = 5.0
"""``wattmetre-read`` writes half a second of rows at a time; a network adds its own."""

FRESH_S = 10.0
"""A log whose newest row is older is not being written."""

AHEAD_S = 0.1
"""A row cannot be later than now by more, unless its clock is another."""

AUTO_S = 3.0
"""The age of the newest row is watched for so long: the least is that of one just written."""

AUTO_MEAN_S = 0.05
"""Length of the means then, since when they were is known no better."""

BEHIND_S = 0.1
"""The newest of the rows that ``wattmetre-read`` writes together is some hundredths old."""

WATCHED_S = 1.5
"""A log's newest rows are looked at for so long before they are called old."""

LATE_OR_BEHIND = (
    "If the log's clock is behind ours, set offset_s=auto; if its rows come late, set late_s "
    "to how late"
)

AFTER_STEP_S = 1.0
"""Rows of so long a time after our wall clock was set may have either time."""


class OmegawattLogProfiler(StreamProfiler):
    """The log of an OmegaWatt meter, followed while ``wattmetre-read`` writes it.

    Args:
        path: of the log.
        plugs: ``1``, ``1+2`` for the sum, or ``psu1=1,psu2=2`` for two channels.
        label: the channel is called ``wall:<label>``.
        offset_s: seconds that the log's clock is ahead of this machine's, or ``auto`` to
            find out from the age of the newest rows while the log is being written. None
            for 0; then rows that are never new are refused.
        late_s: how long after its instant a row may come; to be told where the log is
            copied here from elsewhere. None for 5 s at most, and no doubt of its clock.
        gain: relative standard uncertainty (k = 1), if the meter was calibrated.
        part_of: name of what this meter and others feed together, each a part of it.
        wall: tells Unix time; for tests.

    Raises:
        ConfigError: an option has a value that cannot be used.
    """

    name: ClassVar[str] = "omegawatt-log"
    automatic: ClassVar[bool] = False
    period_s: ClassVar[float] = MEAN_S
    option_names: ClassVar[Mapping[str, str]] = {
        "path": "log that wattmetre-read writes",
        "plugs": "what feeds this machine: 1, 1+2 (their sum), or psu1=1,psu2=2",
        "label": "the channel becomes wall:<label> (default: omegawatt)",
        "offset_s": "seconds that the log's clock is ahead of ours, or auto (default: 0)",
        "late_s": "how late rows may come, s (default: 5)",
        "gain": "relative standard uncertainty of a calibrated meter, such as 0.005",
        "part_of": "what several channels feed together; those of one name are added up",
    }

    def __init__(
        self,
        *,
        path: str | Path = "",
        plugs: Any = "",
        label: str = "omegawatt",
        offset_s: float | str | None = None,
        late_s: float | None = None,
        gain: float | None = None,
        part_of: str = "",
        wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self._path = Path(path) if str(path) else None
        label = label_of(self.name, label)
        self._plugs = parse_plugs(self.name, plugs, label) if plugs != "" else ()
        self._auto = offset_s == "auto"
        ahead = 0.0 if self._auto or offset_s is None else offset_s
        self._offset_s = number(self.name, "offset_s", ahead, -1e10)
        self._told_why_late = late_s is not None or offset_s is not None
        late = LATE_S if late_s is None else late_s
        self.patience_s = number(self.name, "late_s", late, 0)  # type: ignore[misc]  # of this one
        self._gain = None if gain is None else number(self.name, "gain", gain, 0)
        self._part_of = label_of(self.name, part_of) if part_of else ""
        self._wall = wall
        self._tail: Tail | None = None
        self._rows = RowParser()
        self._means: Mapping[str, Means] = {}
        self._seen: dict[str, tuple[float, int]] = {}
        self._newest = 0.0
        self._youngest_s = math.inf
        self._distrusted_until = 0.0
        self._refused = 0

    def check_available(self) -> None:
        """Return if there is a log with a header.

        Raises:
            PluginUnavailable: no log was given, or there is none.
        """
        super().check_available()
        if not self.is_open:
            try:
                self._head()
            finally:
                self.disconnect()

    def connect(self) -> Sequence[Channel]:
        """Find the plugs, the period and the newest row.

        Raises:
            PluginUnavailable: no log was given, there is none, it is not being written, its
                rows are never new, or its clock is not ours.
        """
        try:
            return self._connect()
        except BaseException:
            self.disconnect()
            raise

    def disconnect(self) -> None:
        """Give the file back."""
        if self._tail is not None:
            self._tail.close()
            self._tail = None

    def deliver(self) -> Iterator[Sample]:
        """The means that are complete with the rows that were written.

        Raises:
            ReadingError: rows are missing or bad, or the log is gone. The good ones come
                first.
        """
        rows = self._new_rows()
        self._time.look()
        problems = [self._bad_rows()] if self._rows.since_good else []
        now = self.clock.now()
        if rows:
            self._youngest_s = min(self._youngest_s, now - self._ours(rows[-1].time))
        if stepped := self._time.stepped_s:
            self._distrusted_until = now + AFTER_STEP_S
            problems.append(f"the clock of this machine was set by {stepped:.2f} s meanwhile")
        for row in rows if now >= self._distrusted_until else ():
            yield from self._samples(row, problems)
        if not problems and not rows and now - self._newest > self.patience_s:
            problems.append(
                f"its newest row is {now - self._newest:.1f} s old: does wattmetre-read still run?"
            )
        if problems:
            raise ReadingError(f"{self._path}: {problems[-1]}")

    def _bad_rows(self) -> str:
        back = self._rows.back_s
        set_back = f" (by {back:.1f} s: was the log's clock set?)" if back > 1 else ""
        return f"since its newest good row: {counted(self._rows.since_good)}{set_back}"

    def _new_rows(self) -> list[Row]:
        if self._tail is None:
            raise ReadingError(f"the log {self._path} is not open: call open() first")
        try:
            content = self._tail.read()
        except OSError as error:
            raise ReadingError(
                f"the log {self._path} cannot be read: {error.strerror or error}"
            ) from error
        if self._tail.restarted:
            self._rows.restart()
        return self._rows.feed(content)

    def _samples(self, row: Row, problems: list[str]) -> Iterator[Sample]:
        # A row bears the time when its frame came, at the end of what it measured.
        instant = self._ours(row.time) - self._period / 2
        self._newest = max(self._newest, instant)
        for plugs in self._plugs:
            try:
                watts = self._watts(row, plugs)
                for moment, mean in self._means[plugs.id].add(instant, watts):
                    total, count = self._seen.get(plugs.id, (0.0, 0))
                    self._seen[plugs.id] = total + mean, count + 1
                    yield Sample(moment, plugs.id, mean)
            except ReadingError as error:
                self._refused += 1
                problems.append(str(error))

    def _watts(self, row: Row, plugs: Plugs) -> float:
        missing = [n for n in plugs.numbers if n not in row.watts]
        if missing:
            raise ReadingError(f"its header has no plug {missing[0]} any more")
        return sum(row.watts[n] for n in plugs.numbers)

    def _ours(self, stamp: float) -> float:
        return self._time.ours(stamp - self._offset_s)

    def revised(self, channel: Channel) -> Channel:
        """With the uncertainty that the meter has at the mean power so far."""
        total, count = self._seen.get(channel.id, (0.0, 0))
        return revised(channel, total / count) if count else channel

    def notes(self) -> Sequence[str]:
        """How many rows were bad, and whether the log's clock may be behind ours."""
        bad = sum(self._rows.faults.values())
        found = [*super().notes()]
        if self._behind:
            found.append(
                f"{self._never_new()}, so its joules may be those of another time. {LATE_OR_BEHIND}"
            )
        if bad or self._refused:
            found.append(self._bad_note(bad))
        return found

    @property
    def _behind(self) -> bool:
        return not self._told_why_late and BEHIND_S < self._youngest_s < math.inf

    def _never_new(self) -> str:
        return f"the newest row of {self._path} was never less than {self._youngest_s:.2f} s old"

    def _refuse_if_behind(self) -> None:
        """A clock that is behind shows in rows that are old when they are written."""
        began = self.clock.now()
        while self._youngest_s > BEHIND_S and self.clock.now() - began < WATCHED_S:
            self.clock.sleep(MEAN_S)
            for row in self._new_rows()[-1:]:
                age_s = self.clock.now() - self._ours(row.time)
                self._youngest_s = min(self._youngest_s, age_s)
        if self._behind:
            raise PluginUnavailable(
                f"{self._never_new()}: its clock is behind ours, or its rows come late",
                LATE_OR_BEHIND,
            )

    def _bad_note(self, bad: int) -> str:
        return (
            f"{self._path}: {bad} of {bad + self._rows.good} rows were bad "
            f"({counted(self._rows.faults)}) and {self._refused} refused. Holes of up to "
            f"{5 * self.period_s:g} s are bridged, longer ones leave a window without a figure"
        )

    def _head(self) -> list[Row]:
        if self._path is None:
            raise PluginUnavailable(
                "no log of wattmetre-read was given",
                "Give it with -O omegawatt-log.path=… (in Python path=…)",
            )
        self._tail = Tail(self._path)
        self._rows = RowParser()
        try:
            head, tail = self._tail.open(KEPT_BYTES)
        except OSError as error:
            raise PluginUnavailable(
                f"the log {self._path} cannot be read: {error.strerror or error}",
                "Start the reader: wattmetre-read --tty=/dev/ttyUSB0 --nb=6 > LOG",
            ) from error
        rows = self._rows.feed(head)
        if not self._rows.plugs:
            raise PluginUnavailable(
                f"{self._path} has no header like #timestamp,#frame_is_ok,…,#activepow1 in its "
                f"first {KEPT_BYTES} bytes",
                "Give the log that wattmetre-read writes",
            )
        if tail:
            # It may begin anywhere in a line.
            self._rows.feed(b"\n")
            rows = self._rows.feed(tail.partition(b"\n")[2])
        self._rows.forget_faults()
        return rows

    def _connect(self) -> Sequence[Channel]:
        self._time = WallTime(self._wall, self.clock)
        rows = self._head()
        self._check_plugs(rows)
        self._youngest_s = math.inf
        self._find_offset(rows)
        if not self._told_why_late:
            self._refuse_if_behind()
        steps = [b.time - a.time for a, b in pairwise(rows)]
        self._period = median(steps) if len(steps) >= 4 else MEAN_S / 2
        mean_s = AUTO_MEAN_S if self._auto else MEAN_S
        self.period_s = max(mean_s, self._period)  # type: ignore[misc]  # of this instance alone
        self._means = {plugs.id: Means(plugs.id, self._period, mean_s) for plugs in self._plugs}
        self._seen = {}
        self._refused = 0
        self._distrusted_until = 0.0
        self._newest = self.clock.now()
        about = f"log {self._path}, a row every {1e3 * self._period:.1f} ms"
        if self._offset_s:
            about += f", its clock {self._offset_s:+.2f} s from ours"
        return channels(self._plugs, self.period_s, self._gain, self._part_of, about)

    def _check_plugs(self, rows: Sequence[Row]) -> None:
        there = self._rows.plugs
        if not self._plugs:
            shown = table([rows[-1].watts[n] for n in there]) if rows else f"plugs {there}"
            raise PluginUnavailable(
                f"the log {self._path} shows {shown}; which of them feeds this machine was not "
                "said",
                "Name it with -O omegawatt-log.plugs=1 (1+2 for the sum of two)",
            )
        for plug in (one for plugs in self._plugs for one in plugs.numbers):
            if plug not in there:
                raise ConfigError(f"omegawatt-log: {self._path} has no plug {plug}, only {there}")

    def _find_offset(self, rows: Sequence[Row]) -> None:
        if self._auto:
            self._offset_s = self._measured_offset()
            return
        newest = self.clock.now() - self._ours(rows[-1].time) if rows else None
        if newest is None or newest > max(FRESH_S, self.patience_s):
            age = "none" if newest is None else f"{newest:.0f} s old"
            raise PluginUnavailable(
                f"the newest row of {self._path} is {age}",
                "Start wattmetre-read first; if the log's clock is another, set offset_s=auto; if "
                "the log is copied here later, set late_s to how much later",
            )
        if newest < -AHEAD_S:
            raise PluginUnavailable(
                f"the newest row of {self._path} lies {-newest:.2f} s in the future: its clock is "
                "not ours",
                f"Set offset_s=auto, or offset_s={self._offset_s - newest:.2f}",
            )

    def _measured_offset(self) -> float:
        """What the log's clock is ahead by: the most that its newest row ever is."""
        assert self._tail is not None
        began = self.clock.now()
        ahead: list[float] = []
        while self.clock.now() - began < AUTO_S:
            self.clock.sleep(MEAN_S)
            rows = self._new_rows()
            self._time.look()
            stamps = [row.time for row in rows[-1:]]
            # The line that is cut off is the newest.
            stamps += [self._rows.pending] if rows and self._rows.pending is not None else []
            ahead += [self._time.ours(stamp) - self.clock.now() for stamp in stamps]
        if not ahead:
            raise PluginUnavailable(
                f"{self._path} did not grow for {AUTO_S:g} s, so how far its clock is from ours "
                "cannot be found out",
                "Start wattmetre-read first, or set offset_s to a number of seconds",
            )
        return max(ahead)
