"""Sources that know only start and stop: other measuring tools, mostly."""

from __future__ import annotations

import contextlib
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from .budget import Term
from .channels import (
    LEAST_POWER_W,
    Channel,
    Reading,
    longer,
    stuck_reason,
)
from .clock import SUSPENDED_S, suspended_s
from .errors import LifecycleError, ReadingError
from .latch_budget import latch_budget
from .profiler import Profiler, Recording, finite
from .statistics import Indices, Vector, latch_window


class WindowProfiler(Profiler):
    """A profiler whose source measures one window at a time, and no others inside.

    A plugin implements ``connect``, ``disconnect``, ``start_window`` and
    ``stop_window``.
    """

    nests: ClassVar[bool] = False
    automatic: ClassVar[bool] = False

    @abstractmethod
    def start_window(self) -> None:
        """Let the source begin.

        Raises:
            ReadingError: it does not.
        """

    @abstractmethod
    def stop_window(self) -> Mapping[str, float | str]:
        """Let it end: joules by channel id, or why a channel has none.

        Raises:
            ReadingError: it failed.
        """

    def __init__(self) -> None:
        super().__init__()
        self.outside_s = 0.0
        """Seconds, before and after it together, that the source measured beside the
        latest window; set by ``start_window`` and ``stop_window`` where it is noticeable."""
        self._window: float | None = None
        self._suspended_before_s = 0.0

    def begin(self) -> float:
        """Begin the one window.

        Raises:
            LifecycleError: one is open already; this source cannot nest.
        """
        if not self.is_open:
            raise LifecycleError(f"the profiler {self.name!r} is not open: call open() first")
        if self._window is not None:
            raise LifecycleError(
                f"the profiler {self.name!r} measures one window at a time and cannot nest. "
                "Leave it out of this session, or end the outer window first"
            )
        self._suspended_before_s = suspended_s(self.clock)
        self.start_window()
        self._window = self.clock.now()
        return self._window

    def end(self, begun: Any) -> Sequence[Reading]:
        """End it: what the source gave for each channel.

        Raises:
            LifecycleError: it was ended already, by ``close``.
        """
        duration = self.clock.now() - begun
        given = self.given(begun)
        outside_s = self.outside_s
        readings = [self._one(*told, duration) for told in zip(self.channels, given, strict=True)]
        return [
            replace(longer(reading, outside_s, duration + outside_s), covers_s=duration)
            for reading in readings
        ]

    def given(self, begun: float) -> list[float | str]:
        """End it: joules of each channel as the source gave them, or why there are none.

        Raises:
            LifecycleError: it was ended already, by ``close``.
        """
        if self._window != begun:
            raise LifecycleError(f"the profiler {self.name!r} was closed inside the window")
        self._window = None
        try:
            joules = self.stop_window()
            slept = suspended_s(self.clock) - self._suspended_before_s
            if slept > SUSPENDED_S:
                reason = f"the machine was suspended for {slept:.1f} s while {self.name} measured"
                return [reason] * len(self.channels)
            return [self._given(channel, joules.get(channel.id)) for channel in self.channels]
        except Exception as error:  # noqa: BLE001  # other tools raise what they like
            return [str(error) or type(error).__name__] * len(self.channels)

    def _given(self, channel: Channel, joules: float | str | None) -> float | str:
        if joules is None:
            return f"{self.name} gave no figure for {channel.id}"
        if isinstance(joules, str):
            return joules or f"{self.name} gave no figure for {channel.id}"
        try:
            return finite(joules, channel.id)
        except ReadingError as error:
            return str(error)

    def _one(self, channel: Channel, joules: float | str, duration_s: float) -> Reading:
        if isinstance(joules, str):
            return Reading(channel, None, reason=joules)
        if joules == 0.0 and duration_s > channel.resolution_j / LEAST_POWER_W:
            reason = (
                f"{self.name} gave 0 J for {channel.id} in {duration_s:.3g} s, and nothing that is "
                "on uses no energy: the window is too short, or the source does not work here"
            )
            return Reading(channel, None, reason=reason)
        if channel.update_period_s is None:
            u = channel.resolution_j / math.sqrt(12)
            return Reading(channel, joules, u, budget=(Term("resolution", u),))
        shown = joules, duration_s, channel.update_period_s, channel.resolution_j
        _, u = latch_window(*shown)
        return Reading(channel, joules, u, budget=latch_budget(*shown))

    def record(self) -> Recording:
        """One window between each two ticks."""
        return _WindowRecording(self)

    def unfollow(self) -> None:
        """End a window that was left open."""
        if self._window is not None:
            self._window = None
            # Nobody asked for these joules, so nobody misses them.
            with contextlib.suppress(Exception):
                self.stop_window()


@dataclass(frozen=True)
class GivenReadings:
    """What one channel of another tool gave while work was repeated.

    Attributes:
        channel: what was read.
        joules: of each window between two ticks; NaN where there is none.
        failure: why one has none; empty if all have.
    """

    channel: Channel
    joules: Vector
    failure: str = ""

    def blocks(self, ticks: Indices, instants: Vector) -> Vector | str:
        """See ``Readings``."""
        blocks = np.diff(np.concatenate(([0.0], np.cumsum(self.joules)))[ticks])
        if self.failure and np.isnan(blocks).any():
            return self.failure
        duration = float(instants[-1] - instants[0])
        still = _longest_zero(blocks, np.diff(instants))
        stuck = stuck_reason(self.channel, float(blocks.sum()), duration)
        return stuck or stuck_reason(self.channel, 0.0, still) or np.asarray(blocks)


def _longest_zero(joules: Vector, seconds: Vector) -> float:
    """Seconds of the longest stretch of blocks without a joule."""
    longest = stretch = 0.0
    for energy, length in zip(joules, seconds, strict=True):
        stretch = stretch + float(length) if energy == 0.0 else 0.0
        longest = max(longest, stretch)
    return longest


class _WindowRecording(Recording):
    def __init__(self, profiler: WindowProfiler) -> None:
        self._profiler = profiler
        self._ticks: list[float] = []
        self._joules: dict[str, list[float]] = {c.id: [] for c in profiler.channels}
        self._failures: dict[str, str] = {}
        self._begun: float | None = None

    def tick(self) -> None:
        now = self._profiler.clock.now()
        if self._begun is not None:
            given = self._profiler.given(self._begun)
            span = max(now - self._begun + self._profiler.outside_s, 1e-9)
            # The window leaves out the reading itself; blocks do not.
            stretch = (now - self._ticks[-1]) / span if self._ticks else 1.0
            for channel, joules in zip(self._profiler.channels, given, strict=True):
                if isinstance(joules, str):
                    self._failures[channel.id] = joules
                    self._joules[channel.id].append(math.nan)
                else:
                    self._joules[channel.id].append(joules * stretch)
        elif self._ticks:
            for series in self._joules.values():
                series.append(math.nan)
        self._ticks.append(now)
        self._begun = None
        try:
            self._begun = self._profiler.begin()
        except LifecycleError:
            raise
        except Exception as error:  # noqa: BLE001  # likewise
            self._failures = dict.fromkeys(self._joules, str(error)) | self._failures

    def readings(self, until_s: float) -> Sequence[GivenReadings]:
        """See ``Recording``."""
        return [
            GivenReadings(
                channel,
                np.array(self._joules[channel.id], dtype=np.float64),
                self._failures.get(channel.id, ""),
            )
            for channel in self._profiler.channels
        ]

    def close(self) -> None:
        if self._begun is not None and self._profiler.is_open:
            self._profiler.given(self._begun)
        self._begun = None
