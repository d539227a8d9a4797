"""A run of repeated work, cut into blocks that are common to all channels."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from .budget import scaled
from .calibration import Calibration, below_zero, calibrated
from .channels import Channel, Reading
from .clock import Clock, repeated_s
from .conditions import Conditions, Observer
from .profiler import Profiler, Readings
from .statistics import Indices, Interval, Vector, batch_means

Counts = npt.NDArray[np.int64]

NOTICEABLE = 0.001
"""A pause shorter than this share of the time between ticks disturbs nothing."""


@dataclass(frozen=True)
class Source:
    """An open profiler and those of its channels that are used."""

    profiler: Profiler
    channels: tuple[Channel, ...]
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)
    """By channel id; those that are used."""

    def described(self, channel: Channel, watts: float | None = None) -> Channel:
        """One of the channels with all that is known of its gain, at a power if given."""
        revised = self.profiler.revised(channel)
        calibration = self.calibrations.get(channel.id)
        return calibrated(revised, calibration, watts) if calibration else revised

    def line(self, id: str) -> tuple[float, float]:
        """Gain and offset, W, of a channel's calibration; 1 and 0 without one."""
        calibration = self.calibrations.get(id)
        return (calibration.line.gain, calibration.offset_w) if calibration else (1.0, 0.0)

    def corrected(self, reading: Reading, duration_s: float) -> Reading:
        """A reading of a window of that length as it is reported, calibrated where it can be."""
        calibration = self.calibrations.get(reading.channel.id)
        if calibration is None or reading.energy_j is None or duration_s <= 0:
            return replace(reading, channel=self.described(reading.channel))
        gain, offset_w = calibration.line.gain, calibration.offset_w
        joules = gain * reading.energy_j + offset_w * duration_s
        channel = self.described(reading.channel, joules / duration_s)
        return on_line(reading, channel, gain, offset_w, duration_s)


def on_line(
    reading: Reading, channel: Channel, gain: float, offset_w: float, duration_s: float
) -> Reading:
    """A reading of a window on the line of a calibration.

    Args:
        reading: as the sensor showed it.
        channel: with what is known of it at that power.
        gain: of the line; 1 changes nothing.
        offset_w: of the line; 0 changes nothing.
        duration_s: of the window.
    """
    if reading.energy_j is None:
        return replace(reading, channel=channel)
    joules = gain * reading.energy_j + offset_w * duration_s
    if joules < 0:
        return Reading(channel, None, reason=below_zero(channel.id))
    budget = scaled(reading.budget, gain)
    return replace(reading, channel=channel, energy_j=joules, u_j=gain * reading.u_j, budget=budget)


@dataclass(frozen=True)
class Blocks:
    """What a run gave.

    Attributes:
        starts: instant at which each block began, s after the first.
        durations: of each block, s, with the reading of sensors.
        work: the part of each spent in the work, s.
        iterations: of the work in each block.
        energies: joules of each block by channel id.
        failures: why a channel has none.
    """

    starts: Vector
    durations: Vector
    work: Vector
    iterations: Vector
    energies: dict[str, Vector]
    failures: dict[str, str]

    def seconds(self) -> Interval:
        """Seconds of one iteration."""
        return batch_means(self.work / self.iterations)

    def per_iteration(self, ids: Sequence[str]) -> Vector:
        """Joules of one iteration in each block, summed over channels.

        Power in the block × time of one iteration: the reading of sensors
        between iterations is part of neither.
        """
        joules = np.sum([self.energies[id] for id in ids], axis=0)
        return np.asarray(joules / self.durations * self.work / self.iterations)

    def without_first(self, count: int) -> Blocks:
        """The blocks after the first ``count``."""
        return self.only(np.arange(count, len(self.durations)))

    def joined(self, count: int) -> Blocks:
        """So many neighbours made one each; what is left over at the beginning is dropped."""
        first = len(self.durations) % count

        def sums(values: Vector) -> Vector:
            return np.asarray(values[first:].reshape(-1, count).sum(axis=1))

        return Blocks(
            self.starts[first::count],
            sums(self.durations),
            sums(self.work),
            sums(self.iterations),
            {id: sums(joules) for id, joules in self.energies.items()},
            self.failures,
        )

    def only(self, keep: Indices) -> Blocks:
        """The blocks of these numbers."""
        return Blocks(
            self.starts[keep],
            self.durations[keep],
            self.work[keep],
            self.iterations[keep],
            {id: joules[keep] for id, joules in self.energies.items()},
            self.failures,
        )


@dataclass(frozen=True)
class ChannelReadings:
    """What one channel showed in a run.

    Attributes:
        profiler: name of the profiler that read it.
        grain_s: seconds between two values that can differ.
        shown: the readings themselves.
        gain, offset_w: of the channel's calibration: joules are gain · shown + offset · time.
    """

    profiler: str
    grain_s: float
    shown: Readings
    gain: float = 1.0
    offset_w: float = 0.0

    @property
    def channel(self) -> Channel:
        """What was read."""
        return self.shown.channel


@dataclass(frozen=True)
class OwnTime:
    """Time that measuring itself took since the first block began.

    Attributes:
        held_s: while the work stood still for it, s.
        cpu_s: on a processor, with the threads that read in the background, s.
    """

    held_s: float
    cpu_s: float


@dataclass(frozen=True)
class RunReadings:
    """All that a run knows, as plain data: its blocks follow from it and nothing else.

    Attributes:
        before, after: instants around each reading of the sensors, s.
        iterations: of the work since the tick before.
        pauses: numbers of the ticks after which something else than work went on.
        first: number of the tick at which the first block began.
        per_block: ticks a block.
        channels: what the sensors showed.
        conditions: seen meanwhile; None where nobody looked.
        own: time that measuring took; None where that was not recorded.
    """

    before: Vector
    after: Vector
    iterations: Counts
    pauses: Counts
    first: int
    per_block: int
    channels: tuple[ChannelReadings, ...]
    conditions: Conditions | None = None
    own: OwnTime | None = None

    @property
    def begun_s(self) -> float:
        """When the first block began, s on the clock of the run."""
        return float(self.before[self.first])

    def cut(self) -> Blocks | None:
        """Neighbouring ticks joined to blocks.

        Returns:
            None when there are not three ticks, which is the least for two blocks.
        """
        before, after = self.before, self.after
        stretches = len(after) - self.first - 1
        if stretches < 2:
            return None
        per_block = min(self.per_block, stretches // 2)
        at = np.arange(self.first, len(before), per_block, dtype=np.intp)
        worked = np.concatenate(([0.0], np.cumsum(before[1:] - after[:-1])))
        done = np.cumsum(self.iterations).astype(np.float64)
        energies, failures = self.energies(at, before[at])
        blocks = Blocks(
            before[at[:-1]] - before[at[0]],
            np.diff(before[at]),
            np.diff(worked[at]),
            np.diff(done[at]),
            energies,
            failures,
        )
        keep = self._undisturbed(at)
        return blocks.only(keep) if len(keep) >= 2 else blocks

    def _undisturbed(self, at: Indices) -> Indices:
        """Numbers of the blocks that no pause touches.

        A border beside a pause lies between two values of a counter that the
        pause has pulled apart, so the block on its other side is left out too.
        """
        after = np.searchsorted(at, self.pauses, side="right") - 1
        before = np.searchsorted(at, self.pauses, side="left") - 1
        return np.setdiff1d(np.arange(len(at) - 1), np.concatenate((before, after)))

    def energies(self, at: Indices, instants: Vector) -> tuple[dict[str, Vector], dict[str, str]]:
        """Joules of each channel between neighbouring borders; and why a channel has none.

        Args:
            at: numbers of the ticks that are the borders.
            instants: when each of them was made, s.
        """
        energies: dict[str, Vector] = {}
        failures: dict[str, str] = {}
        for kept in self.channels:
            blocks = kept.shown.blocks(at, instants)
            if not isinstance(blocks, str):
                blocks = kept.gain * blocks + kept.offset_w * np.diff(instants)
                if kept.offset_w < 0 and blocks.sum() < 0:
                    blocks = below_zero(kept.channel.id)
            if isinstance(blocks, str):
                failures[kept.channel.id] = blocks
            else:
                energies[kept.channel.id] = blocks
        return energies, failures

    def self_cost_share(self) -> float:
        """Time spent reading sensors over all time since the first block began."""
        stretches = len(self.after) - self.first - 1
        if stretches < 1:
            return 0.0
        spent = _usual_tick(self.before, self.after) * stretches
        if self.conditions is not None:
            spent += self.conditions.spent_s(self.begun_s)
        return float(spent / (self.before[-1] - self.before[self.first]))


def _kept_of(source: Source, shown: Readings) -> ChannelReadings:
    profiler, channel = source.profiler, shown.channel
    bare = ChannelReadings(profiler.name, profiler.grain_s(channel), shown)
    calibration = source.calibrations.get(channel.id)
    if calibration is None:
        return bare
    return replace(bare, gain=calibration.line.gain, offset_w=calibration.offset_w)


def _usual_tick(before: Vector, after: Vector) -> float:
    """Seconds of a usual tick; pauses are longer and do not count."""
    return float(np.median(after - before))


class Ticks:
    """The run as it happens: when the sensors were read, and the work between.

    Args:
        clock: shared with the profilers.
        sources: the profilers to read, open.
        observer: looks at the conditions; None: nobody does.
    """

    def __init__(
        self, clock: Clock, sources: Sequence[Source], observer: Observer | None = None
    ) -> None:
        self.clock = clock
        self._observer = observer
        self._thread_s: Callable[[], float] | None = getattr(clock, "thread_time", None)
        self._held_s = self._cpu_s = 0.0
        self._repeated_s = repeated_s(clock)
        self._sources = sources
        self._recordings = [source.profiler.record() for source in sources]
        # Packed: 8 bytes a number, where a list would take 32.
        self._before = array("d")
        self._after = array("d")
        self._iterations = array("q")
        self._pauses = array("q")
        self._first = 0
        self._per_block = 1
        self._done = 0
        self.latest: RunReadings | None = None
        """What the latest ``cut`` was made from."""

    def close(self) -> None:
        """Let the profilers forget the run."""
        for recording in self._recordings:
            recording.close()

    def tick(self, iterations: int) -> None:
        """Read the sensors, after so many iterations since the tick before."""
        cpu_s = self._thread_s() if self._thread_s else 0.0
        before = self.clock.now()
        self._before.append(before)
        for recording in self._recordings:
            recording.tick()
        if self._observer is not None:
            self._observer.look(before)
        self._iterations.append(iterations)
        self._done += iterations
        after = self.clock.now()
        self._after.append(after)
        self._held_s += after - before
        self._cpu_s += self._thread_s() - cpu_s if self._thread_s else after - before

    def restart(self, per_block: int) -> None:
        """Begin the first block at the latest tick; so many stretches make a block.

        Blocks of equal work, not of equal time: else short iterations would be
        joined more often than long ones, and the mean over blocks would be biased.
        """
        self._first = len(self._before) - 1
        self._per_block = per_block
        self._done = 0
        self._held_s = self._cpu_s = 0.0
        self._repeated_s = repeated_s(self.clock)

    def pause(self) -> None:
        """What happened since the latest tick was no work."""
        now = self.clock.now()
        spent = now - self._after[-1]
        self._after[-1] = now
        if spent > NOTICEABLE * (now - self._before[self._first]) / max(self.count - 1, 1):
            self._pauses.append(len(self._before) - 1)

    @property
    def blocks(self) -> int:
        """Blocks completed since ``restart``."""
        return (self.count - 1) // self._per_block

    @property
    def count(self) -> int:
        """Ticks since ``restart``, that one included.

        An interrupt may come in the middle of a tick; only whole ones count.
        """
        return len(self._after) - self._first

    @property
    def iterations(self) -> int:
        """Iterations since ``restart``."""
        return self._done

    def ready(self) -> bool:
        """Whether every channel has shown a value that is younger than the run."""
        return all(recording.ready() for recording in self._recordings)

    def cost(self) -> float:
        """Seconds of a usual tick; pauses are longer and do not count."""
        after = np.array(self._after)
        return _usual_tick(np.array(self._before)[: len(after)], after)

    def self_cost_share(self) -> float:
        """Time spent reading sensors over all time since ``restart``."""
        return self._kept(()).self_cost_share()

    def readings(self) -> RunReadings:
        """All that the run knows so far; what happens later does not change it."""
        instants = self._before[: len(self._after)]
        channels: list[ChannelReadings] = []
        for source, recording in zip(self._sources, self._recordings, strict=True):
            used = {channel.id for channel in source.channels}
            channels += [
                _kept_of(source, shown)
                for shown in recording.readings(instants[-1] if instants else self.clock.now())
                if shown.channel.id in used
            ]
        return self._kept(channels)

    def _kept(self, channels: Sequence[ChannelReadings]) -> RunReadings:
        after = np.array(self._after)
        whole = len(after)
        return RunReadings(
            np.array(self._before)[:whole],
            after,
            np.array(self._iterations)[:whole],
            np.array(self._pauses),
            self._first,
            self._per_block,
            tuple(channels),
            self._observer.seen() if self._observer is not None else None,
            OwnTime(self._held_s, self._cpu_s + repeated_s(self.clock) - self._repeated_s),
        )

    def cut(self) -> Blocks | None:
        """The blocks so far. See ``RunReadings.cut``."""
        self.latest = self.readings() if self.count > 2 else None
        return self.latest.cut() if self.latest else None


def is_lost(blocks: Blocks, contains: Sequence[str]) -> bool:
    """Whether a channel that must be there gave nothing."""
    return not all(id in blocks.energies for id in contains)


def relative_half_width(interval: Interval) -> float:
    """Half-width over mean; infinite for a mean that is not positive."""
    return interval.half / interval.mean if interval.mean > 0 else math.inf
