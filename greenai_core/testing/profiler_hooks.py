"""What the author of a profiler tells the suites, and what their checks share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import ClassVar

import pytest

from greenai_core.channels import Reading
from greenai_core.clock import Clock
from greenai_core.profiler import Profiler
from greenai_core.results import WindowResult
from greenai_core.statistics import coverage_factor

from .conformance import Conformance


class ProfilerHooks(Conformance):
    """The author's part of the profiler suites; see ``profiler_suite``."""

    clock: Clock
    """Of the simulated hardware; set by ``make_hardware`` or ``make_profiler``."""

    modelled: ClassVar[bool] = False
    """Whether no sensor stands behind the figures."""

    settle_s: ClassVar[float] = 1.0
    """Simulated seconds after opening before anything is judged."""

    window_s: ClassVar[float] = 10.0
    """Length of the windows that are judged; many update periods."""

    slack: ClassVar[float] = 0.001
    """Relative error allowed beside the interval of repeatability. The sensor's
    gain is not part of it: the simulated sensor has none."""

    def make_hardware(self) -> None:
        """Build the simulated hardware; may do I/O, which the constructor may not."""

    def make_profiler(self) -> Profiler:
        """A profiler for that hardware, not open yet."""
        raise NotImplementedError("the suite needs make_profiler()")

    def make_absent(self) -> Profiler:
        """A profiler whose hardware (or library) is not there."""
        raise NotImplementedError("the suite needs make_absent()")

    def advance(self, seconds: float) -> None:
        """Let simulated time pass."""
        self.clock.sleep(seconds)

    def true_energy(self, start: float, end: float, channel: str) -> float:
        """Joules that the simulated hardware used between two instants of ``clock``."""
        raise NotImplementedError("the suite needs true_energy(start, end, channel)")

    def break_sensor(self, channel: str) -> None:
        """Make the reads of this channel fail from now on."""
        raise NotImplementedError("the suite needs break_sensor(channel)")

    # What the checks share

    def _made(self) -> Profiler:
        self.make_hardware()
        return self.make_profiler()

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Profiler]:
        profiler = self._made()
        profiler.open(self.clock)
        try:
            self.advance(self.settle_s)
            yield profiler
        finally:
            if profiler.is_open:
                profiler.close()

    def _measured(self, profiler: Profiler) -> tuple[float, WindowResult, float]:
        """One window and the instants between which it lay."""
        start = self.clock.now()
        profiler.start()
        self.advance(self.window_s)
        end = self.clock.now()
        return start, profiler.stop(), end

    def _judge(self, window: WindowResult, start: float, end: float, channel: str) -> None:
        """Fail unless the channel's joules are the truth, within their interval."""
        found = {one.id: one for one in window.channels}
        assert channel in found, f"no joules for {channel}: {window.missing}"
        truth = self.true_energy(start, end, channel)
        one, slack = found[channel], self.slack * abs(truth)
        assert one.repeat_low_j - slack <= truth <= one.repeat_high_j + slack, (
            f"{channel}: {one.energy_j} J in [{one.repeat_low_j}, {one.repeat_high_j}], "
            f"the truth is {truth} J"
        )

    def _judge_readings(self, readings: Sequence[Reading], start: float, end: float) -> None:
        """Fail unless each reading is the truth, within what is not known."""
        for reading in readings:
            truth = self.true_energy(start, end, reading.channel.id)
            assert reading.energy_j is not None, reading.reason
            allowed = coverage_factor() * reading.u_j + self.slack * abs(truth)
            assert abs(reading.energy_j - truth) <= allowed, (
                f"{reading.channel.id}: {reading.energy_j} J ± {allowed}, the truth is {truth} J"
            )

    def _victim(self, profiler: Profiler) -> str:
        """The channel whose sensor is broken."""
        return profiler.channels[0].id

    def _survivors(self, profiler: Profiler) -> list[str]:
        others = [channel.id for channel in profiler.channels[1:]]
        if not others:
            pytest.skip("the profiler has one channel only")
        return others
