"""The frames of an OmegaWatt meter in their places on our clock, and which are missing."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np

from .omegawatt_clock import MeterClock
from .omegawatt_frames import Frame, FrameParser, counting
from .omegawatt_port import BAUD

LATE_S = 0.3
"""Without a frame for so long the meter is taken to have stopped."""

MOST_CHANGE = 3
"""A frame of so many times the usual samples, or the inverse, was damaged."""

ROUGHLY = 0.05
"""Arrivals of half a second show the pace no better."""

OLD_FRAMES = 60_000
"""A step of so many ids is one backwards: a meter that began again."""


class FrameStream:
    """Frames of one port, each with the middle of its measurement on our clock.

    Args:
        parser: which found the first frames, and finds the others.
        began: instant from which on troubles are dated, s.
        arrivals: of the first frames, to learn their pace from: instants, s, and frames.
    """

    def __init__(
        self, parser: FrameParser, began: float, arrivals: Sequence[tuple[float, Frame]]
    ) -> None:
        self._parser = parser
        self._began = began
        self.good = self.lost = 0
        self.trouble = ""
        """What went wrong with the frames of the latest ``take``."""
        self._id: int | None = None
        self._repeated = False
        self._tick = 0.0
        self._samples = median(frame.samples for _, frame in arrivals)
        self._counts = counting([frame.id for _, frame in arrivals])
        ticks = [self._count(frame) for _, frame in arrivals]
        instants = [arrived for arrived, _ in arrivals]
        guess = float(np.polyfit(ticks, instants, 1)[0])
        rate, told = _told_rate([frame for _, frame in arrivals], guess)
        self._last = instants[-1]
        self.frame_s = rate * self._samples
        """Usual time between two frames."""
        self._clock = MeterClock(rate, told, ticks[0], instants[0])
        for tick, (arrived, _) in zip(ticks, arrivals, strict=True):
            self._clock.see(tick, arrived)
        self.lost = 0

    def take(self, content: bytes, now: float) -> list[tuple[float, Frame]]:
        """The frames that are complete with these bytes, and the middle of each, s.

        Args:
            content: what has arrived.
            now: when.
        """
        self.trouble = ""
        frames = self._parser.feed(content)
        placed = []
        for frame in frames:
            if self._counts and frame.id == self._id:
                self._repeated = True
                continue
            before = self.lost
            tick = self._count(frame)
            if self.lost > before:
                self._tell(self.lost - before, now)
            if self._plausible(frame):
                placed.append((tick, frame))
        if placed:
            self._last = now
            self._repeated = False
            self._clock.see(self._tick, now)
        elif now - self._last > LATE_S:
            self.trouble = self._silence(now - self._last)
        self.good += len(placed)
        return [(self._middle(tick, frame), frame) for tick, frame in placed]

    def _silence(self, seconds: float) -> str:
        if self._repeated:
            return f"frame {self._id} came again and again for {seconds:.1f} s: the meter is stuck"
        return f"no frame has come for {seconds:.1f} s ({self.told()})"

    def told(self) -> str:
        """What the bytes showed that were no good frames."""
        return self._parser.told()

    def _count(self, frame: Frame) -> float:
        """The meter's tick at the end of a frame, whatever was lost before it."""
        missing = self._missing(frame)
        self._id = frame.id
        good = self._plausible(frame)
        self.lost += missing + (not good)
        self._tick += missing * self._samples + (frame.samples if good else self._samples)
        return self._tick

    def _plausible(self, frame: Frame) -> bool:
        # One checksum byte lets one damaged frame in 256 pass.
        return self._samples / MOST_CHANGE < frame.samples < self._samples * MOST_CHANGE

    def _missing(self, frame: Frame) -> int:
        if self._id is None:
            return 0
        if not self._counts:
            return round(frame.skipped / frame.size)
        step = (frame.id - self._id - 1) % 65536
        return step if step < OLD_FRAMES else 0

    def _tell(self, missing: int, now: float) -> None:
        self.trouble = (
            f"{missing} frame{'s' * (missing > 1)} of {1e3 * self.frame_s:.0f} ms lost "
            f"{now - self._began:.1f} s after opening ({self.told()})"
        )

    def _middle(self, tick: float, frame: Frame) -> float:
        covered = frame.samples * self._clock.rate
        # What delta means is not documented. Where it is about the time that the frame
        # covers it says that; else it is how long the frame waited to be sent.
        waited = frame.delta_s if abs(frame.delta_s - covered) > covered / 2 else 0.0
        on_the_wire = frame.size * 10 / BAUD
        return self._clock.at(tick) - on_the_wire - waited - covered / 2


def _told_rate(frames: Sequence[Frame], guess: float) -> tuple[float, bool]:
    """Seconds of one sample: by the meter's own word where that agrees with the arrivals."""
    samples = sum(frame.samples for frame in frames)
    told = sum(frame.delta_s for frame in frames if frame.samples) / samples if samples else 0.0
    agrees = abs(told - guess) < ROUGHLY * guess
    return (told, True) if agrees else (guess, False)
