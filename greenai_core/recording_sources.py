"""What a recorder reads at each tick: counters, powers, and what is no energy."""

from __future__ import annotations

import bisect
import math
import time
from collections.abc import Sequence

from .blocks import Source
from .channels import Channel, Reading
from .clock import Clock
from .counters import CounterProfiler
from .errors import ConfigError
from .profiler import finite
from .recording_cells import INLINE_SHARE, Background, Cells, cost_s
from .recording_meta import RecordedChannel
from .recording_observed import Observed
from .recording_rows import (
    FAILED,
    age_column,
    energy_column,
    note,
    power_column,
)
from .recording_totals import CounterTotal, PowerTotal, fill
from .sampling import PowerProfiler, StreamProfiler
from .session import Session

POWER_S = 0.02
"""Power beside a counter is asked for at most so often: sources tell it anew every 20 ms or so."""

SILENT_PERIODS = 5
"""A source of power that told nothing for so many periods has failed."""


class Counters(Cells):
    """The counters of one profiler.

    Args:
        source: the profiler, and its channels that are used.
        interval_s: between two rows.
        clock: of the session.
        resumed: joules counted by an earlier part of the recording, by column.
    """

    def __init__(
        self, source: Source, interval_s: float, clock: Clock, resumed: dict[str, float]
    ) -> None:
        profiler = source.profiler
        if not isinstance(profiler, CounterProfiler):
            raise TypeError(f"{profiler.name} is no CounterProfiler")
        ids = [channel.id for channel in profiler.channels]
        self.channels = source.channels
        picks = [ids.index(channel.id) for channel in source.channels]
        self._picks = None if picks == list(range(len(ids))) else picks
        self.totals = [
            CounterTotal(c, resumed.get(energy_column(c.id).name)) for c in source.channels
        ]
        self._mark = profiler.mark
        self._grain_s = profiler.grain_s
        self.taken_s = cost_s(profiler.mark, clock)
        self._behind = (
            Background(profiler.mark, max(interval_s, 2 * self.taken_s), clock)
            if self.taken_s > INLINE_SHARE * interval_s
            else None
        )
        self.columns = [energy_column(channel.id) for channel in source.channels]
        if self._behind:
            self.columns += [age_column(channel.id) for channel in source.channels]

    def read(self, now_s: float, row: list[str], notes: list[str]) -> None:
        """See ``Cells``."""
        if self._behind is None:
            marks = self._mark()
        else:
            newest = self._behind.take()
            if newest is None:
                return
            marks = newest.value
            ages = self.first + len(self.totals)
            age = f"{max(now_s - newest.time_s, 0.0):.6f}"
            row[ages : ages + len(self.totals)] = [age] * len(self.totals)
        if self._picks is not None:
            marks = [marks[index] for index in self._picks]
        fill(self.totals, marks, row, notes)

    def place(self, first: int) -> None:
        """See ``Cells``."""
        super().place(first)
        for index, total in enumerate(self.totals):
            total.column = first + index

    def readings(self) -> list[Reading]:
        """Energy of each channel from the first row to the last."""
        return [total.reading(self._grain_s(total.channel)) for total in self.totals]

    def close(self) -> None:
        """See ``Cells``."""
        if self._behind:
            self._behind.close()


class CounterPowers(Cells):
    """The power that sources of counters tell beside them."""

    def __init__(self, source: Source, channels: Sequence[Channel], interval_s: float) -> None:
        self._profiler = source.profiler
        self._channels = channels
        self._period_s = max(POWER_S, interval_s)
        self.columns = [power_column(channel.id) for channel in channels]

    def read(self, now_s: float, row: list[str], notes: list[str]) -> None:
        """See ``Cells``."""
        if not isinstance(self._profiler, CounterProfiler):
            return
        self.due_s = now_s + self._period_s / 2  # ticks are at random instants of their slots
        for index, channel in enumerate(self._channels):
            try:
                watts = self._profiler.read_power(channel)
                if watts is not None:
                    row[self.first + index] = f"{finite(watts, channel.id):.6g}"
            except Exception as error:  # noqa: BLE001  # the counter tells the energy without it
                name = self.columns[index].name
                notes.append(note(FAILED, name, str(error) or type(error).__name__))


class Powers(Cells):
    """Sampled or delivered power of one profiler: the mean of what came since the last row.

    Args:
        source: the profiler, and its channels that are used.
        interval_s: between two rows.
        clock: of the session.
    """

    def __init__(self, source: Source, interval_s: float, clock: Clock) -> None:
        profiler = source.profiler
        if not isinstance(profiler, (PowerProfiler, StreamProfiler)):
            raise TypeError(f"{profiler.name} tells no power")
        self._profiler: PowerProfiler | StreamProfiler = profiler
        self._interval_s = interval_s
        self._clock = clock
        used = {channel.id for channel in source.channels}
        self.channels = source.channels
        self._series = [series for series in profiler.series if series.channel.id in used]
        self._last = {series.channel.id: clock.now() for series in self._series}
        self._inline = False
        if isinstance(profiler, PowerProfiler):
            self.taken_s = cost_s(self._sample, clock)
            self._inline = self.taken_s <= INLINE_SHARE * interval_s
        self.totals = [PowerTotal(s.channel, self.grain_s(s.channel)) for s in self._series]
        self.columns = [
            make(series.channel.id)
            for series in self._series
            for make in (power_column, age_column)
        ]

    def grain_s(self, channel: Channel) -> float:
        """Seconds between two values of a channel that can differ, as they are recorded."""
        if self._inline:
            return max(self._interval_s, channel.update_period_s or 0.0)
        return max(self._interval_s, self._profiler.grain_s(channel))

    def await_late(self) -> None:
        """Return when samples that were taken by now have arrived, or will not."""
        if isinstance(self._profiler, StreamProfiler):
            self._profiler.catch_up(self._clock.now())

    def _patience_s(self, period_s: float) -> float:
        late_s = getattr(self._profiler, "patience_s", 0.0)  # of streams
        return max(SILENT_PERIODS * period_s, late_s)

    def _sample(self) -> None:
        if isinstance(self._profiler, PowerProfiler):
            self._profiler.catch_up(math.inf)  # whenever the newest sample was taken

    def read(self, now_s: float, row: list[str], notes: list[str]) -> None:
        """See ``Cells``."""
        if self._inline:
            self._sample()
        elif isinstance(self._profiler, StreamProfiler):
            self._profiler.pull()
        for index, (series, total) in enumerate(zip(self._series, self.totals, strict=True)):
            id = series.channel.id
            with self._profiler.lock:
                first = bisect.bisect_right(series.times, self._last[id])
                times, watts = series.times[first:], series.watts[first:]
            if times:
                self._last[id] = times[-1]
                at = math.fsum(times) / len(times)
                power = math.fsum(watts) / len(watts)
                total.add(at, power)
                column = self.first + 2 * index
                row[column : column + 2] = f"{power:.6g}", f"{now_s - at:.6f}"
            elif self._inline or now_s - self._last[id] > self._patience_s(series.period_s):
                silence = f"it told nothing for {now_s - self._last[id]:.1f} s"
                notes.append(note(FAILED, id, series.failure or silence))


class Sources:
    """All that a recording reads.

    Args:
        session: open.
        interval_s: between two rows.
        tree: whether there are columns of a tree of processes.
        resumed: joules counted by an earlier part of the recording, by column.

    Raises:
        ConfigError: a profiler measures windows only.
    """

    def __init__(
        self, session: Session, interval_s: float, tree: bool, resumed: dict[str, float]
    ) -> None:
        self._session = session
        self._interval_s = interval_s
        self.counters: list[Counters] = []
        self.powers: list[Powers] = []
        self._others: list[Cells] = []
        self.notes: list[str] = []
        for source in session.sources:
            self._add(source, resumed)
        self.observed = Observed(session, interval_s, tree)
        self.all: list[Cells] = [
            *self.counters, *self.powers, *self._others, self.observed
        ]  # fmt: skip
        self.columns = tuple(column for cells in self.all for column in cells.columns)
        first = 1  # the leading ones are one text
        for cells in self.all:
            cells.place(first)
            first += len(cells.columns)

    def _add(self, source: Source, resumed: dict[str, float]) -> None:
        profiler, clock = source.profiler, self._session.clock
        if isinstance(profiler, CounterProfiler):
            counters = Counters(source, self._interval_s, clock, resumed)
            self.counters.append(counters)
            self._slow(profiler.name, counters.taken_s)
            self._add_power(source)
        elif isinstance(profiler, (PowerProfiler, StreamProfiler)):
            self.powers.append(Powers(source, self._interval_s, clock))
            self._slow(profiler.name, getattr(self.powers[-1], "taken_s", 0.0))
        else:
            raise ConfigError(
                f"the profiler {profiler.name!r} measures one window at a time, so it cannot be "
                "recorded. Record another sensor, and use it in a Session"
            )

    def _add_power(self, source: Source) -> None:
        profiler = source.profiler
        if not isinstance(profiler, CounterProfiler):
            return
        powered = [channel for channel in source.channels if _tells_power(profiler, channel)]
        began = time.perf_counter()
        for channel in powered:
            _tells_power(profiler, channel)
        if powered and time.perf_counter() - began <= INLINE_SHARE * self._interval_s:
            self._others.append(CounterPowers(source, powered, self._interval_s))

    def _slow(self, name: str, taken_s: float) -> None:
        if taken_s > INLINE_SHARE * self._interval_s:
            self.notes.append(
                f"one read of {name} takes {taken_s:.2g} s, much of an interval of "
                f"{self._interval_s:g} s: it is read less often, and its age is recorded"
            )

    def channels(self) -> tuple[RecordedChannel, ...]:
        """What is known of the channels by now."""
        found = []
        names = {column.name for column in self.columns}
        grains = {channel.id: p.grain_s(channel) for p in self.powers for channel in p.channels}
        for source in self._session.sources:
            for channel in source.channels:
                columns = (energy_column, power_column, age_column)
                energy, power, age = (make(channel.id).name for make in columns)
                found.append(
                    RecordedChannel(
                        source.profiler.name,
                        source.described(channel),
                        grains.get(channel.id) or source.profiler.grain_s(channel),
                        energy if energy in names else "",
                        power if power in names else "",
                        age if age in names else "",
                        *source.line(channel.id),
                    )
                )
        return tuple(found)

    def joules(self) -> dict[str, float]:
        """What each channel has used since the first row, as far as it is known."""
        parts: list[Counters | Powers] = [*self.counters, *self.powers]
        return {total.channel.id: total.joules for part in parts for total in part.totals}

    def readings(self) -> list[Reading]:
        """Energy of each channel from the first row to the last."""
        counted = [reading for counters in self.counters for reading in counters.readings()]
        return counted + [total.reading() for powers in self.powers for total in powers.totals]

    def close(self) -> None:
        """End what runs in the background."""
        for cells in self.all:
            cells.close()


def _tells_power(profiler: CounterProfiler, channel: Channel) -> bool:
    try:
        return profiler.read_power(channel) is not None
    except Exception:  # noqa: BLE001  # a fault now is no power now
        return False
