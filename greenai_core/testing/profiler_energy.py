"""Checks of joules: against the truth, in rows of windows, and when a sensor fails."""

from __future__ import annotations

import numpy as np
import pytest

from greenai_core.errors import LifecycleError, ReadingError
from greenai_core.profiler import Profiler
from greenai_core.results import WindowResult

from .conformance import check, is_finite
from .profiler_hooks import ProfilerHooks

BLOCKS = 20


class EnergyChecks(ProfilerHooks):
    """Windows on hardware that works."""

    @check
    def test_energy_is_the_truth(self) -> None:
        """Every channel's joules agree with what the hardware used, within the interval."""
        with self._opened() as profiler:
            start, window, end = self._measured(profiler)
            for channel in profiler.channels:
                self._judge(window, start, end, channel.id)

    @check
    def test_next_window_starts_afresh(self) -> None:
        """A second window holds nothing of the first."""
        with self._opened() as profiler:
            first = profiler.begin()
            self.advance(self.window_s)
            before = profiler.end(first)
            second = profiler.begin()
            self.advance(self.window_s / 2)
            after = profiler.end(second)
            for long, short in zip(before, after, strict=True):
                assert long.energy_j is not None, long.reason
                assert short.energy_j is not None, short.reason
                assert short.energy_j < 0.9 * long.energy_j, (
                    f"{short.channel.id}: {short.energy_j} J in a window half as long as "
                    f"one of {long.energy_j} J"
                )

    @check
    def test_recorded_blocks_add_up(self) -> None:
        """The blocks of a recording sum to the truth of the time that they cover."""
        with self._opened() as profiler:
            recording = profiler.record()
            instants = []
            for _ in range(BLOCKS + 1):
                instants.append(self.clock.now())
                recording.tick()
                self.advance(self.window_s / BLOCKS)
            borders = np.arange(BLOCKS + 1, dtype=np.intp)
            energies = dict(recording.energies(borders, np.array(instants)))
            recording.close()
            for channel in profiler.channels:
                blocks = energies[channel]
                assert not isinstance(blocks, str), f"{channel.id}: {blocks}"
                assert len(blocks) == BLOCKS, f"{channel.id}: {len(blocks)} blocks"
                truth = self.true_energy(instants[0], instants[-1], channel.id)
                grain = 2 * profiler.grain_s(channel) / (instants[-1] - instants[0])
                summed = float(np.sum(blocks))
                assert abs(summed - truth) <= (self.slack + grain) * truth, (
                    f"{channel.id}: the blocks add up to {summed} J, the truth is {truth} J"
                )

    @check
    def test_evaluate_returns_seconds_joules_and_result(self) -> None:
        """``evaluate`` calls with the arguments given and returns (seconds, joules, result)."""
        with self._opened() as profiler:

            def work(seconds: float, *, answer: str) -> str:
                self.advance(seconds)
                return answer

            seconds, joules, result = profiler.evaluate(work, self.window_s, answer="done")
            assert result == "done", f"result {result!r}"
            assert seconds == pytest.approx(self.window_s, rel=0.2), f"{seconds} s"
            assert isinstance(joules, float), f"joules are {type(joules).__name__}"
            assert is_finite(joules), f"{joules} J"

    @check
    def test_with_measures(self) -> None:
        """A ``with`` block is a window, and ``last`` its result."""
        with self._opened() as profiler:
            with profiler:
                self.advance(self.window_s)
            last = profiler.last
            assert last is not None, "no result after the block"
            assert last.duration_s == pytest.approx(self.window_s, rel=0.2), f"{last.duration_s} s"

    @check
    def test_stopping_without_starting_is_refused(self) -> None:
        """``stop`` without ``start`` is a LifecycleError."""
        with self._opened() as profiler, pytest.raises(LifecycleError):
            profiler.stop()

    @check
    def test_starting_twice_is_refused(self) -> None:
        """A second ``start`` is a LifecycleError."""
        with self._opened() as profiler:
            profiler.start()
            with pytest.raises(LifecycleError):
                profiler.start()
            profiler.stop()


class FailureChecks(ProfilerHooks):
    """Windows in which a sensor fails."""

    @check
    def test_failed_sensor_gives_a_reason_and_no_joules(self) -> None:
        """A channel whose sensor fails is missing, with the reason; it is never zero."""
        with self._opened() as profiler:
            victim = self._victim(profiler)
            window = self._broken(victim, profiler)[1]
            found = {one.id: one.energy_j for one in window.channels}
            assert victim not in found, f"{victim} failed and yet has {found.get(victim)} J"
            reasons = {one.id: one.reason for one in window.missing}
            assert reasons.get(victim, "").strip(), f"{victim} failed and no reason is told"

    @check
    def test_other_channels_go_on(self) -> None:
        """A failed sensor takes no other channel with it."""
        with self._opened() as profiler:
            others = self._survivors(profiler)
            start, window, end = self._broken(self._victim(profiler), profiler)
            for other in others:
                self._judge(window, start, end, other)

    @check
    def test_evaluate_raises_where_joules_are_missing(self) -> None:
        """``evaluate`` has no joules to return when all sensors fail: ReadingError."""
        with self._opened() as profiler:

            def work() -> None:
                for channel in profiler.channels:
                    self.break_sensor(channel.id)
                self.advance(self.window_s)

            with pytest.raises(ReadingError):
                profiler.evaluate(work)

    def _broken(self, victim: str, profiler: Profiler) -> tuple[float, WindowResult, float]:
        start = self.clock.now()
        profiler.start()
        self.advance(self.window_s / 2)
        self.break_sensor(victim)
        self.advance(self.window_s)
        end = self.clock.now()
        return start, profiler.stop(), end


class NestingChecks(ProfilerHooks):
    """For the kinds whose windows may overlap."""

    @check
    def test_windows_nest(self) -> None:
        """Windows inside a window and across each other tell the joules of their own time."""
        with self._opened() as profiler:
            outer, began = profiler.begin(), self.clock.now()
            self.advance(0.25 * self.window_s)
            inner, inside = profiler.begin(), self.clock.now()
            self.advance(0.5 * self.window_s)
            across, late = profiler.begin(), self.clock.now()
            self.advance(0.25 * self.window_s)
            for window, start in ((inner, inside), (outer, began)):
                end = self.clock.now()
                self._judge_readings(profiler.end(window), start, end)
            self.advance(0.25 * self.window_s)
            end = self.clock.now()
            self._judge_readings(profiler.end(across), late, end)
