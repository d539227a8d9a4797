"""A run of repeated work, cut into blocks that are common to all channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .channels import Channel
from .clock import Clock
from .profiler import Profiler
from .statistics import Indices, Interval, Vector, batch_means

NOTICEABLE = 0.001
"""A pause shorter than this share of the time between ticks disturbs nothing."""


@dataclass(frozen=True)
class Source:
    """An open profiler and those of its channels that are used."""

    profiler: Profiler
    channels: tuple[Channel, ...]


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


class Ticks:
    """The run as it happens: when the sensors were read, and the work between.

    Args:
        clock: shared with the profilers.
        sources: the profilers to read, open.
    """

    def __init__(self, clock: Clock, sources: Sequence[Source]) -> None:
        self.clock = clock
        self._sources = sources
        self._recordings = [source.profiler.record() for source in sources]
        self._before: list[float] = []
        self._after: list[float] = []
        self._iterations: list[int] = []
        self._pauses: list[int] = []
        self._first = 0
        self._per_block = 1

    def close(self) -> None:
        """Let the profilers forget the run."""
        for recording in self._recordings:
            recording.close()

    def tick(self, iterations: int) -> None:
        """Read the sensors, after so many iterations since the tick before."""
        self._before.append(self.clock.now())
        for recording in self._recordings:
            recording.tick()
        self._iterations.append(iterations)
        self._after.append(self.clock.now())

    def restart(self, per_block: int) -> None:
        """Begin the first block at the latest tick; so many stretches make a block.

        Blocks of equal work, not of equal time: else short iterations would be
        joined more often than long ones, and the mean over blocks would be biased.
        """
        self._first = len(self._before) - 1
        self._per_block = per_block

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
        return sum(self._iterations[self._first + 1 :])

    def ready(self) -> bool:
        """Whether every channel has shown a value that is younger than the run."""
        return all(recording.ready() for recording in self._recordings)

    def cost(self) -> float:
        """Seconds of a usual tick; pauses are longer and do not count."""
        return float(np.median(np.subtract(self._after, self._before[: len(self._after)])))

    def self_cost_share(self) -> float:
        """Time spent reading sensors over all time since ``restart``."""
        if self.count < 2:
            return 0.0
        spent = self.cost() * (self.count - 1)
        return spent / (self._before[-1] - self._before[self._first])

    def cut(self) -> Blocks | None:
        """Neighbouring ticks joined to blocks.

        Returns:
            None when there are not three ticks, which is the least for two blocks.
        """
        if self.count < 3:
            return None
        whole = len(self._after)
        before, after = np.array(self._before[:whole]), np.array(self._after)
        per_block = min(self._per_block, (self.count - 1) // 2)
        at = np.arange(self._first, len(before), per_block, dtype=np.intp)
        worked = np.concatenate(([0.0], np.cumsum(before[1:] - after[:-1])))
        done = np.cumsum(self._iterations[:whole]).astype(np.float64)
        energies, failures = self._energies(at, before[at])
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
        pauses = np.array(self._pauses, dtype=np.intp)
        after = np.searchsorted(at, pauses, side="right") - 1
        before = np.searchsorted(at, pauses, side="left") - 1
        return np.setdiff1d(np.arange(len(at) - 1), np.concatenate((before, after)))

    def _energies(self, at: Indices, instants: Vector) -> tuple[dict[str, Vector], dict[str, str]]:
        energies: dict[str, Vector] = {}
        failures: dict[str, str] = {}
        for source, recording in zip(self._sources, self._recordings, strict=True):
            used = {channel.id for channel in source.channels}
            for channel, blocks in recording.energies(at, instants):
                if channel.id not in used:
                    continue
                if isinstance(blocks, str):
                    failures[channel.id] = blocks
                else:
                    energies[channel.id] = blocks
        return energies, failures


def is_lost(blocks: Blocks, contains: Sequence[str]) -> bool:
    """Whether a channel that must be there gave nothing."""
    return not all(id in blocks.energies for id in contains)


def relative_half_width(interval: Interval) -> float:
    """Half-width over mean; infinite for a mean that is not positive."""
    return interval.half / interval.mean if interval.mean > 0 else math.inf
