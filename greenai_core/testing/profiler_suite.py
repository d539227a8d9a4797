"""The conformance suites of profilers, one for each kind of source.

Ten lines in the tests of a plugin::

    from greenai_core.testing.profiler_suite import CounterConformance

    class TestMyMeter(CounterConformance):
        def make_hardware(self):  # a simulated one, whose truth is known
            self.clock, self.meter = my_clock(), my_simulated_meter(watts=50)

        def make_profiler(self):
            return MyMeter(address=self.meter.address)

        def make_absent(self):
            return MyMeter(address="nowhere")

        def true_energy(self, start, end, channel):
            return 50 * (end - start)

        def break_sensor(self, channel):
            self.meter.fail(channel)

``clock`` is handed to ``open``; ``advance(seconds)`` sleeps on it unless it is
replaced. The simulated sensor reads true (its gain is 1): joules are judged by the
interval of repeatability. Subclass the suite of the profiler's kind:
``CounterConformance``, ``PowerConformance``, ``StreamConformance`` or
``WindowConformance``.
"""

from __future__ import annotations

import math

import pytest

from greenai_core.channels import SAMPLED
from greenai_core.counters import CounterProfiler
from greenai_core.errors import LifecycleError
from greenai_core.sampling import PowerProfiler, Sample, StreamProfiler

from .conformance import check
from .profiler_channels import ChannelChecks, LifeChecks
from .profiler_energy import EnergyChecks, FailureChecks, NestingChecks


class ProfilerConformance(LifeChecks, ChannelChecks, EnergyChecks, FailureChecks):
    """What all kinds keep; subclass the suite of the kind instead."""


class CounterConformance(ProfilerConformance, NestingChecks):
    """Rules of a ``CounterProfiler``."""

    @check
    def test_counts_are_whole_numbers(self) -> None:
        """``read`` gives raw counts as int; joules are made of them by the core."""
        with self._opened() as profiler:
            assert isinstance(profiler, CounterProfiler), "the suite is of another kind"
            for channel in profiler.channels:
                count = profiler.read(channel)
                assert type(count) is int, f"{channel.id}: {count!r} is no int"

    @check
    def test_counters_state_their_unit(self) -> None:
        """A counter states the joules of one count, and a positive wrap or None."""
        with self._opened() as profiler:
            for channel in profiler.channels:
                unit, wrap = channel.resolution_j, channel.wraps_at
                assert math.isfinite(unit), f"{channel.id}: {unit} J a count"
                assert unit > 0, f"{channel.id}: {unit} J a count"
                assert wrap is None or wrap > 0, f"{channel.id}: wraps at {wrap}"


class SampledChecks(ProfilerConformance, NestingChecks):
    """What sampled and delivered power have in common."""

    @check
    def test_power_is_called_sampled(self) -> None:
        """Integrated power is no energy counter: its method is ``sampled`` (or ``modelled``)."""
        if self.modelled:
            pytest.skip("a modelled source is judged by test_modelled_figures_are_called_so")
        with self._opened() as profiler:
            for channel in profiler.channels:
                assert channel.method == SAMPLED, f"{channel.id} is called {channel.method}"


class PowerConformance(SampledChecks):
    """Rules of a ``PowerProfiler``."""

    @check
    def test_power_is_a_plain_number(self) -> None:
        """``read_power`` gives watts as float or int, which reports can hold."""
        with self._opened() as profiler:
            assert isinstance(profiler, PowerProfiler), "the suite is of another kind"
            for channel in profiler.channels:
                watts = profiler.read_power(channel)
                assert isinstance(watts, (int, float)), f"{channel.id}: {type(watts).__name__}"


class StreamConformance(SampledChecks):
    """Rules of a ``StreamProfiler``."""

    @check
    def test_stamps_rise_on_the_clock(self) -> None:
        """Stamps of one channel rise, lie between ``open`` and now, and name known channels."""
        profiler = self._made()
        assert isinstance(profiler, StreamProfiler), "the suite is of another kind"
        samples: list[Sample] = []
        deliver = profiler.deliver

        def keep() -> list[Sample]:
            batch = list(deliver())
            samples.extend(batch)
            return batch

        began = self.clock.now()
        with pytest.MonkeyPatch.context() as patch:
            # The core's own reader takes what is delivered: look over its shoulder.
            patch.setattr(profiler, "deliver", keep)
            profiler.open(self.clock)
            known = {channel.id for channel in profiler.channels}
            self.advance(self.window_s)
            profiler.pull()
            profiler.close()
        assert samples, "nothing was delivered"
        last = dict.fromkeys(known, began - 1e-9)
        for sample in samples:
            assert sample.channel in known, f"a sample of {sample.channel!r}, no channel"
            assert sample.time > last[sample.channel], (
                f"{sample.channel}: {sample.time} s after {last[sample.channel]} s"
            )
            assert sample.time <= self.clock.now() + 1e-9, "a stamp lies in the future"
            last[sample.channel] = sample.time

    @check
    def test_delivering_does_not_wait(self) -> None:
        """``deliver`` gives what has arrived, and does not wait for more."""
        with self._opened() as profiler:
            assert isinstance(profiler, StreamProfiler), "the suite is of another kind"
            before = self.clock.now()
            list(profiler.deliver())
            waited = self.clock.now() - before
            assert waited < profiler.period_s / 10, f"deliver() took {waited} s"


class WindowConformance(ProfilerConformance):
    """Rules of a ``WindowProfiler``."""

    @check
    def test_nesting_is_refused(self) -> None:
        """A second window inside the first is a LifecycleError, and the first goes on."""
        with self._opened() as profiler:
            start = self.clock.now()
            outer = profiler.begin()
            self.advance(self.window_s / 2)
            with pytest.raises(LifecycleError):
                profiler.begin()
            self.advance(self.window_s / 2)
            end = self.clock.now()
            readings = profiler.end(outer)
            for reading in readings:
                truth = self.true_energy(start, end, reading.channel.id)
                assert reading.energy_j is not None, reading.reason
                assert reading.energy_j > truth / 2, (
                    f"{reading.channel.id}: {reading.energy_j} J left of {truth} J"
                )


__all__ = [
    "CounterConformance",
    "PowerConformance",
    "ProfilerConformance",
    "StreamConformance",
    "WindowConformance",
]
