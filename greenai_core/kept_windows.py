"""What is kept of a window that happened once: its result follows from it and nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from .blocks import on_line
from .channels import Channel, Reading, window_result
from .conditions import Series
from .observed import summarised
from .results import WindowResult


@dataclass(frozen=True)
class KeptReading:
    """What one channel showed in a window, and the calibration it is reported with.

    Attributes:
        profiler: name of the profiler that read it.
        channel: with what is known of its gain at that power.
        shown: by the sensor; its evidence is what it follows from.
        gain, offset_w: of the calibration; 1 and 0 without one.
    """

    profiler: str
    channel: Channel
    shown: Reading
    gain: float = 1.0
    offset_w: float = 0.0

    def again(self) -> KeptReading:
        """With the reading derived once more from its evidence, where there is any."""
        evidence = self.shown.evidence
        if evidence is None:
            return self
        known = replace(evidence.reading(), evidence=evidence)
        return replace(self, shown=known)

    def reading(self, duration_s: float) -> Reading:
        """As it is reported, for a window of that length."""
        if duration_s <= 0:
            return replace(self.shown, channel=self.channel)
        return on_line(self.shown, self.channel, self.gain, self.offset_w, duration_s)


@dataclass(frozen=True)
class KeptWindow:
    """A window.

    Attributes:
        name: of the window.
        duration_s: its length.
        readings: of each channel.
        accelerators: ids of those that a total may contain; None for all.
        seen: what the devices showed meanwhile, at times since its beginning.
    """

    name: str
    duration_s: float
    readings: tuple[KeptReading, ...]
    accelerators: tuple[str, ...] | None
    seen: tuple[Series, ...] = ()

    def again(self) -> KeptWindow:
        """With every reading derived once more."""
        return replace(self, readings=tuple(kept.again() for kept in self.readings))

    def result(self) -> WindowResult:
        """The figures of the window."""
        told = [(kept.profiler, kept.reading(self.duration_s)) for kept in self.readings]
        result = window_result(self.name, self.duration_s, told, self.accelerators)
        return replace(result, observations=summarised(self.seen, 0.0, math.inf))


@dataclass(frozen=True)
class KeptWindows:
    """The windows behind one result.

    Attributes:
        windows: in their order: of a command, or of each epoch and each validation.
        step_times: of epochs: seconds of each training step of each epoch.
        waits_s: of epochs: seconds spent waiting for data in each.
        elapsed_s: of epochs: from the beginning of the first to the end of the last.
        precision: of epochs: relative half-width asked for.
    """

    windows: tuple[KeptWindow, ...]
    step_times: tuple[tuple[float, ...], ...] = ()
    waits_s: tuple[float, ...] = ()
    elapsed_s: float = 0.0
    precision: float = 0.0
